"""signer.db: what a signer must remember. Every method is one transaction, durable when it returns.

SQLite with WAL, `BEGIN IMMEDIATE` on every transaction (the driver's default loses updates) and
`synchronous=FULL` (a share that left must be remembered after a power cut).
"""

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.exc import IntegrityError

from migrations.upgrade import ready
from tss import store_rows, tables
from tss.audit import AuditFault, AuditRow, check
from tss.database import Database, Transaction
from tss.request_store import RequestShares
from tss.signing.signer import NonceRow
from tss.store_rows import RequestRow, SessionRow, VerdictRow

__all__ = [
    "AttemptRow",
    "KeyRow",
    "NonceTaken",
    "RequestRow",
    "SessionRow",
    "Store",
    "StoreFault",
    "Transaction",
    "VerdictRow",
]


class StoreFault(Exception):
    """The store will not do that; the sentence says why."""


class NonceTaken(StoreFault):
    """One of the commitments has a row already: nothing was stored, no share may leave."""


@dataclass(frozen=True, slots=True)
class KeyRow:
    """A certified key. `public`, `recovery` and `proof` are encodings; `state` as in DESIGN section 4."""

    sid: bytes
    purpose: str
    epoch: int
    state: str
    public: bytes
    recovery: bytes
    proof: bytes
    at: float


@dataclass(frozen=True, slots=True)
class AttemptRow:
    """A DKG attempt; `state` is open, sent, signed or failed.

    `transcript` holds the roster while open, Halfway once R2 is out, the whole Transcript once R3 is signed.
    """

    sid: bytes
    purpose: str
    epoch: int
    attempt: int
    relay: int
    state: str
    reason: str
    transcript: bytes
    at: float


