"""The operator's stop: while it stands this node signs nothing, tests and proofs neither.

Durable: a paused node that starts anew is still paused. Key generation and key work go on until they need a
signature of the new shares, and finish after `resume`.
"""

from collections.abc import Callable
from dataclasses import dataclass

import sqlalchemy as sa

from tss import tables
from tss.store import Store

MAX_REASON = 200


@dataclass(frozen=True, slots=True)
class Paused:
    """Why and since when, Unix seconds."""

    reason: str
    since: float


class Pause:
    """Whether this node signs."""

    def __init__(self, store: Store, clock: Callable[[], float]) -> None:
        self._store, self._clock = store, clock
        self.now: Paused | None = None

    async def load(self) -> None:
        """Take up what was said before this start."""
        c = tables.pauses.c
        wanted = sa.select(c.reason, c.since).where(c.until.is_(None)).order_by(c.number.desc()).limit(1)
        rows = await self._store.rows(wanted)
        self.now = Paused(*rows[0]) if rows else None

    async def pause(self, reason: str) -> Paused:
        """Sign nothing from now on; the newest reason counts. ValueError for a reason that is empty or too long."""
        reason = " ".join(reason.split())
        if not 0 < len(reason) <= MAX_REASON or not reason.isprintable():
            raise ValueError(f"a reason is 1 to {MAX_REASON} printable characters")
        since = self._clock() if self.now is None else self.now.since
        self.now = Paused(reason, since)  # before the disk: no share may leave while it is written
        async with self._store.transaction() as db:
            await db.execute(_end(self._clock()))
            await db.execute(sa.insert(tables.pauses).values(reason=reason, since=since))
            await self._store.audit(db, "pause", reason)
        return self.now

    async def resume(self) -> Paused | None:
        """Sign again; gives the pause that ended."""
        ended = self.now
        if ended is not None:
            async with self._store.transaction() as db:
                await db.execute(_end(self._clock()))
                await self._store.audit(db, "resume", ended.reason)
            self.now = None
        return ended


def _end(now: float) -> sa.Update:
    t = tables.pauses
    return sa.update(t).where(t.c.until.is_(None)).values(until=now)
