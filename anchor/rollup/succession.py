"""A committee hands the bridge on: the record that names the next key epoch, and all epochs there have been.

The activation record begins the first epoch; each later one begins with a succession, signed by every operator of
the new committee and by the mint key that it succeeds. The rollup keeps them all; Bitcoin hears of the new keys by
the lanes' rotation anchors (DESIGN sections 5 and 6).
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Self

import msgspec

from anchor.btc.codec import CodecError, Encoded, Reader, Writer
from anchor.btc.curve import is_x_only, schnorr_verify
from anchor.btc.hashing import tagged_hash
from anchor.btc.ids import XOnlyKey
from anchor.btc.network import NETWORKS
from anchor.rollup.activation import Activation
from anchor.rollup.genesis import MAX_HOST_KEYS, Genesis

MAX_RECORD = 8_192


class SuccessionRefused(ValueError):
    """A succession that does not count; `code` is stable, the sentence names the next move."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code, self.reason = code, reason


@dataclass(frozen=True)
class Succession(Encoded):
    """What the next key epoch is made of; keys are 33 bytes: the internal key P with its parity.

    `previous` is the hash of the record that began the epoch before (activation or succession), `committee_hash`
    that of the new committee file, `host_keys` its members' (x-only, its order), `threshold` its t. The parameters
    of the activation record stay. Raises CodecError for anything out of range.
    """

    rollup_id: int
    genesis_hash: bytes
    network: str
    epoch: int
    previous: bytes
    committee_hash: bytes
    host_keys: tuple[bytes, ...]
    threshold: int
    treasury_key: bytes
    anchor_key: bytes
    mint_key: bytes

    def __post_init__(self) -> None:
        _require(0 < self.rollup_id < 1 << 32, "the rollup id is a number from 1 to 2^32-1")
        for name in ("genesis_hash", "previous", "committee_hash"):
            _require(len(getattr(self, name)) == 32, f"{name} has 32 bytes")
        _require(self.network in NETWORKS, f"network is one of {', '.join(NETWORKS)}")
        _require(0 < self.epoch < 1 << 32, "the epoch is a u32, and not the first")
        keys = self.host_keys
        _require(0 < len(keys) <= MAX_HOST_KEYS, f"there are 1 to {MAX_HOST_KEYS} operators")
        _require(len(set(keys)) == len(keys), "no operator is named twice")
        _require(all(len(k) == 32 and is_x_only(k) for k in keys), "a host key is an x-only key of 32 bytes")
        _require(1 <= self.threshold <= len(keys), "the threshold is 1 to the number of operators")
        group = (self.treasury_key, self.anchor_key, self.mint_key)
        good = all(len(k) == 33 and k[0] in (2, 3) and is_x_only(k[1:]) for k in group)
        _require(good, "a group key is a compressed point of 33 bytes")
        _require(len({k[1:] for k in group}) == len(group), "treasury, anchor and mint have different keys")

    def encode(self) -> bytes:
        """The canonical bytes."""
        out = Writer().u32(self.rollup_id).fixed(self.genesis_hash, 32).text(self.network).u32(self.epoch)
        out.fixed(self.previous, 32).fixed(self.committee_hash, 32).count(len(self.host_keys))
        for key in self.host_keys:
            out.fixed(key, 32)
        out.u16(self.threshold)
        return out.fixed(self.treasury_key, 33).fixed(self.anchor_key, 33).fixed(self.mint_key, 33).done()

    @classmethod
    def read(cls, r: Reader) -> Self:
        """Read the record's fields from a longer message."""
        rollup_id, genesis, network, epoch = r.u32(), r.fixed(32), r.text(16), r.u32()
        previous, committee = r.fixed(32), r.fixed(32)
        hosts = tuple(r.fixed(32) for _ in range(r.count(MAX_HOST_KEYS)))
        threshold = r.u16()
        keys = r.fixed(33), r.fixed(33), r.fixed(33)
        return cls(rollup_id, genesis, network, epoch, previous, committee, hosts, threshold, *keys)

    @cached_property
    def hash(self) -> bytes:
        """The 32 bytes that every host key of the new committee signs; the epoch's name."""
        return tagged_hash("holdfast/succession/v1", self.encode())

    @property
    def message(self) -> bytes:
        """The 32 bytes that the mint key which is succeeded signs (BIP340, plain P)."""
        return tagged_hash("holdfast/succession/mint/v1", self.encode())


