"""The rows that need a real bitcoind: first sync by REST and by JSON-RPC, and from its tip to a listener."""

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median

from anchor.bitcoind import Bitcoind
from anchor.btc.address import address_of
from anchor.btc.ids import display
from anchor.btc.network import REGTEST
from anchor.header_source import BitcoindSource
from regtest.bitcoind import Bitcoind as Process
from tests.bench.header_home import served, tracker
from tests.bench.header_listener import Listener
from tests.bench.report import Row, below, beside

ADDRESS = address_of(b"\x51\x20" + b"\x02" * 32, REGTEST)
TIPS = 60
QUICK = ("-checkblockindex=0",)  # Core looks through all headers at every block of regtest otherwise


async def rows(folder: Path, blocks: int, say: Callable[[str], None]) -> list[Row]:
    """Mine, read everything several times over each way, then follow block by block."""
    node = await asyncio.to_thread(Process(folder / "bitcoind", extra=QUICK).start)
    try:
        async with Bitcoind(node.rpc_url, cookie=node.cookie, timeout=600) as client:
            say(f"bitcoind mines {blocks:,} blocks")
            for done in range(0, blocks, 500):
                await client.call("generatetoaddress", min(500, blocks - done), ADDRESS)
            found = await first_syncs(folder, client, blocks, say)
            return found + await tips(folder, node, client, say)
    finally:
        await asyncio.to_thread(node.close)


async def first_syncs(folder: Path, client: Bitcoind, blocks: int, say: Callable[[str], None]) -> list[Row]:
    used = time.process_time()
    by_rest = [await first_sync(folder / f"rest-{i}", client, blocks, rest=True) for i in range(5)]
    used = (time.process_time() - used) / 5
    by_rpc = [await first_sync(folder / f"rpc-{i}", client, blocks, rest=False) for i in range(3)]
    rest, rpc = median(by_rest), median(by_rpc)
    say(f"first sync: {rest:,.0f} headers/s by REST, {rpc:,.0f} by JSON-RPC")
    short = "" if blocks >= 20_000 else " (fewer than the goal asks: missed)"
    name = f"first sync from a regtest bitcoind with {blocks:,} blocks, by REST{short}"
    row = Row(name, "≥ 100,000 headers/s by REST", rest, "/s", rest >= 100_000 and not short, by_rest)
    return [
        row,
        beside("  our CPU of it (opening the folder included)", 1000 * used, "ms"),
        beside("  the same by JSON-RPC in batches", rpc, "/s", by_rpc),
        beside("  REST / JSON-RPC", rest / rpc, "×"),
    ]


async def first_sync(folder: Path, client: Bitcoind, blocks: int, *, rest: bool) -> float:
    """Headers per second from an empty folder to durable at bitcoind's tip."""
    source = BitcoindSource(client, rest=None if rest else False)
    async with tracker(folder, source) as home:
        begun = time.perf_counter()
        await home.feed.sync()
        took = time.perf_counter() - begun
        assert home.feed.chain.tip.height == blocks
        assert source.by_rest is rest
    await source.close()
    return blocks / took


async def tips(folder: Path, node: Process, client: Bitcoind, say: Callable[[str], None]) -> list[Row]:
    """From the moment bitcoind is told to mine to the listener's event."""
    took = list[float]()
    async with (
        tracker(folder / "tips", BitcoindSource(client), zmq_url=node.zmq_url) as home,
        served(home.stream) as url,
        Bitcoind(node.rpc_url, cookie=node.cookie) as miner,
    ):
        await home.round()
        following = asyncio.create_task(follow(home))
        async with Listener(url) as listener:
            for _ in range(TIPS):
                heard = asyncio.create_task(listener.next("block"))
                begun = time.perf_counter()
                [block] = await miner.call("generatetoaddress", 1, ADDRESS)
                told = await heard
                took.append((time.perf_counter() - begun) * 1000)
                assert json.loads(told)["hash"] == block, display(home.feed.chain.tip.hash)
        following.cancel()
    say(f"tip to event: {median(took):.1f} ms")
    what = "bitcoind's tip to the event on the stream (mining the block included)"
    return [replace(below(what, "< 100 ms median with ZMQ", median(took), 100, "ms"), samples=took)]


async def follow(home: object) -> None:
    while True:
        await home.feed.wait(30)
        await home.round()
