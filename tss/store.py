"""signer.db: what a signer must remember. Every method is one transaction, durable when it returns.

SQLite with WAL, `BEGIN IMMEDIATE` on every transaction (the driver's default loses updates) and
`synchronous=FULL` (a share that left must be remembered after a power cut).
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from migrations.database import open_database
from migrations.upgrade import ready
from tss import tables
from tss.audit import AuditFault, AuditRow, check, row_hash
from tss.request_store import RequestShares
from tss.signing.signer import NonceRow


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


@dataclass(frozen=True, slots=True)
class SessionRow:
    """A session that is about to be answered: id, request id, and the coordinator's encoded Order."""

    session: bytes
    request_id: bytes
    request: bytes


@dataclass(frozen=True, slots=True)
class VerdictRow:
    """A yes or no to a request; `phase` is request or release, `verdict` the encoded signed message."""

    request_id: bytes
    phase: str
    approved: bool
    reason: str
    verdict: bytes


@dataclass(frozen=True, slots=True)
class RequestRow:
    """A request as it was first seen; `coordinator` is the member that brought it."""

    request_id: bytes
    purpose: str
    payload: bytes
    coordinator: int
    at: float


class Store:
    """The only writer of signer.db."""

    def __init__(self, path: Path, clock: Callable[[], float]) -> None:
        """Open the database, making it when it is missing; SchemaFault when its schema is not this release's."""
        ready("signer", path)
        path.chmod(0o600)
        self._clock, self._shares = clock, RequestShares()
        self._engine = open_database(path, synchronous="FULL")

    async def close(self) -> None:
        """Close the file."""
        await self._engine.dispose()

    async def record_boot(self, boot_id: bytes) -> int:
        """Note a start, which voids every earlier boot's commitments; its number, 1 for the first ever."""
        async with self.transaction() as db:
            done = await db.execute(
                sa.insert(tables.boots)
                .values(boot_id=boot_id, at=self._clock())
                .returning(tables.boots.c.number)
            )
            number: int = done.scalar_one()
            await self.audit(db, "boot", boot_id.hex())
        return number

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
        async with self.transaction() as db:
            if await self._keep(db, row):
                detail = (
                    f"{row.request_id.hex()}: {row.purpose}, {len(row.payload)} bytes of {row.coordinator}"
                )
                await self.audit(db, "request", detail)
            await self._verdict(db, verdict)

    async def request(self, request_id: bytes) -> RequestRow | None:
        """A stored request."""
        t = tables.requests
        rows = await self.rows(sa.select(t).where(t.c.request_id == request_id))
        return RequestRow(*rows[0]) if rows else None

    async def record_verdict(self, verdict: VerdictRow) -> None:
        """Store a verdict alone."""
        async with self.transaction() as db:
            await self._verdict(db, verdict)

    async def verdicts(self, request_id: bytes) -> list[VerdictRow]:
        """The verdicts on a request, oldest first."""
        t = tables.verdicts
        wanted = sa.select(t.c.request_id, t.c.phase, t.c.approved, t.c.reason, t.c.verdict)
        rows = await self.rows(wanted.where(t.c.request_id == request_id).order_by(t.c.number))
        return [VerdictRow(*row) for row in rows]

    async def nonces(self, commitments: Iterable[bytes]) -> dict[bytes, NonceRow]:
        """The rows of those commitments that were ever signed with, each with its coordinator's request."""
        n, s = tables.nonces, tables.sessions
        wanted = sa.select(n.c.commitment, n.c.package_hash, n.c.share, s.c.request)
        wanted = wanted.join(s, s.c.session == n.c.session).where(n.c.commitment.in_(list(commitments)))
        return {row[0]: NonceRow(*row) for row in await self.rows(wanted)}

    async def insert_shares(
        self,
        boot_id: bytes,
        session: SessionRow,
        rows: Sequence[NonceRow],
        verdict: VerdictRow,
        request: RequestRow,
        *,
        asked: VerdictRow | None = None,
        also: Callable[[AsyncConnection], Awaitable[None]] | None = None,
    ) -> None:
        """The transaction before any share leaves: all rows and the verdict, or NonceTaken and nothing.

        `asked` is the verdict of the request's arrival where it was not stored before; `also` writes along.
        """
        now = self._clock()
        shared = {"boot_id": boot_id, "session": session.session, "at": now}
        values = [
            {"commitment": r.commitment, "package_hash": r.package_hash, "share": r.share} | shared
            for r in rows
        ]
        try:
            async with self.transaction() as db:
                await self._keep(db, request)
                await db.execute(sa.insert(tables.sessions).values(_values(session) | {"at": now}))
                await db.execute(sa.insert(tables.nonces), values)
                for one in (asked, verdict):
                    if one is not None:
                        await self._verdict(db, one)
                if also is not None:
                    await also(db)
                await self.audit(db, "shares", _told(session, rows, request))
        except IntegrityError as error:
            raise NonceTaken("one of these commitments was signed with before: no share leaves") from error

    async def save_signatures(self, request_id: bytes, messages_hash: bytes, signatures: bytes) -> None:
        """Remember what a session produced; the newest counts."""
        values = {
            "request_id": request_id,
            "messages_hash": messages_hash,
            "signatures": signatures,
            "at": self._clock(),
        }
        async with self.transaction() as db:
            await db.execute(
                insert(tables.signatures)
                .values(values)
                .on_conflict_do_update(index_elements=["request_id"], set_=values)
            )
            await self.audit(db, "signatures", f"{request_id.hex()}: {len(signatures) // 64} made")

    async def signatures(self, request_id: bytes) -> tuple[bytes, bytes] | None:
        """(messages hash, signatures) of a request that this node brought to its end."""
        t = tables.signatures
        rows = await self.rows(
            sa.select(t.c.messages_hash, t.c.signatures).where(t.c.request_id == request_id)
        )
        return (rows[0][0], rows[0][1]) if rows else None

    async def check_audit(self) -> int:
        """The length of the audit log; StoreFault at the first row that does not follow from the one before."""
        t = tables.audit
        wanted = sa.select(t.c.number, t.c.at, t.c.kind, t.c.detail, t.c.previous, t.c.hash)
        try:
            number, _hash = check(AuditRow(*row) for row in await self.rows(wanted.order_by(t.c.number)))
        except AuditFault as fault:
            raise StoreFault(str(fault)) from fault
        return number

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """A transaction for the store files beside this one; durable when it ends."""
        try:
            async with self._engine.begin() as db:
                yield db
        except BaseException:
            self._shares.forget()
            raise

    async def rows(self, statement: sa.Select[Any]) -> list[tuple[Any, ...]]:
        """What a query gives."""
        async with self._engine.begin() as db:
            return [tuple(row) for row in await db.execute(statement)]

    async def _keep(self, db: AsyncConnection, row: RequestRow) -> bool:
        done = await db.execute(insert(tables.requests).values(_values(row)).on_conflict_do_nothing())
        if done.rowcount:
            await self._shares.stored(db, row.coordinator, len(row.payload))
        return bool(done.rowcount)

    async def _verdict(self, db: AsyncConnection, verdict: VerdictRow) -> None:
        """The same answer again is no new row: who asks every second fills nothing."""
        t = tables.verdicts
        same = (t.c.request_id == verdict.request_id, t.c.phase == verdict.phase)
        newest = sa.select(t.c.approved, t.c.reason).where(*same).order_by(t.c.number.desc()).limit(1)
        if (await db.execute(newest)).first() == (verdict.approved, verdict.reason):
            return
        await db.execute(sa.insert(t).values(_values(verdict) | {"at": self._clock()}))
        if not verdict.approved:
            await self.audit(db, "refused", f"{verdict.request_id.hex()}: {verdict.reason}")

    async def audit(self, db: AsyncConnection, kind: str, detail: str) -> None:
        """Append to the hash-chained log, within a transaction."""
        t = tables.audit
        last = (
            await db.execute(sa.select(t.c.number, t.c.hash).order_by(t.c.number.desc()).limit(1))
        ).first()
        number, previous = (1, bytes(32)) if last is None else (last[0] + 1, last[1])
        now = self._clock()
        hashed = row_hash(number, now, kind, detail, previous)
        await db.execute(
            sa.insert(t).values(
                number=number, at=now, kind=kind, detail=detail, previous=previous, hash=hashed
            )
        )


def _values(row: Any) -> dict[str, Any]:
    return {name: getattr(row, name) for name in row.__slots__}


def _told(session: SessionRow, rows: Sequence[NonceRow], request: RequestRow) -> str:
    """What the audit log says of shares that leave: whose wish, which session, which commitments (their hash)."""
    spent = sha256(b"".join(row.commitment for row in rows)).hexdigest()
    who = f"{request.purpose} for {request.coordinator}"
    return f"{session.request_id.hex()}: {len(rows)} {who}, session {session.session.hex()}, nonces {spent}"
