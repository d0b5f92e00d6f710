"""The signed envelope of everything that peers say: who to whom, on what topic, in which boot, when.

Layout (big-endian): kind u8 | committee hash 32 | sender u16 | receiver u16 | boot id 16 | sequence u64 |
time u64 (Unix milliseconds) | topic | request hash 32 | code | body (these three with u32 lengths) | BIP340
signature 64 over the tagged hash of all before the body and the body's SHA-256. A request has a zero request
hash and an empty code; an answer names the request it answers, and its code is "ok" or says why it was refused.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import IntEnum
from struct import Struct

from tss.frost import bip340
from tss.frost.codec import Reader, Writer
from tss.frost.hashing import tagged_hash

MAX_BODY = 4 * 1024 * 1024
OVERHEAD = 1024  # more than any header and signature
_SIGNATURE = 64
_TEXT = 64  # bytes of a topic or a code
_FIXED = Struct(">B32sHH16sQQ")
_MARK = 8  # bytes that tell two signatures apart


class Kind(IntEnum):
    """Whether the sender asks or answers."""

    REQUEST = 1
    ANSWER = 2


class _Once:
    """Room for what is computed once of a message that never changes."""

    __slots__ = ("_digest", "_header")
    _digest: bytes
    _header: bytes


@dataclass(frozen=True, slots=True)
class Envelope(_Once):
    """One message between two members; `signature` is the sender's host key over `digest`."""

    kind: Kind
    committee: bytes
    sender: int
    receiver: int
    boot_id: bytes
    sequence: int
    time_ms: int
    topic: str
    request: bytes
    code: str
    body: bytes
    signature: bytes = b""

    @property
    def digest(self) -> bytes:
        """What is signed: the header with the body's SHA-256 in the body's place."""
        try:
            return self._digest
        except AttributeError:
            digest = tagged_hash("holdfast/envelope/v1", self._head(), hashlib.sha256(self.body).digest())
            object.__setattr__(self, "_digest", digest)
            return digest

    def signed_by(self, host_key: bytes) -> bool:
        """True when the signature is this host key's."""
        return bip340.verify(host_key, self.digest, self.signature)

    def with_signature(self, signature: bytes) -> "Envelope":
        """The same envelope, signed."""
        other = replace(self, signature=signature)
        object.__setattr__(other, "_header", self._head())
        object.__setattr__(other, "_digest", self.digest)
        return other

    def encode(self) -> bytes:
        """The bytes on the wire."""
        tail = Writer().var(self.body, MAX_BODY).raw(self.signature, _SIGNATURE)
        return self._head() + tail.done()

    @classmethod
    def decode(cls, data: bytes) -> "Envelope":
        """Read exactly one envelope; DecodeError for anything else."""
        reader = Reader(data, MAX_BODY + OVERHEAD)
        kind = Kind(reader.between(reader.u8(), Kind.REQUEST, Kind.ANSWER, "an envelope's kind"))
        envelope = cls(
            kind,
            committee=reader.raw(32),
            sender=reader.u16(),
            receiver=reader.u16(),
            boot_id=reader.raw(16),
            sequence=reader.u64(),
            time_ms=reader.u64(),
            topic=reader.text(_TEXT),
            request=reader.raw(32),
            code=reader.text(_TEXT),
            body=reader.var(MAX_BODY),
            signature=reader.raw(_SIGNATURE),
        )
        reader.finish()
        # What was read has one form only, so its header need not be written again to be hashed.
        object.__setattr__(
            envelope, "_header", bytes(data[: len(data) - 4 - len(envelope.body) - _SIGNATURE])
        )
        return envelope

    def _head(self) -> bytes:
        try:
            return self._header
        except AttributeError:
            object.__setattr__(self, "_header", self._written())
            return self._header

    def _written(self) -> bytes:
        assert (len(self.committee), len(self.boot_id)) == (32, 16), "a hash has 32 bytes, a boot id 16"
        fixed = _FIXED.pack(
            self.kind,
            self.committee,
            self.sender,
            self.receiver,
            self.boot_id,
            self.sequence,
            self.time_ms,
        )
        writer = Writer().raw(fixed, _FIXED.size).text(self.topic, _TEXT)
        return writer.raw(self.request, 32).text(self.code, _TEXT).done()


class ReplayWindow:
    """What one receiver remembers of one sender: each (boot id, sequence) is accepted once.

    A sender's boot id may change only forward in time, and one that was left never comes back: so a restored clone
    that runs beside its original is seen (DESIGN section 4, nonces 6). A clone of a running machine shares its boot
    id, and is seen when both sign one number: that boot id is then over for both.
    """

    def __init__(self, width: int = 4096, skew_ms: int = 300_000) -> None:
        """`width` sequences below the highest may still arrive; clocks may differ by `skew_ms`."""
        self._width = width
        self._skew_ms = skew_ms
        self._seen: dict[int, bytes] = {}  # with the start of the signature
        self._left: set[bytes] = set()
        self._latest_ms = 0
        self._highest = 0
        self.boot_id = b""

    def refusal(self, envelope: Envelope, now_ms: int) -> tuple[str, str] | None:
        """None when the envelope is new (it is then remembered), else a code and a reason."""
        skew = envelope.time_ms - now_ms
        if abs(skew) > self._skew_ms:
            return "clock", f"the clocks differ by {abs(skew) // 1000} s: set both by NTP"
        if self._latest_ms > now_ms + self._skew_ms:
            self._latest_ms = 0  # our own clock went back: what it said of the order of boots is void
        if self.is_over(envelope.boot_id) or (
            envelope.boot_id != self.boot_id and envelope.time_ms < self._latest_ms
        ):
            return "boot", "this boot id was left for a later one: two copies of one node may be running"
        if envelope.boot_id != self.boot_id:
            self._change_boot(envelope.boot_id)
        said = self._seen.get(envelope.sequence)
        if said is not None and said != envelope.signature[:_MARK]:
            self.leave([envelope.boot_id])
            return "boot", "two messages of this boot have one number: two copies of one node are running"
        if said is not None or envelope.sequence + self._width <= self._highest:
            return "replay", "this envelope was seen before"
        self._remember(envelope)
        return None

    def is_over(self, boot_id: bytes) -> bool:
        """Whether nothing is taken from this boot any more."""
        return boot_id in self._left

    def leave(self, boot_ids: Iterable[bytes]) -> None:
        """Take nothing from these boots any more."""
        self._left.update(boot_ids)

    def _change_boot(self, boot_id: bytes) -> None:
        if self.boot_id:
            self._left.add(self.boot_id)
        if len(self._left) > self._width:
            self._left.clear()
        self.boot_id = boot_id
        self._seen.clear()
        self._highest = 0

    def _remember(self, envelope: Envelope) -> None:
        self._seen[envelope.sequence] = envelope.signature[:_MARK]
        self._highest = max(self._highest, envelope.sequence)
        self._latest_ms = max(self._latest_ms, envelope.time_ms)
        if len(self._seen) > 2 * self._width:
            floor = self._highest - self._width
            self._seen = {sequence: mark for sequence, mark in self._seen.items() if sequence > floor}
