"""A folder for one world in the user's cache: its own for each run, cleared when the run is over or was killed."""

import contextlib
import fcntl
import os
import shutil
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from regtest.core import cache_folder


class RunFolder:
    """An empty folder `NAME-…` for the length of a block; `keep` leaves it there to be looked at.

    A lock on each says whether its process lives; folders without one are cleared when the next begins.
    """

    def __init__(self, name: str) -> None:
        """Remember the name; nothing is made yet."""
        self._name, self.keep = name, False

    def __enter__(self) -> Self:
        """Clear what earlier runs left and make the folder."""
        home = cache_folder()
        home.mkdir(parents=True, exist_ok=True)
        for old in home.glob(f"{self._name}-*"):
            _clear_if_dead(old)
        self.path = Path(tempfile.mkdtemp(prefix=f"{self._name}-", dir=home))
        self._lock = _locked(self.path)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Clear it, unless it is to be kept."""
        if not self.keep:
            shutil.rmtree(self.path, ignore_errors=True)
        if self._lock is not None:
            os.close(self._lock)


def _locked(folder: Path) -> int | None:
    """Lock a run's folder; None when somebody else holds it or it is gone."""
    try:
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock


def _clear_if_dead(folder: Path) -> None:
    lock = _locked(folder)
    if lock is not None:
        with contextlib.suppress(OSError):
            shutil.rmtree(folder)
        os.close(lock)
