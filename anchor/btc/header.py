"""Block headers as values: 80 bytes, their hash, and what their compact target means."""

import struct
from dataclasses import dataclass
from functools import cached_property
from typing import Self

from anchor.btc.hashing import sha256d
from anchor.btc.ids import BlockHash

HEADER_SIZE = 80
_FIELDS = struct.Struct("<i32s32sIII")


class HeaderError(ValueError):
    """Bytes that are no header, or a compact target that stands for none."""


@dataclass(frozen=True)
class Header:
    """A block header; `version` is signed as in Core, hashes in internal order, `time` in Unix seconds."""

    version: int
    parent: BlockHash
    merkle_root: bytes
    time: int
    bits: int
    nonce: int

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read exactly 80 bytes; HeaderError otherwise. Says nothing about validity."""
        if len(data) != HEADER_SIZE:
            raise HeaderError(f"a header has {HEADER_SIZE} bytes, this has {len(data)}")
        version, parent, root, time, bits, nonce = _FIELDS.unpack(data)
        return cls(version, BlockHash(parent), root, time, bits, nonce)

    @cached_property
    def raw(self) -> bytes:
        """The 80 bytes that are hashed. HeaderError when a field does not fit."""
        if len(self.parent) != 32 or len(self.merkle_root) != 32:
            raise HeaderError("parent and Merkle root have 32 bytes each")
        try:
            return _FIELDS.pack(self.version, self.parent, self.merkle_root, self.time, self.bits, self.nonce)
        except struct.error as error:
            raise HeaderError(f"a field of the header is out of range: {error}") from error

    @cached_property
    def hash(self) -> BlockHash:
        """Block hash, internal order."""
        return BlockHash(sha256d(self.raw))


def target_of(bits: int) -> int:
    """Return the number that a hash (read little-endian) must not exceed.

    Raises HeaderError for negative, zero and overflowing encodings. Source: arith_uint256::SetCompact and
    DeriveTarget in Core.
    """
    size, mantissa = bits >> 24, bits & 0x007FFFFF
    target = mantissa >> 8 * (3 - size) if size <= 3 else mantissa << 8 * (size - 3)
    if bits & 0x00800000 and mantissa:
        raise HeaderError(f"bits {bits:08x} stand for a negative target")
    if target == 0:
        raise HeaderError(f"bits {bits:08x} stand for a target of zero")
    if target >> 256:
        raise HeaderError(f"bits {bits:08x} stand for a target above 2^256")
    return target


def bits_of(target: int) -> int:
    """Return the compact form of a target, rounding down as Core's GetCompact does."""
    size = (target.bit_length() + 7) // 8
    mantissa = target << 8 * (3 - size) if size <= 3 else target >> 8 * (size - 3)
    if mantissa & 0x00800000:
        mantissa >>= 8
        size += 1
    return size << 24 | mantissa


def work_of(bits: int) -> int:
    """Return the expected number of hashes behind a header with these bits. HeaderError as `target_of`."""
    return (1 << 256) // (target_of(bits) + 1)
