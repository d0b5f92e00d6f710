"""What a rollup wants anchored: one encodable statement per record.

A record's first byte is its kind; kind 0 is the batch's manifest (`anchor.proofs.manifest`), so that no record
can pose as one.
"""

from dataclasses import dataclass, fields
from typing import Self

from anchor.btc.codec import CodecError, Reader, Writer
from anchor.btc.hashing import sha256

KIND_RANGE = 1
MAX_RECORD = 1024  # bytes; a range has 251

PROOF_NONE = 0  # no validity proof: the certificates alone say that the range is right


class RecordError(CodecError):
    """Bytes or fields that are no record."""


@dataclass(frozen=True, slots=True)
class RangeRecord:
    """Blocks `first` to `last` of a rollup, and what they did. DESIGN section 5, *Records*.

    Roots, digests and hashes have 32 bytes; `tx_root` and `data_root` are the tree of the blocks' own roots
    (`anchor.proofs.ranges`). `final_height` and `final_hash` name the Bitcoin block that is final in the view
    of block `last`. Raises RecordError for a rollup id of 0, a range that ends before it starts, or a proof
    digest without a proof kind.
    """

    rollup_id: int
    first: int
    last: int
    state_before: bytes
    state_after: bytes
    tx_root: bytes
    data_root: bytes
    proof_kind: int
    proof_digest: bytes
    final_height: int
    final_hash: bytes
    validators_root: bytes

    def __post_init__(self) -> None:
        if not 1 <= self.rollup_id <= 0xFFFFFFFF:
            raise RecordError("a rollup id is 1 to 2^32-1: 0 means many")
        if not 1 <= self.first <= self.last <= 0xFFFFFFFF_FFFFFFFF:
            raise RecordError(f"blocks {self.first} to {self.last} are no range")
        if not 0 <= self.proof_kind <= 0xFFFF or not 0 <= self.final_height <= 0xFFFFFFFF:
            raise RecordError("proof kind has 16 bits, a Bitcoin height 32")
        hashes = [getattr(self, f.name) for f in fields(self) if f.type is bytes]
        if any(len(value) != 32 for value in hashes):
            raise RecordError("roots, digests and hashes of a range have 32 bytes")
        if self.proof_kind == PROOF_NONE and self.proof_digest != bytes(32):
            raise RecordError("a range without a proof has a digest of zeros")

    @property
    def subject(self) -> bytes:
        """Whom the record is about within its rollup: nobody, for a range."""
        return b""

    @property
    def start(self) -> int:
        """Where the record starts in its own order: the first block."""
        return self.first

    def encode(self) -> bytes:
        """Return the 251 bytes that are hashed into the tree."""
        head = Writer().u8(KIND_RANGE).u32(self.rollup_id).u64(self.first).u64(self.last)
        for root in (self.state_before, self.state_after, self.tx_root, self.data_root):
            head.fixed(root)
        head.u16(self.proof_kind).fixed(self.proof_digest)
        return head.u32(self.final_height).fixed(self.final_hash).fixed(self.validators_root).done()

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read what `encode` wrote. CodecError otherwise."""
        reader = Reader(data)
        if (kind := reader.u8()) != KIND_RANGE:
            raise RecordError(f"record kind {kind} is not a range")
        rollup_id, first, last = reader.u32(), reader.u64(), reader.u64()
        before, after, tx_root, data_root = (reader.fixed(32) for _ in range(4))
        proof_kind, digest = reader.u16(), reader.fixed(32)
        height, final_hash, validators = reader.u32(), reader.fixed(32), reader.fixed(32)
        reader.end()
        return cls(
            rollup_id,
            first,
            last,
            before,
            after,
            tx_root,
            data_root,
            proof_kind,
            digest,
            height,
            final_hash,
            validators,
        )


Record = RangeRecord  # nonces and decisions join here


def decode_record(data: bytes) -> Record:
    """Read a record of any kind. CodecError for unknown kinds, more than 1024 bytes or odd fields."""
    if len(data) > MAX_RECORD:
        raise RecordError(f"a record has at most {MAX_RECORD} bytes, this has {len(data)}")
    if data[:1] != bytes([KIND_RANGE]):
        raise RecordError("this version knows range records only")
    return RangeRecord.decode(data)


def record_hash(encoded: bytes) -> bytes:
    """Return the name of a record: SHA-256 of its encoding, 32 bytes."""
    return sha256(encoded)


def sort_key(record: Record) -> tuple[int, int, bytes, int]:
    """Return what leaves are sorted by: (rollup, kind, subject, start)."""
    return record.rollup_id, KIND_RANGE, record.subject, record.start


def conflict(one: Record, other: Record) -> bool:
    """Tell whether two records say different things in one place: held everywhere, kept as evidence."""
    return sort_key(one) == sort_key(other) and one.encode() != other.encode()
