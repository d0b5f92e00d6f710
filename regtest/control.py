"""How `holdfast regtest mine` in one shell drives the world that `holdfast regtest up` holds in another.

One world per user: a lock, the world's folder and a Unix socket lie in the user's cache folder. The lock falls with
its process, so what a crash left behind is known to be stale and is cleaned up by the next `up` or `down`.
"""

import contextlib
import fcntl
import json
import os
import shutil
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from regtest.core import cache_folder
from regtest.waiting import wait_until

MAX_REQUEST = 64 * 1024


class NoWorld(Exception):
    """There is no world to drive; the sentence says how to start one."""


class WorldIsUp(Exception):
    """There is one already; the sentence says how to end it."""


class Refused(Exception):
    """The world did not do what it was asked; the sentence says why."""


def home() -> Path:
    """The folder of this user's one world."""
    return cache_folder() / "regtest"


class Seat:
    """The right to hold this user's one world, with an empty folder for it. Given back when the block ends."""

    def __init__(self) -> None:
        """Describe it; nothing is taken yet."""
        self.folder = home() / "world"
        self._lock: int | None = None

    def __enter__(self) -> Self:
        """Take it and clear what a crash left; WorldIsUp when another process holds it."""
        self._lock = _lock()
        if self._lock is None:
            raise WorldIsUp("A world is up already: use it, or end it with `holdfast regtest down`.")
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, str(os.getpid()).encode(), 0)
        _clear()
        self.folder.mkdir()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Clear the folder and give it back."""
        _clear()
        assert self._lock is not None
        os.close(self._lock)


def clear_stale() -> bool:
    """Clear what a crashed world left; False when a living world holds it."""
    lock = _lock()
    if lock is None:
        return False
    _clear()
    os.close(lock)
    return True


def stop_starting() -> None:
    """Have a world that does not answer yet end itself."""
    try:
        os.kill(int((home() / "lock").read_text()), signal.SIGTERM)
    except (OSError, ValueError) as error:
        raise NoWorld("The world is just ending, or has not begun: try again in a moment.") from error


def wait_gone(*, seconds: float = 60) -> None:
    """Wait until no world is up."""
    wait_until(clear_stale, "the world to end", seconds=seconds)


def serve(do: Callable[[str, dict[str, Any]], Any], look: Callable[[], None]) -> None:
    """Answer requests with `do(verb, arguments)` until one asks for `down`; `look()` about once a second.

    What `do` raises is answered as a refusal; the world goes on.
    """
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(_path()))
        listener.listen()
        listener.settimeout(1)
        verb = ""
        while verb != "down":
            look()
            with contextlib.suppress(TimeoutError):
                connection, _ = listener.accept()
                with connection:
                    verb = _answer(connection, do)


def _answer(connection: socket.socket, do: Callable[[str, dict[str, Any]], Any]) -> str:
    """Take one request and answer it; return its verb, or nothing when there was none to read."""
    connection.settimeout(5)
    try:
        with connection.makefile("rb") as reader:
            request = json.loads(reader.readline(MAX_REQUEST))
        verb, arguments = str(request["verb"]), dict(request["arguments"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""  # whoever it was went away, or is no `holdfast regtest`
    try:
        answer = {"value": None if verb == "down" else do(verb, arguments)}
    except Exception as error:
        answer = {"refused": str(error) or type(error).__name__}
    with contextlib.suppress(OSError):
        connection.sendall(json.dumps(answer).encode() + b"\n")
    return verb


def ask(verb: str, arguments: dict[str, object] | None = None, *, seconds: float = 120) -> Any:
    """Have the running world do something and return what it says. NoWorld or Refused otherwise."""
    with socket.socket(socket.AF_UNIX) as asker:
        asker.settimeout(seconds)
        try:
            asker.connect(str(_path()))
            asker.sendall(json.dumps({"verb": verb, "arguments": arguments or {}}).encode() + b"\n")
            with asker.makefile("rb") as reader:
                answer = json.loads(reader.readline())
        except TimeoutError as error:
            raise Refused(f"The world took over {seconds:g} s for that: see its shell.") from error
        except (OSError, ValueError) as error:
            if _held():
                raise NoWorld("A world is starting or ending: ask again in a few seconds.") from error
            raise NoWorld("No world is up: start one with `holdfast regtest up`.") from error
    if "refused" in answer:
        raise Refused(answer["refused"])
    return answer["value"]


def _path() -> Path:
    return home() / "control.sock"


def _lock() -> int | None:
    home().mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = os.open(home() / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock


def _held() -> bool:
    """Whether a living process has the lock."""
    lock = _lock()
    if lock is not None:
        os.close(lock)
    return lock is None


def _clear() -> None:
    _path().unlink(missing_ok=True)
    shutil.rmtree(home() / "world", ignore_errors=True)
