"""What both chains say now and the ledger does not say yet, in the order in which it is written."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import assert_never

from anchor.rollup.state import RollupState
from bridge.ledger import events as ev
from bridge.ledger.replay import Books
from bridge.treasury.manifest import Manifest, MoveManifest, PayoutManifest, SweepManifest
from bridge.treasury.reader import BatchAt


@dataclass(frozen=True, slots=True)
class FinalBatch:
    """A batch that is final on our own chain, with what it contains."""

    at: BatchAt
    manifest: Manifest


@dataclass(frozen=True, slots=True)
class Present:
    """The chains now: the rollup up to its `final` block, the batches on our chain, and the audit's deficit."""

    rollup: RollupState
    final: int
    batches: Sequence[BatchAt]
    final_batches: Sequence[FinalBatch]
    deficit: int


def due(books: Books, now: Present) -> Iterator[ev.Event]:
    """Yield what is to be appended: what was undone, batches that are final, the rollup's events, the deficit."""
    on_chain = {b.sequence: b.txid for b in now.batches}
    for sequence, (txid, _) in sorted(books.batches.items()):
        if on_chain.get(sequence) != txid:
            yield ev.BatchUndone(sequence, txid, now.rollup.view.tip.height)
            break  # undoing one undoes all above it
    for batch in now.final_batches:
        if batch.at.sequence not in books.batches or books.batches[batch.at.sequence][0] != batch.at.txid:
            yield _confirmed(batch)
    for identity in sorted(books.settled):
        withdrawal = now.rollup.withdrawals.get(identity)
        if withdrawal is not None and withdrawal.settled is None:
            yield ev.SettlementUndone(identity)
    yield from _rollup_events(books, now)
    if now.deficit != books.deficit:
        reason = "the treasury holds less than is owed" if now.deficit else "nothing is lacking"
        yield ev.DeficitRecorded(now.rollup.height, now.deficit, reason)


def _confirmed(batch: FinalBatch) -> ev.Event:
    at = batch.at
    facts = (at.sequence, at.txid, at.manifest_hash, at.height, int(at.value))
    match batch.manifest:
        case SweepManifest():
            return ev.SweepConfirmed(*facts)
        case PayoutManifest():
            return ev.PayoutConfirmed(*facts)
        case MoveManifest() as move:
            return ev.MoveConfirmed(*facts, move.successor_epoch)
        case _:
            assert_never(batch.manifest)


def _rollup_events(books: Books, now: Present) -> Iterator[ev.Event]:
    """By rollup block; within one, mints before locks, so that what is locked was there."""
    found: list[tuple[int, int, bytes, ev.Event]] = []
    for outpoint, minted in now.rollup.minted.items():
        s = minted.statement
        if outpoint not in books.minted:
            credited = ev.DepositMinted(outpoint, s.recipient, s.amount, s.fee, s.txid)
            found.append((minted.height, 0, outpoint.encode(), credited))
    for identity, w in now.rollup.withdrawals.items():
        if identity not in books.locked:
            locked = ev.WithdrawalLocked(identity, w.lock.amount, w.lock.script)
            found.append((w.height, 1, identity, locked))
        if w.settled is not None and identity not in books.settled:
            s2 = w.settled
            settled = ev.WithdrawalSettled(identity, s2.paid, s2.fee, s2.txid)
            found.append((max(w.height, now.final), 2, identity, settled))
    for height, _, _, event in sorted(found, key=lambda f: f[:3]):
        if height <= now.final:
            yield event
