"""For the long run's own nodes: counts a process's durable writes and can end it at a chosen one.

A durable write is a commit of an SQLite transaction that changed something, or an fsync of a file. Both are
caught where every part of the program must pass, the driver and `os.fsync`, so that no write is missed whoever
makes it: schema and start-up, recovery, signing, key work.
"""

import os
import signal
import sqlite3
from threading import Lock
from typing import Any

_WRITES = ("INSERT", "UPDATE", "DELETE", "REPLACE", "CREATE", "ALTER", "DROP", "WITH")


class Trigger:
    """Counts durable writes from its making on, and dies right before or right after one of them."""

    def __init__(self, at: int = 0, *, after: bool = False) -> None:
        self._lock = Lock()
        self.arm(at, after=after)

    def arm(self, at: int, *, after: bool) -> None:
        """Die at the `at`-th write from now; 0 counts only."""
        self.count, self.at, self.after = 0, at, after

    def install(self) -> None:
        """Watch `os.fsync` and every SQLite connection made from now on."""
        real_fsync, real_connect = os.fsync, sqlite3.connect

        def fsync(handle: int) -> None:
            number = self.reached()
            real_fsync(handle)
            self.passed(number)

        def connect(*arguments: Any, **options: Any) -> sqlite3.Connection:
            made = real_connect(*arguments, **{"factory": _Connection} | options)
            if isinstance(made, _Connection):
                made.trigger = self
            return made

        os.fsync = fsync
        sqlite3.connect = sqlite3.dbapi2.connect = connect

    def reached(self) -> int:
        """A write is about to become durable: its number."""
        with self._lock:
            self.count += 1
            number = self.count
        self._die(number, after=False)
        return number

    def passed(self, number: int) -> None:
        """It is durable."""
        self._die(number, after=True)

    def _die(self, number: int, *, after: bool) -> None:
        if self.at and number == self.at and after == self.after:
            os.kill(os.getpid(), signal.SIGKILL)


class _Cursor(sqlite3.Cursor):
    def execute(self, statement: str, *parameters: Any) -> "_Cursor":
        with self.connection.watched(statement):
            return super().execute(statement, *parameters)

    def executemany(self, statement: str, *parameters: Any) -> "_Cursor":
        with self.connection.watched(statement):
            return super().executemany(statement, *parameters)


class _Connection(sqlite3.Connection):
    """Tells its trigger of every commit of something changed, however it is asked for."""

    trigger: Trigger | None = None
    changed = False

    def cursor(self, factory: Any = None) -> sqlite3.Cursor:
        return super().cursor(factory or _Cursor)

    # The driver's own short cuts do not ask `cursor`.
    def execute(self, statement: str, *parameters: Any) -> sqlite3.Cursor:
        return self.cursor().execute(statement, *parameters)

    def executemany(self, statement: str, *parameters: Any) -> sqlite3.Cursor:
        return self.cursor().executemany(statement, *parameters)

    def executescript(self, _script: str) -> sqlite3.Cursor:
        raise NotImplementedError("a script's commits would not be seen")

    def commit(self) -> None:
        with _Write(self, durable=self.changed and self.in_transaction):
            super().commit()

    def rollback(self) -> None:
        super().rollback()
        self.changed = False

    def watched(self, statement: str) -> "_Write":
        word = statement.lstrip()[:8].upper()
        writes = word.startswith(_WRITES)
        self.changed = self.changed or writes
        if word.startswith("ROLLBACK"):
            self.changed = False
        ends = word.startswith(("COMMIT", "END")) or not self.in_transaction
        return _Write(self, durable=self.changed and ends and not word.startswith("BEGIN"))


class _Write:
    """The moment of one statement or commit; a durable one passes the trigger before and after."""

    def __init__(self, connection: _Connection, *, durable: bool) -> None:
        self._connection, self._number = connection, 0
        self._trigger = connection.trigger if durable else None

    def __enter__(self) -> None:
        if self._trigger is not None:
            self._number = self._trigger.reached()

    def __exit__(self, kind: object, *_error: object) -> None:
        if self._trigger is not None and kind is None:
            self._connection.changed = False
            self._trigger.passed(self._number)
