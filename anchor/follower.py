"""This node's own copy of the rollup: certified blocks from whoever serves them, each executed again.

Nothing is believed: votes are counted, every block must follow from the state before it, and what comes out is
kept so that a restart needs nobody. Ranges are cut as blocks become final.
"""

from collections.abc import Sequence
from typing import Protocol

from structlog.typing import FilteringBoundLogger

from anchor.finality.votes import FinalTracker, NoQuorum, NotTheNext, VoteRefused, check_certified
from anchor.proofs.ranges import cut
from anchor.proofs.records import RangeRecord
from anchor.rollup.block import CertifiedBlock
from anchor.rollup.genesis import Genesis
from anchor.rollup.refusals import BlockRefused
from anchor.rollup.state import RollupState
from anchor.rollup.transitions import check_block
from anchor.store import AnchorStore

PAGE = 200


class Source(Protocol):
    """Who serves certified blocks."""

    async def blocks(self, after: int, limit: int) -> Sequence[CertifiedBlock]:
        """Certified blocks above a height, lowest first."""


class RollupLied(Exception):
    """The rollup served a block that does not follow; nothing after it is taken."""


class Follower:
    """Follows one rollup from its genesis. `state` is after the highest certified block."""

    def __init__(self, genesis: Genesis, store: AnchorStore, log: FilteringBoundLogger) -> None:
        self.genesis, self.store, self.log = genesis, store, log
        self.state = RollupState.at_genesis(genesis)
        self.tracker = FinalTracker(genesis)
        self.ranges: list[RangeRecord] = []
        self.evidence: list[bytes] = []
        self.lied: str | None = None
        self.reached = False  # whether its blocks were asked for since the start
        self._uncut: list[CertifiedBlock] = []
        self._unstored: list[tuple[int, bytes, bytes]] = []

    @property
    def final(self) -> int:
        """Height of the highest final block."""
        return self.tracker.final

    async def load(self) -> None:
        """Execute what is stored."""
        while rows := await self.store.rollup_blocks(self.state.height, PAGE):
            for raw in rows:
                self._take(CertifiedBlock.decode(raw))

    async def advance(self, source: Source) -> bool:
        """Take what is new; True when there was something. RollupLied from the first block that does not fit."""
        await self._store()  # what a full disk left over
        moved = False
        while blocks := await source.blocks(self.state.height, PAGE):
            try:
                for block in blocks:
                    self._take(block)
                    self._unstored.append((block.height, block.hash, block.encode()))
            finally:
                await self._store()
            moved = True
            if len(blocks) < PAGE:
                break
        self.reached = True
        return moved

    async def _store(self) -> None:
        """Store what was taken, without a hole: what failed is tried again before anything else is taken."""
        await self.store.add_rollup_blocks(self._unstored)
        self._unstored.clear()

    def _take(self, certified: CertifiedBlock) -> None:
        height = self.state.height + 1
        try:
            check_certified(self.genesis, certified)  # first: executing what nobody signed costs us
            after = check_block(self.genesis, self.state, certified.block)
            self.tracker.add(certified)
        except (BlockRefused, NotTheNext, VoteRefused, NoQuorum) as fault:
            self.lied = f"the rollup's block {height} is refused: {fault}"
            raise RollupLied(self.lied) from fault
        self.state, self.lied = after, None
        self._uncut.append(certified)
        self._cut()

    def _cut(self) -> None:
        if self.state.activation is None:
            return
        activation = self.state.activation.activation
        while (made := cut(self._uncut, activation, self.ranges[-1] if self.ranges else None)) is not None:
            record, evidence = made
            self.ranges.append(record)
            self.evidence.append(evidence.encode())
            self._uncut = [block for block in self._uncut if block.height > record.last]
