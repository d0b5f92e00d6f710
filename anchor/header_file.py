"""The main chain as a flat file: 80 bytes per header from a known start, nothing else."""

import os
from collections.abc import Sequence
from pathlib import Path

from anchor.btc.header import HEADER_SIZE


class HeaderFile:
    """`main.bin`: header i lies at byte 80·i. A tail that a crash tore is cut off when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def load(self) -> list[bytes]:
        """Return all whole headers, oldest first; none when there is no file yet. Repairs a torn tail."""
        if not self.path.exists():
            return []
        data = self.path.read_bytes()
        whole = len(data) - len(data) % HEADER_SIZE
        if whole != len(data):
            self.replace(whole // HEADER_SIZE, [])
        return [data[i : i + HEADER_SIZE] for i in range(0, whole, HEADER_SIZE)]

    def replace(self, index: int, headers: Sequence[bytes]) -> None:
        """Make `headers` follow the first `index` ones, durably; whatever was there goes.

        Headers that leave must have been kept elsewhere before.
        """
        assert all(len(raw) == HEADER_SIZE for raw in headers)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            size = os.fstat(descriptor).st_size
            assert index * HEADER_SIZE <= size, "headers follow one another without a gap"
            os.ftruncate(descriptor, index * HEADER_SIZE)
            _write_all(descriptor, b"".join(headers), index * HEADER_SIZE)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _write_all(descriptor: int, data: bytes, offset: int) -> None:
    while data:
        written = os.pwrite(descriptor, data, offset)
        data, offset = data[written:], offset + written
