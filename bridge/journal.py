"""Keeps the ledger: what became final is appended once, hash-chained, and replayed at every start."""

from collections.abc import Callable, Sequence

from anchor.btc.ids import BlockHash
from anchor.rollup.state import RollupState
from bridge.ledger import events as ev
from bridge.ledger.due import FinalBatch, Present, due
from bridge.ledger.replay import Books, append, replay
from bridge.library import Library
from bridge.store import BridgeStore
from bridge.watch import ChainView


class Journal:
    """The ledger of one bridge, as this node saw things become final."""

    def __init__(self, store: BridgeStore, library: Library, is_final: Callable[[BlockHash], bool]) -> None:
        self.store, self.library, self.is_final = store, library, is_final
        self.books = Books()

    async def load(self) -> None:
        """Replay what is stored. LedgerFault when it was changed or cut."""
        self.books = replay([ev.Entry.decode(raw) for raw in await self.store.ledger()])

    async def write(self, view: ChainView, rollup: RollupState, final: int, deficit: int) -> int:
        """Append what is new; returns how many lines. Stored before the books move on."""
        now = Present(rollup, final, view.treasury.batches, self._final_batches(view), deficit)
        books, lines = self.books, list[tuple[int, bytes]]()
        for event in due(books, now):
            added = append(books, event)
            if added is not None:
                books, entry = added
                lines.append((entry.number, entry.encode()))
        if lines:
            await self.store.append_ledger(lines)
            self.books = books
        return len(lines)

    def _final_batches(self, view: ChainView) -> Sequence[FinalBatch]:
        found = []
        for batch in view.treasury.batches:
            manifest = batch.content(self.library.decoded)
            if manifest is None or not self.is_final(view.block_of(batch)):
                break  # written in their order
            found.append(FinalBatch(batch, manifest))
        return found
