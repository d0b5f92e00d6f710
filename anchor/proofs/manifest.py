"""Leaf 0 of every batch: what the batch contains, hashed into its root."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from anchor.btc.codec import CodecError, Reader, Writer
from anchor.proofs import tree
from anchor.proofs.records import Record, record_hash, sort_key

KIND_MANIFEST = 0
VERSION = 1
MAX_ROLLUPS = 512
MAX_MANIFEST = 64 + 44 * MAX_ROLLUPS
MANIFEST_ROLLUP = 0  # the rollup id of leaf 0: no rollup has it


class ManifestError(CodecError):
    """Bytes or fields that are no manifest."""


@dataclass(frozen=True, slots=True)
class RollupEnd:
    """Where a batch leaves a rollup: its last block and the state root after it."""

    rollup_id: int
    last: int
    state_root: bytes


@dataclass(frozen=True, slots=True)
class BatchManifest:
    """Version, previous root, lane, sequence, number of leaves (this one too), then each rollup's end.

    `previous_root` is that of the lane's last anchor, zeros for the first; `rollups` are sorted by id.
    Raises ManifestError otherwise. DESIGN section 5, *Tree*.
    """

    previous_root: bytes
    lane: int
    sequence: int
    count: int
    rollups: tuple[RollupEnd, ...]
    version: int = VERSION

    def __post_init__(self) -> None:
        if self.version != VERSION:
            raise ManifestError(f"manifest version {self.version} is not known: this program reads {VERSION}")
        if len(self.previous_root) != 32 or any(len(end.state_root) != 32 for end in self.rollups):
            raise ManifestError("roots have 32 bytes")
        ids = [end.rollup_id for end in self.rollups]
        if ids != sorted(set(ids)) or 0 in ids or len(ids) > MAX_ROLLUPS:
            raise ManifestError("rollups stand in the order of their ids, each once, at most 512")
        if self.sequence < 1 or self.count < 1 + len(ids):
            raise ManifestError("sequences start at 1, and each rollup has at least one leaf")

    def encode(self) -> bytes:
        """Return the bytes of leaf 0."""
        out = Writer().u8(KIND_MANIFEST).u8(self.version).fixed(self.previous_root)
        out.u16(self.lane).u32(self.sequence).u32(self.count).count(len(self.rollups))
        for end in self.rollups:
            out.u32(end.rollup_id).u64(end.last).fixed(end.state_root)
        return out.done()

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read what `encode` wrote. CodecError otherwise."""
        reader = Reader(data)
        if (kind := reader.u8()) != KIND_MANIFEST:
            raise ManifestError(f"kind {kind} is not a manifest")
        version, previous = reader.u8(), reader.fixed(32)
        lane, sequence, count = reader.u16(), reader.u32(), reader.u32()
        size = reader.count(MAX_ROLLUPS)
        rollups = tuple(RollupEnd(reader.u32(), reader.u64(), reader.fixed(32)) for _ in range(size))
        reader.end()
        return cls(previous, lane, sequence, count, rollups, version)

    def leaf(self) -> bytes:
        """Return leaf 0 of the batch's tree."""
        return tree.leaf(MANIFEST_ROLLUP, record_hash(self.encode()))


def manifest_of(previous_root: bytes, lane: int, sequence: int, records: Sequence[Record]) -> BatchManifest:
    """Return the manifest of `records`, which are sorted and at least one. ManifestError otherwise."""
    if not records or [sort_key(r) for r in records] != sorted({sort_key(r) for r in records}):
        raise ManifestError("a batch has at least one record; they are sorted and each place stands once")
    ends = {
        record.rollup_id: RollupEnd(record.rollup_id, record.last, record.state_after) for record in records
    }
    return BatchManifest(previous_root, lane, sequence, len(records) + 1, tuple(ends.values()))


def leaves_of(manifest: BatchManifest, records: Sequence[Record]) -> tuple[bytes, ...]:
    """Return the leaves of a batch in order: the manifest's, then each record's."""
    rest = (tree.leaf(record.rollup_id, record_hash(record.encode())) for record in records)
    return (manifest.leaf(), *rest)
