"""How a database file is opened: SQLite in WAL, every transaction immediate.

The driver's default begins a transaction only at its first write, so two processes that read and then write lose
updates; `BEGIN IMMEDIATE` on every transaction prevents it (NOTES.md, 2026-11-21).
"""

import asyncio
import sqlite3
from contextlib import suppress
from pathlib import Path
from typing import Any

from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine


def open_database(path: Path, *, synchronous: str = "NORMAL") -> AsyncEngine:
    """An engine over the SQLite file at `path`; `synchronous` is FULL where a lost commit loses money.

    One connection: a process's own transactions queue in order instead of meeting SQLITE_BUSY.
    """
    assert synchronous in {"NORMAL", "FULL"}
    engine = create_async_engine(f"sqlite+aiosqlite:///{path}", pool_size=1, max_overflow=0)

    @event.listens_for(engine.sync_engine, "connect")
    def _connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # the driver must not begin on its own
        for pragma in (
            "journal_mode=WAL",
            f"synchronous={synchronous}",
            "foreign_keys=ON",
            "busy_timeout=5000",
        ):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine.sync_engine, "begin")
    def _begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    @event.listens_for(engine.sync_engine, "invalidate")
    def _invalidate(connection: Any, _record: Any, _error: Any) -> None:
        # A cancelled statement may still be referenced when its connection is closed; SQLite then keeps the
        # connection, and with it the write lock. So the transaction is rolled back first: tasks start in order.
        with suppress(RuntimeError):  # no loop runs any more: the process ends, and the lock with it
            loop = asyncio.get_running_loop()
            rollback = loop.create_task(_rolled_back(connection))
            _rollbacks.add(rollback)
            rollback.add_done_callback(_rollbacks.discard)

    return engine


_rollbacks: set[asyncio.Task[None]] = set()  # the loop itself holds tasks only weakly


async def _rolled_back(connection: Any) -> None:
    with suppress(ValueError, sqlite3.Error):  # closed already
        await connection.driver_connection.rollback()
