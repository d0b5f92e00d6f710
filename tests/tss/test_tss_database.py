"""signer.db's connection: one transaction after the other, all of it or nothing, whoever loses patience."""

import asyncio
import sqlite3
import threading

import pytest
import sqlalchemy as sa

from tss.database import Database

INSERT = "INSERT INTO t VALUES (?)"


@pytest.fixture
async def database(tmp_path):
    opened = Database(tmp_path / "some.db")
    await opened.write(lambda db: db.execute("CREATE TABLE t (n INTEGER PRIMARY KEY)"))
    yield opened
    await opened.close()


async def numbers(database):
    return [row[0] for row in await database.rows(sa.text("SELECT n FROM t ORDER BY n"))]


async def test_a_transaction_that_raises_leaves_nothing_and_the_next_goes_on(database):
    def half(db):
        db.execute(INSERT, (1,))
        db.execute(INSERT, (1,))

    with pytest.raises(sqlite3.IntegrityError):
        await database.write(half)
    await database.write(lambda db: db.execute(INSERT, (2,)))
    assert await numbers(database) == [2]


async def test_a_stepwise_transaction_whose_body_raises_leaves_nothing(database):
    async def fails():
        async with database.transaction() as db:
            await db.execute(sa.text("INSERT INTO t VALUES (1)"))
            raise RuntimeError("the body")

    with pytest.raises(RuntimeError):
        await fails()
    assert await numbers(database) == []


async def test_nobody_writes_into_another_s_open_transaction(database):
    begun, go = asyncio.Event(), asyncio.Event()

    async def stepwise():
        async with database.transaction() as db:
            await db.execute(sa.text("INSERT INTO t VALUES (1)"))
            begun.set()
            await go.wait()
            raise RuntimeError("undone")

    first = asyncio.create_task(stepwise())
    await begun.wait()
    second = asyncio.create_task(database.write(lambda db: db.execute(INSERT, (2,))))
    third = asyncio.create_task(numbers(database))
    go.set()
    assert await third == [2]
    assert isinstance((await asyncio.gather(first, second, return_exceptions=True))[0], RuntimeError)


async def test_who_is_cancelled_leaves_a_whole_transaction_and_is_told_that_it_is_durable(database):
    inside, go, committed = threading.Event(), threading.Event(), []

    def slow(db):
        db.execute(INSERT, (1,))
        inside.set()
        go.wait()
        db.execute(INSERT, (2,))

    write = asyncio.create_task(database.write(slow, lambda: committed.append(True)))
    await asyncio.to_thread(inside.wait)
    write.cancel()
    asyncio.get_running_loop().call_soon(go.set)
    with pytest.raises(asyncio.CancelledError):
        await write
    assert committed
    assert await numbers(database) == [1, 2]


async def test_a_stepwise_transaction_that_is_cancelled_leaves_nothing(database):
    begun = asyncio.Event()

    async def stepwise():
        async with database.transaction() as db:
            await db.run(lambda raw: raw.execute(INSERT, (1,)))
            begun.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(stepwise())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await numbers(database) == []


async def test_a_commit_that_fails_is_told_as_failed_and_undone(database):
    told = []
    database._failed = lambda: told.append("failed")
    commit = database.commit

    def full():
        raise sqlite3.OperationalError("database or disk is full")

    database.commit = full
    with pytest.raises(sqlite3.OperationalError):
        await database.write(lambda db: db.execute(INSERT, (1,)), lambda: told.append("committed"))
    with pytest.raises(sqlite3.OperationalError):
        async with database.transaction():
            pass
    database.commit = commit
    assert await numbers(database) == []
    assert set(told) == {"failed"}


async def test_every_transaction_is_flushed_to_the_disk(database):
    mode = await database.read(
        lambda db: (
            db.execute("PRAGMA journal_mode").fetchone()[0],
            db.execute("PRAGMA synchronous").fetchone()[0],
        )
    )
    assert mode == ("wal", 2)
