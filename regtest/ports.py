"""Hands out TCP ports of 127.0.0.1, never the same to two Holdfast processes of this machine.

Programs like bitcoind cannot listen on "any free port", so a port must be known before it is bound. A locked
file per port closes that gap between our own processes, and all ports lie below the kernel's ephemeral range,
so that no outgoing connection takes one either.
"""

import errno
import fcntl
import os
import random
import socket
import tempfile
from pathlib import Path

RANGE = range(21000, 32000)  # Linux gives 32768 and above to outgoing connections


class NoFreePort(Exception):
    """Every port that was tried is taken."""


class Port:
    """One port of 127.0.0.1, ours until `release()` or until this process ends."""

    def __init__(self) -> None:
        """Take a free port; NoFreePort when many tries found none."""
        folder = Path(tempfile.gettempdir()) / f"holdfast-ports-{os.getuid()}"
        folder.mkdir(mode=0o700, exist_ok=True)
        for number in random.sample(RANGE, 200):
            lock = os.open(folder / str(number), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
            if _lock(lock) and _can_bind(number):
                self.number = number
                self._lock: int | None = lock
                return
            os.close(lock)
        raise NoFreePort("No free port on 127.0.0.1: end some of the regtest worlds that run here.")

    def release(self) -> None:
        """Give the port back; a second call does nothing."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __repr__(self) -> str:
        return f"Port({self.number})"


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _can_bind(number: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(
            socket.SOL_SOCKET, socket.SO_REUSEADDR, 1
        )  # as servers do, so TIME_WAIT is no obstacle
        try:
            probe.bind(("127.0.0.1", number))
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                return False
            raise
    return True
