"""The activation record: signed by every operator, the one input of observers, verifiers and the rollup.

It holds the certified group keys, the genesis coins of treasury and lanes, and every parameter that must be
equal for all (DESIGN section 4).
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Self

import msgspec

from anchor.btc.amounts import MAX_MONEY, Sats
from anchor.btc.codec import CodecError, Encoded, Reader, Writer
from anchor.btc.curve import is_x_only, schnorr_verify
from anchor.btc.hashing import tagged_hash
from anchor.btc.ids import OUTPOINT_SIZE, OutPoint, XOnlyKey
from anchor.btc.network import NETWORKS
from anchor.rollup.genesis import MAX_HOST_KEYS, MAX_K

MAX_LANES = 64
_U64 = (1 << 64) - 1


class ActivationRefused(ValueError):
    """An activation record that not every operator signed."""


@dataclass(frozen=True, slots=True)
class Params(Encoded):
    """What must be equal for all operators; amounts in sats, rates in sat/vB, delays in Bitcoin blocks.

    `range_length` is in rollup blocks; `deposit_fee` and `withdrawal_fee` are the fee shares of one deposit and
    one payout; `batch_fee_cap` bounds what one treasury batch may pay in Bitcoin fees.
    """

    k: int
    range_length: int
    reclaim_delay: int
    min_deposit: int
    max_deposit: int
    supply_cap: int
    min_withdrawal: int
    deposit_fee: int
    withdrawal_fee: int
    min_fee_rate: int
    max_fee_rate: int
    batch_fee_cap: int
    expiry_blocks: int

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            _require(
                type(value) is int and 0 <= value <= _U64, f"{field.name} is a whole number, not negative"
            )
        _require(0 < self.k <= MAX_K, f"k is 1 to {MAX_K}")
        _require(self.range_length > 0, "range_length is at least 1")
        _require(self.k < self.reclaim_delay <= 0xFFFF, "reclaim_delay is above k and at most 65535 (BIP68)")
        _require(
            self.deposit_fee < self.min_deposit <= self.max_deposit,
            "deposit_fee < min_deposit <= max_deposit",
        )
        _require(self.withdrawal_fee < self.min_withdrawal, "withdrawal_fee < min_withdrawal")
        _require(self.supply_cap <= MAX_MONEY, "supply_cap is at most 21 million BTC")
        _require(0 < self.min_fee_rate <= self.max_fee_rate, "0 < min_fee_rate <= max_fee_rate")

    def encode(self) -> bytes:
        """Every field as u64, in order of declaration."""
        out = Writer()
        for field in fields(self):
            out.u64(getattr(self, field.name))
        return out.done()

    @classmethod
    def read(cls, r: Reader) -> Self:
        """Read the fields from a longer message."""
        return cls(*(r.u64() for _ in fields(cls)))


@dataclass(frozen=True, slots=True)
class Lane:
    """The genesis coin of one chain of anchors."""

    number: int
    outpoint: OutPoint
    value: Sats


@dataclass(frozen=True)
class Activation(Encoded):
    """What becomes active; keys are 33 bytes: the internal key P with its parity.

    `height` is the Bitcoin height from which a reader starts: the first block that may hold a genesis outpoint.
    Lanes are sorted by number. Raises CodecError for anything out of range.
    """

    rollup_id: int
    genesis_hash: bytes
    committee_hash: bytes
    network: str
    epoch: int
    treasury_key: bytes
    anchor_key: bytes
    mint_key: bytes
    treasury: OutPoint
    treasury_value: Sats
    lanes: tuple[Lane, ...]
    height: int
    params: Params

    def __post_init__(self) -> None:
        _require(0 < self.rollup_id < 1 << 32, "the rollup id is a number from 1 to 2^32-1")
        _require(len(self.genesis_hash) == 32, "the genesis hash has 32 bytes")
        _require(len(self.committee_hash) == 32, "the committee hash has 32 bytes")
        _require(self.network in NETWORKS, f"network is one of {', '.join(NETWORKS)}")
        _require(0 <= self.epoch < 1 << 32 and 0 <= self.height < 1 << 32, "epoch and height are u32")
        for name in ("treasury_key", "anchor_key", "mint_key"):
            key = getattr(self, name)
            good = len(key) == 33 and key[0] in (2, 3) and is_x_only(key[1:])
            _require(good, f"{name} is a compressed point of 33 bytes")
        _require(0 < self.treasury_value <= MAX_MONEY, "treasury_value is an amount above 0")
        numbers = [lane.number for lane in self.lanes]
        _require(0 < len(numbers) <= MAX_LANES, f"there are 1 to {MAX_LANES} lanes")
        _require(
            numbers == sorted(set(numbers)) and numbers[-1] < 1 << 16, "lanes are sorted by number, a u16"
        )
        _require(
            all(0 < lane.value <= MAX_MONEY for lane in self.lanes), "a lane's value is an amount above 0"
        )
        coins = {self.treasury, *(lane.outpoint for lane in self.lanes)}
        _require(len(coins) == len(numbers) + 1, "treasury and lanes are different coins")

    @property
    def anchor_x(self) -> XOnlyKey:
        """Internal key of the lanes, x-only."""
        return XOnlyKey(self.anchor_key[1:])

    @property
    def mint_x(self) -> XOnlyKey:
        """The mint key, x-only."""
        return XOnlyKey(self.mint_key[1:])

    def encode(self) -> bytes:
        """The canonical bytes."""
        out = Writer().u32(self.rollup_id).fixed(self.genesis_hash, 32).fixed(self.committee_hash, 32)
        out.text(self.network).u32(self.epoch)
        out.fixed(self.treasury_key, 33).fixed(self.anchor_key, 33).fixed(self.mint_key, 33)
        out.fixed(self.treasury.encode()).u64(self.treasury_value).count(len(self.lanes))
        for lane in self.lanes:
            out.u16(lane.number).fixed(lane.outpoint.encode()).u64(lane.value)
        return out.u32(self.height).fixed(self.params.encode()).done()

    @classmethod
    def read(cls, r: Reader) -> Self:
        """Read the record's fields from a longer message."""
        rollup_id, genesis_hash, committee_hash = r.u32(), r.fixed(32), r.fixed(32)
        network, epoch = r.text(16), r.u32()
        treasury_key, anchor_key, mint_key = r.fixed(33), r.fixed(33), r.fixed(33)
        treasury, value = OutPoint.decode(r.fixed(OUTPOINT_SIZE)), Sats(r.u64())
        lanes = tuple(_read_lane(r) for _ in range(r.count(MAX_LANES)))
        height, params = r.u32(), Params.read(r)
        return cls(
            rollup_id,
            genesis_hash,
            committee_hash,
            network,
            epoch,
            treasury_key,
            anchor_key,
            mint_key,
            treasury,
            value,
            lanes,
            height,
            params,
        )

    @cached_property
    def hash(self) -> bytes:
        """The 32 bytes that every host key signs: tagged_hash("holdfast/activation/v1", encode())."""
        return tagged_hash("holdfast/activation/v1", self.encode())


