"""A path of valid headers, packed: some 92 bytes each instead of the kilobyte of a Python object.

It knows nothing of rules or branches. Header i is the i-th from the start; it is found by index or by hash, and the
work through it is known, in a time that does not grow with the length.
"""

import sys
from array import array
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from itertools import groupby
from struct import Struct

from anchor.btc.hashing import sha256d
from anchor.btc.header import HEADER_SIZE, work_of
from anchor.btc.ids import BlockHash

_STEP = 16  # headers from one stored sum of work to the next
_SUM = 32  # bytes of such a sum, big-endian
_PLACE = (1 << 24) - 1  # an index entry is 40 bits of the hash, then 24 bits of place
_MOST_LATER = 20_000  # headers that a plain dict finds before they are sorted in
_BITS = Struct("<72xI4x")
_DRAWER = 50  # bits of an entry below those that name its drawer: 2^14 of them
_SHORT = 20_000  # entries that are searched without drawers
_ORDER = sys.byteorder  # of the index; any of the orders spreads hashes evenly

_work = lru_cache(maxsize=8192)(work_of)


@dataclass(frozen=True, slots=True)
class Packed:
    """What a trunk has worked out about its headers, as bytes that `Trunk.restore` takes back.

    `count` headers with the SHA-256 `digest`, all one after the other. `index`: 8 bytes per header in the order of
    the hashes, in this machine's byte order; `sums`: 32 bytes of work per 16 headers, big-endian.
    """

    count: int
    digest: bytes
    index: bytes
    sums: bytes


