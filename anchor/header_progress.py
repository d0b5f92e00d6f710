"""How far a long read of headers has come: a bar on a terminal, elsewhere a line in the log now and then."""

import time
from collections.abc import Callable
from typing import Protocol

import structlog
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

LONG = 10_000  # headers that are worth a word
EVERY = 10.0  # seconds between two lines in the log

log = structlog.get_logger("anchor.feed")


class Shows(Protocol):
    """Is told where a read of headers stands."""

    def at(self, height: int, goal: int) -> None:
        """So far, and to where."""
        ...

    def done(self) -> None:
        """It has ended, in whatever way."""
        ...


class SyncProgress:
    """Shows reads of 10,000 headers and more; nothing of shorter ones."""

    def __init__(
        self, console: Console | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`console`: where the bar is drawn when it is a terminal; standard error by default."""
        self._console = console or Console(stderr=True)
        self._clock = clock
        self._bar: Progress | None = None
        self._begun: int | None = None
        self._told = 0.0

    def at(self, height: int, goal: int) -> None:
        """Draw the bar anew, or write a line when the last one is long ago."""
        if self._begun is None:
            self._begun = height
        if goal - self._begun < LONG:
            return
        if not self._console.is_terminal:
            now = self._clock()
            if now - self._told >= EVERY:
                self._told = now
                log.info("headers_read", height=height, of=goal)
            return
        if self._bar is None:
            columns = (
                TextColumn("Bitcoin headers"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
            )
            self._bar = Progress(*columns, console=self._console, transient=True)
            self._bar.add_task("headers", total=goal)
            self._bar.start()
        self._bar.update(self._bar.task_ids[0], completed=height, total=goal)

    def done(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()
        self._bar = self._begun = None
