"""Headers by bitcoind's REST interface where it runs, by JSON-RPC where it does not; strangers on the port."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from anchor.bitcoind import BadAnswer, Bitcoind, Pruned, Unreachable
from anchor.bitcoind_rest import NoRest, Rest
from anchor.btc.address import address_of
from anchor.btc.header import Header
from anchor.btc.ids import BlockHash
from anchor.btc.network import REGTEST
from anchor.feed import WrongNode
from anchor.header_source import BitcoindSource
from tests.anchor.feeding import Branch, FeedHome, serving
from tests.anchor.headers.minting import GENESIS, run


async def mined(client: Bitcoind, count: int, key: bytes = b"\x02" * 32) -> None:
    await client.call("generatetoaddress", count, address_of(b"\x51\x20" + key, REGTEST))


@pytest.mark.regtest
@pytest.mark.parametrize("rest", [True, False])
async def test_both_ways_bring_the_same_headers(
    new_bitcoind: Callable[..., Any], tmp_path: Path, rest: bool
) -> None:
    node = new_bitcoind(extra=() if rest else ("-rest=0",)).start()
    async with Bitcoind(node.rpc_url, cookie=node.cookie) as client:
        await mined(client, 130)
        source = BitcoindSource(client)
        whole = await source.raws(0, 2000)
        assert source.by_rest is rest
        assert whole[:80] == REGTEST.genesis
        assert len(whole) == 131 * 80
        assert [h.raw for h in await client.headers(0, 2000)] == [h.raw for h in await source.headers(0, 200)]
        assert await source.raws(131, 10) == b""
        assert await source.raws(100, 5) == whole[100 * 80 : 105 * 80]
        assert await source.raws(105, 50) == whole[105 * 80 :], "behind the last page"
        await source.close()
        home = FeedHome(tmp_path / "feed")
        async with home.feed(client) as feed:
            assert len(await feed.sync()) == 130
            lost = await client.block_hash(126)
            assert lost is not None
            await client.call("invalidateblock", lost[::-1].hex())
            await mined(client, 8, b"\x03" * 32)
            await feed.sync()
            assert (feed.chain.tip.height, feed.chain.tip.hash) == await client.best()
            [row] = await feed.reorgs()
            assert (row.depth, row.fork_height) == (5, 125)


@pytest.mark.regtest
async def test_a_pruned_node_brings_all_headers(new_bitcoind: Callable[..., Any], tmp_path: Path) -> None:
    node = new_bitcoind(extra=("-prune=1", "-fastprune")).start()
    async with Bitcoind(node.rpc_url, cookie=node.cookie) as client:
        for _ in range(6):
            await mined(client, 100)
        await client.call("pruneblockchain", 300)
        assert (await client.call("getblockchaininfo"))["pruneheight"] > 50
        async with FeedHome(tmp_path / "feed").feed(client) as feed:
            assert len(await feed.sync()) == 600
            gone, there = feed.chain.at_height(50), feed.chain.at_height(590)
            assert gone is not None
            assert there is not None
            with pytest.raises(Pruned, match=r"has pruned block .* -reindex, or give another bitcoind"):
                await client.raw_block(gone.hash)
            assert (await client.raw_block(there.hash))[:80] == there.header.raw


@pytest.mark.regtest
async def test_another_bitcoind_behind_the_same_address_waits_for_the_operators_word(
    new_bitcoind: Callable[..., Any], tmp_path: Path
) -> None:
    right, wrong = new_bitcoind("right").start(), new_bitcoind("wrong").start()
    home = FeedHome(tmp_path / "feed")
    async with (
        Bitcoind(right.rpc_url, cookie=right.cookie) as ours,
        Bitcoind(wrong.rpc_url, cookie=wrong.cookie) as theirs,
    ):
        await mined(ours, 70)
        await mined(theirs, 90, b"\x03" * 32)
        async with home.feed(ours) as feed:
            await feed.sync()
            kept = (home.folder / "main.bin").read_bytes()
            ours.url = theirs.url  # what a changed address or a proxy does to a running node
            ours._cookie, ours._header = wrong.cookie, None
            feed._source._rest.url = theirs.url
            with pytest.raises(WrongNode, match="lacks 70 blocks"):
                await feed.sync()
            assert (home.folder / "main.bin").read_bytes() == kept
            assert feed.chain.tip.height == 70
            feed.confirm((await theirs.best())[1])
            await feed.sync()
            assert feed.chain.tip.height == 90


async def answers(status: int, body: bytes) -> list[web.RouteDef]:
    async def reply(_: web.Request) -> web.Response:
        return web.Response(status=status, body=body)

    return [web.get("/rest/headers/{block}", reply)]


@pytest.mark.parametrize(
    ("status", "body", "error", "words"),
    [
        (404, b"", NoRest, "start it with -rest=1"),
        (302, b"", NoRest, "302"),
        (503, b"Service temporarily unavailable", Unreachable, "warming up"),
        (200, b"x" * 79, BadAnswer, "not answer /rest/headers like bitcoind"),
        (200, run(GENESIS, 1)[0].raw, BadAnswer, "not answer /rest/headers like bitcoind"),
        (200, REGTEST.genesis * 9, BadAnswer, "more headers than were asked for"),
    ],
)
async def test_what_is_no_rest_answer_is_named(
    status: int, body: bytes, error: type[Exception], words: str
) -> None:
    async with serving(await answers(status, body)) as url:
        rest = Rest(url.replace("//", "//user:secret@") + "/wallet/x")
        with pytest.raises(error, match=words) as told:
            await rest.headers(GENESIS.hash, 3)
        await rest.close()
    assert "secret" not in str(told.value)


@pytest.mark.parametrize(("status", "body"), [(404, b""), (200, b"<html>a proxy's own page</html>")])
async def test_without_rest_the_headers_come_by_json_rpc(status: int, body: bytes) -> None:
    node = Branch().mine(5)

    class Rpc(Bitcoind):
        async def block_hash(self, height: int) -> BlockHash | None:
            return node.chain[height].hash

        async def headers(self, start: int, count: int) -> list[Header]:
            return await node.headers(start, count)

    async with serving(await answers(status, body)) as url, Rpc(url, user="me") as client:
        source = BitcoindSource(client)
        assert await source.headers(2, 2) == node.chain[2:4]
        assert not source.by_rest


async def test_a_closed_port_is_named() -> None:
    rest = Rest("http://127.0.0.1:1")
    with pytest.raises(Unreachable, match="start it, or correct the URL"):
        await rest.headers(GENESIS.hash, 3)
    await rest.close()


async def test_an_empty_answer_means_that_the_block_is_not_on_its_chain() -> None:
    async with serving(await answers(200, b"")) as url:
        rest = Rest(url)
        assert await rest.headers(GENESIS.hash, 3) == b""
        await rest.close()


async def test_lists_of_headers_are_as_good_as_bytes(tmp_path: Path) -> None:
    async with FeedHome(tmp_path).feed(Branch().mine(60)) as feed:
        assert len(await feed.sync()) == 60
