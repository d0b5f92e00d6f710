"""A task that is cancelled in the middle of a statement leaves no lock behind."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from migrations.database import open_database

# Long before its first row, so that it is surely cancelled while it runs and then has a row that nobody takes.
SLOW = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT 400000) SELECT count(*) FROM c"


async def ask(engine: AsyncEngine) -> None:
    async with engine.connect() as db:
        (await db.execute(sa.text(SLOW))).scalar()


def lock_is_free(path: Path, seconds: float = 0) -> bool:
    with closing(sqlite3.connect(path, timeout=seconds, isolation_level=None)) as other:
        try:
            other.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return False
        return True


@pytest.mark.parametrize("turns", [5, 20, 80])
async def test_a_cancelled_statement_does_not_keep_the_write_lock(tmp_path: Path, turns: int) -> None:
    path = tmp_path / "some.db"
    engine = open_database(path)
    async with engine.begin() as db:
        await db.execute(sa.text("CREATE TABLE t (n INTEGER)"))
    task = asyncio.create_task(ask(engine))
    while lock_is_free(path):  # noqa: ASYNC110 SQLite has no event for a lock that is taken
        await asyncio.sleep(0)
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    [end] = await asyncio.gather(task, return_exceptions=True)  # its traceback keeps the cursor alive
    assert isinstance(end, asyncio.CancelledError)
    assert lock_is_free(path, seconds=3)
    await engine.dispose()
