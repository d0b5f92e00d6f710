"""The main chain as a flat file: 80 bytes per header from a known start; beside it, a note of what was validated.

`main.bin` is the truth. `main.idx` is a note that so many of its headers, with this SHA-256, have passed all rules,
with the index and the sums of work worked out from them: deleted, damaged or outdated it costs a validation.
"""

import os
import sys
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from struct import Struct

from anchor.btc.header import HEADER_SIZE
from anchor.headers.trunk import Packed

RULES = 1  # raise it when the rules change: what passed under the old ones is validated again
_MAGIC = b"HFHX\x01" + sys.byteorder[0].encode()
_HEAD = Struct(">6sI32sQ32sQQ")  # magic, rules, start, count, SHA-256 of the headers, sizes of index and sums
_AT_ONCE = 20_160  # headers


class HeaderFile:
    """`main.bin`: header i lies at byte 80·i. A tail that a crash tore is cut off by `repair`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._loose = False  # something may not be on the disk yet

    def repair(self) -> int:
        """Return how many whole headers there are, none when there is no file yet; cut what is not whole."""
        if not self.path.exists():
            return 0
        size = self.path.stat().st_size
        if size % HEADER_SIZE:
            self.replace(size // HEADER_SIZE, b"")
        return size // HEADER_SIZE

    def read(self, first: int = 0) -> Iterator[bytes]:
        """Yield the headers from index `first` on, some 20,000 at a time."""
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            file.seek(first * HEADER_SIZE)
            while data := file.read(_AT_ONCE * HEADER_SIZE):
                yield data

    def replace(self, index: int, headers: bytes, *, durable: bool = True) -> None:
        """Make `headers` follow the first `index` ones; whatever was there goes.

        Headers that leave must have been kept elsewhere before. Durable when it returns, unless that is put off.
        """
        assert len(headers) % HEADER_SIZE == 0
        self.path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            size = os.fstat(descriptor).st_size
            assert index * HEADER_SIZE <= size, "headers follow one another without a gap"
            if index * HEADER_SIZE < size:
                os.ftruncate(descriptor, index * HEADER_SIZE)
            _write_all(descriptor, headers, index * HEADER_SIZE)
            if durable:
                os.fsync(descriptor)
            self._loose = not durable
        finally:
            os.close(descriptor)

    def sync(self) -> None:
        """Make durable what was written without being so."""
        if self._loose:
            with self.path.open("rb+") as file:
                os.fsync(file.fileno())
            self._loose = False


class ValidatedNote:
    """`main.idx`: what was worked out from the first headers of a file, bound to their bytes."""

    def __init__(self, path: Path, identity: bytes) -> None:
        """`identity`: 32 bytes that name network and start."""
        self.path, self._identity = path, identity
        self.count = 0  # headers that the note speaks of

    def load(self, headers: Path) -> tuple[bytearray, Packed] | None:
        """Return the headers that it speaks of, and the note; None when it is not true of them (any more)."""
        self.count = 0
        try:
            data = self.path.read_bytes()
        except OSError:
            return None
        if len(data) < _HEAD.size + 32 or sha256(memoryview(data)[:-32]).digest() != data[-32:]:
            return None
        magic, rules, identity, count, digest, index, sums = _HEAD.unpack_from(data)
        if (magic, rules, identity) != (_MAGIC, RULES, self._identity) or not count:
            return None
        raw = _read_exactly(headers, count * HEADER_SIZE)
        if raw is None or sha256(raw).digest() != digest:
            return None
        self.count = count
        at = _HEAD.size
        return raw, Packed(count, digest, data[at : at + index], data[at + index : at + index + sums])

    def save(self, packed: Packed) -> None:
        """Note that headers with this digest, from the file's first on, have passed."""
        sizes = len(packed.index), len(packed.sums)
        head = _HEAD.pack(_MAGIC, RULES, self._identity, packed.count, packed.digest, *sizes)
        digest = sha256(head)
        digest.update(packed.index)
        digest.update(packed.sums)
        fresh = self.path.with_suffix(".new")
        with fresh.open("wb") as file:
            for part in (head, packed.index, packed.sums, digest.digest()):
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self.path)
        self.count = packed.count


def _read_exactly(path: Path, size: int) -> bytearray | None:
    try:
        if path.stat().st_size < size:
            return None
        raw = bytearray(size)
        with path.open("rb", buffering=0) as file:
            view, at = memoryview(raw), 0
            while at < size and (count := file.readinto(view[at:])):
                at += count
    except OSError:
        return None
    return raw if at == size else None


def _write_all(descriptor: int, data: bytes, offset: int) -> None:
    while data:
        written = os.pwrite(descriptor, data, offset)
        data, offset = data[written:], offset + written
