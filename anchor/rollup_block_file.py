"""A file of certified blocks, so that a rollup's chain can be replayed where no server is.

"HFBLOCKS" | version u8 = 1 | genesis hash 32 | for each block: length u32, `CertifiedBlock.encode()`. Big-endian.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from anchor.btc.codec import CodecError
from anchor.rollup.block import MAX_BLOCK_BYTES, CertifiedBlock

MAGIC = b"HFBLOCKS\x01"
_MOST = MAX_BLOCK_BYTES + (1 << 20)  # a block with its votes


class BlockFileFault(ValueError):
    """A file that is not what `BlockFile` writes, or of another rollup; the sentence names the next move."""


def read(path: Path, genesis_hash: bytes) -> Iterator[CertifiedBlock]:
    """Yield the blocks of a file, one in memory at a time. BlockFileFault where it is cut, changed or foreign."""
    with path.open("rb") as file:
        head = file.read(len(MAGIC) + 32)
        if head[: len(MAGIC)] != MAGIC or len(head) < len(MAGIC) + 32:
            raise BlockFileFault(
                f"{path} is no file of blocks: `holdfast rollup verify-headers --save` makes one"
            )
        if head[len(MAGIC) :] != genesis_hash:
            raise BlockFileFault(
                f"{path} is of another rollup than the genesis: give the one it was saved with"
            )
        number = 0
        while size := file.read(4):
            number += 1
            yield _block(file, path, number, size)


def _block(file: BinaryIO, path: Path, number: int, size: bytes) -> CertifiedBlock:
    length = int.from_bytes(size, "big")
    if len(size) < 4 or length > _MOST:
        raise BlockFileFault(f"{path} is damaged before its block number {number}: save it again")
    raw = file.read(length)
    if len(raw) < length:
        raise BlockFileFault(f"{path} is cut short in its block number {number}: save it again")
    try:
        return CertifiedBlock.decode(raw)
    except CodecError as error:
        raise BlockFileFault(
            f"{path}: its block number {number} cannot be read ({error}): save it again"
        ) from error


def begin(file: BinaryIO, genesis_hash: bytes) -> None:
    """Write the head of a file."""
    file.write(MAGIC + genesis_hash)


def append(file: BinaryIO, blocks: Iterable[CertifiedBlock]) -> None:
    """Write blocks."""
    for block in blocks:
        raw = block.encode()
        file.write(len(raw).to_bytes(4, "big") + raw)
