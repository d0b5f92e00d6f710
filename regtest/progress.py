"""Runs long commands and shows how far they are: a bar on a terminal, elsewhere a line every ten seconds.

Standard library only: `core` and the set-up use it before any virtual environment exists.
"""

import contextlib
import functools
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

COUNT = re.compile(r"\[(\d+)/(\d+)\]")  # ninja's own
LINE_EVERY = 10.0
LOOK_EVERY = 0.5
WIDTH = 30


class Progress:
    """One long piece of work under one title, made of one or more commands."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._began = time.monotonic()
        self._shown = -LINE_EVERY
        self._tty = sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb"

    @classmethod
    @functools.cache
    def under(cls, title: str) -> "Progress":
        """Return the one Progress with this title, so that several commands count as one work."""
        return cls(title)

    def run(
        self,
        command: Sequence[str | Path],
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> str:
        """Run a command to its end and return what it printed.

        A failure raises CalledProcessError with that output. When we are interrupted, the command and all its
        children are stopped first.
        """
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        said: list[str] = []
        reader = threading.Thread(target=self._collect, args=(process, said), daemon=True)
        reader.start()
        try:
            self._show_until_done(process, said)
            reader.join()
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise
        if process.returncode != 0:
            raise subprocess.CalledProcessError(process.returncode, list(command), "".join(said))
        return "".join(said)

    @staticmethod
    def _collect(process: "subprocess.Popen[str]", said: list[str]) -> None:
        assert process.stdout is not None
        said.extend(iter(process.stdout.readline, ""))

    def _show_until_done(self, process: "subprocess.Popen[str]", said: list[str]) -> None:
        self._show(said)
        while True:
            try:
                process.wait(timeout=LOOK_EVERY)
            except subprocess.TimeoutExpired:
                self._show(said)
            else:
                if self._tty:
                    sys.stderr.write("\r\033[K")
                return

    def _show(self, said: list[str]) -> None:
        passed = time.monotonic() - self._began
        if not self._tty and passed - self._shown < LINE_EVERY:
            return
        self._shown = passed
        seconds = f"{passed:.0f} s"
        found = COUNT.search(said[-1]) if said else None
        if found is None:
            text = f"{self._title} … {seconds}"
        else:
            done, total = int(found[1]), int(found[2])
            filled = WIDTH * done // total
            bar = f"[{'#' * filled}{'.' * (WIDTH - filled)}] " if self._tty else ""
            text = f"{self._title} {bar}{done}/{total}, {seconds}"
        sys.stderr.write(f"\r\033[K{text}" if self._tty else f"{text}\n")
        sys.stderr.flush()
