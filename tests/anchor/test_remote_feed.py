"""A sequencer with several nodes believes what most of those that answer have on their main chain."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from anchor.btc.ids import display
from anchor.header_source import SourceError
from anchor.remote_feed import RemoteFeed, agreed_by_most
from tests.anchor.feeding import Branch, serving
from tests.anchor.headers.minting import GENESIS, chain_of, run

DOWN = "http://127.0.0.1:1"


def node(branch: Branch) -> list[web.RouteDef]:
    """What a node answers whose main chain is that branch, however light."""

    async def headers(request: web.Request) -> web.Response:
        height, block = await branch.tip()
        told: dict[str, object] = {"tip_height": height, "tip_hash": display(block)}
        if "from" in request.query:
            page = await branch.headers(int(request.query["from"]), int(request.query["count"]))
            told["headers"] = b"".join(h.raw for h in page).hex()
        return web.json_response(told)

    return [web.get("/v1/headers", headers)]


@asynccontextmanager
async def a_feed(*branches: Branch, more: tuple[str, ...] = ()) -> AsyncIterator[RemoteFeed]:
    async with AsyncExitStack() as stack:
        urls = [await stack.enter_async_context(serving(node(branch))) for branch in branches]
        feed = RemoteFeed([*urls, *more], chain_of())
        try:
            yield feed
        finally:
            await feed.close()


def tip_of(feed: RemoteFeed) -> bytes | None:
    return None if feed.agreed is None else feed.agreed.hash


async def test_of_three_nodes_one_that_lies_is_not_believed_however_heavy_its_chain() -> None:
    honest = Branch().mine(5)
    liar = Branch(list(honest.chain)).mine(30, salt=7)
    async with a_feed(liar, honest, honest) as feed:
        await feed.sync()
        assert tip_of(feed) == honest.chain[-1].hash
        bundle = feed.bundle_for(chain_of())
        assert bundle is not None
        assert bundle.headers == tuple(h.raw for h in honest.chain[1:])
        assert feed.has(5, honest.chain[5].hash)
        assert feed.has(6, liar.chain[6].hash) is False


async def test_headers_that_a_majority_gave_up_are_bundled_no_more() -> None:
    honest = Branch().mine(5)
    one, two = (Branch(list(honest.chain)).mine(4, salt=7) for _ in range(2))
    async with a_feed(one, two, honest) as feed:
        await feed.sync()
        lie = tip_of(feed)
        assert lie == one.chain[-1].hash
        two.chain = list(honest.chain)
        await feed.sync()
        assert tip_of(feed) == honest.chain[-1].hash
        assert feed.has(9, lie) is False


async def test_two_nodes_must_agree_and_one_is_believed() -> None:
    honest = Branch().mine(5)
    other = Branch(list(honest.chain)).mine(4, salt=7)
    async with a_feed(honest, other) as feed:
        await feed.sync()
        assert tip_of(feed) == honest.chain[5].hash, "where they part"
    async with a_feed(other) as feed:
        await feed.sync()
        assert tip_of(feed) == other.chain[-1].hash


async def test_nodes_of_which_no_branch_has_most_are_named() -> None:
    here = Branch().mine(5)
    there = Branch(list(here.chain)).mine(1, salt=7)
    here.mine(2)
    with capture_logs() as told:
        async with a_feed(here, there) as feed:
            await feed.sync()
            await feed.sync()
            there.chain = list(here.chain[:-1])
            await feed.sync()
    assert [(line["event"], len(line["nodes"]), line["height"]) for line in told] == [
        ("nodes_disagree", 2, 5),
        ("nodes_on_another_branch", 0, 6),
    ]


async def test_nodes_that_lag_hold_back_only_what_most_lack() -> None:
    full = Branch().mine(9)
    async with a_feed(full, Branch(full.chain[:4]), Branch(full.chain[:8])) as feed:
        await feed.sync()
        assert tip_of(feed) == full.chain[7].hash


async def test_only_nodes_that_answer_count() -> None:
    honest = Branch().mine(5)
    async with a_feed(honest, more=(DOWN, "http://127.0.0.1:2")) as feed:
        await feed.sync()
        assert tip_of(feed) == honest.chain[-1].hash
    lonely = RemoteFeed([DOWN], chain_of())
    with pytest.raises(SourceError, match="does not answer"):
        await lonely.sync()
    assert lonely.has(0, GENESIS.hash) is None
    await lonely.close()


async def test_a_node_that_is_named_twice_has_one_voice() -> None:
    honest = Branch().mine(5)
    liar = Branch(list(honest.chain)).mine(4, salt=7)
    async with serving(node(liar)) as lie, serving(node(honest)) as truth:
        feed = RemoteFeed([lie, lie + "/", truth], chain_of())
        await feed.sync()
        assert tip_of(feed) == honest.chain[-1].hash
        await feed.close()


async def test_a_node_that_hangs_holds_up_the_others_once_and_then_briefly(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("anchor.remote_feed.ROUND", 0.4)
    monkeypatch.setattr("anchor.remote_feed.SUSPECT", 0.1)
    asked = 0

    async def hang(_: web.Request) -> web.Response:
        nonlocal asked
        asked += 1
        await asyncio.Event().wait()
        raise AssertionError

    honest = Branch().mine(5)
    async with serving([web.get("/v1/headers", hang)]) as url, a_feed(honest, more=(url,)) as feed:
        for count in (1, 2):
            honest.mine(1)
            await feed.sync()
            assert tip_of(feed) == honest.chain[-1].hash
            assert asked == count
        assert "did not answer within 0.1 s" in str(feed._nodes[1].trouble)


async def test_a_node_whose_headers_are_invalid_counts_as_none() -> None:
    honest = Branch().mine(5)
    broken = Branch([*honest.chain, Branch().mine(3, salt=5).chain[3]])
    async with a_feed(honest, broken, broken) as feed:
        await feed.sync()
        assert tip_of(feed) == honest.chain[-1].hash


SALTS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4), st.integers(1, 2)), min_size=1, max_size=5)


@given(SALTS)
@settings(max_examples=60, deadline=None)
def test_what_most_have_is_the_highest_header_that_most_have(shapes: list[tuple[int, int, int]]) -> None:
    chain = chain_of()
    tips = []
    for shared, own, salt in shapes:
        trunk = run(GENESIS, shared)
        branch = [*trunk, *run(trunk[-1] if trunk else GENESIS, own, salt)]
        for header in branch:
            chain.add(header)
        tips.append(chain.get(branch[-1].hash if branch else GENESIS.hash))
    counts: dict[bytes, tuple[int, int]] = {}
    for tip in tips:
        walk = tip
        while walk is not None:
            counts[walk.hash] = (walk.height, counts.get(walk.hash, (0, 0))[1] + 1)
            walk = walk.parent
    best = max((height, block) for block, (height, count) in counts.items() if 2 * count > len(tips))
    agreed = agreed_by_most([tip for tip in tips if tip is not None])
    assert agreed is not None
    assert (agreed.height, agreed.hash) == best


def test_of_no_answers_nothing_is_agreed() -> None:
    assert agreed_by_most([]) is None
