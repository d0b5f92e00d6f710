"""The ledger's projections: what all its events together say. Stored ones must equal a replay from line 1."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar, assert_never

from anchor.btc.ids import OutPoint
from bridge.ledger import events as ev

K = TypeVar("K")
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Books:
    """Projections of a ledger; amounts in satoshis.

    `minted` by outpoint and `locked` by withdrawal id never shrink; `settled` is the part of `locked` that was
    burned; `batches` are the final ones by sequence: (txid, treasury's value after it).
    """

    minted: Mapping[OutPoint, int] = field(default_factory=dict)
    locked: Mapping[bytes, int] = field(default_factory=dict)
    settled: Mapping[bytes, int] = field(default_factory=dict)
    batches: Mapping[int, tuple[bytes, int]] = field(default_factory=dict)
    deficit: int = 0
    number: int = 0
    head: bytes = ev.GENESIS

    @property
    def supply(self) -> int:
        """Free coins on the rollup: minted, less everything ever locked."""
        return sum(self.minted.values()) - sum(self.locked.values())

    @property
    def escrow(self) -> int:
        """Locked and not yet settled."""
        return sum(self.locked.values()) - sum(self.settled.values())


def append(books: Books, event: ev.Event) -> tuple[Books, ev.Entry] | None:
    """Return the books after `event` and the line to store; None when it says nothing new.

    Raises LedgerFault when it contradicts an earlier line.
    """
    following = _apply(books, event)
    if following is None:
        return None
    entry = ev.Entry(books.number + 1, books.head, event)
    return replace(following, number=entry.number, head=entry.hash), entry


def replay(entries: Iterable[ev.Entry]) -> Books:
    """Return the books of a whole ledger, oldest line first.

    Raises LedgerFault naming the first line that does not follow from the one before it.
    """
    books = Books()
    for entry in entries:
        if (entry.number, entry.previous) != (books.number + 1, books.head):
            raise ev.LedgerFault(f"line {books.number + 1} does not follow: the ledger was changed or cut")
        added = append(books, entry.event)
        if added is None:
            raise ev.LedgerFault(f"line {entry.number} repeats an earlier one")
        books = added[0]
    return books


def _apply(books: Books, event: ev.Event) -> Books | None:
    match event:
        case ev.DepositMinted():
            minted = _once(books.minted, event.outpoint, event.amount, "minted twice, differently")
            return None if minted is None else replace(books, minted=minted)
        case ev.WithdrawalLocked():
            locked = _once(books.locked, event.withdrawal, event.amount, "locked twice, differently")
            if locked is not None and event.amount > books.supply:
                raise ev.LedgerFault(f"{event.withdrawal.hex()} locks more than the supply")
            return None if locked is None else replace(books, locked=locked)
        case ev.WithdrawalSettled():
            return _settle(books, event)
        case ev.SweepConfirmed() | ev.PayoutConfirmed() | ev.MoveConfirmed():
            batch = (event.txid, event.value)
            batches = _once(books.batches, event.sequence, batch, "final twice, differently")
            return None if batches is None else replace(books, batches=batches)
        case ev.BatchUndone():
            if books.batches.get(event.sequence, (b"", 0))[0] != event.txid:
                return None
            kept = {n: b for n, b in books.batches.items() if n < event.sequence}
            return replace(books, batches=kept)
        case ev.SettlementUndone():
            if event.withdrawal not in books.settled:
                return None
            left = {i: amount for i, amount in books.settled.items() if i != event.withdrawal}
            return replace(books, settled=left)
        case ev.DeficitRecorded():
            return None if event.amount == books.deficit else replace(books, deficit=event.amount)
        case _:
            assert_never(event)


def _settle(books: Books, event: ev.WithdrawalSettled) -> Books | None:
    amount = event.paid + event.fee
    if books.locked.get(event.withdrawal) != amount:
        raise ev.LedgerFault(f"{event.withdrawal.hex()} is settled for {amount} sat, which it did not lock")
    settled = _once(books.settled, event.withdrawal, amount, "settled twice, differently")
    return None if settled is None else replace(books, settled=settled)


def _once(known: Mapping[K, V], key: K, value: V, fault: str) -> dict[K, V] | None:
    if key not in known:
        return {**known, key: value}
    if known[key] != value:
        raise ev.LedgerFault(f"{key!s} is {fault}")
    return None
