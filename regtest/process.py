"""One program of ours as an operating-system process: start, stop, kill, freeze, and the memory it took.

What it says on stderr and stdout goes to one log, appended over all its runs. When this process ends in whatever
way, so does the program (see `orphans`).
"""

import contextlib
import os
import re
import signal
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

from regtest import orphans
from regtest.waiting import wait_until


class ProcessFault(Exception):
    """A program did not start or stop; the sentence says why, with the last lines of its log."""


class Process:
    """A named program with its log; `start()` it as often as you like. Not for several threads at once."""

    def __init__(self, name: str, command: Sequence[object], log: Path) -> None:
        """Describe a program; nothing runs yet."""
        self.name, self.log = name, log
        self.command = tuple(str(part) for part in command)
        self.frozen = False
        self._process: subprocess.Popen[bytes] | None = None
        self._peak = 0

    @property
    def running(self) -> bool:
        """Whether the process is alive, frozen or not."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int | None:
        """The process number while it runs."""
        return self._process.pid if self._process is not None and self.running else None

    @property
    def peak_memory(self) -> int:
        """The most memory that it held at once in any of its runs, in bytes (VmHWM)."""
        self._measure()
        return self._peak

    # Life

    def start(self) -> Self:
        """Start it without waiting; see `wait_ready`. ProcessFault when it runs already."""
        if self.running:
            raise ProcessFault(f"{self.name} runs already: stop it first.")
        self._reap()
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for us; we stop it in order
            )
        orphans.guard(self._process.pid)
        return self

    def wait_ready(self, ready: Callable[[], bool], *, seconds: float = 90) -> None:
        """Wait until `ready()` is true; ProcessFault with its last words when it ends or is late."""
        try:
            wait_until(lambda: not self.running or ready(), f"{self.name} to be ready", seconds=seconds)
        except TimeoutError as error:
            raise ProcessFault(f"{error} {self.last_words()}") from error
        if not self.running:
            raise ProcessFault(f"{self.name} ended while starting. {self.last_words()}")

    def ask_to_stop(self) -> None:
        """Begin to end it in order (SIGTERM) without waiting, so that several can stop at once."""
        self._measure()
        if self._process is not None and self.running:
            self._process.send_signal(signal.SIGCONT)  # a frozen process would not hear SIGTERM
            self._process.terminate()

    def stop(self, *, seconds: float = 20) -> None:
        """End it in order (SIGTERM); a second call does nothing. ProcessFault when it had to be killed."""
        if self._process is None:
            return
        self.ask_to_stop()
        try:
            self._process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise ProcessFault(
                f"{self.name} took over {seconds:g} s to stop and was killed: see {self.log}."
            ) from None
        self._reap()

    def kill(self) -> None:
        """End it as a power failure would (SIGKILL), frozen or not."""
        if self._process is not None:
            self._measure()
            self._process.kill()
            self._reap()

    def freeze(self) -> None:
        """Stop its clock (SIGSTOP): it keeps its sockets and answers nothing."""
        self._signal(signal.SIGSTOP)
        self.frozen = True

    def thaw(self) -> None:
        """Let a frozen process run on (SIGCONT)."""
        self._signal(signal.SIGCONT)
        self.frozen = False

    def last_words(self, lines: int = 8) -> str:
        """The end of its log, for an error's sentence."""
        said: list[str] = []
        with contextlib.suppress(OSError):
            said = self.log.read_text(errors="replace").splitlines()[-lines:]
        return "Its last words: " + ("\n".join(said) or "none")

    def __repr__(self) -> str:
        return f"Process({self.name!r}, pid={self.pid})"

    # Inside

    def _signal(self, number: signal.Signals) -> None:
        if not self.running or self._process is None:
            raise ProcessFault(f"{self.name} does not run: start it first.")
        os.kill(self._process.pid, number)

    def _measure(self) -> None:
        if self.pid is None:
            return
        with contextlib.suppress(OSError):
            status = Path(f"/proc/{self.pid}/status").read_text()
            if found := re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE):
                self._peak = max(self._peak, int(found[1]) * 1024)

    def _reap(self) -> None:
        if self._process is not None:
            self._process.wait()
            orphans.forget(self._process.pid)
            self._process = None
        self.frozen = False
