"""The bridge's tables of node.db: deposit parameters, deposits, withdrawals, manifests, the ledger's events.

The state of a deposit or withdrawal is one JSON document, made by its machine; the columns beside it are what
queries need. What a chain gives back is written again after a loss; parameters and manifests come back from peers.
"""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from anchor.store import metadata
from bridge import reorg_tables

assert reorg_tables.reorg_items.metadata is metadata, "one schema"

deposit_params = sa.Table(
    "deposit_params",
    metadata,
    sa.Column("script", sa.LargeBinary(34), primary_key=True),  # the address's script
    sa.Column("params", sa.LargeBinary, nullable=False),
    sa.Column("epoch", sa.Integer, nullable=False),  # the key epoch whose treasury key it was made with
    sa.Column("created", sa.Integer, nullable=False),
)

deposits = sa.Table(
    "deposits",
    metadata,
    sa.Column("outpoint", sa.LargeBinary(36), primary_key=True),
    sa.Column("script", sa.LargeBinary(34), sa.ForeignKey("deposit_params.script"), nullable=False),
    sa.Column("value", sa.BigInteger, sa.CheckConstraint("value >= 0"), nullable=False),
    sa.Column("coinbase", sa.Boolean, nullable=False),
    sa.Column("height", sa.Integer),  # of the block that holds it on the main chain; NULL: none does
    sa.Column("block", sa.LargeBinary(32)),
    sa.Column("spent_by", sa.LargeBinary(32)),  # on the main chain
    sa.Column("spent_height", sa.Integer),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("created", sa.Integer, nullable=False),
)
sa.Index("deposits_by_script", deposits.c.script)

withdrawals = sa.Table(
    "withdrawals",
    metadata,
    sa.Column("id", sa.LargeBinary(32), primary_key=True),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("created", sa.Integer, nullable=False),
)

manifests = sa.Table(
    "manifests",
    metadata,
    sa.Column("hash", sa.LargeBinary(32), primary_key=True),
    sa.Column("raw", sa.LargeBinary, nullable=False),
)

ledger = sa.Table(
    "ledger",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("entry", sa.LargeBinary, nullable=False),
)

documents = sa.Table(
    "documents",
    metadata,
    sa.Column("name", sa.String(32), primary_key=True),
    sa.Column("body", sa.LargeBinary, nullable=False),
)


class KnownAddress(NamedTuple):
    """What an address was made from: deposit parameters, and the key epoch of the treasury key."""

    params: bytes
    epoch: int


class Paid(NamedTuple):
    """A payment to a known address in a block; `coinbase` when a miner paid himself there."""

    outpoint: bytes
    script: bytes
    value: int
    coinbase: bool


@dataclass(frozen=True, slots=True)
class DepositRow:
    """One payment to a deposit address, where this node's own bitcoind sees it now."""

    outpoint: bytes
    script: bytes
    params: bytes
    value: int
    coinbase: bool
    height: int | None
    block: bytes | None
    spent_by: bytes | None
    spent_height: int | None
    state: dict[str, Any]
    created: int
    epoch: int  # of its address's key


