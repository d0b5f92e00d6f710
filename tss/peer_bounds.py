"""What a member may ask of us, what was refused, how long its answers take, and when to call it again.

Each member has a bucket of calls and one of bytes that fill at a steady rate: bursts pass, floods do not, and no
flood costs another member anything. Refusals are counted by member and code, and logged once per member and minute.
"""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

_LOG_EVERY = 60.0
_SLOWEST = 4


@dataclass(frozen=True, slots=True)
class Rates:
    """Per member: calls and bytes a second, and how much of each may come at once."""

    calls: float = 500.0
    calls_at_once: float = 2_000.0
    bytes: float = 16.0 * 1024 * 1024
    bytes_at_once: float = 64.0 * 1024 * 1024


class Bucket:
    """A level that fills with time up to a brim."""

    def __init__(self, rate: float, brim: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._brim, self._clock = rate, brim, clock
        self._level, self._at = brim, clock()

    def holds(self, amount: float) -> bool:
        """Whether so much could be taken now."""
        now = self._clock()
        self._level = min(self._brim, self._level + (now - self._at) * self._rate)
        self._at = now
        return self._level >= amount

    def take(self, amount: float) -> None:
        """Take it; ask `holds` first."""
        self._level -= amount


class Bounds:
    """The buckets of every member."""

    def __init__(self, rates: Rates | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._rates, self._clock = rates or Rates(), clock
        self._buckets: dict[int, tuple[Bucket, Bucket]] = {}

    def admit(self, member: int, size: int) -> bool:
        """Whether a call with a body of `size` bytes is within bounds; it is then paid for."""
        if member not in self._buckets:
            r = self._rates
            self._buckets[member] = (
                Bucket(r.calls, r.calls_at_once, self._clock),
                Bucket(r.bytes, r.bytes_at_once, self._clock),
            )
        calls, octets = self._buckets[member]
        if not (calls.holds(1) and octets.holds(size)):
            return False
        calls.take(1)
        octets.take(size)
        return True


class Refusals:
    """Counts what is refused; tells the log of it once per member and minute, with how many there were."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._told: dict[int, float] = {}
        self._silent: Counter[int] = Counter()
        self._log = structlog.get_logger("tss.peers")
        self.counts: Counter[tuple[int, str]] = Counter()

    def add(self, member: int, name: str, code: str, reason: str) -> None:
        """A call of this member was refused."""
        self.counts[member, code] += 1
        now = self._clock()
        if now - self._told.get(member, -_LOG_EVERY) < _LOG_EVERY:
            self._silent[member] += 1
            return
        self._told[member] = now
        self._log.warning(
            "a member's call was refused",
            member=name,
            code=code,
            reason=reason[:200],
            more=self._silent.pop(member, 0),
        )


_FIRST_PAUSE = 0.25
_PINGED_AT_FULL_RATE = 32  # members
_LONGEST_PAUSE = 4.0


def ping_interval(every: float, members: int) -> float:
    """Seconds between two pings of one member: `every` for up to 32, and in proportion for a larger committee.

    All ping all, so without this a node's work when idle grows with the committee.
    """
    return every * max(1.0, members / _PINGED_AT_FULL_RATE)


def ping_pause(interval: float, failures: int, chance: float) -> float:
    """Seconds to the next ping of a member; `chance` (0 to 1) spreads them, so that not all come at one moment."""
    if failures:
        return min(back_off(failures - 1, chance), 2 * interval)
    return interval * (0.75 + chance / 2)


def back_off(failures: int, chance: float) -> float:
    """Seconds to leave a line alone after so many failures in a row: twice as long each time, up to 4.

    `chance` (0 to 1) takes up to half of it away, so that all who lost a member do not call it at one moment.
    """
    full = min(_FIRST_PAUSE * 2.0 ** min(failures, 8), _LONGEST_PAUSE)
    return full * (1 - chance / 2)


@dataclass(slots=True)
class _Estimate:
    mean: float
    deviation: float


@dataclass(slots=True)
class RoundTrips:
    """How long one member's answers take, per topic (RFC 6298's estimate), and so how long to wait for one."""

    _known: dict[str, _Estimate] = field(default_factory=dict)

    def heard(self, topic: str, seconds: float) -> None:
        """An answer came."""
        known = self._known.get(topic)
        if known is None:
            self._known[topic] = _Estimate(seconds, seconds / 2)
            return
        known.deviation += (abs(seconds - known.mean) - known.deviation) / 4
        known.mean += (seconds - known.mean) / 8

    def late(self, topic: str, seconds: float) -> None:
        """No answer came in that time: wait twice as long for the next."""
        known = self._known.setdefault(topic, _Estimate(seconds / 2, seconds / 8))
        known.deviation = max(known.deviation, (2 * seconds - known.mean) / 4)

    def patience(self, topic: str, least: float, usual: float) -> float:
        """Seconds to wait for an answer: mean and four deviations, at least `least`, at most four times `usual`.

        `usual` while nothing is known.
        """
        known = self._known.get(topic)
        wanted = usual if known is None else known.mean + 4 * known.deviation
        return min(max(wanted, least), _SLOWEST * usual)
