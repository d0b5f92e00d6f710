"""How much of the members' requests is kept: each member may fill so much of our disk and no more.

A request is stored whole so that any member can lead it later. What a member brings beyond its share pushes out its
own oldest requests, with the verdicts on those that nothing was signed for; others' are not touched.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from tss import tables

MAX_REQUESTS = 2_048  # per member
MAX_BYTES = 64 * 1024 * 1024  # per member, of payloads
_ROOM = 8  # make room for more than one at once, so that a full share costs little per request


class RequestShares:
    """What each member has stored here; read once, then kept up."""

    def __init__(self, max_requests: int = MAX_REQUESTS, max_bytes: int = MAX_BYTES) -> None:
        self._max_requests, self._max_bytes = max_requests, max_bytes
        self._held: dict[int, tuple[int, int]] = {}

    async def stored(self, db: AsyncConnection, member: int, size: int) -> None:
        """A request of `size` bytes was inserted in this transaction: push out old ones where it is too much."""
        count, held = self._held.get(member) or await self._count(db, member, size)
        count, held = count + 1, held + size
        if count > self._max_requests or held > self._max_bytes:
            await self._push_out(db, member)
            self._held.pop(member, None)
            return
        self._held[member] = count, held

    def forget(self) -> None:
        """A transaction failed: count anew."""
        self._held.clear()

    async def _count(self, db: AsyncConnection, member: int, size: int) -> tuple[int, int]:
        """Count and bytes without the row just inserted."""
        t = tables.requests
        wanted = sa.select(
            sa.func.count(), sa.func.coalesce(sa.func.sum(sa.func.length(t.c.payload)), 0)
        ).where(t.c.coordinator == member)
        count, held = (await db.execute(wanted)).one()
        return count - 1, held - size

    async def _push_out(self, db: AsyncConnection, member: int) -> None:
        t = tables.requests
        rows = await db.execute(
            sa.select(t.c.request_id, sa.func.length(t.c.payload))
            .where(t.c.coordinator == member)
            .order_by(t.c.at.desc())
        )
        kept, held, old = 0, 0, []
        for request_id, size in rows.all():
            kept, held = kept + 1, held + size
            if kept > self._max_requests - _ROOM or held > self._max_bytes - self._max_bytes // _ROOM:
                old.append(request_id)
        # The newest stays, whatever its size: a request is at most 1 MiB.
        await self._delete(db, old)

    async def _delete(self, db: AsyncConnection, old: Sequence[bytes]) -> None:
        t, v, s = tables.requests, tables.verdicts, tables.sessions
        for start in range(0, len(old), 500):
            some = old[start : start + 500]
            await db.execute(sa.delete(t).where(t.c.request_id.in_(some)))
            signed = sa.select(s.c.request_id).where(s.c.request_id.in_(some))
            await db.execute(sa.delete(v).where(v.c.request_id.in_(some), v.c.request_id.not_in(signed)))
