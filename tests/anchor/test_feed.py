"""The header feed: follows, keeps what left the chain, survives crashes, and notices a swapped node."""

import asyncio
from pathlib import Path

import pytest

from anchor.btc.header import Header
from anchor.feed import Connected, Disconnected, Reorged, WrongNode, level_of
from anchor.header_source import SourceError, Stranger
from anchor.headers.rules import HeaderRefused
from tests.anchor.feeding import Branch, FeedHome
from tests.anchor.headers.minting import GENESIS, chain_of, mine, run


def on_disk(home: FeedHome) -> list[bytes]:
    data = (home.folder / "main.bin").read_bytes()
    return [data[i : i + 80] for i in range(0, len(data), 80)]


def raws(branch: Branch) -> list[bytes]:
    return [header.raw for header in branch.chain]


async def test_it_follows_to_the_tip_and_tells_each_block(tmp_path: Path) -> None:
    home, node = FeedHome(tmp_path), Branch().mine(5)
    async with home.feed(node) as feed:
        events = await feed.sync()
        assert events == [Connected(i, node.chain[i].hash) for i in range(1, 6)]
        assert await feed.sync() == []
        assert feed.on_own_chain(node.chain[3].hash)
        assert feed.agrees
    assert on_disk(home) == raws(node)


async def test_a_reorg_comes_first_then_its_blocks_and_stays_in_the_ledger(tmp_path: Path) -> None:
    home, node = FeedHome(tmp_path), Branch().mine(5)
    async with home.feed(node) as feed:
        await feed.sync()
        old = list(node.chain)
        node.reorg(2, 3)
        events = await feed.sync()
        assert isinstance(events[0], Reorged)
        assert (events[0].reorg.depth, events[0].level) == (2, "warning")
        assert events[1:3] == [Disconnected(5, old[5].hash), Disconnected(4, old[4].hash)]
        assert events[3:] == [Connected(i, node.chain[i].hash) for i in (4, 5, 6)]
        assert not feed.on_own_chain(old[5].hash)
        assert feed.chain.get(old[5].hash) is not None
        [row] = await feed.reorgs()
        assert (row.depth, row.fork_height, row.old_tip, row.new_tip) == (
            2,
            3,
            old[5].hash,
            node.chain[6].hash,
        )
        assert (row.work_lost, row.work_gained, row.seen_at) == (4, 6, int(home.now))
    assert on_disk(home) == raws(node)


async def test_after_a_restart_it_knows_chain_forks_and_ledger(tmp_path: Path) -> None:
    home, node = FeedHome(tmp_path), Branch().mine(5)
    async with home.feed(node) as feed:
        await feed.sync()
        old = list(node.chain)
        node.reorg(2, 3)
        await feed.sync()
    async with home.feed(node) as feed:
        assert feed.chain.tip.hash == node.chain[-1].hash
        assert feed.chain.get(old[5].hash) is not None
        assert await feed.sync() == []
        assert len(await feed.reorgs()) == 1


async def test_a_torn_tail_is_repaired(tmp_path: Path) -> None:
    home, node = FeedHome(tmp_path), Branch().mine(5)
    async with home.feed(node) as feed:
        await feed.sync()
    file = home.folder / "main.bin"
    file.write_bytes(file.read_bytes()[:-33])
    async with home.feed(node) as feed:
        assert feed.chain.tip.height == 4
        assert await feed.sync() == [Connected(5, node.chain[5].hash)]
    assert on_disk(home) == raws(node)


async def test_a_damaged_file_is_cut_and_read_again(tmp_path: Path) -> None:
    home, node = FeedHome(tmp_path), Branch().mine(5)
    async with home.feed(node) as feed:
        await feed.sync()
    file = home.folder / "main.bin"
    data = bytearray(file.read_bytes())
    data[80 * 3 + 10] ^= 1
    file.write_bytes(bytes(data))
    async with home.feed(node) as feed:
        assert feed.chain.tip.height == 2
        await feed.sync()
    assert on_disk(home) == raws(node)


@pytest.mark.parametrize("left", ["old", "cut", "half"])
async def test_a_crash_between_table_and_file_loses_nothing(tmp_path: Path, left: str) -> None:
    home, node = FeedHome(tmp_path), Branch().mine(5)
    async with home.feed(node) as feed:
        await feed.sync()
        old = list(node.chain)
        node.reorg(2, 3)
        await feed.sync()
    # The table is always written first; the file may be as before, cut at the fork, or half written.
    kept = {"old": old, "cut": old[:4], "half": node.chain[:5]}[left]
    (home.folder / "main.bin").write_bytes(b"".join(h.raw for h in kept))
    async with home.feed(node) as feed:
        await feed.sync()
        assert feed.chain.tip.hash == node.chain[-1].hash
        assert len(await feed.reorgs()) == 1
        assert feed.chain.get(old[5].hash) is not None
    assert on_disk(home) == raws(node)


