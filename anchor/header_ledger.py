"""Rows of a header feed: headers off the main chain, the reorgs that put them there, who saw which block when."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.ext.asyncio import AsyncEngine

from anchor.btc.ids import BlockHash
from anchor.header_tables import HeaderTables
from anchor.headers.chain import HeaderAt, Reorg

Word = Literal["confirmed", "refused"]

_AT_ONCE = 500  # values in one question


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
    told_at: int | None = None


class HeaderLedger:
    """Writes and reads the tables of a feed."""

    def __init__(self, engine: AsyncEngine, tables: HeaderTables) -> None:
        self._engine = engine
        self._forks = tables.forks
        self._reorgs = tables.reorgs
        self._sightings = tables.sightings
        self._words = tables.words

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

    async def forks(self, most: int) -> list[bytes]:
        """The highest kept headers off the main chain, at most so many, lowest first, 80 bytes each."""
        query = sa.select(self._forks.c.raw).order_by(self._forks.c.height.desc()).limit(most)
        async with self._engine.connect() as db:
            return list((await db.execute(query)).scalars())[::-1]

    async def reorgs(self, limit: int, before: int | None) -> list[ReorgRow]:
        """Reorgs, newest first, only those with a smaller id than `before`."""
        query = sa.select(self._reorgs).order_by(self._reorgs.c.id.desc()).limit(limit)
        if before is not None:
            query = query.where(self._reorgs.c.id < before)
        return await self._read(query)

    async def reorg(self, number: int) -> ReorgRow | None:
        """The reorg with this id."""
        found = await self._read(sa.select(self._reorgs).where(self._reorgs.c.id == number))
        return found[0] if found else None

    async def untold(self) -> list[ReorgRow]:
        """Reorgs whose alarm was not raised yet, oldest first."""
        return await self._read(
            sa.select(self._reorgs).where(self._reorgs.c.told_at.is_(None)).order_by(self._reorgs.c.id)
        )

    async def told(self, number: int, now: int) -> None:
        """A reorg's alarm was raised."""
        change = sa.update(self._reorgs).where(self._reorgs.c.id == number)
        async with self._engine.begin() as db:
            await db.execute(change.values(told_at=now))

    async def counts(self) -> dict[str, tuple[int, int]]:
        """How many reorgs there were at each level, and the deepest."""
        c = self._reorgs.c
        query = sa.select(c.level, sa.func.count(), sa.func.max(c.depth)).group_by(c.level)
        async with self._engine.connect() as db:
            return {level: (count, deepest) for level, count, deepest in await db.execute(query)}

    async def _read(self, query: sa.Select[Any]) -> list[ReorgRow]:
        async with self._engine.connect() as db:
            rows = (await db.execute(query)).mappings().all()
        return [
            ReorgRow(**{**r, "work_lost": int(r["work_lost"], 16), "work_gained": int(r["work_gained"], 16)})
            for r in rows
        ]

    # Who saw what

    async def sighted(self, source: str, blocks: Sequence[BlockHash], now: int) -> None:
        """A source shows these blocks; only the first time of each counts."""
        if not blocks:
            return
        rows = [{"hash": block, "source": source, "seen_at": now} for block in blocks]
        async with self._engine.begin() as db:
            await db.execute(insert(self._sightings).on_conflict_do_nothing(), rows)

    async def sightings(self, blocks: Sequence[BlockHash]) -> dict[BlockHash, dict[str, int]]:
        """When each source first showed a block; blocks that nobody showed near a tip are left out."""
        c = self._sightings.c
        found: dict[BlockHash, dict[str, int]] = {}
        async with self._engine.connect() as db:
            for start in range(0, len(blocks), _AT_ONCE):
                query = sa.select(c.hash, c.source, c.seen_at).where(
                    c.hash.in_(blocks[start : start + _AT_ONCE])
                )
                for block, source, seen_at in await db.execute(query.order_by(c.seen_at, c.source)):
                    found.setdefault(BlockHash(block), {})[source] = seen_at
        return found

    # The operator's words

    async def say(self, tip: BlockHash, word: Word, now: int) -> None:
        """Keep what the operator said about the chain with this tip; the last word counts."""
        row: dict[str, object] = {"word": word, "said_at": now}
        add = insert(self._words).values(tip=tip, **row)
        async with self._engine.begin() as db:
            await db.execute(add.on_conflict_do_update(index_elements=["tip"], set_=row))

    async def words(self) -> dict[BlockHash, Word]:
        """What the operator said: "confirmed" or "refused" by tip."""
        async with self._engine.connect() as db:
            return {BlockHash(r.tip): r.word for r in await db.execute(sa.select(self._words))}


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
