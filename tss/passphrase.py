"""Where a passphrase comes from: a file descriptor, a systemd credential, or a prompt. Never argv or environment.

It is bytes, exactly as typed or sent, without the line's end; whoever types on keyboards of several layouts keeps
to ASCII. Every buffer that holds it is a bytearray, wiped by whoever used it.
"""

import contextlib
import os
import signal
import termios
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

MAX_BYTES = 1024
LEAST_BYTES = 12
CREDENTIAL = "holdfast-passphrase"

Ask = Callable[[], bytearray]


class PassphraseFault(Exception):
    """No passphrase, or none that may be used; the sentence names the next move."""


def source(descriptor: int | None, what: str = "Passphrase") -> Ask:
    """How to get the passphrase of what exists: asked for only when it is needed.

    A descriptor that was named is used alone; else systemd's credential, else the terminal.
    """

    def ask() -> bytearray:
        if descriptor is not None:
            return _not_empty(read_descriptor(descriptor))
        path = _credential()
        return _not_empty(_read_file(path) if path is not None else prompt(f"{what}: "))

    return ask


def new(descriptor: int | None, what: str = "New passphrase") -> bytearray:
    """A passphrase to seal with: from the descriptor, systemd's credential, or typed twice."""
    path = _credential() if descriptor is None else None
    if descriptor is not None:
        given = read_descriptor(descriptor)
    elif path is not None:
        given = _read_file(path)
    else:
        given = _twice(what)
    if len(given) < LEAST_BYTES:
        wipe(given)
        raise PassphraseFault(f"a passphrase has at least {LEAST_BYTES} bytes: choose a longer one")
    return given


def read_descriptor(descriptor: int, limit: int = MAX_BYTES) -> bytearray:
    """Everything up to the end or the first line's end; PassphraseFault when it cannot be read or is too long."""
    given, more = bytearray(), True
    try:
        while more and len(given) <= limit + 2:
            part = bytearray(1)  # one at a time: what follows the line belongs to somebody else
            more = os.readv(descriptor, [part]) == 1 and part != b"\n"
            if more:
                given += part
            wipe(part)
    except OSError as error:
        wipe(given)
        raise PassphraseFault(
            f"file descriptor {descriptor} cannot be read ({error.strerror}): open it for this command, "
            f"e.g. {descriptor}< FILE"
        ) from error
    return _line(given, limit)


def read_all(descriptor: int, limit: int) -> bytearray:
    """Everything up to the end, lines and all; PassphraseFault when it cannot be read or is too long."""
    given, part = bytearray(), bytearray(limit + 1)
    try:
        while len(given) <= limit and (size := os.readv(descriptor, [part])):
            given += memoryview(part)[:size]
    except OSError as error:
        raise PassphraseFault(
            f"file descriptor {descriptor} cannot be read ({error.strerror}): open it for this command, "
            f"e.g. {descriptor}< FILE"
        ) from error
    finally:
        wipe(part)
    if len(given) > limit:
        wipe(given)
        raise PassphraseFault(f"more than {limit} bytes came: give the words alone")
    return given


def prompt(text: str) -> bytearray:
    """Ask on the terminal without showing what is typed; PassphraseFault when there is none."""
    try:
        terminal = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError as error:
        raise PassphraseFault(
            "the host key is under a passphrase and there is no terminal to ask on: give it by "
            f"--passphrase-fd N, or as the systemd credential {CREDENTIAL}"
        ) from error
    try:
        before = termios.tcgetattr(terminal)
        silent = before[:]
        silent[3] &= ~termios.ECHO
        termios.tcsetattr(terminal, termios.TCSAFLUSH, silent)
        try:
            with _interruptible():
                os.write(terminal, text.encode())
                return read_descriptor(terminal)
        finally:
            termios.tcsetattr(terminal, termios.TCSAFLUSH, before)
            os.write(terminal, b"\n")
    finally:
        os.close(terminal)


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Let Ctrl-C end a question: an event loop takes the signal and would look at it only after the answer."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def wipe(secret: bytearray) -> None:
    """Overwrite in place."""
    secret[:] = bytes(len(secret))


def _twice(what: str) -> bytearray:
    first = prompt(f"{what} (at least {LEAST_BYTES} bytes): ")
    second = prompt("The same again: ")
    same = first == second
    wipe(second)
    if not same:
        wipe(first)
        raise PassphraseFault("the two differ: run the command again")
    return first


def _credential() -> Path | None:
    folder = os.environ.get("CREDENTIALS_DIRECTORY")  # systemd names the folder, the secret is in a file
    path = Path(folder) / CREDENTIAL if folder else None
    return path if path is not None and path.is_file() else None


def _read_file(path: Path) -> bytearray:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise PassphraseFault(
            f"{path} cannot be read ({error.strerror}): check the unit's LoadCredential"
        ) from error
    try:
        return read_descriptor(descriptor)
    finally:
        os.close(descriptor)


def _line(given: bytearray, limit: int) -> bytearray:
    if given.endswith(b"\r"):
        del given[-1]
    if len(given) > limit:
        wipe(given)
        raise PassphraseFault(f"more than {limit} bytes came where one line belongs: give the line alone")
    return given


def _not_empty(given: bytearray) -> bytearray:
    if not given:
        raise PassphraseFault("the passphrase is empty: give the one that the folder was sealed with")
    return given
