"""node.db: what an operator's or observer's node remembers. The bridge's tables join the same schema.

Bitcoin and the rollup are the sources of truth; a row here is either a copy that saves work (rollup blocks), or
what no chain gives back: batches with the bytes that were signed for them, alarms, and the reorg ledger.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.ext.asyncio import AsyncEngine

from anchor.header_tables import define

UNSIGNED = 32  # batches kept per coin that were agreed to and not signed

metadata = sa.MetaData()
headers = define(metadata)  # forks and the reorg ledger

rollup_blocks = sa.Table(
    "rollup_blocks",
    metadata,
    sa.Column("height", sa.Integer, primary_key=True),
    sa.Column("hash", sa.LargeBinary(32), nullable=False, unique=True),
    sa.Column("raw", sa.LargeBinary, nullable=False),  # the certified block
)

# A package is what one request of an anchor or treasury slot gave: the batch, and the transactions signed for it.
packages = sa.Table(
    "packages",
    metadata,
    sa.Column("id", sa.LargeBinary(32), primary_key=True),  # the request's id
    sa.Column("purpose", sa.String(16), nullable=False),
    sa.Column("tip", sa.LargeBinary(36), nullable=False),  # the outpoint it spends, as on the wire
    sa.Column("sequence", sa.Integer, nullable=False),
    sa.Column("payload", sa.LargeBinary, nullable=False),
    sa.Column("signatures", sa.LargeBinary),  # 64 bytes each; NULL until signed
    sa.Column("state", sa.Text),  # the outbox machine, JSON; NULL until signed
    sa.Column("created", sa.Integer, nullable=False),  # Unix seconds
)
sa.Index("packages_by_tip", packages.c.purpose, packages.c.tip)

alarms = sa.Table(
    "alarms",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("time", sa.Integer, nullable=False),
    sa.Column("level", sa.String(8), nullable=False),  # info, warning, page, pause
    sa.Column("kind", sa.String(32), nullable=False),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("data", sa.Text, nullable=False),  # JSON
)


@dataclass(frozen=True, slots=True)
class StoredPackage:
    """One batch of a slot: `payload` as its signers saw it, `signatures` once there are some."""

    id: bytes
    purpose: str
    tip: bytes
    sequence: int
    payload: bytes
    signatures: tuple[bytes, ...] | None
    state: dict[str, Any] | None
    created: int


class AnchorStore:
    """Rows of the anchor's side of node.db."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine

    async def add_rollup_blocks(self, rows: Sequence[tuple[int, bytes, bytes]]) -> None:
        """Keep certified blocks (height, hash, raw); one that is already there is left as it is."""
        if not rows:
            return
        values = [{"height": h, "hash": b, "raw": r} for h, b, r in rows]
        async with self.engine.begin() as db:
            await db.execute(insert(rollup_blocks).on_conflict_do_nothing(), values)

    async def rollup_blocks(self, after: int, limit: int) -> list[bytes]:
        """Certified blocks above `after`, lowest first."""
        query = (
            sa.select(rollup_blocks.c.raw)
            .where(rollup_blocks.c.height > after)
            .order_by(rollup_blocks.c.height)
            .limit(limit)
        )
        async with self.engine.connect() as db:
            return list((await db.execute(query)).scalars())

    async def add_package(self, package: StoredPackage) -> None:
        """Keep a batch before a share for it leaves; a second time is harmless.

        Of batches that nobody signed only the newest few per coin stay: a leader may ask for very many.
        """
        c = packages.c
        same = (c.purpose == package.purpose) & (c.tip == package.tip) & c.signatures.is_(None)
        newest = sa.select(c.id).where(same).order_by(c.created.desc(), c.id).limit(UNSIGNED)
        async with self.engine.begin() as db:
            await db.execute(insert(packages).values(**_package_row(package)).on_conflict_do_nothing())
            await db.execute(sa.delete(packages).where(same, c.id.not_in(newest), c.id != package.id))

    async def sign_package(self, package: StoredPackage) -> None:
        """Keep a batch with its signatures before it is submitted; the first set stays."""
        assert package.signatures is not None
        row = _package_row(package)
        first = insert(packages).values(**row)
        filled = first.on_conflict_do_update(
            index_elements=["id"],
            set_={"signatures": row["signatures"], "state": row["state"]},
            where=packages.c.signatures.is_(None),
        )
        async with self.engine.begin() as db:
            await db.execute(filled)

    async def save_state(self, package_id: bytes, state: dict[str, Any]) -> None:
        """Keep the outbox machine of a package."""
        change = sa.update(packages).where(packages.c.id == package_id)
        async with self.engine.begin() as db:
            await db.execute(change.values(state=json.dumps(state, sort_keys=True)))

    async def packages(
        self, purpose: str, *, tip: bytes | None = None, signed: bool | None = None, last: int | None = None
    ) -> list[StoredPackage]:
        """Batches of a purpose, oldest first; only on `tip`, only signed, only the `last` sequences, when asked."""
        query = sa.select(packages).where(packages.c.purpose == purpose)
        if last is not None:
            newest = sa.select(sa.func.max(packages.c.sequence)).where(packages.c.purpose == purpose)
            query = query.where(packages.c.sequence > newest.scalar_subquery() - last)
        if tip is not None:
            query = query.where(packages.c.tip == tip)
        if signed is not None:
            has = packages.c.signatures.is_not(None)
            query = query.where(has if signed else ~has)
        async with self.engine.connect() as db:
            rows = (await db.execute(query.order_by(packages.c.created, packages.c.id))).all()
        return [_package(r) for r in rows]

    async def alarm(self, time: int, level: str, kind: str, text: str, data: dict[str, Any]) -> None:
        """Keep an alarm for ever."""
        row = {
            "time": time,
            "level": level,
            "kind": kind,
            "text": text,
            "data": json.dumps(data, sort_keys=True),
        }
        async with self.engine.begin() as db:
            await db.execute(sa.insert(alarms).values(**row))

    async def alarms(self, limit: int = 50) -> list[dict[str, Any]]:
        """The newest alarms, newest first."""
        query = sa.select(alarms).order_by(alarms.c.id.desc()).limit(limit)
        async with self.engine.connect() as db:
            rows = (await db.execute(query)).all()
        return [{**r._mapping, "data": json.loads(r.data)} for r in rows]  # noqa: SLF001 public by another name


def _package_row(package: StoredPackage) -> dict[str, Any]:
    return {
        "id": package.id,
        "purpose": package.purpose,
        "tip": package.tip,
        "sequence": package.sequence,
        "payload": package.payload,
        "signatures": None if package.signatures is None else b"".join(package.signatures),
        "state": None if package.state is None else json.dumps(package.state, sort_keys=True),
        "created": package.created,
    }


def _package(row: Any) -> StoredPackage:
    joined = row.signatures
    signatures = None if joined is None else tuple(joined[i : i + 64] for i in range(0, len(joined), 64))
    state = None if row.state is None else json.loads(row.state)
    return StoredPackage(
        row.id, row.purpose, row.tip, row.sequence, row.payload, signatures, state, row.created
    )