class BridgeStore:
    """Rows of the bridge's side of node.db."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine
        self._deposits: tuple[int, list[DepositRow]] = (-1, [])  # what was read, and at which version
        self._version = 0  # counts changes of deposits, before and after each

    async def add_many_params(self, new: Sequence[tuple[bytes, KnownAddress]], created: int) -> None:
        """Keep what many addresses (by script) were made from in one go."""
        if new:
            rows = [{"script": s, **known._asdict(), "created": created} for s, known in new]
            async with self.engine.begin() as db:
                await db.execute(insert(deposit_params).on_conflict_do_nothing(), rows)

    async def forget_unpaid(self, count: int) -> list[bytes]:
        """Drop the oldest addresses that nobody has paid, at most `count`; return their scripts."""
        c = deposit_params.c
        paid = sa.select(deposits.c.script)
        oldest = sa.select(c.script).where(c.script.not_in(paid)).order_by(c.created, c.script).limit(count)
        async with self.engine.begin() as db:
            scripts = list((await db.execute(oldest)).scalars())
            await db.execute(sa.delete(deposit_params).where(c.script.in_(scripts)))
        return scripts

    async def add_params(self, script: bytes, known: KnownAddress, created: int) -> bool:
        """Keep what an address was made from; True when it is new."""
        add = insert(deposit_params).values(script=script, **known._asdict(), created=created)
        async with self.engine.begin() as db:
            return (await db.execute(add.on_conflict_do_nothing())).rowcount == 1

    async def params(self) -> dict[bytes, KnownAddress]:
        """What all addresses were made from, by script."""
        c = deposit_params.c
        async with self.engine.connect() as db:
            rows = await db.execute(sa.select(c.script, c.params, c.epoch))
            return {r.script: KnownAddress(r.params, r.epoch) for r in rows}

    async def connect_block(
        self,
        height: int,
        block: bytes,
        paid: list[Paid],
        spent: list[tuple[bytes, bytes]],
        new_state: dict[str, Any],
        now: int,
    ) -> None:
        """A block of the main chain: payments, and spends as (outpoint, txid), in one go."""
        state = json.dumps(new_state, sort_keys=True)
        async with self._changing_deposits() as db:
            for payment in paid:
                row = {**payment._asdict(), "height": height, "block": block}
                add = insert(deposits).values(**row, state=state, created=now)
                again = {"height": height, "block": block}
                await db.execute(add.on_conflict_do_update(index_elements=["outpoint"], set_=again))
            for outpoint, txid in spent:
                change = sa.update(deposits).where(deposits.c.outpoint == outpoint)
                await db.execute(change.values(spent_by=txid, spent_height=height))

    async def disconnect_above(self, height: int) -> None:
        """The main chain ends at `height` now: what stood higher is unconfirmed, what was spent there is not."""
        async with self._changing_deposits() as db:
            gone = sa.update(deposits).where(deposits.c.height > height)
            await db.execute(gone.values(height=None, block=None))
            freed = sa.update(deposits).where(deposits.c.spent_height > height)
            await db.execute(freed.values(spent_by=None, spent_height=None))

    async def deposits(self) -> list[DepositRow]:
        """All deposits, oldest first; read again only after a change."""
        version, rows = self._deposits
        if version != self._version:
            version, rows = self._version, await self._read_deposits()
            self._deposits = version, rows
        return rows

    @asynccontextmanager
    async def _changing_deposits(self) -> AsyncIterator[AsyncConnection]:
        self._version += 1
        try:
            async with self.engine.begin() as db:
                yield db
        finally:
            self._version += 1  # who read in between read the old rows under an old version

    async def _read_deposits(self) -> list[DepositRow]:
        joined = deposits.join(deposit_params)
        query = sa.select(deposits, deposit_params.c.params, deposit_params.c.epoch).select_from(joined)
        async with self.engine.connect() as db:
            rows = (await db.execute(query.order_by(deposits.c.created, deposits.c.outpoint))).all()
        return [
            DepositRow(
                r.outpoint,
                r.script,
                r.params,
                r.value,
                r.coinbase,
                r.height,
                r.block,
                r.spent_by,
                r.spent_height,
                json.loads(r.state),
                r.created,
                r.epoch,
            )
            for r in rows
        ]

    async def save_deposit(self, outpoint: bytes, state: dict[str, Any]) -> None:
        """Keep a deposit's machine."""
        change = sa.update(deposits).where(deposits.c.outpoint == outpoint)
        async with self._changing_deposits() as db:
            await db.execute(change.values(state=json.dumps(state, sort_keys=True)))

    async def withdrawals(self) -> dict[bytes, dict[str, Any]]:
        """All withdrawals' machines by id, oldest first."""
        query = sa.select(withdrawals).order_by(withdrawals.c.created, withdrawals.c.id)
        async with self.engine.connect() as db:
            return {r.id: json.loads(r.state) for r in await db.execute(query)}

    async def save_withdrawal(self, withdrawal: bytes, state: dict[str, Any], now: int) -> None:
        """Keep a withdrawal's machine."""
        text = json.dumps(state, sort_keys=True)
        add = insert(withdrawals).values(id=withdrawal, state=text, created=now)
        async with self.engine.begin() as db:
            await db.execute(add.on_conflict_do_update(index_elements=["id"], set_={"state": text}))

    async def add_manifest(self, digest: bytes, raw: bytes) -> None:
        """Keep a batch's manifest by its hash."""
        async with self.engine.begin() as db:
            await db.execute(insert(manifests).values(hash=digest, raw=raw).on_conflict_do_nothing())

    async def manifests(self) -> dict[bytes, bytes]:
        """All manifests by hash."""
        async with self.engine.connect() as db:
            return {r.hash: r.raw for r in await db.execute(sa.select(manifests))}

    async def append_ledger(self, lines: list[tuple[int, bytes]]) -> None:
        """Append lines (number, encoded entry), all or none; IntegrityError for a number that is taken."""
        async with self.engine.begin() as db:
            await db.execute(sa.insert(ledger), [{"number": n, "entry": e} for n, e in lines])

    async def ledger(self) -> list[bytes]:
        """All lines, oldest first."""
        async with self.engine.connect() as db:
            return list((await db.execute(sa.select(ledger.c.entry).order_by(ledger.c.number))).scalars())

    async def document(self, name: str) -> bytes | None:
        """A document there is one of, such as the activation record."""
        async with self.engine.connect() as db:
            found = await db.execute(sa.select(documents.c.body).where(documents.c.name == name))
            return found.scalar_one_or_none()

    async def save_document(self, name: str, body: bytes) -> None:
        """Keep a document there is one of."""
        add = insert(documents).values(name=name, body=body)
        async with self.engine.begin() as db:
            await db.execute(add.on_conflict_do_update(index_elements=["name"], set_={"body": body}))
