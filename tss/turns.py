"""Who may drive key work here, and for how long: one driver at a time for each key, and turns when others wait.

A driver holds the others up: two at once would make two keys. So it loses its place when it is gone, when a minute
passes without a call that takes its work on, or when it has had its time while somebody waits. What it has had is
counted over a window so long that all other members together, lying, hold half of it at most.
"""

import time
from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Final

from tss.dkg.committee import Committee
from tss.peers import Peers, Refuse

STALLED_SECONDS: Final = 60.0
TURN_SECONDS: Final = 90.0
_LEAST_SECONDS: Final = 5.0  # what taking a place costs, so that nobody takes it from others again and again
_WAITS_SECONDS: Final = 600.0  # who was refused is waited for so long
_COMES_SECONDS: Final = 60.0  # but only so long when the place is free
_LEAST_WINDOW: Final = 3600.0


@dataclass(frozen=True, slots=True)
class Place:
    """What this member takes part in: the work in words, who drives it, seconds so far, seconds without a step."""

    work: str
    driver: int
    held: float
    idle: float
    waiting: tuple[int, ...]


@dataclass(slots=True)
class _Line:
    work: str = ""
    driver: int = 0  # 0: nobody
    boot_id: bytes = b""
    since: float = 0.0
    moved: float = 0.0
    free: float = 0.0
    asked: dict[int, float] = field(default_factory=dict)
    had: dict[int, deque[tuple[float, float]]] = field(default_factory=dict)  # (end, seconds)


class Turns:
    """The places of one kind of key work at this member."""

    def __init__(self, committee: Committee, clock: Callable[[], float] = time.monotonic) -> None:
        self._committee, self._clock = committee, clock
        self._window = max(_LEAST_WINDOW, 2 * TURN_SECONDS * committee.size)
        self._lines: dict[Hashable, _Line] = {}
        self._peers: Peers | None = None

    def register(self, peers: Peers) -> None:
        """Learn from now on who is there, and in which boot."""
        self._peers = peers

    def take(self, what: Hashable, work: str, driver: int) -> None:
        """Give the driver the place; Refuse names who has it, or who is to have it first.

        `work` reads after "is": "making the mint key". A driver that begins anew goes on in its place.
        """
        line, now = self._lines.setdefault(what, _Line()), self._clock()
        if self._busy(line, driver, now):
            line.asked[driver] = now
            left = max(0.0, TURN_SECONDS - self._had(line, line.driver, now))
            raise Refuse(
                "busy",
                f"{self._name(line.driver)} is {line.work} just now, for {now - line.since:.0f} s: run this again "
                f"when it is done, or in {left:.0f} s, when its time is over",
            )
        self._free(line, now)
        first = self._before(line, driver, now)
        if first and self._had(line, driver, now) >= TURN_SECONDS:
            names = self._committee.names_of(first)
            raise Refuse(
                "turn",
                f"{self._name(driver)} has been {work} for more than {TURN_SECONDS:.0f} s in all, and {names} "
                "waits: let that one drive, or try again in a minute",
            )
        line.asked.pop(driver, None)
        line.work, line.driver, line.since, line.moved = work, driver, now, now
        line.boot_id = self._boot_of(driver)

    def resumed(self, what: Hashable, work: str, driver: int) -> None:
        """After our own restart the driver's work goes on; its boot is known when it calls."""
        self.take(what, work, driver)
        self._lines[what].boot_id = b""

    def moved(self, what: Hashable) -> None:
        """The driver made a call that takes its work on."""
        line = self._lines.get(what)
        if line is not None and line.driver:
            line.moved = self._clock()
            line.boot_id = line.boot_id or self._boot_of(line.driver)

    def end(self, what: Hashable) -> None:
        """The work is over, whatever came of it."""
        line = self._lines.get(what)
        if line is not None:
            self._free(line, self._clock())

    def holds(self, what: Hashable) -> bool:
        """Whether somebody drives this who is there and not stalled."""
        line, now = self._lines.get(what), self._clock()
        return line is not None and bool(line.driver) and not self._lapsed(line, now)

    def places(self) -> list[Place]:
        """All that is driven here just now, with who waits for it."""
        now = self._clock()
        return [
            Place(
                line.work,
                line.driver,
                now - line.since,
                now - line.moved,
                self._before(line, line.driver, now),
            )
            for line in self._lines.values()
            if line.driver and not self._lapsed(line, now)
        ]

    def _busy(self, line: _Line, driver: int, now: float) -> bool:
        if line.driver in (0, driver) or self._lapsed(line, now):
            return False
        theirs, ours = self._had(line, line.driver, now), self._had(line, driver, now)
        return theirs < TURN_SECONDS or ours >= TURN_SECONDS

    def _lapsed(self, line: _Line, now: float) -> bool:
        seen = None if self._peers is None else self._peers.seen.get(line.driver)
        there = seen is None or (seen.down is None and line.boot_id in (b"", seen.boot_id))
        return not there or now - line.moved > STALLED_SECONDS

    def _free(self, line: _Line, now: float) -> None:
        if line.driver:
            spell = max(_LEAST_SECONDS, now - line.since)
            line.had.setdefault(line.driver, deque(maxlen=_MOST_SPELLS)).append((now, spell))
            line.driver, line.free = 0, now

    def _had(self, line: _Line, driver: int, now: float) -> float:
        """Seconds that a driver had the place in the window, this time too."""
        spells = line.had.get(driver, deque())
        while spells and spells[0][0] < now - self._window:
            spells.popleft()
        present = now - line.since if line.driver == driver else 0.0
        return present + sum(seconds for _, seconds in spells)

    def _before(self, line: _Line, driver: int, now: float) -> tuple[int, ...]:
        """Who waits and has not had its time: these go first when the driver has had its own."""
        since_free = now - line.free if not line.driver else 0.0
        if since_free > _COMES_SECONDS:
            line.asked.clear()
        return tuple(
            member
            for member, at in sorted(line.asked.items())
            if member != driver and now - at < _WAITS_SECONDS and self._had(line, member, now) < TURN_SECONDS
        )

    def _boot_of(self, driver: int) -> bytes:
        seen = None if self._peers is None else self._peers.seen.get(driver)
        return b"" if seen is None else seen.boot_id

    def _name(self, member: int) -> str:
        return self._committee.name_of(member)


_MOST_SPELLS = int(TURN_SECONDS / _LEAST_SECONDS) + 1  # as many as make a turn
