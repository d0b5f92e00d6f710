"""`/v1/headers` on a real socket, and the sequencer's feed that reads it."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from anchor.btc.ids import display
from anchor.feed import HeaderFeed
from anchor.header_source import HttpSource, SourceError
from anchor.remote_feed import RemoteFeed
from tests.anchor.feeding import Branch, FeedHome, routes, serving
from tests.anchor.headers.minting import chain_of


@asynccontextmanager
async def a_node(folder: Path, branch: Branch) -> AsyncIterator[tuple[str, HeaderFeed]]:
    async with FeedHome(folder).feed(branch) as feed, serving(routes(feed)) as url:
        await feed.sync()
        yield url, feed


async def get(url: str) -> tuple[int, dict[str, object]]:
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        return response.status, await response.json(content_type=None)


async def test_a_sequencer_follows_a_node_through_a_reorg(tmp_path: Path) -> None:
    branch = Branch().mine(30)
    async with a_node(tmp_path, branch) as (url, feed):
        view = chain_of()
        remote = RemoteFeed([url], view)
        assert await remote.sync()
        assert not await remote.sync()
        branch.reorg(20, 22)
        feed.confirm(branch.chain[-1].hash)
        await feed.sync()
        assert await remote.sync()
        assert remote.agreed is not None
        assert remote.agreed.hash == branch.chain[-1].hash
        bundle = remote.bundle_for(view)
        assert bundle is not None
        assert bundle.new_tip == branch.chain[-1].hash
        assert view.tip.height == 0, "reading changes no view"
        await remote.close()


async def test_a_sequencer_asks_the_next_node_when_one_is_down(tmp_path: Path) -> None:
    branch = Branch().mine(3)
    async with a_node(tmp_path, branch) as (url, _):
        remote = RemoteFeed(["http://127.0.0.1:1", url], chain_of())
        assert await remote.sync()
        await remote.close()
    lonely = RemoteFeed(["http://127.0.0.1:1"], chain_of())
    with pytest.raises(SourceError, match="does not answer"):
        await lonely.sync()
    await lonely.close()


async def test_headers_are_served_by_height_and_by_hash(tmp_path: Path) -> None:
    branch = Branch().mine(5)
    async with a_node(tmp_path, branch) as (url, feed):
        _, tip = await get(f"{url}/v1/headers")
        assert (tip["tip_height"], tip["tip_hash"], tip["work"]) == (5, display(branch.chain[5].hash), "c")
        _, page = await get(f"{url}/v1/headers?from=2&count=2")
        assert page["from"] == 2
        assert page["headers"] == (branch.chain[2].raw + branch.chain[3].raw).hex()
        _, beyond = await get(f"{url}/v1/headers?from=6")
        assert beyond["headers"] == ""
        stale = branch.chain[5].hash
        branch.reorg(1, 2)
        await feed.sync()
        _, one = await get(f"{url}/v1/headers/{display(stale)}")
        assert (one["height"], one["depth"], one["main"]) == (5, 0, False)
        _, ledger = await get(f"{url}/v1/reorgs")
        assert [(r["depth"], r["level"], r["old_tip"]) for r in ledger["reorgs"]] == [
            (1, "info", display(stale))
        ]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/headers?from=x", 400),
        ("/v1/headers?from=-1", 400),
        ("/v1/headers?from=1&count=99999999999999999999", 400),
        ("/v1/headers/zz", 400),
        ("/v1/headers/" + "00" * 32, 404),
        ("/v1/reorgs?limit=%00", 400),
        ("/v1/nothing", 404),
    ],
)
async def test_bad_requests_are_problems(tmp_path: Path, path: str, status: int) -> None:
    async with a_node(tmp_path, Branch()) as (url, _):
        got, body = await get(url + path)
        assert got == status
        assert body["status"] == status
        assert body["type"] == f"urn:holdfast:problem:{body['code']}"
        assert "Traceback" not in str(body)


NONSENSE: list[Callable[[], web.Response]] = [
    lambda: web.Response(text="hello"),
    lambda: web.json_response([1, 2]),
    lambda: web.json_response({"tip_height": 3}),
    lambda: web.json_response({"tip_height": "x", "tip_hash": "y"}),
    lambda: web.json_response({"tip_height": 3, "tip_hash": "00" * 32, "headers": "abcd"}),
    lambda: web.json_response({"tip_height": 3, "tip_hash": "00" * 32, "headers": 5}),
    lambda: web.Response(body=b"\xff" * 2_000_000),
    lambda: web.Response(status=500),
    lambda: web.json_response({"tip_height": 1, "tip_hash": "00" * 32, "headers": "00" * 80}),
]


@pytest.mark.parametrize("made", NONSENSE)
async def test_a_node_that_answers_nonsense_is_no_danger(made: Callable[[], web.Response]) -> None:
    async def handle(_: web.Request) -> web.Response:
        return made()

    async with serving([web.get("/v1/headers", handle)]) as url:
        remote = RemoteFeed([url], chain_of())
        with pytest.raises(SourceError):
            await remote.sync()
        assert remote.agreed is None
        assert remote.bundle_for(chain_of()) is None
        await remote.close()


async def test_full_pages_are_read_whole_however_they_come(tmp_path: Path) -> None:
    branch = Branch().mine(2500)  # two pages, the first of 320 kB: more than a socket gives at once
    async with a_node(tmp_path, branch) as (url, _):
        remote = RemoteFeed([url], chain_of())
        assert await remote.sync()
        assert remote.agreed is not None
        assert remote.agreed.hash == branch.chain[-1].hash
        await remote.close()


async def test_a_sources_url_may_end_in_a_slash(tmp_path: Path) -> None:
    async with a_node(tmp_path, Branch().mine(1)) as (url, _):
        source = HttpSource(url + "/")
        assert (await source.tip())[0] == 1
        await source.close()
