"""What second sources say becomes alarms and sightings, once for each thing that is said."""

import asyncio
from pathlib import Path

import pytest

from anchor.btc.ids import BlockHash
from anchor.feed import HeaderFeed
from anchor.header_alarms import HeaderAlarm, HeaderAlarms
from anchor.second_opinions import SecondOpinions
from anchor.second_source import BySource, SecondSource
from tests.anchor.feeding import Branch, FeedHome


async def closed() -> None:
    pass


class Told:
    def __init__(self) -> None:
        self.alarms: list[HeaderAlarm] = []

    async def __call__(self, alarm: HeaderAlarm) -> None:
        self.alarms.append(alarm)

    def kinds(self) -> list[tuple[str, str]]:
        return [(alarm.level, alarm.kind) for alarm in self.alarms]


def opinions(feed: HeaderFeed, told: Told, home: FeedHome, *sources: SecondSource) -> SecondOpinions:
    alarms = HeaderAlarms(feed, None, told, clock=lambda: home.now)
    return SecondOpinions(sources, feed, alarms, clock=lambda: home.now)


def second(branch: Branch, home: FeedHome, name: str = "other") -> SecondSource:
    return SecondSource(BySource(name, branch, closed), clock=lambda: home.now)


async def test_disagreement_is_an_alarm_once_and_its_end_is_told(tmp_path: Path) -> None:
    home, node, told = FeedHome(tmp_path), Branch().mine(8), Told()
    other = Branch(node.chain[:5]).mine(3, salt=6)
    async with home.feed(node) as feed:
        await feed.sync()
        tip, source = feed.chain.tip, second(other, home)
        looks = opinions(feed, told, home, source)
        await looks.look(source)
        assert told.kinds() == [("page", "sources_differ")]
        assert told.alarms[0].data == {
            "source": "other",
            "relation": "apart",
            "fork_height": 4,
            "fork": node.chain[4].hash[::-1].hex(),
        }
        other.mine(1, salt=6)
        node.mine(1)
        await feed.sync()
        await looks.look(source)
        assert len(told.alarms) == 1, "the same disagreement, some blocks on"
        assert feed.chain.tip.ancestor(tip.height) is tip
        seen = await feed.ledger.sightings([header.hash for header in other.chain])
        assert seen[other.chain[-1].hash] == {"other": int(home.now)}
        other.chain = list(node.chain)
        await looks.look(source)
        assert told.kinds()[1:] == [("info", "sources_differ")]
        assert looks.opinions["other"].relation == "same"


@pytest.mark.parametrize("sources", [0, 2])
async def test_it_runs_until_it_is_stopped_whatever_one_source_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sources: int
) -> None:
    class Broken(Branch):
        async def tip(self) -> tuple[int, bytes]:
            raise ZeroDivisionError

    again = asyncio.Event()

    class Asked(Branch):
        times = 0

        async def tip(self) -> tuple[int, BlockHash]:
            self.times += 1
            if self.times == 3:
                again.set()
            return await super().tip()

    monkeypatch.setattr("anchor.second_opinions.EVERY", 0)
    home, node, told = FeedHome(tmp_path), Asked().mine(3), Told()
    async with home.feed(node) as feed:
        await feed.sync()
        named = [second(Broken(), home, "broken"), second(node, home)][:sources]
        looks = opinions(feed, told, home, *named)
        running = asyncio.create_task(looks.run())
        if not sources:
            await running
            return
        async with asyncio.timeout(60):
            await again.wait()
        assert not running.done()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await looks.close()
    assert looks.opinions["other"].relation == "same"
    assert told.alarms == []