class Trunk:
    """Packed headers; `work_before` is the total work below the first one."""

    __slots__ = ("_drawers", "_index", "_later", "_sums", "_total", "_unsorted", "raw")

    def __init__(self, work_before: int) -> None:
        self.raw = bytearray()
        self._sums = bytearray()
        self._total = work_before
        self._drawers: array[int] = array("L")
        self._index: array[int] = array("Q")
        self._unsorted = array("Q")
        self._later: dict[BlockHash, int] = {}

    def __len__(self) -> int:
        return len(self.raw) // HEADER_SIZE

    @classmethod
    def restore(cls, work_before: int, raw: bytearray, packed: Packed) -> "Trunk":
        """Take back what `packed` said of the same headers; ValueError when the sizes do not fit.

        `raw` is kept, not copied. Digest, hashes and work are not looked at: the caller knows that they are right.
        """
        count = len(raw) // HEADER_SIZE
        sums = -(-count // _STEP) * _SUM
        if len(raw) % HEADER_SIZE or len(packed.index) != 8 * count or len(packed.sums) != sums:
            raise ValueError("index, sums and headers are not of one length")
        trunk = cls(work_before)
        trunk.raw, trunk._sums = raw, bytearray(packed.sums)
        index = array("Q")
        index.frombytes(packed.index)
        trunk._put(index)
        trunk._total = trunk.work(count - 1) if count else work_before
        return trunk

    def pack(self) -> Packed:
        """Return what `restore` takes back."""
        self._sort()
        return Packed(len(self), sha256(self.raw).digest(), self._index.tobytes(), bytes(self._sums))

    def append(self, raw: bytes | bytearray | memoryview, hashes: Sequence[BlockHash]) -> None:
        """Add whole headers and their hashes at the end."""
        count = len(self)
        assert len(raw) == HEADER_SIZE * len(hashes)
        assert count + len(hashes) <= _PLACE, "24 bits are enough for three centuries"
        self._sum(count, raw)
        self.raw += raw
        if len(hashes) > _MOST_LATER // 2:  # a file is read: merged once, when somebody asks
            heads = memoryview(b"".join(hashes)).cast("Q")[::4].tolist()
            entries = [head & ~_PLACE | place for place, head in enumerate(heads, count)]
            self._unsorted.extend(sorted(entries))  # sorted runs are merged in a fifth of the time
            return
        self._later.update(zip(hashes, range(count, count + len(hashes)), strict=True))
        if len(self._later) > max(_MOST_LATER, len(self._index) // 16):
            self._sort()

    def _sum(self, place: int, raw: bytes | bytearray | memoryview) -> None:
        total, sums = self._total, self._sums
        for bits, same in groupby(_bits_of(raw)):
            each, end = _work(bits), place + len(list(same))
            for first in range(-(-place // _STEP) * _STEP, end, _STEP):
                sums += (total + (first - place) * each).to_bytes(_SUM, "big")
            total += (end - place) * each
            place = end
        self._total = total

    def cut(self, count: int) -> None:
        """Keep the first `count` headers, at least one. Index entries of the others stay: `find` compares."""
        assert 0 < count <= len(self)
        self._total = self.work(count - 1)
        del self.raw[count * HEADER_SIZE :]
        del self._sums[-(-count // _STEP) * _SUM :]
        self._later = {block: place for block, place in self._later.items() if place < count}

    def at(self, place: int) -> bytes:
        """Return the 80 bytes at a place that exists."""
        return self.slice(place, place + 1)

    def slice(self, first: int, end: int) -> bytes:
        """Return the raw headers from a place to right before another."""
        return bytes(memoryview(self.raw)[first * HEADER_SIZE : max(end, first) * HEADER_SIZE])

    def hash(self, place: int) -> BlockHash:
        """Return the hash of the header at a place."""
        return BlockHash(sha256d(self.at(place)))

    def work(self, place: int) -> int:
        """Return the total work through the header at a place."""
        first = place - place % _STEP
        known = first // _STEP * _SUM
        total = int.from_bytes(self._sums[known : known + _SUM], "big")
        part = self.raw[first * HEADER_SIZE : (place + 1) * HEADER_SIZE]
        return total + sum(map(_work, _bits_of(part)))

    def find(self, block: BlockHash) -> int | None:
        """Return the place of a header, None when it is not here."""
        if (place := self._later.get(block)) is not None:
            return place
        if self._unsorted:
            self._sort()
        index, count, head = self._index, len(self), _head(block)
        if len(index) < _SHORT:
            at = bisect_left(index, head)
        else:
            drawer = head >> _DRAWER
            at = bisect_left(index, head, self._drawers[drawer], self._drawers[drawer + 1])
        while at < len(index) and index[at] & ~_PLACE == head:
            place = index[at] & _PLACE
            if place < count and self._is(place, block):
                return place
            at += 1
        return None

    def _is(self, place: int, block: BlockHash) -> bool:
        child = (place + 1) * HEADER_SIZE
        named = bytes(self.raw[child + 4 : child + 36])  # what the next header calls its parent
        return named == block if named else self.hash(place) == block

    def _sort(self) -> None:
        """One sorted index of what is here now."""
        if not self._unsorted and not self._later and len(self._index) == len(self):
            return
        entries = list(self._index)
        entries += self._unsorted
        entries += [_head(b) | place for b, place in self._later.items()]
        self._index, self._unsorted, self._later = array("Q"), array("Q"), {}
        entries.sort()
        count = len(self)
        if len(entries) != count:
            # After a cut: entries of headers that are gone, and perhaps two of one that came back.
            right = [e for e in dict.fromkeys(entries) if (e & _PLACE) < count]
            entries = [e for e in right if self._is_at(e)]
        self._put(array("Q", entries))

    def _put(self, index: "array[int]") -> None:
        """Take a sorted index, and note where each of its drawers begins: in a long one, looking costs memory."""
        self._index, self._drawers, low = index, array("L"), 0
        if len(index) < _SHORT:
            return
        for drawer in range((1 << 64) >> _DRAWER):
            low = bisect_left(index, drawer << _DRAWER, low)
            self._drawers.append(low)
        self._drawers.append(len(index))

    def _is_at(self, entry: int) -> bool:
        return _head(self.hash(entry & _PLACE)) == entry & ~_PLACE


def _head(block: bytes) -> int:
    """What the index keeps of a hash, in its place."""
    return int.from_bytes(block[:8], _ORDER) & ~_PLACE


def _bits_of(raw: bytes | bytearray | memoryview) -> list[int]:
    if _ORDER == "little":
        return memoryview(raw).cast("I")[18::20].tolist()
    return [bits for (bits,) in _BITS.iter_unpack(raw)]
