"""What a rollup is born with; its hash is in everything that is signed on or for this rollup."""

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import msgspec

from anchor.btc.codec import CodecError, Reader, Writer
from anchor.btc.curve import is_x_only
from anchor.btc.hashing import tagged_hash
from anchor.btc.header import HEADER_SIZE, Header
from anchor.btc.ids import BlockHash, XOnlyKey
from anchor.btc.network import NETWORKS

MAX_VALIDATORS = 100
MAX_HOST_KEYS = 128
MAX_STAKE = 1 << 48
MAX_K = 1000
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")


@dataclass(frozen=True, slots=True)
class Validator:
    """Who votes: an x-only key and a stake of 1..2^48."""

    key: XOnlyKey
    stake: int


@dataclass(frozen=True)
class Genesis:
    """The first facts of a rollup.

    `rollup_id` is a u32, not 0; `committee_hash` and `host_keys` name the operators, in committee order;
    `threshold` of them (t of the committee file) decide whether value moves again after a pause;
    `bitcoin_header` (80 bytes) at `bitcoin_height` is where the rollup's view of Bitcoin begins and is trusted;
    `k` is the depth at which Bitcoin facts count; `block_ms` the time between blocks in milliseconds. Raises
    CodecError for anything out of range, so a Genesis that exists is well formed.
    """

    rollup_id: int
    name: str
    network: str
    committee_hash: bytes
    host_keys: tuple[bytes, ...]
    threshold: int
    validators: tuple[Validator, ...]
    bitcoin_height: int
    bitcoin_header: bytes
    k: int
    block_ms: int

    def __post_init__(self) -> None:
        _require(0 < self.rollup_id < 1 << 32, "the rollup id is a number from 1 to 2^32-1")
        _require(_NAME.fullmatch(self.name) is not None, "a name has 1 to 32 of a-z, 0-9 and '-'")
        _require(self.network in NETWORKS, f"network is one of {', '.join(NETWORKS)}")
        _require(len(self.committee_hash) == 32, "the committee hash has 32 bytes")
        _check_keys("host key", self.host_keys, MAX_HOST_KEYS)
        _require(
            0 < self.threshold <= len(self.host_keys), "the threshold is 1 to as many as there are host keys"
        )
        _check_keys("validator key", tuple(v.key for v in self.validators), MAX_VALIDATORS)
        _require(all(0 < v.stake <= MAX_STAKE for v in self.validators), "a stake is 1 to 2^48")
        _require(0 <= self.bitcoin_height < 1 << 32, "the Bitcoin height is a u32")
        _require(len(self.bitcoin_header) == HEADER_SIZE, "the Bitcoin header has 80 bytes")
        _require(0 < self.k <= MAX_K, f"k is 1 to {MAX_K}")
        _require(50 <= self.block_ms <= 600_000, "block_ms is 50 to 600000")

    def encode(self) -> bytes:
        """The canonical bytes."""
        out = Writer().u32(self.rollup_id).text(self.name).text(self.network)
        out.fixed(self.committee_hash, 32).count(len(self.host_keys))
        for key in self.host_keys:
            out.fixed(key, 32)
        out.u16(self.threshold).fixed(self.encode_validators())
        out.u32(self.bitcoin_height).fixed(self.bitcoin_header, HEADER_SIZE)
        return out.u32(self.k).u32(self.block_ms).done()

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read what `encode` wrote; CodecError otherwise."""
        r = Reader(data)
        rollup_id, name, network, committee = r.u32(), r.text(32), r.text(16), r.fixed(32)
        hosts = tuple(r.fixed(32) for _ in range(r.count(MAX_HOST_KEYS)))
        threshold, count = r.u16(), r.count(MAX_VALIDATORS)
        validators = tuple(Validator(XOnlyKey(r.fixed(32)), r.u64()) for _ in range(count))
        height, header, k, block_ms = r.u32(), r.fixed(HEADER_SIZE), r.u32(), r.u32()
        r.end()
        return cls(
            rollup_id, name, network, committee, hosts, threshold, validators, height, header, k, block_ms
        )

    def encode_validators(self) -> bytes:
        """Count, then key and stake (u64) of each validator, in order."""
        out = Writer().count(len(self.validators))
        for validator in self.validators:
            out.fixed(validator.key, 32).u64(validator.stake)
        return out.done()

    @cached_property
    def hash(self) -> bytes:
        """The rollup's identity, 32 bytes: tagged_hash("holdfast/genesis/v1", encode())."""
        return tagged_hash("holdfast/genesis/v1", self.encode())

    @cached_property
    def validators_root(self) -> bytes:
        """Commitment to keys and stakes, 32 bytes; constant while there is one stake epoch."""
        return tagged_hash("holdfast/validators/v1", self.encode_validators())

    @cached_property
    def total_stake(self) -> int:
        """Sum of all stakes."""
        return sum(v.stake for v in self.validators)

    @cached_property
    def first_header(self) -> Header:
        """The trusted header in which the rollup's view begins."""
        return Header.parse(self.bitcoin_header)

    @property
    def first_hash(self) -> BlockHash:
        """Hash of the trusted header, internal order."""
        return self.first_header.hash

    def to_json(self) -> str:
        """genesis.json: sorted, indented, plain hex; ends in a newline."""
        file = _GenesisFile(
            rollup_id=self.rollup_id,
            name=self.name,
            network=self.network,
            committee_hash=self.committee_hash.hex(),
            host_keys=[k.hex() for k in self.host_keys],
            threshold=self.threshold,
            validators=[_ValidatorFile(key=v.key.hex(), stake=v.stake) for v in self.validators],
            bitcoin_height=self.bitcoin_height,
            bitcoin_header=self.bitcoin_header.hex(),
            k=self.k,
            block_ms=self.block_ms,
        )
        return msgspec.json.format(msgspec.json.encode(file, order="sorted"), indent=2).decode() + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Read genesis.json; CodecError says which field is wrong."""
        try:
            f = msgspec.json.decode(text, type=_GenesisFile)
            return cls(
                f.rollup_id,
                f.name,
                f.network,
                bytes.fromhex(f.committee_hash),
                tuple(bytes.fromhex(k) for k in f.host_keys),
                f.threshold,
                tuple(Validator(XOnlyKey(bytes.fromhex(v.key)), v.stake) for v in f.validators),
                f.bitcoin_height,
                bytes.fromhex(f.bitcoin_header),
                f.k,
                f.block_ms,
            )
        except CodecError:
            raise
        except ValueError as error:  # msgspec's errors and bytes.fromhex
            raise CodecError(f"not a genesis file: {error}") from error


class _ValidatorFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    key: str
    stake: int


class _GenesisFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    rollup_id: int
    name: str
    network: str
    committee_hash: str
    host_keys: list[str]
    threshold: int
    validators: list[_ValidatorFile]
    bitcoin_height: int
    bitcoin_header: str
    k: int
    block_ms: int


def _require(holds: bool, sentence: str) -> None:
    if not holds:
        raise CodecError(f"genesis: {sentence}")


def _check_keys(what: str, keys: tuple[bytes, ...], most: int) -> None:
    _require(0 < len(keys) <= most, f"there are 1 to {most} {what}s")
    _require(len(set(keys)) == len(keys), f"no {what} stands twice")
    for key in keys:
        _require(is_x_only(key), f"{key.hex()[:64]} is no {what}: 32 bytes, the x of a point")
