"""rollup.db: what a sequencer or a validator process must never forget.

A sequencer's proposal is stored before it is served, and none that got a vote is ever replaced; a validator's row
(key, height → block) is stored before it signs, and the database itself refuses a second one. One process per file.
"""

import fcntl
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from anchor.header_tables import define
from anchor.rollup.block import Block, Certificate, CertifiedBlock, Vote
from migrations import upgrade
from migrations.database import open_database

metadata = sa.MetaData()
meta = sa.Table(
    "meta",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("value", sa.LargeBinary, nullable=False),
)
blocks = sa.Table(
    "blocks",
    metadata,
    sa.Column("height", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("hash", sa.LargeBinary, nullable=False, unique=True),
    sa.Column("raw", sa.LargeBinary, nullable=False),
    sa.Column("certificate", sa.LargeBinary),  # NULL while it is only proposed
)
retired = sa.Table(  # proposals that another one of their height took the place of, by round
    "retired",
    metadata,
    sa.Column("height", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("round", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("hash", sa.LargeBinary, nullable=False),
    sa.Column("raw", sa.LargeBinary, nullable=False),
)
transactions = sa.Table(
    "transactions",
    metadata,
    sa.Column("txid", sa.LargeBinary, primary_key=True),
    sa.Column("height", sa.Integer, nullable=False),
    sa.Column("position", sa.Integer, nullable=False),
)
votes = sa.Table(
    "votes",
    metadata,
    sa.Column("height", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("validator", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("block_hash", sa.LargeBinary, primary_key=True),
    sa.Column("signature", sa.LargeBinary, nullable=False),
)
signed = sa.Table(
    "signed",
    metadata,
    sa.Column("key", sa.LargeBinary, primary_key=True),
    sa.Column("height", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("block_hash", sa.LargeBinary, nullable=False),
)
headers = define(metadata)


class StoreError(Exception):
    """A database that this process must not use; the sentence names the next move."""


class InUse(StoreError):
    """Another process holds the database."""


class OtherRollup(StoreError):
    """The database belongs to another rollup or role."""


class AlreadyProposed(Exception):
    """A block was proposed at this height before; another one can only `replace` it."""


class AlreadyVoted(Exception):
    """The proposal got a vote, or its certificate: nothing takes its place."""


class AlreadySigned(Exception):
    """This key signed another block at this height, or a higher one; it will not sign here."""


class RollupStore:
    """An open rollup.db; make one with `open`."""

    def __init__(self, engine: AsyncEngine, lock: int) -> None:
        self.engine = engine
        self._lock = lock

    @classmethod
    async def open(cls, path: Path, genesis_hash: bytes, role: str) -> "RollupStore":
        """Open or create the database of a `role` ("sequencer" or "validator") of one rollup.

        Raises InUse, OtherRollup, or migrations.upgrade's SchemaFault; then nothing was changed.
        """
        lock = _lock(path)
        try:
            upgrade.ready("rollup", path)
            store = cls(open_database(path, synchronous="FULL"), lock)
            try:
                await store._bind(path, genesis_hash + role.encode())
            except BaseException:
                await store.engine.dispose()
                raise
        except BaseException:
            os.close(lock)
            raise
        return store

    async def close(self) -> None:
        """Close it and let others open it."""
        await self.engine.dispose()
        os.close(self._lock)

    async def _bind(self, path: Path, identity: bytes) -> None:
        async with self.engine.begin() as db:
            await db.execute(insert(meta).values(name="identity", value=identity).on_conflict_do_nothing())
            found = (await db.execute(sa.select(meta.c.value).where(meta.c.name == "identity"))).scalar_one()
        if found != identity:
            raise OtherRollup(f"{path} belongs to another rollup or role: give the right --genesis or --db")

    # Blocks

    async def propose(self, height: int, block_hash: bytes, block: Block) -> None:
        """Store the first proposal of a height, before anybody sees it; AlreadyProposed the second time."""
        row = {"height": height, "hash": block_hash, "raw": block.encode()}
        try:
            async with self.engine.begin() as db:
                await db.execute(sa.insert(blocks).values(**row))
        except IntegrityError as error:
            raise AlreadyProposed(f"height {height} was proposed before") from error

    async def replace(self, height: int, block_hash: bytes, block: Block, *, despite: int = 0) -> None:
        """Store the next proposal of a height, before anybody sees it; the one before it is kept as history.

        Raises AlreadyVoted when more votes for that one are stored than the caller knows of (`despite`), or when it
        is not a proposal any more.
        """
        async with self.engine.begin() as db:
            row = await self._at(db, height)
            if row is None or row.certificate is not None:
                raise AlreadyVoted(f"height {height} has no proposal that waits for votes")
            mine = sa.select(sa.func.count()).where(votes.c.height == height, votes.c.block_hash == row.hash)
            if (await db.execute(mine)).scalar_one() > despite:
                raise AlreadyVoted(f"the proposal of height {height} got a vote, so it stays")
            await self._retire(db, row.hash, row.raw, row.height)
            change = sa.update(blocks).where(blocks.c.height == height)
            await db.execute(change.values(hash=block_hash, raw=block.encode()))

    async def keep(self, height: int, block_hash: bytes, block: Block) -> None:
        """Store a block that somebody voted for beside a height's proposal."""
        async with self.engine.begin() as db:
            await self._retire(db, block_hash, block.encode(), height)

    async def retired(self, height: int) -> list[Block]:
        """The proposals of a height that were replaced, and what was voted for beside them, oldest first."""
        query = sa.select(retired.c.raw).where(retired.c.height == height).order_by(retired.c.round)
        async with self.engine.connect() as db:
            return [Block.decode(raw) for raw in (await db.execute(query)).scalars()]

    async def _at(self, db: AsyncConnection, height: int) -> Any:
        return (await db.execute(sa.select(blocks).where(blocks.c.height == height))).first()

    async def _retire(self, db: AsyncConnection, block_hash: bytes, raw: bytes, height: int) -> None:
        count = sa.select(sa.func.count()).where(retired.c.height == height)
        number = (await db.execute(count)).scalar_one()
        values = {"height": height, "round": number, "hash": block_hash, "raw": raw}
        await db.execute(sa.insert(retired).values(**values))

    async def proposal(self) -> Block | None:
        """The newest proposal, which waits for its certificate."""
        query = sa.select(blocks.c.raw).where(blocks.c.certificate.is_(None)).order_by(blocks.c.height)
        async with self.engine.connect() as db:
            raw = (await db.execute(query)).scalar()
        return None if raw is None else Block.decode(raw)

    async def add_certified(self, certified: CertifiedBlock, txids: Sequence[bytes]) -> None:
        """Store a block with its certificate and where its transactions are; safe to repeat.

        A proposal of this height that is another block becomes history.
        """
        values = {
            "height": certified.height,
            "hash": certified.hash,
            "raw": certified.block.encode(),
            "certificate": certified.certificate.encode(),
        }
        async with self.engine.begin() as db:
            row = await self._at(db, certified.height)
            if row is None:
                await db.execute(sa.insert(blocks).values(**values))
            elif row.certificate is None:
                if row.hash != certified.hash:
                    await self._retire(db, row.hash, row.raw, row.height)
                await db.execute(sa.update(blocks).where(blocks.c.height == row.height).values(**values))
            await self._index(db, certified.height, txids)

    async def _index(self, db: AsyncConnection, height: int, txids: Sequence[bytes]) -> None:
        if txids:
            rows = [{"txid": txid, "height": height, "position": i} for i, txid in enumerate(txids)]
            await db.execute(insert(transactions).on_conflict_do_nothing(), rows)

    async def certified(self, after: int, limit: int) -> list[CertifiedBlock]:
        """Certified blocks above height `after`, lowest first."""
        query = (
            sa.select(blocks.c.raw, blocks.c.certificate)
            .where(blocks.c.height > after, blocks.c.certificate.is_not(None))
            .order_by(blocks.c.height)
            .limit(limit)
        )
        async with self.engine.connect() as db:
            rows = (await db.execute(query)).all()
        return [CertifiedBlock(Block.decode(raw), Certificate.decode(cert)) for raw, cert in rows]

    async def find(self, txid: bytes) -> int | None:
        """The height of the certified block that holds a transaction."""
        query = sa.select(transactions.c.height).where(transactions.c.txid == txid)
        async with self.engine.connect() as db:
            height: int | None = (await db.execute(query)).scalar()
        return height

    # Votes, as a sequencer collects them

    async def add_votes(self, new: Sequence[Vote]) -> None:
        """Store valid votes, also those for another block at the same height: two of those are evidence."""
        rows = [
            {
                "height": v.height,
                "validator": v.validator,
                "block_hash": v.block_hash,
                "signature": v.signature,
            }
            for v in new
        ]
        async with self.engine.begin() as db:
            await db.execute(insert(votes).on_conflict_do_nothing(), rows)

    async def votes(self, height: int) -> list[Vote]:
        """All stored votes at a height."""
        query = sa.select(votes).where(votes.c.height == height).order_by(votes.c.validator)
        async with self.engine.connect() as db:
            rows = (await db.execute(query)).all()
        return [Vote(r.validator, r.height, r.block_hash, r.signature) for r in rows]

    # What a validator signed

    async def will_sign(
        self, keys: Sequence[bytes], height: int, block_hash: bytes, block: Block | None = None
    ) -> None:
        """Write, for all `keys` at once, that they sign this block at this height; then they may sign.

        The block itself is kept, too: a sequencer may forget it. The same again is fine. AlreadySigned when a key
        signed another block there, or anything higher.
        """
        async with self.engine.begin() as db:
            for key in keys:
                mine = sa.select(signed.c.height, signed.c.block_hash).where(signed.c.key == key)
                row = (await db.execute(mine.order_by(signed.c.height.desc()).limit(1))).first()
                if row is None or row.height < height:
                    values = {"key": key, "height": height, "block_hash": block_hash}
                    await db.execute(sa.insert(signed).values(**values))
                elif (row.height, row.block_hash) != (height, block_hash):
                    raise AlreadySigned(
                        f"key {key.hex()[:16]}… signed up to height {row.height}: nothing else there or below"
                    )

            if block is not None:
                await self._keep_signed(db, height, block_hash, block)

    async def _keep_signed(self, db: AsyncConnection, height: int, block_hash: bytes, block: Block) -> None:
        row = await self._at(db, height)
        values = {"height": height, "hash": block_hash, "raw": block.encode()}
        if row is None:
            await db.execute(sa.insert(blocks).values(**values))
        elif row.certificate is None and row.hash != block_hash:  # signed with other keys than today's
            await self._retire(db, row.hash, row.raw, height)
            await db.execute(sa.update(blocks).where(blocks.c.height == height).values(**values))

    async def uncertified(self, height: int, block_hash: bytes) -> Block | None:
        """A block that is kept without a certificate: proposed, replaced, or voted for."""
        queries = [
            sa.select(t.c.raw).where(t.c.height == height, t.c.hash == block_hash) for t in (blocks, retired)
        ]
        async with self.engine.connect() as db:
            raw = (await db.execute(sa.union_all(*queries))).scalars().first()
        return None if raw is None else Block.decode(raw)

    async def signed_at(self, key: bytes, height: int) -> bytes | None:
        """The block that a key signed at a height."""
        query = sa.select(signed.c.block_hash).where(signed.c.key == key, signed.c.height == height)
        async with self.engine.connect() as db:
            found: bytes | None = (await db.execute(query)).scalar()
        return found

    async def floor(self, raise_to: int | None = None) -> int:
        """The height up to which the operator vouched that lost votes may exist; `raise_to` lifts it."""
        async with self.engine.begin() as db:
            query = sa.select(meta.c.value).where(meta.c.name == "floor")
            found = (await db.execute(query)).scalar()
            height = 0 if found is None else int.from_bytes(found, "big")
            if raise_to is not None and raise_to > height:
                height = raise_to
                row = insert(meta).values(name="floor", value=height.to_bytes(8, "big"))
                await db.execute(
                    row.on_conflict_do_update(index_elements=["name"], set_={"value": row.excluded.value})
                )
        return height


def _lock(path: Path) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        raise InUse(f"another process uses {path}: stop it, or give another --db") from error
    return lock
