"""Tells the story on stdout: each step's evidence as it happens, then a table of steps and seconds."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NoReturn, TextIO


class DoesNotHold(Exception):
    """Something that the story asserts is not so; the sentence says what was expected and what was seen."""


@dataclass(slots=True)
class Told:
    """One step as it went."""

    number: int
    title: str
    seconds: float = 0.0
    held: int = 0
    outcome: str = "failed"


@dataclass(slots=True)
class Teller:
    """Prints evidence and counts what held. `out` is where to."""

    out: TextIO = field(default_factory=lambda: sys.stdout)
    steps: list[Told] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)

    @contextmanager
    def step(self, number: int, title: str) -> Iterator[None]:
        """Tell one step; its time is taken, whatever comes out."""
        told = Told(number, title)
        self.steps.append(told)
        self._print(f"\n{number}. {title}")
        began = time.monotonic()
        try:
            yield
            told.outcome = "held"
        finally:
            told.seconds = time.monotonic() - began
            self._print(f"   {told.outcome}: {told.held} checks, {told.seconds:.1f} s")

    def missing(self, number: int, title: str) -> None:
        """Name a step that is not built yet."""
        self.steps.append(Told(number, title, outcome="missing"))
        self._print(f"\n{number}. {title}\n   missing: not built yet")

    def say(self, text: str) -> None:
        """A piece of evidence."""
        self._print(f"   · {text}")

    def check(self, held: bool, text: str, seen: object = None) -> None:
        """Something asserted from outside. DoesNotHold, with what was seen instead, when it is not so."""
        if not held:
            refuse(text if seen is None else f"{text}; but seen was {seen}")
        if self.steps:
            self.steps[-1].held += 1
        self._print(f"   ✓ {text}")

    def equal(self, seen: object, expected: object, text: str) -> None:
        """Two values that must be one."""
        self.check(seen == expected, text, f"{seen!r} instead of {expected!r}")

    def table(self, memory: dict[str, int]) -> None:
        """The steps with their seconds, and each process's peak memory (bytes by name)."""
        self._print(f"\n  {'step':<44}{'seconds':>9}{'checks':>8}  outcome")
        for told in self.steps:
            name = f"{told.number}. {told.title}"
            self._print(f"  {name:<44}{told.seconds:>9.1f}{told.held:>8}  {told.outcome}")
        total, checks = time.monotonic() - self.began, sum(told.held for told in self.steps)
        self._print(f"  {'with start and stop':<44}{total:>9.1f}{checks:>8}")
        if memory:
            self._print(f"\n  {'peak memory':<44}{'MB':>9}")
            for name, peak in memory.items():
                self._print(f"  {name:<44}{peak / 1e6:>9.0f}")

    def _print(self, text: str) -> None:
        print(text, file=self.out, flush=True)


def refuse(text: str) -> NoReturn:
    """Say that something does not hold."""
    raise DoesNotHold(text)


def short(digest: str) -> str:
    """The first digits of a hash or key, for reading."""
    return digest[:16] + "…"
