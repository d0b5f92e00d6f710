"""A branch that grows by whole runs of raw headers, under the same rules, many times as fast.

`rules.check` decides: what is looked at in bulk here can only be *accepted* here. A run that does not pass at once
is walked header by header through `rules.check`, which finds the first bad one and names its rule. Bulk works
because little changes within a difficulty period: valid bits are those of the period's first header or, after 20
quiet minutes where the network allows it, the easiest.
"""

from collections.abc import Sequence
from hashlib import sha256
from itertools import accumulate, compress
from operator import le
from struct import Struct
from typing import cast

from anchor.btc.header import HEADER_SIZE, Header, target_of, work_of
from anchor.btc.ids import BlockHash
from anchor.headers.rules import MEDIAN_SPAN, Rules, check

_COLUMNS = Struct("<i32s32xII4x")  # version, parent, time, bits
_WHOLE = Struct(f"{HEADER_SIZE}s")
_AT_ONCE = 2016  # headers; bounds memory, and the walk after a run that does not pass at once
_ANY_VERSION = -(1 << 31)


class HeaderRun:
    """The end of one valid branch, and `add` to extend it.

    `tail` are the branch's newest headers, oldest first, taken on trust; the last stands at `height`, with the
    total `work`. They reach back to the first block of its difficulty period, where the network retargets
    (ValueError otherwise); the median rule is passed over until eleven, or all from genesis on, are known.
    """

    __slots__ = ("_base", "_rules", "_tail", "height", "tip", "work")

    def __init__(self, rules: Rules, tail: Sequence[Header], height: int, work: int) -> None:
        base = height - len(tail) + 1
        if not tail or base < 0 or (_has_periods(rules) and base > height - height % rules.interval):
            raise ValueError(f"a run upon height {height} needs the headers from its period's first block on")
        self._rules, self._base = rules, base
        self._tail = bytearray(b"".join(header.raw for header in tail))
        self.height, self.tip, self.work = height, tail[-1].hash, work

    def __repr__(self) -> str:
        return f"HeaderRun({self._rules.network.name}, height {self.height})"

    @property
    def time(self) -> int:
        """The newest header's time, Unix seconds."""
        return int.from_bytes(self._tail[-12:-8], "little")

    def add(self, raw: bytes) -> list[BlockHash]:
        """Take whole headers (80 bytes each, in order) and return their hashes.

        Raises HeaderRefused, with rule and height, for the first that breaks the rules; those before it are in,
        it and what follows are not. ValueError unless whole headers.
        """
        if len(raw) % HEADER_SIZE:
            raise ValueError(f"a run of headers is a multiple of {HEADER_SIZE} bytes")
        hashes: list[BlockHash] = []
        while rest := len(raw) // HEADER_SIZE - len(hashes):
            here = len(hashes) * HEADER_SIZE
            count = min(self._reach(), rest)
            part = raw[here : here + max(count, 1) * HEADER_SIZE]
            done = self._at_once(part) if count else None
            hashes += self._walk(part) if done is None else done
        return hashes

    def _reach(self) -> int:
        """How many headers follow under one set of conditions; 0 when the next must be looked at alone."""
        rules, at = self._rules, self.height + 1
        if at - self._base < MEDIAN_SPAN:
            return 0
        ends = [at + _AT_ONCE, *(since for since in rules.versions if since > at)]
        if _has_periods(rules):
            if at % rules.interval == 0:
                return 0
            ends.append(at - at % rules.interval + rules.interval)
        return min(ends) - at

    def _at_once(self, raw: bytes) -> list[BlockHash] | None:
        """Take a run that `_reach` allows; None when anything is wrong with it, or might be."""
        versions, parents, times, bits = zip(*_COLUMNS.iter_unpack(raw), strict=True)
        hashes = cast(
            "list[BlockHash]",
            [sha256(sha256(one).digest()).digest() for (one,) in _WHOLE.iter_unpack(raw)],
        )
        if (self.tip, *hashes[:-1]) != parents or min(versions) < self._oldest_version():
            return None
        if not self._after_medians(times):
            return None
        work = self._enough_work(times, bits, hashes)
        if work is None:
            return None
        self._take(raw, hashes[-1], len(hashes), work)
        return hashes

    def _oldest_version(self) -> int:
        at = self.height + 1
        floors = [
            version for version, since in zip((2, 3, 4), self._rules.versions, strict=True) if at >= since
        ]
        return max(floors, default=_ANY_VERSION)

    def _after_medians(self, times: tuple[int, ...]) -> bool:
        """Whether each time is after its median: surely so when it is later than all before it."""
        before = [time for _, _, time, _ in _COLUMNS.iter_unpack(self._tail[-MEDIAN_SPAN * HEADER_SIZE :])]
        tops = accumulate(times, max, initial=max(before))
        line = [*before, *times]
        return all(
            line[n + MEDIAN_SPAN] > sorted(line[n : n + MEDIAN_SPAN])[MEDIAN_SPAN // 2]
            for n in compress(range(len(times)), map(le, times, tops))
        )

    def _enough_work(
        self, times: tuple[int, ...], bits: tuple[int, ...], hashes: list[BlockHash]
    ) -> int | None:
        """Return the run's work when all bits are the computed ones and all hashes meet them, else None."""
        rules = self._rules
        first = self.height - self.height % rules.interval if _has_periods(rules) else self.height
        real = self._at(first).bits
        easy = rules.limit_bits if rules.min_difficulty and not rules.constant_bits else real
        target = target_of(real)
        if target > rules.pow_limit:
            return None
        if bits.count(real) == len(bits) and easy == real:
            met = max([block[::-1] for block in hashes]) <= target.to_bytes(32, "big")
            return len(bits) * work_of(real) if met else None
        late = 2 * rules.spacing
        wanted = [easy if time > last + late else real for last, time in zip((self.time, *times), times)]  # noqa: B905  # the last time is nobody's parent here
        least = {one: target_of(one).to_bytes(32, "big") for one in (real, easy)}
        if wanted != list(bits) or any(h[::-1] > least[b] for h, b in zip(hashes, bits, strict=True)):
            return None
        return sum(bits.count(one) * work_of(one) for one in least)

    def _walk(self, raw: bytes) -> list[BlockHash]:
        """Take headers one by one by the rules themselves."""
        hashes: list[BlockHash] = []
        for (one,) in _WHOLE.iter_unpack(raw):
            header = Header.parse(one)
            check(self._rules, header, self.height + 1, self._known)
            hashes.append(header.hash)
            self._take(one, header.hash, 1, work_of(header.bits))
        return hashes

    def _take(self, raw: bytes, tip: BlockHash, count: int, work: int) -> None:
        self._tail += raw
        self.height, self.tip, self.work = self.height + count, tip, self.work + work
        keep = self.height - MEDIAN_SPAN + 1
        if _has_periods(self._rules):
            keep = min(keep, self.height - self.height % self._rules.interval)
        if keep > self._base:
            del self._tail[: (keep - self._base) * HEADER_SIZE]
            self._base = keep

    def _at(self, height: int) -> Header:
        place = (height - self._base) * HEADER_SIZE
        return Header.parse(bytes(self._tail[place : place + HEADER_SIZE]))

    def _known(self, height: int) -> Header | None:
        return self._at(height) if self._base <= height <= self.height else None


def _has_periods(rules: Rules) -> bool:
    """Whether a period's first header is special: its bits, or BIP94's bound on its time."""
    return not rules.constant_bits or rules.bip94
