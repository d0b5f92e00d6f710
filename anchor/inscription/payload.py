"""The bytes that carry a batch's root to Bitcoin: 56 bytes, big-endian. DESIGN section 5, *Payload*."""

from dataclasses import dataclass
from typing import Self

from anchor.btc.codec import CodecError, Reader, Writer

MAGIC = b"HFST"
VERSION = 0x10  # high nibble: breaking; low nibble: compatible
HEADER_SIZE = 56
MAX_PAYLOAD = 400_000  # what a block's weight lets through at all
MANY_ROLLUPS = 0

FLAG_LEAF_HASHES = 1 << 0
FLAG_RECORDS = 1 << 1
FLAG_ZSTD = 1 << 2
FLAG_ROTATION = 1 << 3
FLAG_OP_RETURN = 1 << 4
_KNOWN_FLAGS = 0x1F
_READ_FLAGS = 0  # bodies are not written yet: root only


class PayloadError(CodecError):
    """Bytes that are no payload, or that a later version wrote."""


@dataclass(frozen=True, slots=True)
class Payload:
    """Which batch of which lane this is, and its root.

    `rollup_id` is 0 when the batch holds records of several; `count` counts the leaves, manifest
    included; `epoch` the key epoch of P. Raises PayloadError for flags or versions that this program does not
    read, so that nothing is skipped silently.
    """

    rollup_id: int
    lane: int
    sequence: int
    epoch: int
    count: int
    root: bytes
    flags: int = 0
    version: int = VERSION
    body: bytes = b""

    def __post_init__(self) -> None:
        if self.version >> 4 != VERSION >> 4:
            raise PayloadError(
                f"payload version {self.version:#04x}: upgrade, this program reads {VERSION:#04x}"
            )
        if self.flags & ~_KNOWN_FLAGS:
            raise PayloadError(f"payload flags {self.flags:#04x} have bits that no version defines")
        if self.flags & ~_READ_FLAGS or self.body:
            raise PayloadError("this version writes and reads root-only payloads: no flags, no body")
        if len(self.root) != 32 or self.count < 2 or self.sequence < 1:
            raise PayloadError("a batch has a 32-byte root, a manifest and a record, and a sequence from 1")

    def encode(self) -> bytes:
        """Return the 56 bytes and the body."""
        out = Writer().fixed(MAGIC).u8(self.version).u8(self.flags).u32(self.rollup_id).u16(self.lane)
        out.u32(self.sequence).u32(self.epoch).u32(self.count).fixed(self.root, 32)
        return out.fixed(self.body).done()

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read what `encode` wrote. PayloadError or CodecError otherwise."""
        reader = Reader(data)
        if reader.fixed(4) != MAGIC:
            raise PayloadError("not a Holdfast payload: it does not start with HFST")
        version, flags, rollup_id, lane = reader.u8(), reader.u8(), reader.u32(), reader.u16()
        sequence, epoch, count, root = reader.u32(), reader.u32(), reader.u32(), reader.fixed(32)
        body = reader.fixed(reader.left)
        return cls(rollup_id, lane, sequence, epoch, count, root, flags, version, body)