async def test_a_file_of_another_start_is_refused(tmp_path: Path) -> None:
    home, node = FeedHome(tmp_path), Branch().mine(3)
    async with home.feed(node) as feed:
        await feed.sync()
    with pytest.raises(SourceError, match="begins with another header"):
        async with home.feed(node, start=(1, node.chain[1])):
            pass


async def test_it_may_begin_at_a_later_header(tmp_path: Path) -> None:
    home, node = FeedHome(tmp_path), Branch().mine(8)
    async with home.feed(node, start=(5, node.chain[5])) as feed:
        assert [e.height for e in await feed.sync() if isinstance(e, Connected)] == [6, 7, 8]
        node.reorg(2, 3)
        await feed.sync()
    assert on_disk(home) == raws(node)[5:]


async def test_a_rival_of_equal_work_changes_nothing_but_is_kept(tmp_path: Path) -> None:
    home, node = FeedHome(tmp_path), Branch().mine(5)
    async with home.feed(node) as feed:
        await feed.sync()
        first = node.chain[5].hash
        node.reorg(1, 1)
        assert await feed.sync() == []
        assert feed.chain.tip.hash == first
        assert not feed.agrees
        assert not feed.on_own_chain(first), "our bitcoind follows the rival"
        assert feed.on_own_chain(node.chain[5].hash)
    async with home.feed(node) as feed:
        assert feed.chain.get(node.chain[5].hash) is not None
        assert feed.chain.tip.hash == first, "first seen, also after a restart"


async def test_a_node_that_holds_our_tip_invalid_is_noticed(tmp_path: Path) -> None:
    home, node = FeedHome(tmp_path), Branch().mine(5)
    async with home.feed(node) as feed:
        await feed.sync()
        whole = list(node.chain)
        node.chain = whole[:4]
        assert await feed.sync() == []
        assert not feed.agrees
        assert not feed.on_own_chain(whole[5].hash)
        assert feed.on_own_chain(whole[3].hash)


async def test_a_swapped_node_waits_for_the_operators_word(tmp_path: Path) -> None:
    home, node = FeedHome(tmp_path), Branch().mine(15)
    async with home.feed(node) as feed:
        await feed.sync()
        before = feed.chain.tip
        node.reorg(11, 13)
        with pytest.raises(WrongNode, match="lacks 11 blocks"):
            await feed.sync()
        assert feed.chain.tip is before
        assert feed.held is not None
        assert not feed.agrees
        assert feed.on_own_chain(before.ancestor(4).hash), "they share it"
        assert not feed.on_own_chain(before.ancestor(5).hash)
        assert await feed.reorgs() == []
        feed.confirm(node.chain[-1].hash)
        node.mine(1)
        events = await feed.sync()
        assert isinstance(events[0], Reorged)
        assert events[0].level == "pause"
        assert feed.held is None
    assert on_disk(home) == raws(node)


async def test_a_swapped_node_with_less_work_waits_too_and_nothing_of_it_is_kept(tmp_path: Path) -> None:
    home, node = FeedHome(tmp_path), Branch().mine(15)
    async with home.feed(node) as feed:
        await feed.sync()
        before, right, files = feed.chain.tip, list(node.chain), on_disk(home)
        node.reorg(12, 6)
        for _ in range(2):
            with pytest.raises(WrongNode, match="lacks 12 blocks"):
                await feed.sync()
        assert (feed.chain.tip, feed.chain.heads) == (before, (before,))
        assert (await feed.ledger.forks(99), on_disk(home)) == ([], files)
        assert not feed.agrees
        assert not feed.on_own_chain(before.hash)
        lighter = node.chain
        node.chain = right
        assert await feed.sync() == []
        assert feed.held is None, "the right node is back"
        assert feed.agrees
        node.chain = lighter
        feed.confirm(lighter[-1].hash)
        node.mine(1)
        assert await feed.sync() == []
        assert feed.chain.tip is before
        assert feed.on_own_chain(node.chain[-1].hash)
        assert feed.lacks == 12
        node.mine(6)
        assert isinstance((await feed.sync())[0], Reorged)
        assert feed.lacks == 0


async def test_of_a_lighter_chain_so_much_is_kept_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("anchor.feed.LIGHTER", 30)
    monkeypatch.setattr("anchor.header_source.PAGE", 20)
    home, node = FeedHome(tmp_path), Branch().mine(60)
    async with home.feed(node, hold=False) as feed:
        await feed.sync()
        tip = feed.chain.tip
        node.reorg(55, 50)
        for _ in range(2):
            with pytest.raises(
                SourceError, match="since height 5, and more than 30 blocks of it are not kept"
            ):
                await feed.sync()
            assert len(await feed.ledger.forks(99)) == 20
            assert not feed.on_own_chain(tip.hash)
        assert feed.chain.tip is tip
        node.chain = node.chain[:36]
        assert await feed.sync() == []
        assert feed.lacks == 55


