"""The bytes that carry a batch's root to Bitcoin: 56 bytes, big-endian. DESIGN section 5, *Payload*.

A rotation carries no records: its body names the keys of the next epoch, 135 bytes, and its root is that of the
lane's last anchor once more.
"""

from dataclasses import dataclass
from typing import Self

from anchor.btc.codec import CodecError, Reader, Writer
from anchor.inscription.successor import Successor

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
_READ_FLAGS = FLAG_ROTATION  # records are never in a body yet: root only


class PayloadError(CodecError):
    """Bytes that are no payload, or that a later version wrote."""


@dataclass(frozen=True, slots=True)
class Payload:
    """Which batch of which lane this is, and its root.

    `rollup_id` is 0 when the batch holds records of several; `count` counts the leaves, manifest
    included; `epoch` the key epoch of P. With FLAG_ROTATION, `body` is a Successor of the epoch after, `count` is
    0 and `root` that of the lane's last anchor (zeros before the first). Raises PayloadError for flags or
    versions that this program does not read, so that nothing is skipped silently.
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
        if self.flags & ~_READ_FLAGS:
            raise PayloadError(
                "this version writes and reads root-only payloads and rotations: no other flags"
            )
        if len(self.root) != 32 or self.sequence < 1:
            raise PayloadError("a payload has a 32-byte root, and a sequence from 1")
        if self.flags & FLAG_ROTATION:
            self._check_rotation()
        elif self.body or self.count < 2:
            raise PayloadError("a batch is root-only, without a body, and has a manifest and a record")

    def _check_rotation(self) -> None:
        successor = Successor.decode(self.body)
        if self.count:
            raise PayloadError(f"a rotation has no leaves, this counts {self.count}")
        if successor.epoch != self.epoch + 1:
            raise PayloadError(f"a rotation of epoch {self.epoch} names the next, not {successor.epoch}")

    @property
    def successor(self) -> Successor | None:
        """The keys that a rotation names; None for a batch of records."""
        return Successor.decode(self.body) if self.flags & FLAG_ROTATION else None

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
