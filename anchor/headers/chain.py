"""The tree of valid headers and the branch with most work.

A node of the tree (`HeaderAt`) is immutable and holds its parent, so any number of chains share nodes: `fork()`
costs nothing and gives an independent chain. What a chain *knows* is its heads and their ancestors; what no chain
knows any more disappears by itself. Equal input in equal order gives equal chains, on every machine.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Self
from weakref import WeakValueDictionary

from anchor.btc.header import Header, work_of
from anchor.btc.ids import BlockHash, display
from anchor.headers.rules import MAX_FUTURE, HeaderRefused, Rules, check


@dataclass(frozen=True, slots=True, weakref_slot=True, eq=False, repr=False)
class HeaderAt:
    """A valid header in its place: `work` is the total from genesis (or as the start claimed) through it."""

    header: Header
    height: int
    work: int
    parent: "HeaderAt | None" = None
    skip: "HeaderAt | None" = None  # a farther ancestor, chosen so that any ancestor is O(log n) steps away
    root: int = 0  # height of the chain's start

    @property
    def hash(self) -> BlockHash:
        """Block hash, internal order."""
        return self.header.hash

    def __repr__(self) -> str:
        return f"HeaderAt({self.height}, {display(self.hash)})"

    def ancestor(self, height: int) -> "HeaderAt | None":
        """Return the header at `height` of this header's own branch, itself included; None outside of it."""
        if not self.root <= height <= self.height:
            return None
        walk = self
        while walk.height > height:
            far, near = _skip_to(walk.height - self.root), _skip_to(walk.height - self.root - 1)
            want = height - self.root
            if walk.skip is not None and (
                far == want or (far > want and not (near < far - 2 and near >= want))
            ):
                walk = walk.skip
            else:
                assert walk.parent is not None
                walk = walk.parent
        return walk


def _skip_to(n: int) -> int:
    # GetSkipHeight of Core's chain.cpp: clearing low bits makes every ancestor about log2(n) steps away.
    if n < 2:
        return 0
    if n & 1:
        m = n - 1
        m &= m - 1
        return (m & (m - 1)) + 1
    return n & (n - 1)


@dataclass(frozen=True, slots=True)
class Reorg:
    """The tip moved from one branch to another; `disconnected` newest first, `connected` oldest first."""

    old_tip: HeaderAt
    new_tip: HeaderAt
    fork: HeaderAt
    disconnected: tuple[HeaderAt, ...]
    connected: tuple[HeaderAt, ...]

    @property
    def depth(self) -> int:
        """How many blocks left the main chain."""
        return len(self.disconnected)


@dataclass(frozen=True, slots=True)
class Added:
    """The header is new; `is_tip` tells whether it is the tip now, `reorg` how the tip moved when it turned."""

    height: int
    hash: BlockHash
    is_tip: bool
    reorg: Reorg | None = None


@dataclass(frozen=True, slots=True)
class Known:
    """The header was there already; nothing changed."""

    height: int
    hash: BlockHash


@dataclass(frozen=True, slots=True)
class Deferred:
    """The header's time is too far ahead of our clock: offer it again at `until` (Unix seconds)."""

    until: int


@dataclass(slots=True)
class _Arena:
    nodes: WeakValueDictionary[BlockHash, HeaderAt] = field(default_factory=WeakValueDictionary)


