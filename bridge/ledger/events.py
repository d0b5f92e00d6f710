"""What the ledger remembers: facts about money, each once, chained by hashes.

An entry's hash covers the entry before it, so a ledger that was changed anywhere no longer replays.
"""

from dataclasses import dataclass, fields
from typing import Any, Self, get_type_hints

from anchor.btc.codec import CodecError, Reader, Writer
from anchor.btc.hashing import tagged_hash
from anchor.btc.ids import OUTPOINT_SIZE, OutPoint

GENESIS = bytes(32)
MAX_BYTES = 128
MAX_TEXT = 512


class LedgerFault(ValueError):
    """A ledger that contradicts itself, or bytes that are no entry; says where."""


@dataclass(frozen=True, slots=True)
class DepositMinted:
    """The rollup credited `amount` to `recipient` for `outpoint`; `fee` stayed in the treasury. Satoshis."""

    outpoint: OutPoint
    recipient: bytes
    amount: int
    fee: int
    sweep: bytes


@dataclass(frozen=True, slots=True)
class WithdrawalLocked:
    """The rollup took `amount` out of circulation, to be paid to `script`."""

    withdrawal: bytes
    amount: int
    script: bytes


@dataclass(frozen=True, slots=True)
class WithdrawalSettled:
    """The rollup burned the escrow of `withdrawal`: `paid` + `fee` = the amount locked."""

    withdrawal: bytes
    paid: int
    fee: int
    payout: bytes


@dataclass(frozen=True, slots=True)
class SweepConfirmed:
    """Batch `sequence`, a sweep, is final at `height`; the treasury then holds `value`."""

    sequence: int
    txid: bytes
    manifest_hash: bytes
    height: int
    value: int


@dataclass(frozen=True, slots=True)
class PayoutConfirmed:
    """Batch `sequence`, a payout, is final at `height`; the treasury then holds `value`."""

    sequence: int
    txid: bytes
    manifest_hash: bytes
    height: int
    value: int


@dataclass(frozen=True, slots=True)
class MoveConfirmed:
    """Batch `sequence`, a move, is final at `height`; the treasury then holds `value` under epoch `epoch`'s key."""

    sequence: int
    txid: bytes
    manifest_hash: bytes
    height: int
    value: int
    epoch: int


@dataclass(frozen=True, slots=True)
class BatchUndone:
    """A reorg of k or more took final batch `sequence` off the chain."""

    sequence: int
    txid: bytes
    height: int


@dataclass(frozen=True, slots=True)
class DeficitRecorded:
    """At rollup height `height` the treasury lacked `amount` satoshis; 0 says that nothing is lacking again."""

    height: int
    amount: int
    reason: str


@dataclass(frozen=True, slots=True)
class SettlementUndone:
    """The block of the payout left the rollup's view: the escrow of `withdrawal` is there again, and owed."""

    withdrawal: bytes


Event = (
    DepositMinted
    | WithdrawalLocked
    | WithdrawalSettled
    | SweepConfirmed
    | PayoutConfirmed
    | BatchUndone
    | DeficitRecorded
    | SettlementUndone
    | MoveConfirmed
)

_KINDS: tuple[type[Event], ...] = (
    DepositMinted,
    WithdrawalLocked,
    WithdrawalSettled,
    SweepConfirmed,
    PayoutConfirmed,
    BatchUndone,
    DeficitRecorded,
    SettlementUndone,
    MoveConfirmed,
)
_HINTS = {kind: get_type_hints(kind) for kind in _KINDS}


def encode_event(event: Event) -> bytes:
    """Return the canonical bytes: kind u8 (place in the list above, from 1), then the fields in order."""
    writer = Writer().u8(_KINDS.index(type(event)) + 1)
    for field in fields(event):
        value = getattr(event, field.name)
        match value:
            case OutPoint():
                writer.fixed(value.encode())
            case int():
                writer.u64(value)
            case str():
                writer.text(value)
            case _:
                writer.var(value)
    return writer.done()


def decode_event(data: bytes) -> Event:
    """Read what `encode_event` wrote. LedgerFault for anything else."""
    reader = Reader(data)
    try:
        number = reader.u8()
        if not 1 <= number <= len(_KINDS):
            raise LedgerFault(f"no event has kind {number}: run the version that wrote it")
        kind = _KINDS[number - 1]
        values: list[Any] = [_read(reader, _HINTS[kind][field.name]) for field in fields(kind)]
        reader.end()
    except CodecError as error:
        raise LedgerFault(f"not a ledger event: {error}") from error
    return kind(*values)


def _read(reader: Reader, hint: type) -> Any:
    if hint is OutPoint:
        return OutPoint.decode(reader.fixed(OUTPOINT_SIZE))
    if hint is int:
        return reader.u64()
    if hint is str:
        return reader.text(MAX_TEXT)
    return reader.var(MAX_BYTES)


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the ledger: `number` counts from 1; `previous` is the hash of the line before (zeros first)."""

    number: int
    previous: bytes
    event: Event

    @property
    def hash(self) -> bytes:
        """Tagged hash of number, previous hash and event, 32 bytes."""
        return tagged_hash("holdfast/ledger/v1", self.encode())

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        return Writer().u64(self.number).fixed(self.previous, 32).var(encode_event(self.event)).done()

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read what `encode` wrote. LedgerFault for anything else."""
        try:
            reader = Reader(data)
            entry = cls(reader.u64(), reader.fixed(32), decode_event(reader.var(4096)))
            reader.end()
        except CodecError as error:
            raise LedgerFault(f"not a ledger entry: {error}") from error
        return entry
