"""Alarms about headers: each told once, over when it is over, and none lost by a crash."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from anchor.btc.header import Header
from anchor.btc.ids import BlockHash
from anchor.btc.network import MAINNET, REGTEST
from anchor.feed import HeaderFeed, WrongNode
from anchor.header_alarms import RIVAL_HEADERS, HeaderAlarm, HeaderAlarms, stale_after
from anchor.jsonrpc import NodeError
from anchor.stream import Stream
from tests.anchor.feeding import Branch, FeedHome
from tests.anchor.headers.minting import mine, run


class Rivals:
    """A bitcoind that knows more branches than the one it follows."""

    def __init__(self) -> None:
        self.tips: list[tuple[int, BlockHash, str]] = []
        self.known: dict[bytes, bytes] = {}
        self.asked = 0
        self.down = False

    def add(
        self, parent: Header, height: int, count: int, *, salt: int = 5, status: str = "valid-fork"
    ) -> None:
        made = run(parent, count, salt)
        self.known |= {bytes(h.hash): h.raw for h in made}
        self.tips.append((height + count, made[-1].hash, status))

    async def chain_tips(self) -> list[tuple[int, BlockHash, str]]:
        if self.down:
            raise NodeError("bitcoind does not answer")
        return self.tips

    async def header_bytes(self, block: BlockHash) -> bytes:
        self.asked += 1
        return self.known[bytes(block)]


class Watched:
    """A feed with its alarms and what they told."""

    def __init__(self, home: FeedHome, feed: HeaderFeed, stale: float) -> None:
        self.home, self.feed = home, feed
        self.told: list[HeaderAlarm] = []
        self.rivals, self.stream = Rivals(), Stream("t")
        self.alarms = HeaderAlarms(
            feed, self.rivals, self.tell, stream=self.stream, stale_after=stale, clock=lambda: home.now
        )

    async def tell(self, alarm: HeaderAlarm) -> None:
        self.told.append(alarm)

    async def round(self) -> list[tuple[str, str]]:
        """One round; level and kind of what it told."""
        before = len(self.told)
        try:
            await self.feed.sync()
        except WrongNode:
            pass
        await self.alarms.look()
        return [(a.level, a.kind) for a in self.told[before:]]


@asynccontextmanager
async def watched(home: FeedHome, node: Branch, stale: float = 0) -> AsyncIterator[Watched]:
    async with home.feed(node) as feed:
        yield Watched(home, feed, stale)


@pytest.mark.parametrize(("depth", "level"), [(1, "info"), (2, "warning"), (3, "page"), (4, "pause")])
async def test_a_reorg_is_told_once_at_the_level_of_its_depth(tmp_path: Path, depth: int, level: str) -> None:
    home, node = FeedHome(tmp_path, k=4), Branch().mine(8)
    async with watched(home, node) as it:
        assert await it.round() == []
        node.reorg(depth, depth + 1)
        assert await it.round() == [(level, "reorg")]
        assert it.told[0].data["depth"] == depth
        assert await it.round() == []
    async with watched(home, node) as again:
        assert await again.round() == [], "a restart tells nothing twice"


async def test_a_reorg_whose_alarm_a_crash_swallowed_is_told_after_the_restart(tmp_path: Path) -> None:
    home, node = FeedHome(tmp_path), Branch().mine(5)
    async with watched(home, node) as it:
        await it.round()
        node.reorg(2, 3)
        await it.feed.sync()  # and dies before it looks
    async with watched(home, node) as again:
        assert await again.round() == [("warning", "reorg")]
        assert [row.told_at for row in await again.feed.reorgs()] == [int(home.now)]


async def test_a_branch_of_two_beside_ours_is_told_once_kept_and_over_when_it_is_far_behind(
    tmp_path: Path,
) -> None:
    home, node = FeedHome(tmp_path), Branch().mine(6)
    async with watched(home, node) as it:
        it.rivals.add(node.chain[4], 4, 1, salt=3)
        await it.round()
        assert it.told == [], "one block beside ours is everyday"
        it.rivals.add(node.chain[4], 4, 2)
        home.now += 60
        assert await it.round() == [("warning", "rival")]
        assert it.told[0].data["fork_height"] == 4
        home.now += 60
        assert await it.round() == []
        assert it.feed.chain.get(it.rivals.tips[1][1]) is not None
        node.mine(3)
        assert await it.round() == [("info", "rival")]
        assert it.told[-1].text.startswith("over: ")
    async with watched(home, node) as again:
        assert again.feed.chain.get(it.rivals.tips[1][1]) is not None, "kept for ever"


async def test_a_branch_that_we_left_is_no_second_alarm(tmp_path: Path) -> None:
    home, node = FeedHome(tmp_path), Branch().mine(6)
    async with watched(home, node) as it:
        await it.round()
        node.reorg(2, 3)
        assert await it.round() == [("warning", "reorg")]
    async with watched(home, node) as again:
        assert await again.round() == []


async def test_branches_that_are_invalid_old_heavier_or_without_end_move_nothing(tmp_path: Path) -> None:
    home, node = FeedHome(tmp_path), Branch().mine(6)
    async with watched(home, node) as it:
        await it.round()
        tip = it.feed.chain.tip
        it.rivals.add(node.chain[2], 2, 3, status="invalid")
        it.rivals.add(node.chain[2], 2, 9, salt=8)  # heavier, but not what bitcoind follows
        it.rivals.add(node.chain[2], 2, RIVAL_HEADERS + 1, salt=9)
        bad = mine(run(node.chain[3], 1, 4)[0], fail=True)
        it.rivals.known[bytes(bad.hash)] = bad.raw
        it.rivals.tips.append((5, bad.hash, "headers-only"))
        home.now += 60
        assert await it.round() == []
        assert it.feed.chain.tip is tip
        assert it.feed.agrees
        assert it.rivals.asked <= 9 + RIVAL_HEADERS + 1
        it.rivals.down = True
        home.now += 60
        assert await it.round() == []


async def test_a_tip_that_stands_still_is_told_and_over_with_the_next_block(tmp_path: Path) -> None:
    home, node = FeedHome(tmp_path), Branch().mine(2)
    home.now = float(node.chain[2].time + 60)
    async with watched(home, node, stale=5400) as it:
        assert await it.round() == []
        home.now += 5399
        assert await it.round() == []
        home.now += 1
        assert await it.round() == [("page", "stale_tip")]
        assert "no block for 90 minutes" in it.told[0].text
        home.now += 600
        assert await it.round() == []
        node.mine(1)
        assert await it.round() == [("info", "stale_tip")]


async def test_a_node_that_starts_over_an_old_tip_says_so_at_once(tmp_path: Path) -> None:
    home, node = FeedHome(tmp_path), Branch().mine(2)
    async with watched(home, node) as it:
        await it.round()
    async with watched(home, node, stale=5400) as again:
        assert await again.round() == [("page", "stale_tip")]


def test_each_network_has_its_own_patience_and_regtest_has_no_clock() -> None:
    assert stale_after(MAINNET, -1) == 5400
    assert stale_after(REGTEST, -1) == 0
    assert stale_after(REGTEST, 2) == 120
    assert stale_after(MAINNET, 0) == 0


async def test_a_swapped_node_is_told_once_and_over_when_the_operator_has_spoken(tmp_path: Path) -> None:
    home, node = FeedHome(tmp_path), Branch().mine(15)
    async with watched(home, node) as it:
        await it.round()
        node.reorg(11, 13)
        assert await it.round() == [("page", "wrong_node")]
        assert await it.round() == []
        await it.feed.say(node.chain[-1].hash, "refused")
        assert await it.round() == [("page", "wrong_node")]
        assert "operator refused" in it.told[-1].text
        await it.feed.say(node.chain[-1].hash, "confirmed")
        assert await it.round() == [("pause", "reorg"), ("info", "wrong_node")]


async def test_a_block_from_the_future_waits_and_is_told_of(tmp_path: Path) -> None:
    home, node = FeedHome(tmp_path), Branch().mine(3)
    early = mine(replace(run(node.chain[-1], 1)[0], time=int(home.now) + 7201))
    async with watched(home, node) as it:
        await it.round()
        whole, node.chain = node.chain, [*node.chain, early]
        assert await it.round() == [("page", "from_the_future")]
        assert "set the clock" in it.told[-1].text
        assert (await it.round(), it.feed.chain.tip.height) == ([], 3)
        home.now += 1
        assert await it.round() == [("info", "from_the_future")]
        assert it.feed.chain.tip.hash == early.hash
        assert it.feed.node_tip.hash == early.hash
        again = mine(replace(run(early, 1)[0], time=int(home.now) + 7201))
        node.chain = [*node.chain, again]
        assert await it.round() == [("page", "from_the_future")]
        node.chain = whole
        assert await it.round() == [("info", "from_the_future")]


async def test_a_bitcoind_that_lost_the_newest_of_our_chain_is_told_of(tmp_path: Path) -> None:
    home, node = FeedHome(tmp_path), Branch().mine(15)
    async with watched(home, node) as it:
        await it.round()
        whole, node.chain = node.chain, node.chain[:6]
        assert await it.round() == []
        node.chain = node.chain[:5]
        assert await it.round() == [("page", "node_behind")]
        assert "lacks the newest 11 blocks" in it.told[-1].text
        node.chain = whole[:5]
        assert await it.round() == []
        node.chain = whole
        assert await it.round() == [("info", "node_behind")]


async def test_sources_that_differ_are_told_once_each_and_when_they_agree_again(tmp_path: Path) -> None:
    async with watched(FeedHome(tmp_path), Branch().mine(1)) as it:
        for text in ("it has more work", "it has more work", None, None):
            await it.alarms.differs("btcd", text, tip="ab")
        await it.alarms.differs("peer", None)
        assert [(a.level, a.text) for a in it.told] == [
            ("page", "it has more work"),
            ("info", "over: it has more work"),
        ]


async def test_who_saw_a_block_first_is_kept_by_source(tmp_path: Path) -> None:
    home, node = FeedHome(tmp_path), Branch().mine(3)
    async with watched(home, node) as it:
        await it.round()
        first = int(home.now)
        home.now += 9
        await it.feed.ledger.sighted("btcd", [node.chain[3].hash], int(home.now))
        await it.feed.ledger.sighted("btcd", [node.chain[3].hash], int(home.now) + 50)
        seen = await it.feed.ledger.sightings([node.chain[3].hash, BlockHash(bytes(32))])
        assert seen == {node.chain[3].hash: {"bitcoind": first, "btcd": first + 9}}


async def test_a_first_sync_of_very_many_blocks_tells_only_the_newest(tmp_path: Path) -> None:
    home, node = FeedHome(tmp_path), Branch().mine(350)
    async with watched(home, node) as it:
        await it.round()
        told = [kind for _, kind, _ in it.stream._ring]
        assert told == ["block"] * 100
        seen = await it.feed.ledger.sightings([header.hash for header in node.chain])
        assert set(seen) == {header.hash for header in node.chain[-100:]}
