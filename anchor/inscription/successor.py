"""What a rotation anchor says: the keys that come next, 135 bytes after the payload's head. DESIGN section 5."""

from dataclasses import dataclass

from anchor.btc.codec import CodecError, Encoded, Reader, Writer
from anchor.btc.curve import is_x_only
from anchor.rollup.succession import KeyEpoch, Succession

SUCCESSOR_SIZE = 135


@dataclass(frozen=True, slots=True)
class Successor(Encoded):
    """The keys of key epoch `epoch` (33 bytes each: P with its parity) and the hash of the record naming them.

    Raises CodecError for keys on no point.
    """

    epoch: int
    treasury_key: bytes
    anchor_key: bytes
    mint_key: bytes
    record: bytes

    def __post_init__(self) -> None:
        keys = (self.treasury_key, self.anchor_key, self.mint_key)
        if not all(len(k) == 33 and k[0] in (2, 3) and is_x_only(k[1:]) for k in keys):
            raise CodecError("a successor's keys are compressed points of 33 bytes")
        if not 0 < self.epoch < 1 << 32 or len(self.record) != 32:
            raise CodecError("a successor has an epoch of 32 bits, not the first, and a record of 32 bytes")

    def encode(self) -> bytes:
        """Epoch u32, treasury, anchor and mint key, record."""
        out = Writer().u32(self.epoch).fixed(self.treasury_key, 33).fixed(self.anchor_key, 33)
        return out.fixed(self.mint_key, 33).fixed(self.record, 32).done()

    @classmethod
    def read(cls, r: Reader) -> "Successor":
        """Read the fields from a longer message."""
        return cls(r.u32(), r.fixed(33), r.fixed(33), r.fixed(33), r.fixed(32))

    @classmethod
    def of(cls, begun: KeyEpoch | Succession) -> "Successor":
        """What a rotation anchor says of an epoch."""
        if isinstance(begun, Succession):
            return cls(begun.epoch, begun.treasury_key, begun.anchor_key, begun.mint_key, begun.hash)
        return cls(begun.number, begun.treasury_key, begun.anchor_key, begun.mint_key, begun.record)
