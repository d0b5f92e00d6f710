"""A header tracker alone, as benches use it: feed, alarms and stream, on a folder; and as a process of its own.

`python -m tests.bench.header_home FOLDER` opens the tracker on what lies in the folder and prints one line of JSON:
height, tip, megabytes at their highest.
"""

import asyncio
import json
import re
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa
from aiohttp import web

from anchor.btc.ids import display
from anchor.btc.network import REGTEST
from anchor.feed import HeaderFeed
from anchor.header_alarms import HeaderAlarm, HeaderAlarms
from anchor.header_source import HeaderSource
from anchor.header_tables import define
from anchor.stream import Stream
from migrations.database import open_database


@dataclass
class Home:
    feed: HeaderFeed
    alarms: HeaderAlarms
    stream: Stream

    async def round(self) -> None:
        """One round of a node: follow, then look, which tells the stream."""
        await self.feed.sync()
        await self.alarms.look()


class NoProgress:
    """Draws nothing between the figures."""

    def at(self, height: int, goal: int) -> None:
        pass

    def done(self) -> None:
        pass


@asynccontextmanager
async def tracker(
    folder: Path, source: HeaderSource, *, hold: bool = True, zmq_url: str | None = None
) -> AsyncIterator[Home]:
    """A tracker that has read its folder; a node's `k` and tables."""
    folder.mkdir(parents=True, exist_ok=True)
    metadata = sa.MetaData()
    tables = define(metadata)
    engine = open_database(folder / "headers.db")
    async with engine.begin() as db:
        await db.run_sync(metadata.create_all)
    feed = HeaderFeed(
        source, REGTEST, folder, engine, tables, k=6, hold=hold, zmq_url=zmq_url, progress=NoProgress()
    )
    stream = Stream("bench")

    async def tell(alarm: HeaderAlarm) -> None:
        stream.tell("reorg" if alarm.kind == "reorg" else "alarm", alarm.data)

    try:
        await feed.open()
        yield Home(feed, HeaderAlarms(feed, None, tell, stream=stream, clock=time.time), stream)
    finally:
        stream.close()
        await feed.close()
        await engine.dispose()


@asynccontextmanager
async def served(stream: Stream) -> AsyncIterator[str]:
    """The stream on a port of 127.0.0.1; yields its URL."""
    app = web.Application()
    app.router.add_get("/v1/stream", stream.serve)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1/stream"
    finally:
        await runner.cleanup()


class Nowhere:
    """A source that is never asked."""

    async def tip(self) -> tuple[int, bytes]:
        raise NotImplementedError

    async def headers(self, start: int, count: int) -> list[object]:
        raise NotImplementedError


def most_megabytes() -> float:
    """The most memory that this process ever had (VmHWM), in units of 10^6 bytes."""
    found = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) * 1024 / 1e6


async def start(folder: Path) -> None:
    async with tracker(folder, Nowhere()) as home:
        tip = home.feed.chain.tip
        found = home.feed.chain.is_main(tip.hash)
        told = {"height": tip.height, "tip": display(tip.hash), "found": found, "megabytes": most_megabytes()}
        print(json.dumps(told), flush=True)


if __name__ == "__main__":
    asyncio.run(start(Path(sys.argv[1])))
