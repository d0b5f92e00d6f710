"""Long synthetic regtest chains for benches, and a source that has one in memory."""

import struct
from hashlib import sha256
from pathlib import Path

from anchor.btc.header import HEADER_SIZE, Header
from anchor.btc.ids import BlockHash
from anchor.btc.network import REGTEST

GENESIS = Header.parse(REGTEST.genesis)
_FIRST = struct.Struct("<i32s32sII")


def mined(parent: BlockHash, time: int, count: int, salt: int = 0) -> bytes:
    """So many valid raw headers in a row upon `parent`, five minutes apart."""
    made, root = bytearray(), salt.to_bytes(32, "big")
    for _ in range(count):
        time, nonce = time + 300, 0
        first = _FIRST.pack(4, parent, root, time, GENESIS.bits)
        while (block := sha256(sha256(raw := first + nonce.to_bytes(4, "little")).digest()).digest())[
            31
        ] > 0x7E:
            nonce += 1
        made += raw
        parent = BlockHash(block)
    return bytes(made)


def long_chain(count: int, cache: Path) -> bytes:
    """Genesis and `count` headers upon it; made once per machine."""
    file = cache / f"headers-{count}.bin"
    if not file.exists():
        cache.mkdir(parents=True, exist_ok=True)
        fresh = file.with_suffix(".new")
        fresh.write_bytes(REGTEST.genesis + mined(GENESIS.hash, GENESIS.time, count))
        fresh.replace(file)
    return file.read_bytes()


class RawBranch:
    """A source of headers whose active chain is one bytearray from genesis on."""

    def __init__(self, raw: bytes) -> None:
        self.raw = bytearray(raw)

    @property
    def height(self) -> int:
        return len(self.raw) // HEADER_SIZE - 1

    async def tip(self) -> tuple[int, BlockHash]:
        return self.height, Header.parse(bytes(self.raw[-HEADER_SIZE:])).hash

    async def raws(self, start: int, count: int) -> bytes:
        return bytes(self.raw[start * HEADER_SIZE : (start + count) * HEADER_SIZE])

    async def headers(self, start: int, count: int) -> list[Header]:
        raw = await self.raws(start, count)
        return [Header.parse(raw[i : i + HEADER_SIZE]) for i in range(0, len(raw), HEADER_SIZE)]

    def mine(self, count: int, salt: int = 0) -> None:
        tip = Header.parse(bytes(self.raw[-HEADER_SIZE:]))
        self.raw += mined(tip.hash, tip.time, count, salt)

    def reorg(self, depth: int, count: int, salt: int) -> None:
        del self.raw[-depth * HEADER_SIZE :]
        self.mine(count, salt)
