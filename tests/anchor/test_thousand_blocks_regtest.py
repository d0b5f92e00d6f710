"""A thousand blocks of a real bitcoind are replaced: its header feed, a sequencer and a validator get through."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

from anchor.bitcoind import Bitcoind as Client
from anchor.btc.address import address_of
from anchor.btc.ids import BlockHash, from_display
from anchor.btc.network import REGTEST
from anchor.feed import HeaderFeed
from anchor.header_tables import define
from anchor.headers.bundle import Bundle
from anchor.headers.chain import HeaderChain
from anchor.rollup_api import RollupApi
from anchor.rollup_processes import ValidatorSettings, run_validator
from anchor.rollup_store import RollupStore
from anchor.sequencer import Sequencer
from migrations.database import open_database
from regtest.bitcoind import Bitcoind
from tests.anchor.feeding import serving
from tests.anchor.rollup.rollup_world import GEN
from tests.anchor.rollup_parts import background, keys, until

DEPTH, BELOW = 1000, 4


class NodeFeed:
    """A sequencer's feed from one node's header feed."""

    def __init__(self, feed: HeaderFeed) -> None:
        self.feed = feed

    async def sync(self) -> object:
        return await self.feed.sync()

    def bundle_for(self, view: HeaderChain, limit: int = 2000) -> Bundle | None:
        return self.feed.bundle_for(view, limit)

    def has(self, height: int, block: BlockHash) -> bool | None:
        return self.feed.on_own_chain(block)


@asynccontextmanager
async def a_rollup(folder: Path, node: Bitcoind) -> AsyncIterator[Sequencer]:
    """A sequencer and one process with all validators, each with its own connection to the bitcoind."""
    metadata = sa.MetaData()
    tables = define(metadata)
    engine = open_database(folder / "feed.db")
    async with engine.begin() as db:
        await db.run_sync(metadata.create_all)
    async with Client(node.rpc_url, cookie=node.cookie) as client:
        feed = HeaderFeed(client, REGTEST, folder / "feed", engine, tables, k=GEN.k, hold=False)
        (folder / "feed").mkdir()
        await feed.open()
        store = await RollupStore.open(folder / "sequencer.db", GEN.hash, "sequencer")
        sequencer = Sequencer(GEN, store, lambda _: NodeFeed(feed), patience=0.3)
        await sequencer.open()
        try:
            async with serving(RollupApi(sequencer).app()) as url:
                own = Client(node.rpc_url, cookie=node.cookie)
                settings = ValidatorSettings(folder / "validator.db", folder / "headers", url, own)
                stop = asyncio.Event()
                async with (
                    background(sequencer.run),
                    background(lambda: run_validator(GEN, keys(), settings, stop, lambda _: None)),
                ):
                    yield sequencer
        finally:
            await feed.close()
            await store.close()
            await engine.dispose()


def mined(node: Bitcoind, count: int, salt: int) -> str:
    """Mine empty blocks to an address of nobody's; return the last one's hash."""
    address = address_of(b"\x00\x14" + bytes([salt]) * 20, REGTEST)
    return str(node.rpc(seconds=300).generatetoaddress(count, address)[-1])


@pytest.mark.regtest
async def test_a_thousand_blocks_of_a_real_bitcoind_are_replaced(tmp_path: Path, bitcoind: Bitcoind) -> None:
    await asyncio.to_thread(mined, bitcoind, DEPTH + BELOW, 1)
    async with a_rollup(tmp_path, bitcoind) as s:
        await until(lambda: s.state.view.tip.height == DEPTH + BELOW, "the first chain", 120)
        rpc = bitcoind.rpc(seconds=300)
        first_lost = rpc.getblockhash(BELOW + 1)
        await asyncio.to_thread(rpc.invalidateblock, first_lost)
        won = await asyncio.to_thread(mined, bitcoind, DEPTH + 1, 2)
        await until(lambda: s.state.view.tip.hash == from_display(won), "the view to turn", 120)
        assert [(r.depth, r.fork_height) for r in s.state.reorgs] == [(DEPTH, BELOW)]
        assert s.state.pause is not None
        turned = s.state.height
        await until(lambda: s.state.height > turned, "blocks to go on", 60)