class HeaderChain:
    """Headers from a trusted start on; `add` grows it, `fork` copies it in no time.

    `start` is trusted at `height` with total `work` (default: its own). `before` are the headers right below it,
    oldest first: ten make the median time exact from the beginning; networks that retarget need them back to the
    first block of the period, unless the start is that block (ValueError).
    """

    __slots__ = ("_arena", "_before", "_heads", "_rules", "_start", "_tip")

    def __init__(
        self,
        rules: Rules,
        start: Header,
        height: int = 0,
        *,
        work: int | None = None,
        before: Sequence[Header] = (),
    ) -> None:
        reach = height - len(before)
        if height < 0 or reach < 0 or (not rules.constant_bits and reach > height - height % rules.interval):
            raise ValueError(f"a start at height {height} needs the headers from its period's first block on")
        links = [*before, start]
        if any(b.parent != a.hash for a, b in pairwise(links)):
            raise ValueError("the headers before the start do not lead to it")
        own = work_of(start.bits) if work is None else work
        self._rules, self._before = rules, tuple(before)
        self._start = HeaderAt(start, height, own, root=height)
        self._tip = self._start
        self._heads: tuple[HeaderAt, ...] = (self._start,)
        self._arena = _Arena()
        self._arena.nodes[start.hash] = self._start

    def __repr__(self) -> str:
        return f"HeaderChain({self._rules.network.name}, tip {self._tip!r}, {len(self._heads)} heads)"

    @property
    def rules(self) -> Rules:
        """The network's rules."""
        return self._rules

    @property
    def start(self) -> HeaderAt:
        """The trusted header that everything descends from."""
        return self._start

    @property
    def tip(self) -> HeaderAt:
        """The header with most work; the first one seen where several have it."""
        return self._tip

    @property
    def heads(self) -> tuple[HeaderAt, ...]:
        """The newest header of every branch, in the order in which the branches appeared."""
        return self._heads

    def fork(self) -> Self:
        """Return an independent chain that knows the same; costs the same for any length."""
        other = object.__new__(type(self))
        other._rules, other._before, other._arena = self._rules, self._before, self._arena
        other._start, other._tip, other._heads = self._start, self._tip, self._heads
        return other

    def become(self, other: Self) -> None:
        """Take over what a fork of this chain has become: all or nothing for callers that try first."""
        assert other._arena is self._arena, "only forks of the same chain can be taken over"
        self._tip, self._heads = other._tip, other._heads

    def get(self, block: BlockHash) -> HeaderAt | None:
        """Return a header that this chain knows, on whatever branch."""
        node = self._arena.nodes.get(block)
        if node is None or not any(head.ancestor(node.height) is node for head in (self._tip, *self._heads)):
            return None
        return node

    def at_height(self, height: int) -> HeaderAt | None:
        """Return the main chain's header at `height`, None outside of it."""
        return self._tip.ancestor(height)

    def is_main(self, block: BlockHash) -> bool:
        """Tell whether a header is on the branch of the tip."""
        node = self._arena.nodes.get(block)
        return node is not None and self._tip.ancestor(node.height) is node

    def depth(self, block: BlockHash) -> int:
        """Return a block's confirmations: tip - height + 1; 0 when it is not on the main chain."""
        node = self._arena.nodes.get(block)
        if node is None or self._tip.ancestor(node.height) is not node:
            return 0
        return self._tip.height - node.height + 1

    def work_above(self, block: BlockHash) -> int:
        """Return the work from a block, its own included, to the tip; 0 when it is not on the main chain."""
        node = self._arena.nodes.get(block)
        if node is None or self._tip.ancestor(node.height) is not node:
            return 0
        return self._tip.work - node.work + work_of(node.header.bits)

    def fork_point(self, a: HeaderAt, b: HeaderAt) -> HeaderAt:
        """Return the last common ancestor of two headers of this chain."""
        low, high = self._start.height, min(a.height, b.height)
        while low < high:
            middle = (low + high + 1) // 2
            if a.ancestor(middle) is b.ancestor(middle):
                low = middle
            else:
                high = middle - 1
        common = a.ancestor(low)
        assert common is not None
        assert common is b.ancestor(low), "both descend from the start"
        return common

    def reorg(self, old: HeaderAt, new: HeaderAt) -> Reorg:
        """Return the way from one tip to another."""
        fork = self.fork_point(old, new)
        down, up = tuple(branch(old, fork)), tuple(branch(new, fork))
        return Reorg(old, new, fork, down, up[::-1])

    def main(self, start: int, count: int) -> list[HeaderAt]:
        """Return up to `count` headers of the main chain from height `start`, oldest first."""
        first = max(start, self._start.height)
        last = self._tip.ancestor(min(start + count - 1, self._tip.height))
        if last is None or last.height < first:
            return []
        below = self._tip.ancestor(first - 1)
        return list(branch(last, below))[::-1]

    def add(self, header: Header, now: int | None = None) -> Added | Known | Deferred:
        """Take a header whose parent is known; keeps it on its branch, and moves the tip if that has most work.

        `now` (Unix seconds) switches the two-hour rule on; it can only defer. Raises HeaderRefused with the
        broken rule, "parent" for an orphan. A refused or deferred header changes nothing.
        """
        if (known := self.get(header.hash)) is not None:
            return Known(known.height, known.hash)
        parent = self.get(header.parent)
        if parent is None:
            raise HeaderRefused("parent", f"its parent {display(header.parent)} is not known")
        height = parent.height + 1
        check(self._rules, header, height, lambda below: self._ancestor_header(parent, below))
        if now is not None and header.time > now + MAX_FUTURE:
            return Deferred(header.time - MAX_FUTURE)
        node = self._arena.nodes.get(header.hash) or self._node(header, parent)
        self._heads = (*(head for head in self._heads if head is not parent), node)
        old = self._tip
        if node.work <= old.work:
            return Added(height, node.hash, is_tip=False)
        self._tip = node
        return Added(height, node.hash, is_tip=True, reorg=None if parent is old else self.reorg(old, node))

    def _node(self, header: Header, parent: HeaderAt) -> HeaderAt:
        height, root = parent.height + 1, self._start.height
        skip = parent.ancestor(root + _skip_to(height - root))
        node = HeaderAt(header, height, parent.work + work_of(header.bits), parent, skip, root)
        self._arena.nodes[header.hash] = node
        return node

    def _ancestor_header(self, node: HeaderAt, height: int) -> Header | None:
        if height >= node.root:
            at = node.parent if height == node.height - 1 else node.ancestor(height)
            return None if at is None else at.header
        below = height - (node.root - len(self._before))
        return self._before[below] if below >= 0 else None


def branch(top: HeaderAt, below: HeaderAt | None) -> Iterator[HeaderAt]:
    """Yield the headers from `top` down to just above `below` (to the start when None)."""
    walk: HeaderAt | None = top
    while walk is not None and walk is not below:
        yield walk
        walk = walk.parent
