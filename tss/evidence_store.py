"""The evidence of signer.db: judged before it comes here, each fault once, so many of a kind and no more."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

import sqlalchemy as sa

from tss import tables
from tss.evidence.form import Evidence
from tss.store import Store

# A culprit can sign new faults against itself as fast as it likes: a few of a kind prove as much as a thousand.
MAX_OF_A_KIND = 8  # per member
MAX_BYTES = 64 * 1024 * 1024
MAX_BYTES_OF_ONE = 8 * 1024 * 1024  # so that no culprit takes the room for the faults of others


class Kept(Enum):
    """What became of a piece of evidence."""

    STORED = "stored"
    KNOWN = "known"
    FULL = "full"


@dataclass(frozen=True, slots=True)
class EvidenceRow:
    """A stored piece: `member` is the culprit, `reporter` the member that told us (ourselves too)."""

    id: bytes
    member: int
    kind: str
    reason: str
    reporter: int
    body: bytes
    at: float

    @property
    def culprit(self) -> str:
        """The culprit's name in the committee that the piece is about."""
        return Evidence.decode(self.body).culprit_name


class EvidenceStore:
    """The only writer of the table `evidence`."""

    def __init__(self, store: Store, clock: Callable[[], float]) -> None:
        self._store, self._clock = store, clock

    async def add(self, evidence: Evidence, reason: str, reporter: int) -> Kept:
        """Keep a proven piece."""
        t, body = tables.evidence, evidence.encode()
        async with self._store.transaction() as db:
            if (await db.execute(sa.select(t.c.number).where(t.c.id == evidence.id))).first():
                return Kept.KNOWN
            alike = sa.select(sa.func.count()).where(
                t.c.member == evidence.culprit, t.c.kind == evidence.kind.slug
            )
            stored = sa.select(sa.func.coalesce(sa.func.sum(sa.func.length(t.c.body)), 0))
            own = stored.where(t.c.member == evidence.culprit)
            if (await db.execute(alike)).scalar_one() >= MAX_OF_A_KIND:
                return Kept.FULL
            if (await db.execute(stored)).scalar_one() + len(body) > MAX_BYTES:
                return Kept.FULL
            if (await db.execute(own)).scalar_one() + len(body) > MAX_BYTES_OF_ONE:
                return Kept.FULL
            await db.execute(
                sa.insert(t).values(
                    id=evidence.id,
                    member=evidence.culprit,
                    kind=evidence.kind.slug,
                    reason=reason,
                    reporter=reporter,
                    body=body,
                    at=self._clock(),
                )
            )
            digest = hashlib.sha256(body).hexdigest()
            await self._store.audit(
                db, "evidence", f"member {evidence.culprit}: {evidence.kind.slug} {digest}"
            )
        return Kept.STORED

    async def ids(self) -> list[bytes]:
        """The ids of all pieces, oldest first."""
        t = tables.evidence
        return [row[0] for row in await self._store.rows(sa.select(t.c.id).order_by(t.c.number))]

    async def get(self, evidence_id: bytes) -> EvidenceRow | None:
        """One piece."""
        rows = await self._store.rows(self._select().where(tables.evidence.c.id == evidence_id))
        return EvidenceRow(*rows[0]) if rows else None

    async def all(self) -> list[EvidenceRow]:
        """Every piece, oldest first."""
        wanted = self._select().order_by(tables.evidence.c.number)
        return [EvidenceRow(*row) for row in await self._store.rows(wanted)]

    def _select(self) -> "sa.Select[tuple[bytes, int, str, str, int, bytes, float]]":
        c = tables.evidence.c
        return sa.select(c.id, c.member, c.kind, c.reason, c.reporter, c.body, c.at)
