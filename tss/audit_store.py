"""Reading the audit log of signer.db, and keeping what the other members said of theirs."""

from collections.abc import Callable
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from tss import tables
from tss.audit import TAKEN_OUT, AuditRow, Head, taken_out
from tss.store import Store


@dataclass(frozen=True, slots=True)
class AuditAlarm:
    """A log that does not hold a row its member signed: `expected` was the row's hash, `found` is (empty: no row).

    `member` is whose log it is, ourselves too; `reporter` who noticed. Unix seconds.
    """

    member: int
    reporter: int
    row: int
    expected: bytes
    found: bytes
    at: float


class AuditStore:
    """The only writer of `audit_heads` and `audit_alarms`; rows of `audit` are written by `Store.audit`."""

    def __init__(self, store: Store, clock: Callable[[], float]) -> None:
        self._store, self._clock = store, clock

    async def head(self) -> tuple[int, bytes]:
        """Number and hash of our newest row; (0, zeros) while there is none."""
        t = tables.audit
        rows = await self._store.rows(sa.select(t.c.number, t.c.hash).order_by(t.c.number.desc()).limit(1))
        return (rows[0][0], rows[0][1]) if rows else (0, bytes(32))

    async def hash_at(self, number: int) -> bytes:
        """The hash of a row of ours; empty when there is none."""
        t = tables.audit
        rows = await self._store.rows(sa.select(t.c.hash).where(t.c.number == min(number, 2**63 - 1)))
        return bytes(rows[0][0]) if rows else b""

    async def rows(self, after: int, limit: int) -> list[AuditRow]:
        """Our rows after a number, oldest first."""
        t = tables.audit
        wanted = sa.select(t.c.number, t.c.at, t.c.kind, t.c.detail, t.c.previous, t.c.hash)
        wanted = wanted.where(t.c.number > after).order_by(t.c.number).limit(limit)
        return [AuditRow(*row) for row in await self._store.rows(wanted)]

    async def first(self) -> int:
        """The number of our oldest row, 1 while none was taken out."""
        t = tables.audit
        rows = await self._store.rows(sa.select(t.c.number).order_by(t.c.number).limit(1))
        return rows[0][0] if rows else 1

    async def take_out(self, through: int, digest: bytes) -> int:
        """Delete all rows up to one of this hash, and say so in the log; how many went, 0 when there is none."""
        t = tables.audit
        async with self._store.transaction() as db:
            wanted = sa.select(t.c.number).where(t.c.number == through, t.c.hash == digest)
            if (await db.execute(wanted)).first() is None:
                return 0
            await self._store.audit(db, TAKEN_OUT, taken_out(through, digest))
            return (await db.execute(sa.delete(t).where(t.c.number <= through))).rowcount

    async def remembered(self) -> dict[int, Head]:
        """The newest head of each other member."""
        c = tables.audit_heads.c
        rows = await self._store.rows(sa.select(c.member, c.number, c.hash, c.at_ms, c.signature))
        return {row[0]: Head(*row) for row in rows}

    async def remember(self, head: Head) -> None:
        """Keep a member's head instead of the one before."""
        values = {name: getattr(head, name) for name in ("member", "number", "hash", "at_ms", "signature")}
        statement = insert(tables.audit_heads).values(values)
        async with self._store.transaction() as db:
            await db.execute(statement.on_conflict_do_update(index_elements=["member"], set_=values))

    async def alarm(self, alarm: AuditAlarm, old: Head, name: str) -> bool:
        """Write an alarm down with the head that was signed; False when it is known."""
        t = tables.audit_alarms
        values = {field: getattr(alarm, field) for field in AuditAlarm.__slots__} | {"signed": old.encode()}
        async with self._store.transaction() as db:
            done = await db.execute(insert(t).values(values).on_conflict_do_nothing())
            if done.rowcount:
                detail = f"{name}'s log lost its row {alarm.row} {alarm.expected.hex()}"
                await self._store.audit(db, "audit-alarm", detail)
        return bool(done.rowcount)

    async def alarms(self) -> list[AuditAlarm]:
        """Every alarm, oldest first."""
        c = tables.audit_alarms.c
        wanted = sa.select(c.member, c.reporter, c.row, c.expected, c.found, c.at).order_by(c.number)
        return [AuditAlarm(*row) for row in await self._store.rows(wanted)]
