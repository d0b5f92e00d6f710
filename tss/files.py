"""Files that must survive a power cut and be nobody else's to read: atomic writes, and one process per folder."""

import fcntl
import os
from pathlib import Path
from typing import Self


class FolderInUse(Exception):
    """Another process runs on the folder; the sentence names it."""


class FolderLock:
    """An advisory lock on a node's folder, held for the life of the process and freed by its death."""

    def __init__(self, folder: Path, name: str = "lock") -> None:
        """Remember the folder; nothing is locked yet."""
        self._path = folder / name
        self._file: int | None = None

    def acquire(self) -> Self:
        """Take the lock or raise FolderInUse; no file of the folder is changed when it is refused."""
        file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(file, 32).decode(errors="replace").strip() or "unknown"
            os.close(file)
            raise FolderInUse(
                f"{self._path.parent} is in use by process {holder}: stop that one first, "
                "or give this one its own folder"
            ) from None
        os.ftruncate(file, 0)
        os.pwrite(file, f"{os.getpid()}\n".encode(), 0)
        self._file = file
        return self

    def release(self) -> None:
        """Free the lock; harmless when it is not held."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def __enter__(self) -> Self:
        return self if self._file is not None else self.acquire()

    def __exit__(self, *_exc: object) -> None:
        self.release()


def write_atomically(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Replace the file as a whole and return only when it is on the disk (file, then folder, fsynced).

    A device or a pipe is written to and never replaced: root's `-o /dev/null` must leave it what it is.
    """
    if path.exists() and not path.is_file():
        path.write_bytes(data)
        return
    temporary = path.with_name(f".{path.name}.{os.getpid()}.new")
    file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    try:
        os.fchmod(file, mode)
        view = memoryview(data)
        while view:
            view = view[os.write(file, view) :]
        os.fsync(file)
    finally:
        os.close(file)
    temporary.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make renames in the folder durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def refuse_open_to_others(path: Path, error: type[Exception]) -> None:
    """Raise `error` when group or others may read the file."""
    if path.stat().st_mode & 0o077:
        raise error(f"{path} can be read by others: run `chmod 600 {path}` and consider the key exposed")
