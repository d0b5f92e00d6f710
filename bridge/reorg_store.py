"""Reads and writes what blocks hold of ours and what reorgs did to it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.ext.asyncio import AsyncEngine

from anchor.btc.ids import BlockHash, Txid
from bridge.ledger.touched import GONE, WAITING, Item, Outcome, Touched
from bridge.reorg_tables import block_items, reorg_items
from bridge.store import documents

EXAMINED = "reorgs-examined"  # the document that holds the id of the last reorg whose items are written
_AT_ONCE = 500  # values in one question


@dataclass(frozen=True, slots=True)
class TouchedRow:
    """What a reorg touched and what became of it; `settled` when that is final."""

    reorg: int
    touched: Touched
    outcome: str
    now_txid: bytes | None
    now_height: int | None
    now_block: bytes | None
    state: str | None
    changed_at: int
    changed_height: int
    settled: bool


class ReorgStore:
    """Rows of both tables."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def keep(self, height: int, block: BlockHash, items: Sequence[Item]) -> None:
        """Keep what a block holds; a second time is harmless."""
        rows = [{"block": block, "height": height, **_item(item)} for item in items]
        if rows:
            async with self._engine.begin() as db:
                await db.execute(insert(block_items).on_conflict_do_nothing(), rows)

    async def of_blocks(self, blocks: Sequence[BlockHash]) -> list[Touched]:
        """What these blocks hold, lowest first."""
        found: list[Touched] = []
        c = block_items.c
        async with self._engine.connect() as db:
            for start in range(0, len(blocks), _AT_ONCE):
                query = sa.select(block_items).where(c.block.in_(blocks[start : start + _AT_ONCE]))
                found += [_touched(row) for row in await db.execute(query)]
        return sorted(found, key=lambda t: (t.height, t.item.kind, t.item.key))

    async def examined(self) -> int:
        """The id of the last reorg whose items are written; 0 for none."""
        query = sa.select(documents.c.body).where(documents.c.name == EXAMINED)
        async with self._engine.connect() as db:
            body = (await db.execute(query)).scalar_one_or_none()
        return 0 if body is None else int(body)

    async def touch(self, reorg: int, items: Sequence[Touched], now: int, tip: int) -> None:
        """Write what a reorg took out, and that it was examined, in one go."""
        rows = [
            {
                "reorg": reorg,
                **_item(t.item),
                "height": t.height,
                "block": t.block,
                "outcome": WAITING,
                "changed_at": now,
                "changed_height": tip,
                "settled": False,
            }
            for t in items
        ]
        body = str(reorg).encode()
        mark = insert(documents).values(name=EXAMINED, body=body)
        async with self._engine.begin() as db:
            if rows:
                await db.execute(insert(reorg_items).on_conflict_do_nothing(), rows)
            await db.execute(mark.on_conflict_do_update(index_elements=["name"], set_={"body": body}))

    async def open_rows(self) -> list[TouchedRow]:
        """What is not settled, by reorg, lowest block first."""
        return await self._rows(reorg_items.c.settled.is_(False))

    async def of_reorgs(self, reorgs: Sequence[int]) -> dict[int, list[TouchedRow]]:
        """What these reorgs touched, lowest block first."""
        found: dict[int, list[TouchedRow]] = {}
        for row in await self._rows(reorg_items.c.reorg.in_(reorgs)):
            found.setdefault(row.reorg, []).append(row)
        return found

    async def gone_deposits(self) -> set[str]:
        """Deposits that a reorg took out for good, by key."""
        c = reorg_items.c
        query = sa.select(c.key).where(c.kind == "deposit", c.outcome == GONE, c.settled)
        async with self._engine.connect() as db:
            return set((await db.execute(query)).scalars())

    async def counts(self) -> dict[str, int]:
        """How many touched things there are by outcome, all reorgs together."""
        query = sa.select(reorg_items.c.outcome, sa.func.count()).group_by(reorg_items.c.outcome)
        async with self._engine.connect() as db:
            return {row.outcome: row[1] for row in await db.execute(query)}

    async def decide(
        self, row: TouchedRow, became: Outcome, state: str | None, now: int, tip: int, *, settled: bool
    ) -> None:
        """Write what became of one item."""
        c, place, item = reorg_items.c, became.place, row.touched.item
        moved = became.word != row.outcome
        values = {
            "outcome": became.word,
            "now_txid": None if place is None else place.txid,
            "now_height": None if place is None else place.height,
            "now_block": None if place is None else place.block,
            "state": state,
            "changed_at": now,
            "changed_height": tip if moved else row.changed_height,
            "settled": settled,
        }
        same = (c.reorg == row.reorg) & (c.kind == item.kind) & (c.key == item.key)
        async with self._engine.begin() as db:
            await db.execute(sa.update(reorg_items).where(same).values(**values))

    async def _rows(self, where: sa.ColumnElement[bool]) -> list[TouchedRow]:
        c = reorg_items.c
        query = sa.select(reorg_items).where(where).order_by(c.reorg, c.height, c.kind, c.key)
        async with self._engine.connect() as db:
            return [_row(row) for row in await db.execute(query)]


def _item(item: Item) -> dict[str, Any]:
    more = json.dumps(dict(item.more), sort_keys=True)
    return {"kind": item.kind, "key": item.key, "txid": item.txid, "value": item.value, "more": more}


def _touched(row: Any) -> Touched:
    item = Item(row.kind, row.key, Txid(row.txid), row.value, json.loads(row.more))
    return Touched(item, row.height, BlockHash(row.block))


def _row(row: Any) -> TouchedRow:
    return TouchedRow(
        row.reorg,
        _touched(row),
        row.outcome,
        row.now_txid,
        row.now_height,
        row.now_block,
        row.state,
        row.changed_at,
        row.changed_height,
        row.settled,
    )
