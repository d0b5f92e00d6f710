"""Ways to spoil a file of a stopped program's folder; `name` is its path in the folder."""

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from tests.regtest.grounds import Change


def edit(name: str, old: str, new: str) -> Change:
    """Replace a piece of text."""

    def change(folder: Path) -> None:
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new, 1))

    return change


def write(name: str, data: bytes | str) -> Change:
    """Give a file this content."""
    return lambda folder: (folder / name).write_bytes(data.encode() if isinstance(data, str) else data)


def cut(name: str, size: int) -> Change:
    """Leave so many bytes."""
    return lambda folder: os.truncate(folder / name, size)


def gone(name: str) -> Change:
    """Take a file away."""
    return lambda folder: (folder / name).unlink()


def folder_instead(name: str) -> Change:
    """Put a folder where a file should be."""

    def change(folder: Path) -> None:
        (folder / name).unlink()
        (folder / name).mkdir()

    return change


def mode(name: str, bits: int) -> Change:
    """Change a file's mode."""
    return lambda folder: (folder / name).chmod(bits)


def copy(source: Path, name: str) -> Change:
    """Put a copy of another file there."""
    return lambda folder: shutil.copy2(source, folder / name)


def sql(name: str, statement: str) -> Change:
    """Change a database."""

    def change(folder: Path) -> None:
        with closing(sqlite3.connect(folder / name)) as db, db:
            db.execute(statement)

    return change
