"""What a treasury batch contains: the content that is agreed on, from which everyone builds the same bytes.

A manifest is the payload of a signing request with purpose "treasury"; its hash stands in the batch's OP_RETURN
and in every certificate that follows from it. Canonical: deposits ascend by outpoint, payouts by withdrawal id.
"""

from dataclasses import dataclass, field
from itertools import pairwise
from typing import TypeVar

from anchor.btc.amounts import MAX_MONEY, Sats
from anchor.btc.codec import CodecError, Reader, Writer
from anchor.btc.hashing import tagged_hash
from anchor.btc.ids import OUTPOINT_SIZE, OutPoint
from bridge.deposit.address import PARAMS_SIZE, DepositFault, DepositParams, x_only

SWEEP, PAYOUT, MOVE = 1, 2, 3
MAX_ITEMS = 400  # more than 10,000 vB can hold
MAX_SCRIPT = 34
MAX_MANIFEST = 64 * 1024


class ManifestFault(ValueError):
    """A manifest that no honest leader writes; the sentence names what is wrong with it."""


@dataclass(frozen=True, slots=True)
class SweptDeposit:
    """A deposit taken into the treasury: `value` on chain, of which `fee_share` is not minted. Satoshis.

    `epoch` is the key epoch of the address that was paid: its key signs this input.
    """

    outpoint: OutPoint
    value: Sats
    params: DepositParams
    fee_share: Sats
    epoch: int

    @property
    def minted(self) -> Sats:
        """What the recipient is credited."""
        return Sats(self.value - self.fee_share)


@dataclass(frozen=True, slots=True)
class Payout:
    """A withdrawal paid: `amount` was locked, `amount − fee_share` goes to `script`. Satoshis."""

    withdrawal: bytes
    script: bytes
    amount: Sats
    fee_share: Sats

    @property
    def paid(self) -> Sats:
        """What the output holds."""
        return Sats(self.amount - self.fee_share)


@dataclass(frozen=True, slots=True)
class _Head:
    """What all kinds say first.

    `sequence` counts batches from 1; `tip` and `tip_value` are the treasury coin spent; `previous` is the last
    batch's manifest hash (the activation record's hash before the first); `fee` is the whole Bitcoin fee.
    """

    epoch: int
    sequence: int
    tip: OutPoint
    tip_value: Sats
    previous: bytes
    fee: Sats

    def _check_head(self) -> None:
        if not 0 <= self.epoch < 1 << 32 or not 1 <= self.sequence < 1 << 32:
            raise ManifestFault("epoch and sequence are 32-bit numbers, and batches count from 1")
        if len(self.previous) != 32:
            raise ManifestFault("the previous manifest's hash has 32 bytes")
        if not 0 <= self.tip_value <= MAX_MONEY or not 0 <= self.fee <= MAX_MONEY:
            raise ManifestFault("tip value and fee are amounts of satoshis")

    def _write_head(self, kind: int) -> Writer:
        writer = Writer().u8(kind).u32(self.epoch).u32(self.sequence).fixed(self.tip.encode())
        return writer.u64(self.tip_value).fixed(self.previous, 32).u64(self.fee)


@dataclass(frozen=True, slots=True)
class SweepManifest(_Head):
    """A batch that takes deposits in. Raises ManifestFault unless they are sorted, distinct and worth minting."""

    deposits: tuple[SweptDeposit, ...] = field(default=())

    def __post_init__(self) -> None:
        self._check_head()
        outpoints = [d.outpoint.encode() for d in self.deposits]
        _check_order(outpoints, "deposits")
        if self.tip.encode() in outpoints:
            raise ManifestFault("the treasury's tip is named as a deposit")
        for d in self.deposits:
            _check_share(d.value, d.fee_share, f"deposit {d.outpoint}")
            if not 0 <= d.epoch <= self.epoch:
                raise ManifestFault(
                    f"deposit {d.outpoint} is of key epoch {d.epoch}, the batch of {self.epoch}"
                )

    @property
    def treasury_value(self) -> int:
        """The treasury's value after the batch: tip + deposits − fee. Negative when it cannot be built."""
        return self.tip_value + sum(d.value for d in self.deposits) - self.fee

    @property
    def shares(self) -> Sats:
        """What the depositors give toward fees."""
        return Sats(sum(d.fee_share for d in self.deposits))

    def encode(self) -> bytes:
        """Return the canonical bytes: kind 1, head, then the deposits."""
        writer = self._write_head(SWEEP).count(len(self.deposits))
        for d in self.deposits:
            writer.fixed(d.outpoint.encode()).u64(d.value).fixed(d.params.encode()).u64(d.fee_share).u32(
                d.epoch
            )
        return writer.done()

    @classmethod
    def decode(cls, data: bytes) -> "SweepManifest":
        """Read what `encode` wrote. ManifestFault for anything else."""
        return _decode(SweepManifest, data)

    @property
    def hash(self) -> bytes:
        """Tagged hash of the encoding, 32 bytes."""
        return manifest_hash(self.encode())


