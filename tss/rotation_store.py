"""The refreshes and repairs of signer.db: every method is one transaction, durable when it returns."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from tss import tables
from tss.database import Transaction
from tss.store import Store


@dataclass(frozen=True, slots=True)
class RotationRow:
    """A refresh or repair; see `tables.rotations`. `relay` 0 stands for one that we heard of afterwards."""

    sid: bytes
    key_sid: bytes
    work: str
    base: bytes
    attempt: int
    relay: int
    state: str
    reason: str
    body: bytes
    public: bytes
    proof: bytes
    at: float


KEPT_ATTEMPTS = 16  # of each key that came to nothing; a late link brings its own transcript


class RotationStore:
    """The only writer of `rotations` and `removals`, and of a key's group and state when these change it."""

    def __init__(self, store: Store, clock: Callable[[], float]) -> None:
        self._store, self._clock = store, clock

    async def save(self, row: RotationRow) -> None:
        """Insert or update a refresh or repair; the oldest attempts that came to nothing make room."""
        async with self._store.transaction() as db:
            await self._put(db, [row])
            t = tables.rotations
            idle = t.c.state.in_(("open", "signed", "failed")) & (t.c.key_sid == row.key_sid)
            newest = sa.select(t.c.sid).where(idle).order_by(t.c.attempt.desc()).limit(KEPT_ATTEMPTS)
            await db.execute(sa.delete(t).where(idle, t.c.sid.not_in(newest)))
            await self._store.audit(db, row.work, f"{row.sid.hex()}: {row.state} {row.reason}".strip())

    async def adopt(self, sid: bytes, key_sid: bytes, public: bytes, proof: bytes) -> None:
        """A refresh counts from now on: its row is proved and the key has its group, in one transaction."""
        rotations, keys = tables.rotations, tables.keys
        async with self._store.transaction() as db:
            proved = {"state": "proved", "proof": proof}
            await db.execute(sa.update(rotations).where(rotations.c.sid == sid).values(proved))
            await db.execute(sa.update(keys).where(keys.c.sid == key_sid).values(public=public))
            await self._store.audit(db, "refresh", f"{sid.hex()}: proved, counts for key {key_sid.hex()}")

    async def mend(self, key_sid: bytes, recovery: bytes, links: Iterable[RotationRow]) -> None:
        """Put sound recovery data in the place of a key's damaged ones, its refreshes with them."""
        keys = tables.keys
        async with self._store.transaction() as db:
            await db.execute(sa.update(keys).where(keys.c.sid == key_sid).values(recovery=recovery))
            await self._put(db, links)
            await self._store.audit(db, "key", f"{key_sid.hex()}: recovery data made whole")

    async def change_branch(self, key_sid: bytes, public: bytes, links: Iterable[RotationRow]) -> None:
        """Other refreshes than ours count: keep their rows and have the key end in their group."""
        keys = tables.keys
        async with self._store.transaction() as db:
            await db.execute(sa.update(keys).where(keys.c.sid == key_sid).values(public=public))
            await self._put(db, links)
            await self._store.audit(db, "refresh", f"{key_sid.hex()}: another branch of refreshes counts")

    async def get(self, sid: bytes) -> RotationRow | None:
        """One refresh or repair."""
        rows = await self._find(tables.rotations.c.sid == sid)
        return rows[0] if rows else None

    async def of_key(self, key_sid: bytes, *states: str) -> list[RotationRow]:
        """Those of a key in these states, oldest first."""
        t = tables.rotations
        return await self._find(t.c.key_sid == key_sid, t.c.state.in_(states))

    async def open(self) -> list[RotationRow]:
        """Attempts that were under way."""
        return await self._find(tables.rotations.c.state == "open")

    async def highest_attempt(self, base: bytes) -> int:
        """The highest attempt at a share set that this node went into, 0 when none."""
        t = tables.rotations
        rows = await self._store.rows(sa.select(sa.func.max(t.c.attempt)).where(t.c.base == base))
        return int(rows[0][0] or 0)

    async def key_states(self) -> list[tuple[bytes, str]]:
        """The stored state of every key, by its DKG session."""
        t = tables.keys
        return [(row[0], row[1]) for row in await self._store.rows(sa.select(t.c.sid, t.c.state))]

    async def consent(self, base: bytes, members: Iterable[int]) -> None:
        """Remember that the operator agreed to remove these members from a share set."""
        text = ",".join(str(member) for member in sorted(members))
        row = {"base": base, "members": text, "at": self._clock()}
        async with self._store.transaction() as db:
            await db.execute(insert(tables.removals).values(row).on_conflict_do_nothing())
            await self._store.audit(db, "consent", f"to remove members {text} from {base.hex()}")

    async def consents(self, base: bytes) -> frozenset[frozenset[int]]:
        """What the operator agreed to on a share set."""
        t = tables.removals
        rows = await self._store.rows(sa.select(t.c.members).where(t.c.base == base))
        return frozenset(frozenset(int(member) for member in row[0].split(",")) for row in rows)

    async def _put(self, db: Transaction, rows: Iterable[RotationRow]) -> None:
        for row in rows:
            values = {name: getattr(row, name) for name in RotationRow.__slots__}
            statement = insert(tables.rotations).values(values)
            await db.execute(statement.on_conflict_do_update(index_elements=["sid"], set_=values))

    async def _find(self, *wanted: sa.ColumnElement[bool]) -> list[RotationRow]:
        t = tables.rotations
        rows: list[tuple[Any, ...]] = await self._store.rows(sa.select(t).where(*wanted).order_by(t.c.at))
        return [RotationRow(*row) for row in rows]