@dataclass(frozen=True)
class SignedSuccession(Encoded):
    """The record with one BIP340 signature per new host key, in committee order, and the old mint key's."""

    succession: Succession
    signatures: tuple[bytes, ...]
    mint_signature: bytes = bytes(64)

    def check_operators(self) -> None:
        """Return when every operator of the new committee signed; SuccessionRefused names the first who did not."""
        hosts, message = self.succession.host_keys, self.succession.hash
        if len(self.signatures) != len(hosts):
            raise SuccessionRefused(
                "not_signed",
                f"{len(self.signatures)} signatures for {len(hosts)} operators: collect one from each",
            )
        for place, (key, signature) in enumerate(zip(hosts, self.signatures, strict=True), 1):
            if not schnorr_verify(key, message, signature):
                raise SuccessionRefused(
                    "not_signed", f"operator {place} ({key.hex()[:16]}…) did not sign this succession"
                )

    def verify(self, before: "KeyEpoch") -> None:
        """Return when it follows `before` and all signed; SuccessionRefused otherwise."""
        check_follows(self.succession, before)
        self.check_signatures(before)

    def check_signatures(self, before: "KeyEpoch") -> None:
        """Return when the mint key of `before` and all operators signed; SuccessionRefused otherwise.

        The mint key comes first: of strangers' records no more than one signature is ever checked.
        """
        if not schnorr_verify(before.mint_x, self.succession.message, self.mint_signature):
            raise SuccessionRefused(
                "bad_certificate", f"the mint key of epoch {before.number} did not sign its succession"
            )
        self.check_operators()

    def encode(self) -> bytes:
        """The canonical bytes: record, count, signatures, the mint key's signature."""
        out = Writer().var(self.succession.encode()).count(len(self.signatures))
        for signature in self.signatures:
            out.fixed(signature, 64)
        return out.fixed(self.mint_signature, 64).done()

    @classmethod
    def read(cls, r: Reader) -> Self:
        """Read record and signatures from a longer message."""
        succession = Succession.decode(r.var(MAX_RECORD))
        signatures = tuple(r.fixed(64) for _ in range(r.count(MAX_HOST_KEYS)))
        return cls(succession, signatures, r.fixed(64))

    def to_json(self) -> str:
        """succession.json: sorted, indented, keys and hashes in hex; ends in a newline."""
        s = self.succession
        file = _SuccessionFile(
            rollup_id=s.rollup_id,
            genesis_hash=s.genesis_hash.hex(),
            network=s.network,
            epoch=s.epoch,
            previous=s.previous.hex(),
            committee_hash=s.committee_hash.hex(),
            host_keys=[k.hex() for k in s.host_keys],
            threshold=s.threshold,
            treasury_key=s.treasury_key.hex(),
            anchor_key=s.anchor_key.hex(),
            mint_key=s.mint_key.hex(),
            signatures=[x.hex() for x in self.signatures],
            mint_signature=self.mint_signature.hex(),
        )
        return msgspec.json.format(msgspec.json.encode(file, order="sorted"), indent=2).decode() + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Read succession.json; CodecError says what is wrong. Signatures are not checked here."""
        try:
            f = msgspec.json.decode(text, type=_SuccessionFile)
            succession = Succession(
                f.rollup_id,
                bytes.fromhex(f.genesis_hash),
                f.network,
                f.epoch,
                bytes.fromhex(f.previous),
                bytes.fromhex(f.committee_hash),
                tuple(bytes.fromhex(k) for k in f.host_keys),
                f.threshold,
                bytes.fromhex(f.treasury_key),
                bytes.fromhex(f.anchor_key),
                bytes.fromhex(f.mint_key),
            )
            signed = cls(
                succession,
                tuple(bytes.fromhex(x) for x in f.signatures),
                bytes.fromhex(f.mint_signature),
            )
            return cls.decode(signed.encode())  # lengths and bounds
        except ValueError as error:  # msgspec's, hex, CodecError
            raise CodecError(f"not a succession: {error}") from error


class _SuccessionFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    rollup_id: int
    genesis_hash: str
    network: str
    epoch: int
    previous: str
    committee_hash: str
    host_keys: list[str]
    threshold: int
    treasury_key: str
    anchor_key: str
    mint_key: str
    signatures: list[str]
    mint_signature: str


@dataclass(frozen=True, slots=True)
class Succeeded:
    """A succession that took effect in rollup block `height`: kept for ever."""

    height: int
    signed: SignedSuccession

    def encode(self) -> bytes:
        """The canonical bytes, part of the state's root; signatures left out, as in a transaction's id."""
        return Writer().u64(self.height).var(self.signed.succession.encode()).done()


@dataclass(frozen=True, slots=True)
class KeyEpoch:
    """One key epoch: its committee and its three group keys (33 bytes: P with its parity).

    `record` is the hash of the activation record or the succession that began it; `since` the rollup block that
    carried a succession, None for the first.
    """

    number: int
    record: bytes
    committee_hash: bytes
    host_keys: tuple[bytes, ...]
    threshold: int
    treasury_key: bytes
    anchor_key: bytes
    mint_key: bytes
    since: int | None = None

    @property
    def anchor_x(self) -> XOnlyKey:
        """Internal key of the lanes, x-only."""
        return XOnlyKey(self.anchor_key[1:])

    @property
    def mint_x(self) -> XOnlyKey:
        """The mint key, x-only."""
        return XOnlyKey(self.mint_key[1:])

    @classmethod
    def first(cls, genesis: Genesis, activation: Activation) -> Self:
        """The epoch that the activation record begins."""
        a = activation
        return cls(
            a.epoch,
            a.hash,
            a.committee_hash,
            genesis.host_keys,
            genesis.threshold,
            a.treasury_key,
            a.anchor_key,
            a.mint_key,
        )

    @classmethod
    def begun_by(cls, succeeded: Succeeded) -> Self:
        """The epoch that a succession begins."""
        s = succeeded.signed.succession
        keys = (s.treasury_key, s.anchor_key, s.mint_key)
        return cls(s.epoch, s.hash, s.committee_hash, s.host_keys, s.threshold, *keys, succeeded.height)


@dataclass(frozen=True, slots=True)
class Epochs:
    """All key epochs of a rollup, oldest first, numbered without a gap."""

    known: tuple[KeyEpoch, ...]
    _by_number: Mapping[int, KeyEpoch] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_by_number", {epoch.number: epoch for epoch in self.known})

    @classmethod
    def of(cls, genesis: Genesis, activation: Activation, successions: Iterable[Succeeded] = ()) -> Self:
        """Activation and successions, as a rollup's state holds them."""
        return cls((KeyEpoch.first(genesis, activation), *map(KeyEpoch.begun_by, successions)))

    def get(self, number: int) -> KeyEpoch | None:
        """The epoch with this number."""
        return self._by_number.get(number)

    @property
    def first(self) -> KeyEpoch:
        """The activation record's."""
        return self.known[0]

    @property
    def latest(self) -> KeyEpoch:
        """The one whose mint key certifies and whose committee decides."""
        return self.known[-1]

    def check_next(self, succession: Succession) -> None:
        """Return when a record begins the epoch after the latest, with keys of no epoch; else SuccessionRefused."""
        check_follows(succession, self.latest)
        named = _keys(succession)
        for epoch in self.known:
            if named & _keys(epoch):
                raise SuccessionRefused(
                    "same_key", f"a key of epoch {epoch.number} is named again: make new keys"
                )

    def __iter__(self) -> Iterator[KeyEpoch]:
        return iter(self.known)

    def __len__(self) -> int:
        return len(self.known)


def check_follows(succession: Succession, before: KeyEpoch) -> None:
    """Return when a record begins the epoch after `before`; SuccessionRefused otherwise."""
    if succession.epoch != before.number + 1:
        raise SuccessionRefused(
            "wrong_epoch", f"epoch {before.number + 1} is next, the succession is for {succession.epoch}"
        )
    if succession.previous != before.record:
        raise SuccessionRefused(
            "wrong_previous", f"the succession follows another record than that of epoch {before.number}"
        )
    if succession.committee_hash == before.committee_hash:
        raise SuccessionRefused(
            "same_committee", "the succession names the committee file of the epoch before"
        )
    if _keys(before) & _keys(succession):
        raise SuccessionRefused("same_key", f"a key of epoch {before.number} is named again: make new keys")


def _keys(of: KeyEpoch | Succession) -> set[bytes]:
    return {of.treasury_key[1:], of.anchor_key[1:], of.mint_key[1:]}


def _require(holds: bool, sentence: str) -> None:
    if not holds:
        raise CodecError(f"succession: {sentence}")