class Store:
    """The only writer of signer.db."""

    def __init__(self, path: Path, clock: Callable[[], float]) -> None:
        """Open the database, making it when it is missing; SchemaFault when its schema is not this release's."""
        ready("signer", path)
        path.chmod(0o600)
        self._clock, self._shares = clock, RequestShares()
        self._db = Database(path, self._shares.forget)

    async def close(self) -> None:
        """Close the file."""
        await self._db.close()

    async def record_boot(self, boot_id: bytes, epoch: int) -> int:
        """Note a start, which voids every earlier boot's commitments; its number, 1 for the first ever.

        `epoch` is that of the committee file.
        """
        async with self.transaction() as db:
            done = await db.execute(
                sa.insert(tables.boots)
                .values(boot_id=boot_id, epoch=epoch, at=self._clock())
                .returning(tables.boots.c.number)
            )
            number: int = done.scalar_one()
            await self.audit(db, "boot", f"{boot_id.hex()} epoch {epoch}")
        return number

    async def starts(self) -> list[tuple[float, int]]:
        """Every start, oldest first: Unix time and the committee file's epoch."""
        c = tables.boots.c
        return [(row[0], row[1]) for row in await self.rows(sa.select(c.at, c.epoch).order_by(c.number))]

    async def save_attempt(self, row: AttemptRow) -> None:
        """Insert or update a DKG attempt."""
        values = _values(row)
        async with self.transaction() as db:
            await db.execute(
                insert(tables.dkg_attempts)
                .values(values)
                .on_conflict_do_update(index_elements=["sid"], set_=values)
            )
            detail = f"{row.purpose} epoch {row.epoch} attempt {row.attempt}: {row.state} {row.reason}"
            await self.audit(db, "dkg", detail.strip())

    async def attempts(self, purpose: str, epoch: int) -> list[AttemptRow]:
        """The attempts at a key, oldest first."""
        t = tables.dkg_attempts
        wanted = sa.select(t).where(t.c.purpose == purpose, t.c.epoch == epoch).order_by(t.c.at, t.c.attempt)
        return [AttemptRow(*row) for row in await self.rows(wanted)]

    async def attempt(self, sid: bytes) -> AttemptRow | None:
        """One attempt."""
        rows = await self.rows(sa.select(tables.dkg_attempts).where(tables.dkg_attempts.c.sid == sid))
        return AttemptRow(*rows[0]) if rows else None

    async def signed_attempts(self, epoch: int) -> list[AttemptRow]:
        """Attempts whose transcript this node signed: each may have become a key without its hearing of it."""
        t = tables.dkg_attempts
        rows = await self.rows(sa.select(t).where(t.c.epoch == epoch, t.c.state == "signed"))
        return [AttemptRow(*row) for row in rows]

    async def begun_attempts(self, epoch: int) -> list[AttemptRow]:
        """Attempts that a restart may have cut off, oldest first."""
        t = tables.dkg_attempts
        begun = sa.select(t).where(t.c.epoch == epoch, t.c.state.in_(("open", "sent", "signed")))
        return [AttemptRow(*row) for row in await self.rows(begun.order_by(t.c.at, t.c.attempt))]

    async def recent_attempts(self, limit: int) -> list[AttemptRow]:
        """The newest attempts of any key that did not become one, without their transcripts."""
        t, k, nothing = tables.dkg_attempts.c, tables.keys.c, sa.literal(b"")
        wanted = (
            sa.select(t.sid, t.purpose, t.epoch, t.attempt, t.relay, t.state, t.reason, nothing, t.at)
            .where(t.sid.not_in(sa.select(k.sid)))
            .order_by(t.at.desc())
            .limit(limit)
        )
        return [AttemptRow(*row) for row in await self.rows(wanted)]

    async def insert_key(self, row: KeyRow) -> None:
        """Store a certified key; a second time changes nothing."""
        async with self.transaction() as db:
            done = await db.execute(insert(tables.keys).values(_values(row)).on_conflict_do_nothing())
            if done.rowcount:
                await self.audit(db, "key", f"{row.purpose} epoch {row.epoch} {row.sid.hex()}: {row.state}")

    async def set_key_state(self, sid: bytes, state: str, proof: bytes | None = None) -> None:
        """Move a key to another state; StoreFault when another key already serves its purpose and epoch."""
        values: dict[str, Any] = {"state": state} if proof is None else {"state": state, "proof": proof}
        try:
            async with self.transaction() as db:
                await db.execute(sa.update(tables.keys).where(tables.keys.c.sid == sid).values(values))
                await self.audit(db, "key", f"{sid.hex()}: {state}")
        except IntegrityError as error:
            raise StoreFault("another key already serves this purpose and epoch") from error

    async def keys(self) -> list[KeyRow]:
        """All keys, oldest first."""
        return [KeyRow(*row) for row in await self.rows(sa.select(tables.keys).order_by(tables.keys.c.at))]

    async def keep_request(self, row: RequestRow, verdict: VerdictRow) -> None:
        """Store a request whole (the first sight counts) with the verdict on it."""
        now = self._clock()

        def keep(db: sqlite3.Connection) -> None:
            if self._keep(db, row):
                what = f"{row.purpose} epoch {row.epoch}, {len(row.payload)} bytes of {row.coordinator}"
                detail = f"{row.request_id.hex()}: {what}"
                store_rows.add_audit(db, now, "request", detail)
            store_rows.add_verdict(db, now, verdict)

        await self._db.write(keep)

    async def request(self, request_id: bytes) -> RequestRow | None:
        """A stored request."""
        t = tables.requests
        rows = await self.rows(sa.select(t).where(t.c.request_id == request_id))
        return RequestRow(*rows[0]) if rows else None

    async def record_verdict(self, verdict: VerdictRow) -> None:
        """Store a verdict alone."""
        now = self._clock()
        await self._db.write(lambda db: store_rows.add_verdict(db, now, verdict))

    async def verdicts(self, request_id: bytes) -> list[VerdictRow]:
        """The verdicts on a request, oldest first."""
        t = tables.verdicts
        wanted = sa.select(t.c.request_id, t.c.phase, t.c.approved, t.c.reason, t.c.verdict)
        rows = await self.rows(wanted.where(t.c.request_id == request_id).order_by(t.c.number))
        return [VerdictRow(*row) for row in rows]

    async def nonces(self, commitments: Iterable[bytes]) -> dict[bytes, NonceRow]:
        """The rows of those commitments that were ever signed with, each with its coordinator's request."""
        return await self._db.read(lambda db: store_rows.find_nonces(db, commitments))

    async def insert_shares(
        self,
        boot_id: bytes,
        session: SessionRow,
        rows: Sequence[NonceRow],
        verdict: VerdictRow,
        request: RequestRow,
        *,
        asked: VerdictRow | None = None,
        also: Callable[[sqlite3.Connection], None] = lambda _db: None,
        committed: Callable[[], None] = lambda: None,
    ) -> None:
        """The transaction before any share leaves: all rows and the verdict, or NonceTaken and nothing.

        `asked` is the verdict of the request's arrival where it was not stored before; `also` writes along;
        `committed` is called once it is durable. Both run in the database's thread.
        """
        now = self._clock()

        def keep(db: sqlite3.Connection) -> None:
            self._keep(db, request)
            store_rows.add_shares(db, now, boot_id, session, rows)
            for one in (asked, verdict):
                if one is not None:
                    store_rows.add_verdict(db, now, one)
            also(db)
            store_rows.add_audit(db, now, "shares", store_rows.told(session, rows, request))

        try:
            await self._db.write(keep, committed)
        except sqlite3.IntegrityError as error:
            raise NonceTaken("one of these commitments was signed with before: no share leaves") from error

    async def save_signatures(self, request_id: bytes, messages_hash: bytes, signatures: bytes) -> None:
        """Remember what a session produced; the newest counts."""
        made = (self._clock(), request_id, messages_hash, signatures)
        await self._db.write(lambda db: store_rows.set_signatures(db, *made))

    async def signatures(self, request_id: bytes) -> tuple[bytes, bytes] | None:
        """(messages hash, signatures) of a request that this node brought to its end."""
        wanted = "SELECT messages_hash, signatures FROM signatures WHERE request_id = ?"
        found = await self._db.read(lambda db: db.execute(wanted, (request_id,)).fetchone())
        return None if found is None else (found[0], found[1])

    async def check_audit(self) -> int:
        """The length of the audit log; StoreFault at the first row that does not follow from the one before."""
        t = tables.audit
        wanted = sa.select(t.c.number, t.c.at, t.c.kind, t.c.detail, t.c.previous, t.c.hash)
        try:
            number, _hash = check(AuditRow(*row) for row in await self.rows(wanted.order_by(t.c.number)))
        except AuditFault as fault:
            raise StoreFault(str(fault)) from fault
        return number

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """A transaction for the store files beside this one; durable when it ends."""
        return self._db.transaction()

    async def rows(self, statement: sa.Select[Any]) -> list[tuple[Any, ...]]:
        """What a query gives."""
        return await self._db.rows(statement)

    async def audit(self, db: Transaction, kind: str, detail: str) -> None:
        """Append to the hash-chained log, within a transaction."""
        now = self._clock()
        await db.run(lambda raw: store_rows.add_audit(raw, now, kind, detail))

    def _keep(self, db: sqlite3.Connection, row: RequestRow) -> bool:
        new = store_rows.add_request(db, row)
        if new:
            self._shares.stored(db, row.coordinator, len(row.payload))
        return new


def _values(row: Any) -> dict[str, Any]:
    return {name: getattr(row, name) for name in row.__slots__}
