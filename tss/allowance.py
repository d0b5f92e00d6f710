"""Small memories with a bound: how much a member may still do in this minute, and what was seen lately."""

import math
import time
from collections.abc import Callable, Iterator, Mapping

_HALF_LIFE = 600.0
_FORGIVEN = 0.5
_GRAVE = 8.0
_MOST = 32.0


class Allowance:
    """So many times a minute; what is not used is lost."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_minute, self._clock = per_minute, clock
        self._left, self._since = per_minute, clock()

    def take(self) -> bool:
        """Use one; False when none is left in this minute."""
        now = self._clock()
        if now - self._since >= 60:
            self._left, self._since = self._per_minute, now
        if self._left <= 0:
            return False
        self._left -= 1
        return True


class Grudges:
    """Who stalled sessions lately: halved every ten minutes, forgotten below one half of a strike."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._scores: dict[int, tuple[float, float]] = {}

    def note(self, strikes: Mapping[int, int]) -> None:
        """Add the strikes of one request; an hour's worth at most is remembered."""
        for member, count in strikes.items():
            self._scores[member] = min(self._score(member) + count, _MOST), self._clock()

    def level(self, member: int) -> int:
        """How late a member is better asked: 0 with the others, 1 after them, 2 (it did wrong) after all."""
        score = self._score(member)
        return (score >= _FORGIVEN) + (score >= _GRAVE)

    def _score(self, member: int) -> float:
        score, at = self._scores.get(member, (0.0, 0.0))
        return score * math.pow(0.5, (self._clock() - at) / _HALF_LIFE)


class Recent:
    """The last so many names."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._names: dict[bytes, None] = {}

    def add(self, name: bytes) -> None:
        """Remember a name; the oldest is forgotten when there are too many."""
        self._names.pop(name, None)
        self._names[name] = None
        if len(self._names) > self._limit:
            del self._names[next(iter(self._names))]

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._names)
