"""Which key epochs did not sign of late: what waits for their members is left out of batches for a while."""

from collections.abc import Callable
from typing import Final

LONGEST_SECONDS: Final = 3600.0


class Reluctant:
    """Remembers failed sessions by key epoch; each one in a row doubles the pause, from `first` seconds on."""

    def __init__(self, first: float, clock: Callable[[], float]) -> None:
        self._first, self._clock = first, clock
        self._until: dict[int, tuple[float, float]] = {}  # epoch: end of the pause, its length

    def failed(self, epoch: int) -> None:
        """The members of an epoch were asked and did not sign."""
        _, length = self._until.get(epoch, (0.0, self._first / 2))
        length = min(2 * length, LONGEST_SECONDS)
        self._until[epoch] = self._clock() + length, length

    def signed(self, epoch: int) -> None:
        """They did."""
        self._until.pop(epoch, None)

    def epochs(self) -> frozenset[int]:
        """Those that are not to be asked just now."""
        now = self._clock()
        return frozenset(epoch for epoch, (until, _) in self._until.items() if now < until)
