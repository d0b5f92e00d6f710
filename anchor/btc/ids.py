"""Names of things on the chain, and the only place where byte order is turned round.

Everywhere inside Holdfast hashes are in internal order (as hashed and as on the wire). People, bitcoind's RPC
and block explorers show txids and block hashes reversed: that is *display order*, made and read here.
"""

from dataclasses import dataclass
from typing import NewType, Self

Txid = NewType("Txid", bytes)
Wtxid = NewType("Wtxid", bytes)
BlockHash = NewType("BlockHash", bytes)
XOnlyKey = NewType("XOnlyKey", bytes)

OUTPOINT_SIZE = 36


def display(hash32: bytes) -> str:
    """Return a 32-byte hash in display order, lower-case hex. ValueError for another length."""
    if len(hash32) != 32:
        raise ValueError(f"a hash has 32 bytes, this has {len(hash32)}")
    return hash32[::-1].hex()


def from_display(text: str) -> bytes:
    """Return the 32 bytes, internal order, of a hash written in display order.

    Raises ValueError for anything but 64 hex digits (either case, no spaces).
    """
    if len(text) != 64 or not text.isascii() or not text.isalnum():
        raise ValueError(f"{text[:80]!r} is not a hash: give 64 hex digits")
    return bytes.fromhex(text)[::-1]


@dataclass(frozen=True, slots=True, order=True)
class OutPoint:
    """Which output of which transaction: `txid` in internal order, `vout` 0..2^32-1."""

    txid: Txid
    vout: int

    def __post_init__(self) -> None:
        if len(self.txid) != 32 or not 0 <= self.vout <= 0xFFFFFFFF:
            raise ValueError("an outpoint is a 32-byte txid and an output number below 2^32")

    def encode(self) -> bytes:
        """Return the 36 bytes as on the wire: txid, then vout little-endian."""
        return self.txid + self.vout.to_bytes(4, "little")

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read what `encode` wrote. ValueError unless exactly 36 bytes."""
        if len(data) != OUTPOINT_SIZE:
            raise ValueError(f"an outpoint has {OUTPOINT_SIZE} bytes, this has {len(data)}")
        return cls(Txid(data[:32]), int.from_bytes(data[32:], "little"))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read "txid:vout" in display order, the one spelling that `str` gives. ValueError otherwise."""
        txid, colon, vout = text.partition(":")
        small = len(vout) <= 10 and vout.isascii() and vout.isdigit()
        if not colon or not small or (len(vout) > 1 and vout[0] == "0"):
            raise ValueError(f"{text[:90]!r} is not an outpoint: write txid:number")
        return cls(Txid(from_display(txid)), int(vout))

    def __str__(self) -> str:
        return f"{display(self.txid)}:{self.vout}"
