"""How often strangers and members may ask for what costs us something."""

from collections import OrderedDict
from collections.abc import Callable, Hashable

MAX_CALLERS = 10_000  # of whom the oldest are forgotten


class RateLimit:
    """A token bucket per caller: `burst` at once, then `rate` a second."""

    def __init__(self, rate: float, burst: int, clock: Callable[[], float]) -> None:
        self.rate, self.burst, self.clock = rate, burst, clock
        self._buckets: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()

    def wait(self, caller: Hashable) -> float:
        """Take a token; return 0, or the seconds until there is one."""
        now = self.clock()
        tokens, at = self._buckets.pop(caller, (float(self.burst), now))
        tokens = min(float(self.burst), tokens + max(0.0, now - at) * self.rate)
        short = max(0.0, (1 - tokens) / self.rate)
        self._buckets[caller] = (tokens if short else tokens - 1, now)
        if len(self._buckets) > MAX_CALLERS:
            self._buckets.popitem(last=False)
        return short