async def test_a_chain_that_the_operator_refused_is_not_followed_even_after_a_restart(tmp_path: Path) -> None:
    home, node = FeedHome(tmp_path), Branch().mine(15)
    async with home.feed(node) as feed:
        await feed.sync()
        right = list(node.chain)
        node.reorg(11, 13)
        with pytest.raises(WrongNode, match="refuse it and correct the URL"):
            await feed.sync()
        await feed.say(node.chain[-1].hash, "refused")
    node.mine(1)
    async with home.feed(node) as feed:
        with pytest.raises(WrongNode, match="operator refused") as fault:
            await feed.sync()
        assert fault.value.refused
        assert feed.chain.tip.hash == right[-1].hash
        await feed.say(node.chain[-1].hash, "confirmed")
        assert feed.held is None
        assert isinstance((await feed.sync())[0], Reorged)
    async with home.feed(node) as feed:
        assert feed.chain.tip.hash == node.chain[-1].hash


async def test_a_refused_tip_is_refused_at_any_depth(tmp_path: Path) -> None:
    home, node = FeedHome(tmp_path), Branch().mine(5)
    async with home.feed(node) as feed:
        await feed.sync()
        before = feed.chain.tip
        node.reorg(1, 2)
        await feed.say(node.chain[-1].hash, "refused")
        with pytest.raises(WrongNode, match="operator refused"):
            await feed.sync()
        assert feed.chain.tip is before
        assert await feed.reorgs() == []


async def test_an_old_confirmation_does_not_let_the_next_swap_pass(tmp_path: Path) -> None:
    home, node = FeedHome(tmp_path), Branch().mine(15)
    async with home.feed(node) as feed:
        await feed.sync()
        node.reorg(11, 13)
        await feed.say(node.chain[-1].hash, "confirmed")
        await feed.sync()
        node.mine(12)
        await feed.sync()
        node.reorg(11, 13, 4)
        with pytest.raises(WrongNode, match="lacks 11 blocks"):
            await feed.sync()


async def test_ten_blocks_are_still_a_reorg(tmp_path: Path) -> None:
    home, node = FeedHome(tmp_path), Branch().mine(15)
    async with home.feed(node) as feed:
        await feed.sync()
        node.reorg(10, 12)
        assert len(await feed.sync()) == 1 + 10 + 12


async def test_an_invalid_header_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    home, node = FeedHome(tmp_path), Branch().mine(3)
    async with home.feed(node) as feed:
        await feed.sync()
        good = list(node.chain)
        node.chain = [*good, mine(run(good[-1], 1)[0], fail=True)]
        with pytest.raises(HeaderRefused, match="work"):
            await feed.sync()
        assert feed.chain.tip.hash == good[-1].hash
    assert on_disk(home) == [h.raw for h in good]


async def test_a_header_from_the_future_is_deferred_not_condemned(tmp_path: Path) -> None:
    home, node = FeedHome(tmp_path), Branch().mine(3)
    home.now = float(node.chain[2].time - 7200)
    async with home.feed(node) as feed:
        await feed.sync()
        assert feed.chain.tip.height == 2
        home.now += 600
        assert await feed.sync() == [Connected(3, node.chain[3].hash)]


async def test_a_strangers_chain_is_named(tmp_path: Path) -> None:
    home = FeedHome(tmp_path)
    other = mine(Header(1, bytes(32), bytes(32), GENESIS.time, GENESIS.bits, 7))
    async with home.feed(Branch([other, *run(other, 4)])) as feed:
        with pytest.raises(Stranger, match="check its network"):
            await feed.sync()


async def test_a_chain_that_changes_while_it_is_read_is_read_again(tmp_path: Path) -> None:
    class Restless(Branch):
        turns = 0

        async def headers(self, start: int, count: int) -> list[Header]:
            page = await super().headers(start, min(count, 2))
            self.turns += 1
            if self.turns == 2:
                self.reorg(5, 7)
            return page

    home, node = FeedHome(tmp_path), Restless().mine(8)
    async with home.feed(node) as feed:
        await feed.sync()
        await feed.sync()
        assert feed.chain.tip.hash == node.chain[-1].hash
    assert on_disk(home) == raws(node)


async def test_it_makes_bundles_towards_its_own_chain(tmp_path: Path) -> None:
    home, node = FeedHome(tmp_path), Branch().mine(5)
    async with home.feed(node) as feed:
        await feed.sync()
        view = chain_of(*node.chain[1:3])
        bundle = feed.bundle_for(view)
        assert bundle is not None
        assert bundle.headers == tuple(raws(node)[3:])
        assert feed.bundle_for(chain_of(*node.chain[1:])) is None


async def test_waiting_without_zmq_ends_by_itself(tmp_path: Path) -> None:
    async with FeedHome(tmp_path).feed(Branch()) as feed:
        waiting = asyncio.create_task(feed.wait(0.01))
        ended, _ = await asyncio.wait({waiting}, timeout=60)
        assert ended == {waiting}
        assert waiting.exception() is None


def test_alarms_rise_with_the_depth() -> None:
    assert [level_of(d, 6) for d in range(1, 8)] == [
        "info",
        "warning",
        "page",
        "page",
        "page",
        "pause",
        "pause",
    ]
    assert level_of(1, 1) == "pause"
    assert level_of(3, 3) == "pause"