@dataclass(frozen=True)
class SignedActivation(Encoded):
    """The record with one BIP340 signature (64 bytes) per host key, in committee order."""

    activation: Activation
    signatures: tuple[bytes, ...]

    def verify(self, host_keys: Sequence[bytes]) -> None:
        """Return when every operator signed; ActivationRefused names the first who did not (1-based)."""
        if len(self.signatures) != len(host_keys):
            raise ActivationRefused(
                f"{len(self.signatures)} signatures for {len(host_keys)} operators: collect one from each"
            )
        message = self.activation.hash
        for index, (key, signature) in enumerate(zip(host_keys, self.signatures, strict=True), 1):
            if not schnorr_verify(key, message, signature):
                raise ActivationRefused(
                    f"operator {index} ({key.hex()[:16]}…) did not sign this record: ask for the signature again"
                )

    def encode(self) -> bytes:
        """The canonical bytes: record, count, signatures."""
        out = Writer().var(self.activation.encode()).count(len(self.signatures))
        for signature in self.signatures:
            out.fixed(signature, 64)
        return out.done()

    @classmethod
    def read(cls, r: Reader) -> Self:
        """Read record and signatures from a longer message."""
        activation = Activation.decode(r.var(16_384))
        return cls(activation, tuple(r.fixed(64) for _ in range(r.count(MAX_HOST_KEYS))))

    @property
    def hash(self) -> bytes:
        """The record's hash; signatures do not change it."""
        return self.activation.hash

    def to_json(self) -> str:
        """activation.json: sorted, indented; outpoints in display order; ends in a newline."""
        a = self.activation
        file = _ActivationFile(
            rollup_id=a.rollup_id,
            genesis_hash=a.genesis_hash.hex(),
            committee_hash=a.committee_hash.hex(),
            network=a.network,
            epoch=a.epoch,
            treasury_key=a.treasury_key.hex(),
            anchor_key=a.anchor_key.hex(),
            mint_key=a.mint_key.hex(),
            treasury=str(a.treasury),
            treasury_value=a.treasury_value,
            lanes=[_LaneFile(number=x.number, outpoint=str(x.outpoint), value=x.value) for x in a.lanes],
            height=a.height,
            params={f.name: getattr(a.params, f.name) for f in fields(a.params)},
            signatures=[s.hex() for s in self.signatures],
        )
        return msgspec.json.format(msgspec.json.encode(file, order="sorted"), indent=2).decode() + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Read activation.json; CodecError says which field is wrong. Signatures are not checked here."""
        try:
            return cls._from_file(msgspec.json.decode(text, type=_ActivationFile))
        except CodecError:
            raise
        except (
            ValueError,
            TypeError,
        ) as error:  # msgspec, bytes.fromhex, OutPoint.parse, a parameter too many
            raise CodecError(f"not an activation record: {error}") from error

    @classmethod
    def _from_file(cls, f: "_ActivationFile") -> Self:
        activation = Activation(
            rollup_id=f.rollup_id,
            genesis_hash=bytes.fromhex(f.genesis_hash),
            committee_hash=bytes.fromhex(f.committee_hash),
            network=f.network,
            epoch=f.epoch,
            treasury_key=bytes.fromhex(f.treasury_key),
            anchor_key=bytes.fromhex(f.anchor_key),
            mint_key=bytes.fromhex(f.mint_key),
            treasury=OutPoint.parse(f.treasury),
            treasury_value=Sats(f.treasury_value),
            lanes=tuple(Lane(x.number, OutPoint.parse(x.outpoint), Sats(x.value)) for x in f.lanes),
            height=f.height,
            params=Params(**f.params),
        )
        return cls(activation, tuple(bytes.fromhex(s) for s in f.signatures))


class _LaneFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    number: int
    outpoint: str
    value: int


class _ActivationFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    rollup_id: int
    genesis_hash: str
    committee_hash: str
    network: str
    epoch: int
    treasury_key: str
    anchor_key: str
    mint_key: str
    treasury: str
    treasury_value: int
    lanes: list[_LaneFile]
    height: int
    params: dict[str, int]
    signatures: list[str]


def _read_lane(r: Reader) -> Lane:
    return Lane(r.u16(), OutPoint.decode(r.fixed(OUTPOINT_SIZE)), Sats(r.u64()))


def _require(holds: bool, sentence: str) -> None:
    if not holds:
        raise CodecError(f"activation: {sentence}")
