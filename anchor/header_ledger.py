"""Rows of a header feed: headers off the main chain and the reorgs that put them there."""

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.ext.asyncio import AsyncEngine

from anchor.btc.ids import BlockHash
from anchor.header_tables import HeaderTables
from anchor.headers.chain import HeaderAt, Reorg


@dataclass(frozen=True, slots=True)
class ReorgRow:
    """A reorg as the ledger keeps it; `seen_at` in Unix seconds, hashes in internal order, work in hashes."""

    id: int
    seen_at: int
    level: str
    depth: int
    fork_height: int
    fork_hash: BlockHash
    old_height: int
    old_tip: BlockHash
    new_height: int
    new_tip: BlockHash
    work_lost: int
    work_gained: int


class HeaderLedger:
    """Writes and reads both tables."""

    def __init__(self, engine: AsyncEngine, tables: HeaderTables) -> None:
        self._engine = engine
        self._forks = tables.forks
        self._reorgs = tables.reorgs

    async def keep(self, aside: Sequence[HeaderAt], reorg: Reorg | None, level: str, now: int) -> None:
        """Keep in one transaction what is off the main chain and the reorg that moved it; safe to repeat."""
        off = [*aside, *(reorg.disconnected if reorg else ())]
        if not off and reorg is None:
            return
        rows = [{"hash": at.hash, "height": at.height, "raw": at.header.raw, "seen_at": now} for at in off]
        async with self._engine.begin() as db:
            if rows:
                await db.execute(insert(self._forks).on_conflict_do_nothing(), rows)
            if reorg is not None:
                row = {**_row(reorg), "level": level, "seen_at": now}
                await db.execute(insert(self._reorgs).values(**row).on_conflict_do_nothing())

    async def forks(self) -> list[bytes]:
        """Every kept header off the main chain, lowest first, 80 bytes each."""
        query = sa.select(self._forks.c.raw).order_by(self._forks.c.height)
        async with self._engine.connect() as db:
            return list((await db.execute(query)).scalars())

    async def reorgs(self, limit: int, before: int | None) -> list[ReorgRow]:
        """Reorgs, newest first, only those with a smaller id than `before`."""
        query = sa.select(self._reorgs).order_by(self._reorgs.c.id.desc()).limit(limit)
        if before is not None:
            query = query.where(self._reorgs.c.id < before)
        async with self._engine.connect() as db:
            rows = (await db.execute(query)).mappings().all()
        return [
            ReorgRow(**{**r, "work_lost": int(r["work_lost"], 16), "work_gained": int(r["work_gained"], 16)})
            for r in rows
        ]


def _row(reorg: Reorg) -> dict[str, object]:
    return {
        "depth": reorg.depth,
        "fork_height": reorg.fork.height,
        "fork_hash": reorg.fork.hash,
        "old_height": reorg.old_tip.height,
        "old_tip": reorg.old_tip.hash,
        "new_height": reorg.new_tip.height,
        "new_tip": reorg.new_tip.hash,
        "work_lost": f"{reorg.old_tip.work - reorg.fork.work:x}",
        "work_gained": f"{reorg.new_tip.work - reorg.fork.work:x}",
    }
