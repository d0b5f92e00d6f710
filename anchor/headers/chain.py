"""The tree of valid headers and the branch with most work.

Any number of chains share one tree (see `tree`): `fork()` costs nothing and gives an independent chain. What a
chain *knows* is its heads and their ancestors; what no chain knows any more disappears by itself. Equal input in
equal order gives equal chains, on every machine.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from struct import Struct
from typing import Self

from anchor.btc.header import HEADER_SIZE, Header, work_of
from anchor.btc.ids import BlockHash, display
from anchor.headers.rules import MAX_FUTURE, MEDIAN_SPAN, HeaderRefused, Rules, check
from anchor.headers.run import HeaderRun
from anchor.headers.tree import HeaderAt, Tree, branch
from anchor.headers.trunk import Packed

__all__ = ["Added", "Deferred", "HeaderAt", "HeaderChain", "Known", "Reorg", "branch"]

KEEP = 2016  # headers below the tip that stay objects, at least; up to twice as many
_LOOK = 64  # headers from one look at how many are objects to the next
_TIME = Struct("<68xI8x")


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


class HeaderChain:
    """Headers from a trusted start on; `add` grows it, `fork` copies it in no time.

    `start` is trusted at `height` with total `work` (default: its own). `before` are the headers right below it,
    oldest first: ten make the median time exact from the beginning; networks that retarget need them back to the
    first block of the period, unless the start is that block (ValueError).
    """

    __slots__ = ("_before", "_heads", "_heads_shared", "_rules", "_start", "_tip", "_tree")

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
        self._rules, self._before = rules, tuple(before)
        self._tree = Tree(start, height, work_of(start.bits) if work is None else work)
        self._start = self._tip = self._tree.at(height)
        self._heads: dict[HeaderAt, None] = {
            self._start: None
        }  # in the order in which they were last extended
        self._heads_shared = False

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
        """The newest header of every branch, the one that grew last at the end."""
        return tuple(self._heads)

    def fork(self) -> Self:
        """Return an independent chain that knows the same; costs the same for any length."""
        other = object.__new__(type(self))
        other._rules, other._before, other._tree = self._rules, self._before, self._tree
        other._start, other._tip, other._heads = self._start, self._tip, self._heads
        self._heads_shared = other._heads_shared = True
        return other

    def become(self, other: Self) -> None:
        """Take over what a fork of this chain has become: all or nothing for callers that try first."""
        assert other._tree is self._tree, "only forks of the same chain can be taken over"
        self._tip, self._heads = other._tip, other._heads
        self._heads_shared = other._heads_shared = True

    # Questions

    def get(self, block: BlockHash) -> HeaderAt | None:
        """Return a header that this chain knows, on whatever branch."""
        node = self._tree.find(block)
        return node if node is not None and self._knows(node) else None

    def _knows(self, node: HeaderAt) -> bool:
        if self._tip.ancestor(node.height) is node or node in self._heads:
            return True
        return any(head.ancestor(node.height) is node for head in self._heads)

    def _on_main(self, block: BlockHash) -> HeaderAt | None:
        node = self._tree.find(block)
        return node if node is not None and self._tip.ancestor(node.height) is node else None

    def at_height(self, height: int) -> HeaderAt | None:
        """Return the main chain's header at `height`, None outside of it."""
        return self._tip.ancestor(height)

    def is_main(self, block: BlockHash) -> bool:
        """Tell whether a header is on the branch of the tip."""
        return self._on_main(block) is not None

    def depth(self, block: BlockHash) -> int:
        """Return a block's confirmations: tip - height + 1; 0 when it is not on the main chain."""
        node = self._on_main(block)
        return 0 if node is None else self._tip.height - node.height + 1

    def work_above(self, block: BlockHash) -> int:
        """Return the work from a block, its own included, to the tip; 0 when it is not on the main chain."""
        node = self._on_main(block)
        return 0 if node is None else self._tip.work - node.work + work_of(node.header.bits)

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

    def raws(self, start: int, count: int) -> bytes:
        """Return up to `count` headers of the main chain from height `start`, 80 bytes each, oldest first.

        Costs no objects for what lies deep: for files and pages of many headers.
        """
        first, last = max(start, self._start.height), min(start + count - 1, self._tip.height)
        if last < first:
            return b""
        packed, linked = self._tree.foot(self._tip), list[bytes]()
        walk = self._tip.ancestor(last)
        while walk is not None and walk.height >= first and walk.height > packed:
            linked.append(walk.header.raw)
            walk = walk.parent
        return self._tree.raws(first, min(last, packed)) + b"".join(reversed(linked))

    # Growth

    def add(self, header: Header, now: int | None = None) -> Added | Known | Deferred:
        """Take a header whose parent is known; keeps it on its branch, and moves the tip if that has most work.

        `now` (Unix seconds) switches the two-hour rule on; it can only defer. Raises HeaderRefused with the
        broken rule, "parent" for an orphan. A refused or deferred header changes nothing.
        """
        node = self._tree.find(header.hash)
        if node is not None and self._knows(node):
            return Known(node.height, node.hash)
        parent = self.get(header.parent)
        if parent is None:
            raise HeaderRefused("parent", f"its parent {display(header.parent)} is not known")
        height = parent.height + 1
        if node is None:  # else a fork of this chain has checked it
            check(self._rules, header, height, _Below(parent, self._before))
        if now is not None and header.time > now + MAX_FUTURE:
            return Deferred(header.time - MAX_FUTURE)
        old, node = self._tip, node or self._tree.grow(header, parent)
        self._head(parent, node)
        if node.work <= old.work:
            return Added(height, node.hash, is_tip=False)
        self._tip = node
        if not height % _LOOK:
            self._bury()
        return Added(height, node.hash, is_tip=True, reorg=None if parent is old else self.reorg(old, node))

    def extend(self, raw: bytes, now: int | None = None) -> list[BlockHash]:
        """Take whole raw headers upon the tip, by the same rules, many times as fast; return their hashes.

        With `now` what follows a header from the future is left out. Raises HeaderRefused (then nothing was
        taken), ValueError unless whole headers.
        """
        if now is not None:
            raw = raw[: _due(raw, now) * HEADER_SIZE]
        tree, old = self._tree, self._tip
        if (known := self._known_run(raw)) is not None:
            return known
        tree.bury(old)
        run = tree.run
        if run is None or run.tip != old.hash:
            run = HeaderRun(self._rules, self._tail(), old.height, old.work)
        tree.run = None  # what it has taken before it refuses is not ours
        hashes = run.add(raw)
        if hashes:
            self._tip = tree.lengthen(raw, hashes)
            self._head(old, self._tip)
        tree.run = run
        return hashes

    def _known_run(self, raw: bytes) -> list[BlockHash] | None:
        """Take a run that another chain of this tree has taken already; None when it has not."""
        tree, old, count = self._tree, self._tip, len(raw) // HEADER_SIZE
        if not raw or tree.foot(old) != old.height or old.height + count > tree.top:
            return None
        if tree.raws(old.height + 1, old.height + count) != raw:
            return None
        self._tip = tree.at(old.height + count)
        self._head(old, self._tip)
        return [tree.trunk.hash(old.height + i - tree.root) for i in range(1, count + 1)]

    def adopt(self, raw: bytearray, packed: Packed) -> None:
        """Begin with headers that were validated before, from the start on; only a new chain can.

        `raw` is kept. Nothing is checked here: whoever stored them knows that they are the same.
        """
        assert self._tip is self._start
        assert len(self._heads) == 1
        self._tree.adopt(raw, packed)
        self._tip = self._tree.at(self._tree.top)
        self._heads, self._heads_shared = {self._tip: None}, False

    def pack(self, height: int) -> Packed:
        """Return what `adopt` needs for the main chain through `height`, which becomes the packed part."""
        node = self.at_height(height)
        assert node is not None
        self._tree.bury(node)
        return self._tree.trunk.pack()

    def _head(self, parent: HeaderAt, node: HeaderAt) -> None:
        if self._heads_shared:
            self._heads, self._heads_shared = dict(self._heads), False
        self._heads.pop(parent, None)
        self._heads[node] = None

    def _bury(self) -> None:
        if self._tip.height - self._tree.foot(self._tip) < 2 * KEEP:
            return
        deep = self._tip.ancestor(self._tip.height - KEEP)
        assert deep is not None
        self._tree.bury(deep)

    def _tail(self) -> list[Header]:
        """What a run upon the tip needs: the headers since its period began, at least eleven where there are."""
        tip = self._tip.height
        first = tip - MEDIAN_SPAN + 1
        if not self._rules.constant_bits or self._rules.bip94:
            first = min(first, tip - tip % self._rules.interval)
        below = max(first, 0) - self._start.height
        early = self._before[len(self._before) + below :] if below < 0 else ()
        raw = self.raws(first, tip - first + 1)
        rest = [Header.parse(raw[i : i + HEADER_SIZE]) for i in range(0, len(raw), HEADER_SIZE)]
        return [*early[-len(self._before) :], *rest] if self._before else rest


class _Below:
    """A header's ancestors as the rules ask for them: those just below it again and again."""

    __slots__ = ("_before", "_last", "_near", "_parent")

    def __init__(self, parent: HeaderAt, before: Sequence[Header]) -> None:
        self._parent, self._before, self._near, self._last = parent, before, [parent.header], parent

    def __call__(self, height: int) -> Header | None:
        depth, near = self._parent.height - height, self._near
        if depth < len(near):
            return near[depth]
        if height < self._parent.root:
            place = height - (self._parent.root - len(self._before))
            return self._before[place] if place >= 0 else None
        if depth == len(near) and (below := self._last.parent) is not None:
            self._last = below
            near.append(below.header)
            return below.header
        at = self._parent.ancestor(height)
        return None if at is None else at.header


def _due(raw: bytes, now: int) -> int:
    """How many of the headers come before the first from the future."""
    limit = now + MAX_FUTURE
    times = [time for (time,) in _TIME.iter_unpack(raw)]
    return next((place for place, time in enumerate(times) if time > limit), len(times))
