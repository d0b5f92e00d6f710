"""Header sources, feeds and applications on real sockets, for tests."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import sqlalchemy as sa
from aiohttp import web
from sqlalchemy.ext.asyncio import AsyncEngine

from anchor.api_headers import HeaderApi, HeaderSources
from anchor.api_wire import TouchedView
from anchor.btc.header import Header
from anchor.btc.ids import BlockHash
from anchor.btc.network import REGTEST
from anchor.feed import HeaderFeed
from anchor.header_source import HeaderSource
from anchor.header_tables import HeaderTables, define
from anchor.headers.finality import Policy
from anchor.problem import app as problem_app
from migrations.database import open_database
from tests.anchor.headers.minting import GENESIS, run


@dataclass
class Branch:
    """A source of headers whose active chain is a list: `headers[i]` has height i."""

    chain: list[Header] = field(default_factory=lambda: [GENESIS])

    async def tip(self) -> tuple[int, BlockHash]:
        return len(self.chain) - 1, self.chain[-1].hash

    async def headers(self, start: int, count: int) -> list[Header]:
        return self.chain[start : start + count]

    def mine(self, count: int, salt: int = 0) -> "Branch":
        self.chain = [*self.chain, *run(self.chain[-1], count, salt)]
        return self

    def reorg(self, depth: int, count: int, salt: int = 9) -> "Branch":
        self.chain = self.chain[: len(self.chain) - depth]
        return self.mine(count, salt)


class FeedHome:
    """A folder with tables in which a feed lives, and lives again."""

    def __init__(self, folder: Path, k: int = 3) -> None:
        self.folder, self.k = folder, k
        folder.mkdir(parents=True, exist_ok=True)
        metadata = sa.MetaData()
        self.tables: HeaderTables = define(metadata)
        self._metadata = metadata
        self.now = float(2_000_000_000)

    @asynccontextmanager
    async def engine(self) -> AsyncIterator[AsyncEngine]:
        engine = open_database(self.folder / "feed.db")
        async with engine.begin() as db:
            await db.run_sync(self._metadata.create_all)
        try:
            yield engine
        finally:
            await engine.dispose()

    @asynccontextmanager
    async def feed(self, source: HeaderSource, **options: object) -> AsyncIterator[HeaderFeed]:
        async with self.engine() as engine:
            feed = HeaderFeed(
                source, REGTEST, self.folder, engine, self.tables, k=self.k, clock=lambda: self.now, **options
            )
            await feed.open()
            try:
                yield feed
            finally:
                await feed.close()


@asynccontextmanager
async def serving(app_or_routes: web.Application | list[web.RouteDef]) -> AsyncIterator[str]:
    """Serve on a free port of 127.0.0.1; yields the root URL."""
    if isinstance(app_or_routes, web.Application):
        app = app_or_routes
    else:
        app = problem_app()
        app.add_routes(app_or_routes)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def routes(feed: HeaderFeed) -> list[web.RouteDef]:
    """What a node serves over its feed; it has nothing else yet."""

    async def untouched(_: Sequence[int]) -> dict[int, list[TouchedView]]:
        return {}

    sources = HeaderSources(
        "alice", feed.k, feed.chain, feed.ledger, lambda: Policy(feed.k), untouched, lambda: None, lambda: ()
    )
    return HeaderApi(sources).routes()