@dataclass(frozen=True, slots=True)
class PayoutManifest(_Head):
    """A batch that pays withdrawals. Raises ManifestFault unless they are sorted, distinct and pay something."""

    payouts: tuple[Payout, ...] = field(default=())

    def __post_init__(self) -> None:
        self._check_head()
        _check_order([p.withdrawal for p in self.payouts], "payouts")
        for p in self.payouts:
            if len(p.withdrawal) != 32 or not 1 <= len(p.script) <= MAX_SCRIPT:
                raise ManifestFault("a withdrawal id has 32 bytes and a payout script 1 to 34")
            _check_share(p.amount, p.fee_share, f"payout {p.withdrawal.hex()}")

    @property
    def treasury_value(self) -> int:
        """The treasury's value after the batch: tip − what is paid − fee. Negative when it cannot be built."""
        return self.tip_value - sum(p.paid for p in self.payouts) - self.fee

    @property
    def shares(self) -> Sats:
        """What the withdrawing users give toward fees."""
        return Sats(sum(p.fee_share for p in self.payouts))

    def encode(self) -> bytes:
        """Return the canonical bytes: kind 2, head, then the payouts."""
        writer = self._write_head(PAYOUT).count(len(self.payouts))
        for p in self.payouts:
            writer.fixed(p.withdrawal, 32).var(p.script).u64(p.amount).u64(p.fee_share)
        return writer.done()

    @classmethod
    def decode(cls, data: bytes) -> "PayoutManifest":
        """Read what `encode` wrote. ManifestFault for anything else."""
        return _decode(PayoutManifest, data)

    @property
    def hash(self) -> bytes:
        """Tagged hash of the encoding, 32 bytes."""
        return manifest_hash(self.encode())


@dataclass(frozen=True, slots=True)
class MoveManifest(_Head):
    """The batch that takes the treasury from one key epoch's key to the next one's.

    `epoch` is the old one, `treasury_key` the new group key (33 bytes) and `record` the hash of the succession that
    names it. All of it follows from the chain: whoever reads blocks writes the same manifest. Raises ManifestFault
    unless the next epoch follows.
    """

    successor_epoch: int
    treasury_key: bytes
    record: bytes

    def __post_init__(self) -> None:
        self._check_head()
        if self.successor_epoch != self.epoch + 1:
            raise ManifestFault(f"key epoch {self.successor_epoch} does not follow epoch {self.epoch}")
        try:
            x_only(self.treasury_key)
        except DepositFault as error:
            raise ManifestFault(str(error)) from error
        if len(self.record) != 32:
            raise ManifestFault("the succession's hash has 32 bytes")

    @property
    def treasury_value(self) -> int:
        """The treasury's value after the batch: tip − fee. Negative when it cannot be built."""
        return self.tip_value - self.fee

    @property
    def shares(self) -> Sats:
        """Nobody gives anything toward its fee: the reserve pays."""
        return Sats(0)

    def encode(self) -> bytes:
        """Return the canonical bytes: kind 3, head, then what comes next."""
        writer = self._write_head(MOVE).u32(self.successor_epoch).fixed(self.treasury_key, 33)
        return writer.fixed(self.record, 32).done()

    @classmethod
    def decode(cls, data: bytes) -> "MoveManifest":
        """Read what `encode` wrote. ManifestFault for anything else."""
        return _decode(MoveManifest, data)

    @property
    def hash(self) -> bytes:
        """Tagged hash of the encoding, 32 bytes."""
        return manifest_hash(self.encode())


Manifest = SweepManifest | PayoutManifest | MoveManifest
M = TypeVar("M", SweepManifest, PayoutManifest, MoveManifest)


def manifest_hash(encoded: bytes) -> bytes:
    """Return the hash of a manifest's bytes, as OP_RETURN and certificates carry it."""
    return tagged_hash("holdfast/manifest/v1", encoded)


def decode(data: bytes) -> Manifest:
    """Read a manifest of any kind (at most 64 KiB). ManifestFault for anything that `encode` cannot write."""
    if len(data) > MAX_MANIFEST:
        raise ManifestFault(f"a manifest of {len(data)} bytes is longer than {MAX_MANIFEST}")
    reader = Reader(data)
    try:
        kind, epoch, sequence = reader.u8(), reader.u32(), reader.u32()
        tip = OutPoint.decode(reader.fixed(OUTPOINT_SIZE))
        head = (epoch, sequence, tip, Sats(reader.u64()), reader.fixed(32), Sats(reader.u64()))
        match kind:
            case 1:
                count = reader.count(MAX_ITEMS)
                manifest: Manifest = SweepManifest(*head, tuple(_deposit(reader) for _ in range(count)))
            case 2:
                count = reader.count(MAX_ITEMS)
                manifest = PayoutManifest(*head, tuple(_payout(reader) for _ in range(count)))
            case 3:
                manifest = MoveManifest(*head, reader.u32(), reader.fixed(33), reader.fixed(32))
            case _:
                raise ManifestFault(f"no manifest has kind {kind}")
        reader.end()
    except (CodecError, DepositFault) as error:
        raise ManifestFault(f"not a manifest: {error}") from error
    return manifest


def _decode(kind: type[M], data: bytes) -> M:
    manifest = decode(data)
    if not isinstance(manifest, kind):
        raise ManifestFault(f"a {kind.__name__} was expected, this is a {type(manifest).__name__}")
    return manifest


def _deposit(reader: Reader) -> SweptDeposit:
    outpoint = OutPoint.decode(reader.fixed(OUTPOINT_SIZE))
    value, params = Sats(reader.u64()), DepositParams.decode(reader.fixed(PARAMS_SIZE))
    return SweptDeposit(outpoint, value, params, Sats(reader.u64()), reader.u32())


def _payout(reader: Reader) -> Payout:
    return Payout(reader.fixed(32), reader.var(MAX_SCRIPT), Sats(reader.u64()), Sats(reader.u64()))


def _check_order(keys: list[bytes], what: str) -> None:
    if not 1 <= len(keys) <= MAX_ITEMS:
        raise ManifestFault(f"a batch has 1 to {MAX_ITEMS} {what}, not {len(keys)}")
    if any(a >= b for a, b in pairwise(keys)):
        raise ManifestFault(f"{what} must ascend, each once")


def _check_share(value: int, share: int, what: str) -> None:
    if not 0 < value <= MAX_MONEY or not 0 <= share < value:
        raise ManifestFault(f"{what} of {value} sat cannot give a fee share of {share}")
