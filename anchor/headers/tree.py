"""Headers in their places: most of them packed in one path, the trunk, the others as linked objects.

Which is where is nobody's business: a `HeaderAt` is one object per header as long as somebody holds it, and its
answers are the same wherever its ancestors lie. So any number of chains may share one tree, and any of them may
have the trunk end where it suits it (`bury`).
"""

from collections.abc import Iterator
from weakref import WeakValueDictionary

from anchor.btc.header import Header, work_of
from anchor.btc.ids import BlockHash, display
from anchor.headers.run import HeaderRun
from anchor.headers.trunk import Packed, Trunk


class HeaderAt:
    """A valid header in its place, never changed: `work` is the total from genesis (or as the start claimed).

    Two are the same header exactly when they are the same object, among those of one tree.
    """

    # For the tree: `below` is the parent, None for what lies in the trunk; `skip` a farther ancestor, so that any
    # is O(log n) steps away (both only of headers outside of the trunk).
    __slots__ = ("__weakref__", "_tree", "below", "header", "height", "skip", "work")

    def __init__(self, tree: "Tree", header: Header, height: int, work: int) -> None:
        self.header, self.height, self.work = header, height, work
        self._tree = tree
        self.below: HeaderAt | None = None
        self.skip: HeaderAt | None = None

    def __repr__(self) -> str:
        return f"HeaderAt({self.height}, {display(self.hash)})"

    @property
    def hash(self) -> BlockHash:
        """Block hash, internal order."""
        return self.header.hash

    @property
    def root(self) -> int:
        """Height of the chain's start."""
        return self._tree.root

    @property
    def parent(self) -> "HeaderAt | None":
        """The header below, None for the start."""
        if self.below is not None:
            return self.below
        return None if self.height == self._tree.root else self._tree.at(self.height - 1)

    def ancestor(self, height: int) -> "HeaderAt | None":
        """Return the header at `height` of this header's own branch, itself included; None outside of it."""
        if not self._tree.root <= height <= self.height:
            return None
        walk = self.nearest(height)
        return walk if walk.height == height else self._tree.at(height)

    def nearest(self, height: int) -> "HeaderAt":
        """Return the ancestor at `height`, or the newest one in the trunk when that is above it."""
        walk = self
        while walk.height > height:
            below = walk.below
            if below is None:
                break
            skip = walk.skip
            if skip is None or skip.height < height:
                walk = below
            elif skip.height == height or (near := below.skip) is None:
                walk = skip
            elif near.height < skip.height - 2 and near.height >= height:  # better from the next one on
                walk = below
            else:
                walk = skip
        return walk

    def stand_on(self, below: "HeaderAt") -> None:
        """Become an object outside of the trunk, linked to its parent; for the tree."""
        self.below = below
        first = self._tree.root
        self.skip = below.nearest(first + _skip_to(self.height - first))


def _skip_to(n: int) -> int:
    # GetSkipHeight of Core's chain.cpp: clearing low bits makes every ancestor about log2(n) steps away.
    if n < 2:
        return 0
    if n & 1:
        m = n - 1
        m &= m - 1
        return (m & (m - 1)) + 1
    return n & (n - 1)


class Tree:
    """All headers that descend from one start. `root` is its height, `work` the total through it."""

    __slots__ = ("_named", "_seen", "root", "run", "trunk")

    def __init__(self, start: Header, height: int, work: int) -> None:
        self.root = height
        self.trunk = Trunk(work - work_of(start.bits))
        self.trunk.append(start.raw, [start.hash])
        self.run: HeaderRun | None = None  # the last one that grew the trunk, to go on where it ended
        # All that are outside of the trunk, and of those in it what was asked for and is still held.
        self._named: WeakValueDictionary[BlockHash, HeaderAt] = WeakValueDictionary()
        self._seen: WeakValueDictionary[int, HeaderAt] = WeakValueDictionary()  # of the trunk, by height

    @property
    def top(self) -> int:
        """The height at which the trunk ends."""
        return self.root + len(self.trunk) - 1

    def adopt(self, raw: bytearray, packed: Packed) -> None:
        """Make the trunk what it was when it was packed; only while there is nothing but the start."""
        assert self.top == self.root, "only a new tree takes a trunk"
        assert not any(at.below for at in self._named.values()), "that no chain has grown"
        assert raw[:80] == self.trunk.at(0), "it begins with the same header"
        before = self.trunk.work(0) - work_of(Header.parse(self.trunk.at(0)).bits)
        self.trunk = Trunk.restore(before, raw, packed)

    def at(self, height: int) -> HeaderAt:
        """Return the trunk's header at `height`, which must be one of its."""
        node = self._seen.get(height)
        if node is None:
            place = height - self.root
            node = HeaderAt(self, Header.parse(self.trunk.at(place)), height, self.trunk.work(place))
            self._seen[height] = node
        return node

    def raws(self, first: int, last: int) -> bytes:
        """Return the trunk's raw headers from one height through another."""
        return self.trunk.slice(first - self.root, last - self.root + 1)

    def foot(self, node: HeaderAt) -> int:
        """Return the height at which a header's branch leaves the trunk; its own in the trunk."""
        return node.nearest(self.root).height

    def find(self, block: BlockHash) -> HeaderAt | None:
        """Return a header of whatever branch; None when no chain of this tree knows it."""
        node = self._named.get(block)
        if node is None and (place := self.trunk.find(block)) is not None:
            node = self._named[block] = self.at(self.root + place)
        return node

    def grow(self, header: Header, parent: HeaderAt) -> HeaderAt:
        """Give a valid header that `find` does not know its place upon its parent."""
        node = HeaderAt(self, header, parent.height + 1, parent.work + work_of(header.bits))
        node.stand_on(parent)
        self._named[header.hash] = node
        return node

    def lengthen(self, raw: bytes, hashes: list[BlockHash]) -> HeaderAt:
        """Add a valid run at the end of the trunk and return its last header; objects of them move in."""
        height = self.top + 1
        self.trunk.append(raw, hashes)
        if len(self._named):
            places = dict(zip(hashes, range(height, height + len(hashes)), strict=True))
            for block in [block for block in self._named if block in places]:
                if (at := self._named.get(block)) is not None:
                    at.below = at.skip = None
                    self._seen[places[block]] = at
        return self.at(height + len(hashes) - 1)

    def bury(self, node: HeaderAt) -> None:
        """Have the trunk end at `node`. What was in it and is not below `node` becomes objects, while held."""
        path = []
        walk = node
        while walk.below is not None:
            path.append(walk)
            walk = walk.below
        if walk.height < self.top:
            self._raise_above(walk.height)
        path.reverse()
        self.trunk.append(b"".join(at.header.raw for at in path), [at.hash for at in path])
        for at in path:
            at.below = at.skip = None
            self._seen[at.height] = at

    def _raise_above(self, height: int) -> None:
        above = [self.at(h) for h in range(height + 1, self.top + 1)]
        below = self.at(height)
        self.trunk.cut(height - self.root + 1)
        for at in above:
            self._seen.pop(at.height, None)
            self._named[at.hash] = at
            at.stand_on(below)
            below = at


def branch(top: HeaderAt, below: HeaderAt | None) -> Iterator[HeaderAt]:
    """Yield the headers from `top` down to just above `below` (to the start when None)."""
    walk: HeaderAt | None = top
    while walk is not None and walk is not below:
        yield walk
        walk = walk.parent
