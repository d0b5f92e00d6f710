"""Waits for a condition instead of for a time."""

import time
from collections.abc import Callable


def wait_until(check: Callable[[], bool], what: str, *, seconds: float = 90) -> None:
    """Return as soon as `check()` is true; TimeoutError naming `what` after so many seconds.

    The pause between two looks grows from 10 to 200 ms: short waits end soon, long ones cost little.
    """
    end = time.monotonic() + seconds
    pause = 0.01
    while not check():
        if time.monotonic() >= end:
            raise TimeoutError(f"Waited {seconds:g} s in vain for: {what}.")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.2)
