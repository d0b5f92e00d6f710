"""signer.db's one connection, in a thread of its own.

What is hot is one function a transaction: one trip to the thread, BEGIN IMMEDIATE, its statements, one fsync. What
is rare may be written statement by statement in `transaction`. Either way transactions follow each other in order,
and `commit` is the one place where something becomes durable.
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.pool import StaticPool

T = TypeVar("T")

_PRAGMAS = ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=5000")


@dataclass(frozen=True, slots=True)
class Rows:
    """What a statement gave: all its rows, and how many it changed."""

    found: Sequence[Any]
    rowcount: int

    def __iter__(self) -> Iterator[Any]:
        return iter(self.found)

    def first(self) -> Any | None:
        """The first row, if there is one."""
        return self.found[0] if self.found else None

    def scalar_one(self) -> Any:
        """The only value of the only row."""
        ((value,),) = self.found
        return value


class Transaction:
    """An open transaction, used statement by statement."""

    def __init__(self, database: "Database") -> None:
        self._database = database

    async def execute(self, statement: sa.Executable, values: Any = None) -> Rows:
        """Run one statement of SQLAlchemy's."""
        return await self._database.in_thread(lambda: self._database.core(statement, values))

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run a function such as the hot transactions are made of."""
        return await self._database.in_thread(lambda: work(self._database.raw))


class Database:
    """The file and its thread; nothing else writes to it while it is open."""

    def __init__(self, path: Path, failed: Callable[[], None] = lambda: None) -> None:
        """`failed` is called in the thread, or in place of a body that raised, after each transaction undone."""
        self.raw = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=256)
        for pragma in _PRAGMAS:
            self.raw.execute(f"PRAGMA {pragma}")
        engine = sa.create_engine("sqlite://", creator=lambda: self.raw, poolclass=StaticPool)
        # SQLAlchemy only words the rare statements; transactions begin and end here.
        self._core = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        self._failed = failed
        self._turn = asyncio.Lock()
        self._thread = ThreadPoolExecutor(1, "signer.db")

    async def close(self) -> None:
        """Let what is under way end, then close the file."""
        async with self._turn:
            await self.in_thread(self._close)
            self._thread.shutdown()

    async def write(
        self, work: Callable[[sqlite3.Connection], T], committed: Callable[[], None] = lambda: None
    ) -> T:
        """One transaction, durable when this returns; nothing of it when `work` raises.

        `committed` is called in the thread once it is durable, whether or not somebody still waits for it.
        """
        async with self._turn:
            return await self.in_thread(lambda: self._whole(work, committed))

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Queries between two transactions."""
        async with self._turn:
            return await self.in_thread(lambda: work(self.raw))

    async def rows(self, statement: sa.Select[Any]) -> list[tuple[Any, ...]]:
        """What one query of SQLAlchemy's gives."""
        async with self._turn:
            return await self.in_thread(lambda: [tuple(row) for row in self.core(statement)])

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """A transaction of several steps; durable when it ends, nothing of it when its body raises."""
        async with self._turn:
            try:
                await self.in_thread(self._begin)
                yield Transaction(self)
                await self.in_thread(self._end)
            except BaseException:
                # After whatever the thread is still at, and before anybody else's turn.
                self._thread.submit(self._roll_back)
                raise

    async def in_thread(self, work: Callable[[], T]) -> T:
        """Run something in the thread; who is cancelled meanwhile still waits for its end."""
        running = asyncio.get_running_loop().run_in_executor(self._thread, work)
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            await asyncio.wait({running})
            if not running.cancelled():
                running.exception()  # seen: its caller is gone
            raise

    def core(self, statement: sa.Executable, values: Any = None) -> Rows:
        """Run one statement of SQLAlchemy's, in the thread."""
        result = self._core.execute(statement, values)
        return Rows(result.all() if result.returns_rows else (), result.rowcount)

    def commit(self) -> None:
        """Make what was written durable, in the thread."""
        self.raw.execute("COMMIT")

    def _whole(self, work: Callable[[sqlite3.Connection], T], committed: Callable[[], None]) -> T:
        try:
            self._begin()
            done = work(self.raw)
            self.commit()
        except BaseException:
            self._roll_back()
            raise
        committed()
        return done

    def _begin(self) -> None:
        self.raw.execute("BEGIN IMMEDIATE")

    def _end(self) -> None:
        self.commit()

    def _roll_back(self) -> None:
        self._failed()
        if self.raw.in_transaction:
            self.raw.execute("ROLLBACK")

    def _close(self) -> None:
        self._core.close()
        self.raw.close()
