"""What signer.db need not remember for ever: spent nonces of starts that are long over.

A nonce lives in the memory of the process that made it. Once a later start is recorded, no commitment of an earlier
one is signed with again, whatever rows there are: so a row of an ended start no longer keeps a share back. For a
month it still answers a coordinator that lost our share, and convicts one that asks for a second signature; then it
goes, with the order it belongs to. Rows of the start that runs now stay, however old.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import sqlalchemy as sa
import structlog

from tss import tables
from tss.store import Store

KEPT_SECONDS: Final = 30 * 86_400.0
_AT_ONCE = 2_000  # rows in one transaction, so that signing does not wait long
_EVERY = 6 * 3600.0

_OVER = """
DELETE FROM nonces WHERE rowid IN (
    SELECT n.rowid FROM nonces n JOIN boots b ON b.boot_id = n.boot_id
    WHERE n.at < :before AND b.number < (SELECT number FROM boots WHERE boot_id = :boot)
    LIMIT :most
)
"""
_ORDERS = """
DELETE FROM sessions WHERE rowid IN (
    SELECT rowid FROM sessions WHERE at < :before AND session NOT IN (SELECT session FROM nonces) LIMIT :most
)
"""
_VERDICTS = """
DELETE FROM verdicts WHERE number IN (
    SELECT number FROM verdicts
    WHERE at < :before AND request_id NOT IN (SELECT request_id FROM requests)
    AND request_id NOT IN (SELECT request_id FROM sessions)
    LIMIT :most
)
"""


class Trimming:
    """Takes out what is over, at the start and from time to time."""

    def __init__(self, store: Store, boot_id: bytes, clock: Callable[[], float]) -> None:
        self._store, self._boot_id, self._clock = store, boot_id, clock
        self._task: asyncio.Task[None] | None = None
        self._log = structlog.get_logger("tss.store")

    def start(self) -> None:
        """Begin."""
        self._task = asyncio.get_running_loop().create_task(self._for_ever())

    async def close(self) -> None:
        """Stop."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def trim(self) -> int:
        """Take out all that is over, and what hangs on it; how many nonces went."""
        oldest = sa.select(tables.nonces.c.at).order_by(sa.text("rowid")).limit(1)
        if all(at >= self._clock() - KEPT_SECONDS for (at,) in await self._store.rows(oldest)):
            return 0  # nothing is written on most days
        gone = await self._out(_OVER, "spent nonces of starts that are over")
        if gone:
            for what, kind in ((_ORDERS, "orders of such nonces"), (_VERDICTS, "verdicts on such requests")):
                await self._out(what, kind)
        return gone

    async def _out(self, statement: str, what: str) -> int:
        values = {"before": self._clock() - KEPT_SECONDS, "boot": self._boot_id, "most": _AT_ONCE}
        used = {name: value for name, value in values.items() if f":{name}" in statement}
        gone, some = 0, _AT_ONCE
        while some == _AT_ONCE:
            async with self._store.transaction() as db:
                some = await db.run(lambda raw: raw.execute(statement, used).rowcount)
                if some:
                    await self._store.audit(db, "trimmed", f"{some} {what}")
            gone += some
        return gone

    async def _for_ever(self) -> None:
        while True:
            try:
                await self.trim()
            except Exception:
                self._log.exception("trimming signer.db failed")
            await asyncio.sleep(_EVERY)
