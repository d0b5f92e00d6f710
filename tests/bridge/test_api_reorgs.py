"""A whole node over a real bitcoind tells of reorgs: the stream, the ledger, the pages, an operator who refuses."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from anchor.btc.header import Header
from anchor.btc.ids import display, from_display
from bridge.node import Node
from regtest.bitcoind import Bitcoind
from tests.anchor.headers.minting import run
from tests.bridge.observing import Observer, make_paper, observing, write_observer

pytestmark = pytest.mark.regtest


@pytest.fixture
def folder(tmp_path: Path, bitcoind: Bitcoind) -> Path:
    return write_observer(tmp_path / "watcher", make_paper(tmp_path / "paper"), bitcoind)


@pytest.fixture
async def watcher(folder: Path) -> AsyncIterator[Observer]:
    async with observing(folder) as found:
        yield found


def mine(bitcoind: Bitcoind, count: int) -> int:
    rpc = bitcoind.rpc("miner")
    rpc.generatetoaddress(count, rpc.getnewaddress())
    return int(rpc.getblockcount())


@asynccontextmanager
async def listening(watcher: Observer, query: str = "") -> AsyncIterator[aiohttp.StreamReader]:
    async with watcher.session.get(f"{watcher.sites.public_url}/v1/stream{query}") as answer:
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        await answer.content.readuntil(b"\n\n")
        yield answer.content


async def event(reader: aiohttp.StreamReader) -> tuple[str, Any]:
    async with asyncio.timeout(30):
        text = (await reader.readuntil(b"\n\n")).decode()
    fields = dict(line.split(": ", 1) for line in text.strip().splitlines())
    return fields["event"], json.loads(fields["data"])


async def test_a_reorg_is_streamed_kept_shown_and_counted(watcher: Observer, bitcoind: Bitcoind) -> None:
    await watcher.reach(mine(bitcoind, 5))
    await watcher.node.look_again()
    lost = bitcoind.rpc().getblockhash(4)
    async with listening(watcher) as everything, listening(watcher, "?kinds=alarm") as alarms:
        bitcoind.rpc().invalidateblock(lost)
        await watcher.reach(mine(bitcoind, 3))
        told = [await event(everything)]
        while told[-1][0] != "reorg":
            told.append(await event(everything))
        # Had the node looked while both branches were of one length, it would have told of a rival, too.
        told = [(kind, data) for kind, data in told if data.get("kind") != "rival"]
        assert [kind for kind, _ in told] == ["gone", "gone", "block", "block", "block", "alarm", "reorg"]
        assert [data["height"] for _, data in told[:5]] == [5, 4, 4, 5, 6]
        assert (told[5][1]["level"], told[6][1]["depth"]) == ("warning", 2)
        assert (await event(alarms))[0] == "alarm"
    await watcher.node.look_again()
    one = await watcher.get("/v1/reorgs/1")
    assert one["reorg"]["touched"] == []
    (seen,) = one["reorg"]["seen"]
    assert seen["source"] == "bitcoind"
    assert seen["old"] <= seen["new"] <= one["reorg"]["seen_at"] + 1
    assert next(b["hash"] for b in one["old"]) == lost
    for path in ("/reorgs", "/reorgs/1"):
        async with watcher.session.get(watcher.sites.public_url + path) as answer:
            assert (answer.status, answer.content_type) == (200, "text/html")
            assert "Value moves." in await answer.text()
    async with watcher.session.get(f"{watcher.sites.public_url}/v1/metrics") as answer:
        text = await answer.text()
    assert 'holdfast_reorgs_total{level="warning"} 1' in text
    assert 'holdfast_header_alarm{kind="wrong_node"} 0' in text


async def test_a_branch_that_bitcoind_knows_and_does_not_follow_is_a_rival_and_takes_the_lead_away(
    watcher: Observer, bitcoind: Bitcoind
) -> None:
    await watcher.reach(mine(bitcoind, 5))
    rpc = bitcoind.rpc()
    foot = Header.parse(bytes.fromhex(rpc.getblockheader(rpc.getblockhash(3), False)))
    rival = run(foot, 2, 7)
    for header in rival:
        rpc.submitheader(header.raw.hex())
    await watcher.reach(mine(bitcoind, 1))  # a new block makes it ask
    await watcher.node.look_again()
    (standing,) = watcher.node.header_alarms.standing.values()
    assert (standing.kind, standing.data["fork_height"]) == ("rival", 3)
    beside = await watcher.get(f"/v1/headers/{rpc.getblockhash(4)}")
    assert (beside["depth"], beside["final"], beside["settled"]) == (3, True, False)
    assert [c["name"] for c in beside["conditions"] if not c["met"]] == ["lead"]
    other = await watcher.get(f"/v1/headers/{display(rival[1].hash)}")
    assert (other["main"], other["height"], list(other["seen"])) == (False, 5, ["bitcoind"])
    await watcher.reach(mine(bitcoind, 2))
    await watcher.node.look_again()
    assert not watcher.node.header_alarms.standing
    assert (await watcher.get(f"/v1/headers/{rpc.getblockhash(4)}"))["settled"]


async def test_an_operator_s_refusal_outlives_a_restart(folder: Path, bitcoind: Bitcoind) -> None:
    node = await Node.open(folder)
    try:
        await node._round()
        top = mine(bitcoind, 11) - 11
        await node._round()
        rpc = bitcoind.rpc("miner")
        rpc.invalidateblock(rpc.getblockhash(top + 1))
        for _ in range(12):  # into other addresses, so that no block is one of those before
            rpc.generatetoaddress(1, rpc.getnewaddress())
        await node._round()
        standing = node.header_alarms.standing["wrong_node"]
        assert "refuse it and correct the URL" in standing.text
        await node.feed.say(from_display(rpc.getbestblockhash()), "refused")
    finally:
        await node.close()
    node = await Node.open(folder)
    try:
        await node._round()
        assert "operator refused" in node.header_alarms.standing["wrong_node"].text
        (check,) = [c for c in node.health() if c.name == "headers"]
        assert not check.ok
        assert next(a["kind"] for a in await node.anchors.alarms()) == "wrong_node"
    finally:
        await node.close()


async def test_another_chain_with_less_work_behind_the_same_address_is_asked_about_and_not_kept(
    folder: Path, bitcoind: Bitcoind
) -> None:
    node = await Node.open(folder)
    try:
        mine(bitcoind, 30)
        await node._round()
        tip, stored = node.feed.chain.tip, (folder / "headers" / "main.bin").read_bytes()
        bitcoind.stop()
        for part in ("blocks", "chainstate"):
            shutil.rmtree(bitcoind.datadir / "regtest" / part)
        bitcoind.start()
        bitcoind.ensure_wallet("miner")
        rpc = bitcoind.rpc("miner")
        for _ in range(20):
            rpc.generatetoaddress(1, rpc.getnewaddress())
        await node._round()
        assert node.trouble["bitcoind"].startswith(
            "our bitcoind now lacks 30 blocks that it had (from height 1)"
        )
        assert "confirm-tip" in node.trouble["bitcoind"]
        assert "wrong_node" in node.header_alarms.standing
        (check,) = [c for c in node.health() if c.name == "headers"]
        assert not check.ok
        assert node.feed.chain.heads == (tip,)
        assert (folder / "headers" / "main.bin").read_bytes() == stored
        assert await node.feed.ledger.forks(99) == []
    finally:
        await node.close()


async def word(watcher: Observer, verb: str, tip: str) -> tuple[int, str]:
    """The operator's word on a chain: HTTP status, and the problem's code or what was answered."""
    from bridge.admin_client import ADMIN_FILE

    found = json.loads((watcher.node.folder / ADMIN_FILE).read_text())
    headers = {"Authorization": f"Bearer {found['token']}"}
    url = f"{found['url']}/v1/headers/{verb}"
    async with watcher.session.post(url, json={"tip": tip}, headers=headers) as answer:
        told = await answer.json(content_type=None)
        return answer.status, told.get("code") or told[f"{verb}ed"]


async def test_what_is_followed_already_cannot_be_refused(watcher: Observer, bitcoind: Bitcoind) -> None:
    await watcher.reach(mine(bitcoind, 2))
    assert await word(watcher, "refuse", bitcoind.rpc().getblockhash(1)) == (409, "followed")


async def test_only_a_chain_that_is_asked_about_can_be_confirmed(
    watcher: Observer, bitcoind: Bitcoind
) -> None:
    await watcher.reach(top := mine(bitcoind, 12))
    rpc, node = bitcoind.rpc("miner"), watcher.node
    followed = rpc.getblockhash(top)
    rpc.invalidateblock(rpc.getblockhash(top - 10))
    assert await word(watcher, "confirm", "ab" * 32) == (409, "not_asked")
    for _ in range(12):  # into other addresses, so that no block is one of those before
        rpc.generatetoaddress(1, rpc.getnewaddress())
    tip = rpc.getbestblockhash()
    async with asyncio.timeout(60):
        while node.feed.held is None:
            node.wake()
            await asyncio.sleep(0.02)
    assert await word(watcher, "confirm", "ab" * 32) == (409, "not_asked")
    assert await word(watcher, "confirm", followed) == (200, followed)
    assert node.feed.held is not None, "a word on what is followed says nothing of the other chain"
    assert await word(watcher, "confirm", tip) == (200, tip)
    await watcher.reach(top + 1)
    assert await word(watcher, "confirm", tip) == (200, tip), "and again: it is true now"


async def test_a_node_stops_at_once_though_somebody_listens(folder: Path) -> None:
    async with observing(folder) as watcher, asyncio.timeout(30), listening(watcher) as reader:
        await watcher.sites.close()
        assert await reader.read() == b""
