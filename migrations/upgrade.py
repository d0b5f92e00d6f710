"""Makes a database at head, upgrades an old one after copying it, and refuses what this program cannot read.

A node calls `ready` at start: a missing file is made, a current one is accepted, anything else is refused
with the next move. Only `holdfast node upgrade` calls `upgrade` on an existing file.
"""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sqlalchemy import Connection, create_engine, event

Name = Literal["signer", "node", "rollup"]
_REVISION = re.compile(r'^revision = ["\'](\w+)["\']', re.MULTILINE)
_PARENT = re.compile(r'^down_revision = ["\'](\w+)["\']', re.MULTILINE)


class SchemaFault(Exception):
    """A database whose schema this program will not use; the sentence names the next move."""


class SchemaTooOld(SchemaFault):
    """The database was written by an earlier release and waits for `holdfast node upgrade`."""


class SchemaTooNew(SchemaFault):
    """The database was written by a later release; this one would damage it."""


class DatabaseDamaged(SchemaFault):
    """The file is no SQLite database, or not one of ours."""


@dataclass(frozen=True, slots=True)
class Upgraded:
    """A database now at head; `copy` is the file as it was before, None when it was made just now."""

    path: Path
    before: str | None
    after: str
    copy: Path | None


@dataclass(frozen=True, slots=True)
class AlreadyCurrent:
    """Nothing was to be done."""

    path: Path
    revision: str


def ready(name: Name, path: Path) -> None:
    """Make a missing database at head, else `check` it; what a program does before it opens one."""
    if empty(path):
        upgrade(name, path)
    else:
        check(name, path)


def check(name: Name, path: Path) -> None:
    """Raise SchemaTooOld, SchemaTooNew or DatabaseDamaged unless the file is at this program's head."""
    known, head = revisions(name)
    found = _revision(path)
    if found == head:
        return
    if found is None or found in known:
        raise SchemaTooOld(
            f"{path} has {f'the schema {found}' if found else 'no schema yet'}, this release needs "
            f"{head}: stop the program that uses it and run `holdfast node upgrade`"
        )
    raise SchemaTooNew(
        f"{path} has the schema {found}, which is newer than this release knows "
        f"({head}): install the release that wrote it; nothing was changed"
    )


def upgrade(name: Name, path: Path) -> Upgraded | AlreadyCurrent:
    """Bring the database to head in one transaction, after copying an existing file beside it.

    Raises SchemaTooNew or DatabaseDamaged, and then nothing was changed. The caller holds the folder's lock.
    """
    _, head = revisions(name)
    fresh = empty(path)
    if not fresh:
        try:
            check(name, path)
        except SchemaTooOld:
            pass
        else:
            return AlreadyCurrent(path, head)
    before = None if fresh else _revision(path)
    copy = None if fresh else _copy(path, before)
    if fresh:
        path.touch(mode=0o600)
    _migrate(name, path)
    return Upgraded(path, before, head, copy)


def revisions(name: Name) -> tuple[set[str], str]:
    """All revisions of a database in this release, and the newest.

    Read from the migrations' text: a program that only checks its database at start need not import Alembic.
    """
    ids: set[str] = set()
    parents: set[str] = set()
    for path in (Path(__file__).parent / name / "versions").glob("*.py"):
        text = path.read_text(encoding="utf-8")
        ids |= set(_REVISION.findall(text))
        parents |= set(_PARENT.findall(text))
    heads = ids - parents
    if len(heads) != 1:
        raise SchemaFault(f"this installation's migrations for {name}.db are damaged: install Holdfast again")
    return ids, heads.pop()


def _migrate(name: Name, path: Path) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / name).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    with _connection(path) as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def empty(path: Path) -> bool:
    """No file, or one whose first start was killed before its schema was committed."""
    return not path.exists() or _revision(path) is None


def _revision(path: Path) -> str | None:
    """The revision written in the file, None when it holds no schema yet."""
    # A reader of a WAL database leaves its -wal and -shm behind: not when it is told that nobody writes, and
    # without a -wal nobody does.
    how = "mode=ro" if path.with_name(f"{path.name}-wal").exists() else "mode=ro&immutable=1"
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?{how}", uri=True)) as db:
            names = {row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            row = db.execute("SELECT version_num FROM alembic_version").fetchone() if names else None
        if names and row is None:
            raise sqlite3.DatabaseError("it has tables, but no revision")
    except sqlite3.DatabaseError as error:
        raise DatabaseDamaged(
            f"{path} cannot be read as one of Holdfast's databases ({error}): restore it from a backup, "
            "or move it away if it never held anything"
        ) from error
    return None if row is None else str(row[0])


def _copy(path: Path, revision: str | None) -> Path:
    """A consistent copy beside the file, WAL included, that no later upgrade overwrites."""
    number = 1
    while (copy := path.with_name(f"{path.name}.before-upgrade-{revision or 'empty'}-{number}")).exists():
        number += 1
    copy.touch(mode=0o600)
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)
    return copy


@contextmanager
def _connection(path: Path) -> Iterator[Connection]:
    engine = create_engine(f"sqlite:///{path}", connect_args={"isolation_level": None})
    event.listen(engine, "connect", lambda dbapi, _record: dbapi.execute("PRAGMA journal_mode=WAL"))
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    try:
        with engine.begin() as connection:
            yield connection
    finally:
        engine.dispose()
