"""Reorgs as programs, browsers and people at a terminal get them; what a block lacks to be settled."""

import asyncio
import base64
import hashlib
import json
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import aiohttp
import pytest
from aiohttp import web
from click.testing import CliRunner

from anchor.api_headers import HeaderApi, HeaderSources
from anchor.api_wire import TouchedView
from anchor.btc.ids import display
from anchor.cli_anchor import anchor
from anchor.feed import HeaderFeed
from anchor.headers.finality import Policy
from anchor.headers.picture import Drawn, Fork, draw
from anchor.problem import answer
from tests.anchor.feeding import Branch, FeedHome, serving

EVIL = '<script>alert("x")</script>'
ANCHOR = TouchedView(
    "anchor", "0:3", "ab" * 32, None, 4, "confirmed", "in block 6 again", "ab" * 32, 6, None, False
)
DEPOSIT = TouchedView(
    "deposit", "cd" * 32 + ":0", "cd" * 32, 50_000, 5, "gone", EVIL, None, None, "DEFICIT", True
)


@dataclass
class Shown:
    """A node's header routes, and what its reorgs touched."""

    home: FeedHome
    node: Branch
    feed: HeaderFeed
    touched: dict[int, list[TouchedView]] = field(default_factory=dict)
    paused: str | None = None
    url: str = ""

    async def what(self, _: Sequence[int]) -> dict[int, list[TouchedView]]:
        return self.touched

    async def health(self, _: web.Request) -> web.Response:
        tip = self.feed.chain.tip
        checks = [{"name": "headers", "ok": False, "text": "no block for 90 minutes"}]
        bitcoin = {"height": tip.height, "hash": display(tip.hash), "agrees": True}
        return answer({"bitcoin": bitcoin, "checks": checks, "paused": self.paused})

    async def reorg(self, depth: int, count: int, salt: int) -> None:
        self.node.reorg(depth, count, salt)
        await self.feed.sync()

    async def get(self, path: str, status: int = 200) -> Any:
        async with aiohttp.ClientSession() as session, session.get(self.url + path) as response:
            assert response.status == status, await response.text()
            return await response.json(content_type=None)

    async def page(self, path: str) -> tuple[str, str]:
        """A page's text, and the policy that comes with it."""
        async with aiohttp.ClientSession() as session, session.get(self.url + path) as response:
            assert response.status == 200
            return await response.text(), response.headers["Content-Security-Policy"]

    async def command(self, *words: object, status: int = 0) -> Any:
        words = ("reorgs", *words, "--node", self.url)
        result = await asyncio.to_thread(CliRunner().invoke, anchor, [str(word) for word in words])
        assert result.exit_code == status, result.output
        return result


@asynccontextmanager
async def showing(folder: Path, blocks: int = 6) -> AsyncIterator[Shown]:
    home, node = FeedHome(folder), Branch().mine(blocks)
    async with home.feed(node) as feed:
        it = Shown(home, node, feed)
        depths = Policy(3, {"deposit": 4}, ((1_000_000, 5),))
        sources = HeaderSources(
            f"alice {EVIL}", 3, feed.chain, feed.ledger, lambda: depths, it.what, lambda: it.paused, tuple
        )
        routes = [*HeaderApi(sources).routes(), web.get("/v1/health", it.health)]
        await feed.sync()
        async with serving(routes) as it.url:
            yield it


async def test_reorgs_come_in_pages_newest_first_with_work_sources_and_what_they_touched(
    tmp_path: Path,
) -> None:
    async with showing(tmp_path) as it:
        old = it.feed.chain.tip
        await it.feed.ledger.sighted("bitcoind", [old.hash], 100)
        for salt in range(3):
            await it.reorg(2, 3, salt + 1)
        await it.feed.ledger.sighted("btcd", [old.hash], 105)
        it.touched = {1: [ANCHOR, DEPOSIT]}
        first = await it.get("/v1/reorgs?limit=2")
        assert ([r["id"] for r in first["reorgs"]], first["next"]) == ([3, 2], 2)
        rest = await it.get("/v1/reorgs?limit=2&before=2")
        assert rest["next"] is None
        (one,) = rest["reorgs"]
        assert (one["depth"], one["work_lost"], one["work_gained"], one["open"]) == (2, "4", "6", 1)
        assert one["seen"] == [
            {"source": "bitcoind", "old": 100, "new": None},
            {"source": "btcd", "old": 105, "new": None},
        ]
        assert [t["outcome"] for t in one["touched"]] == ["confirmed", "gone"]


async def test_one_reorg_has_both_branches_and_a_long_one_only_its_ends(tmp_path: Path) -> None:
    async with showing(tmp_path, 40) as it:
        await it.reorg(2, 3, 1)
        found = await it.get("/v1/reorgs/1")
        assert [b["height"] for b in found["old"]] == [39, 40]
        assert [b["height"] for b in found["new"]] == [39, 40, 41]
        it.feed._hold = False
        await it.reorg(30, 31, 2)
        found = await it.get("/v1/reorgs/2")
        assert [b["height"] for b in found["old"]] == [12, 13, 14, 15, 16, 37, 38, 39, 40, 41]
        assert (found["old_hidden"], found["new_hidden"]) == (20, 21)


@pytest.mark.parametrize("number", ["0", "9", "-1", "x", "²", "9" * 40])
async def test_a_reorg_that_never_was_is_not_found(tmp_path: Path, number: str) -> None:
    async with showing(tmp_path) as it:
        assert (await it.get(f"/v1/reorgs/{number}", 404))["code"] == "unknown_reorg"


async def test_pages_show_everything_load_nothing_and_run_nothing(tmp_path: Path) -> None:
    async with showing(tmp_path) as it:
        empty, _ = await it.page("/reorgs")
        assert "seen no reorg" in empty
        assert "Value moves." in empty
        await it.reorg(2, 3, 1)
        it.touched, it.paused = {1: [ANCHOR, DEPOSIT]}, f"a deep reorg {EVIL}"
        for path, wanted in (
            (
                "/reorgs",
                (
                    "Value does not move: a deep reorg &lt;script",
                    "/reorgs/1",
                    "warning",
                    "1 anchor, 1 deposit",
                    "1 gone",
                ),
            ),
            ("/reorgs/1", ("<svg", "in block 6 again", "50,000", "DEFICIT", "2 blocks lost, 3 blocks won")),
        ):
            text, policy = await it.page(path)
            for word in wanted:
                assert word in text
            assert "<script" not in text
            assert not re.search(r'(src|href)="(?!/)', text), "nothing from elsewhere"
            (style,) = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
            digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
            assert f"'sha256-{digest}'" in policy
            assert policy.startswith("default-src 'none'")
        picture, policy = await it.page("/v1/reorgs/1/fork.svg")
        assert ET.fromstring(picture).tag == "{http://www.w3.org/2000/svg}svg"  # noqa: S314 our own
        assert "1 deposit" not in picture
        assert ">deposit<" in picture


def test_a_picture_is_whole_and_escaped_whatever_it_shows() -> None:
    def block(height: int, *items: str) -> Drawn:
        return Drawn(height, "ab" * 32, "12:00:00", items)

    def words(fork: Fork) -> list[str]:
        drawn = ET.fromstring(draw(fork))  # noqa: S314 our own
        return [text for element in drawn.iter() if (text := element.text or "")]

    many = tuple(f"thing {n}" for n in range(9))
    found = words(Fork([block(9)], [block(10, EVIL, *many)], [block(10), block(11)]))
    assert EVIL in found
    assert "and 6 more" in found
    long = words(Fork([block(9)], [block(10), block(1010)], [block(10), block(1011)], 999, 1000))
    assert "999 more" in long
    assert "Fork above block 9: 1001 blocks lost, 1002 blocks won" in long
    assert words(Fork([], [], [])), "branches that are not known any more"


async def test_the_command_says_first_what_matters_at_three_in_the_morning(tmp_path: Path) -> None:
    async with showing(tmp_path) as it:
        assert "This node has seen no reorg." in (await it.command()).output
        await it.reorg(3, 4, 1)
        it.touched, it.paused = {1: [ANCHOR, DEPOSIT]}, "a reorg of 3 blocks"
        said = (await it.command()).output.splitlines()
        assert said[0].startswith("now     Bitcoin block 7 ")
        assert said[1] == "value   PAUSED: a reorg of 3 blocks"
        assert said[2] == "alarm   no block for 90 minutes"
        assert said[4].startswith("reorg 1  PAUSE  ")
        assert said[4].endswith("3 blocks lost, 4 blocks won above block 3")
        of_ours = said.index("  of ours: 1 gone, 1 confirmed; 1 not final yet")
        assert "deposit" in said[of_ours + 1], "what needs somebody comes first"
        assert "50,000 sat" in said[of_ours + 1]
        assert said[of_ours + 2].split() == ["anchor", "0:3:", "in", "block", "6", "again"]
        one = (await it.command(1)).output
        assert re.search(r"┌─ 4 …\w{6} ─ 5 …\w{6} ─ 6 …\w{6} ─ 7 …\w{6}   won", one)
        assert re.search(r"3 ─┤\n", one)
        assert re.search(r"└─ 4 …\w{6} ─ 5 …\w{6} ─ 6 …\w{6}   lost", one)
        assert json.loads((await it.command("--json")).output)["reorgs"][0]["id"] == 1
        assert json.loads((await it.command(1, "--json")).output)["reorg"]["id"] == 1
        assert "there is no such reorg" in (await it.command(9, status=1)).output


async def test_the_command_says_how_to_see_older_ones_and_names_only_so_many_things(tmp_path: Path) -> None:
    async with showing(tmp_path) as it:
        await it.reorg(1, 2, 1)
        await it.reorg(1, 2, 2)
        it.touched = {2: [DEPOSIT] * 140 + [ANCHOR]}
        said = (await it.command("--limit", 1)).output
        assert "and 129 more: holdfast anchor reorgs 2" in said
        (one,) = (await it.get("/v1/reorgs?limit=1"))["reorgs"]
        assert (len(one["touched"]), one["touched_count"], one["open"]) == (100, 141, 1)
        assert one["touched"][0]["kind"] == "anchor", "what is not final comes first"
        assert len((await it.get("/v1/reorgs/2"))["reorg"]["touched"]) == 141
        assert f"--node {it.url} --before 2" in said


async def test_a_server_that_is_no_node_is_named(tmp_path: Path) -> None:
    async def nonsense(_: web.Request) -> web.Response:
        return answer(["no"])

    async with serving([web.get("/v1/reorgs", nonsense)]) as url:
        words = ["reorgs", "--node", url, "--json"]
        assert (await asyncio.to_thread(CliRunner().invoke, anchor, words)).exit_code == 0
        result = await asyncio.to_thread(CliRunner().invoke, anchor, words[:-1])
        assert result.exit_code == 1
        assert "/v1/health" in result.output or "does not answer like a node" in result.output


@pytest.mark.parametrize(
    ("query", "needed"),
    [("", 3), ("?use=deposit", 4), ("?use=payout&value=5", 3), ("?use=payout&value=1000000", 5)],
)
async def test_a_header_says_which_condition_is_missing_for_a_use_and_value(
    tmp_path: Path, query: str, needed: int
) -> None:
    async with showing(tmp_path) as it:
        block = it.feed.chain.at_height(4)
        assert block is not None
        found = await it.get(f"/v1/headers/{display(block.hash)}{query}")
        assert (found["needed"], found["final"]) == (needed, True)
        met = {c["name"]: c["met"] for c in found["conditions"]}
        assert met == {"main": True, "depth": needed <= 3, "work": needed <= 3, "lead": needed <= 3}
        assert found["settled"] == (needed <= 3)
        (depth,) = [c for c in found["conditions"] if c["name"] == "depth"]
        assert depth["text"] == f"3 of {needed} confirmations"


async def test_a_rival_takes_the_lead_away_and_the_header_says_so(tmp_path: Path) -> None:
    async with showing(tmp_path) as it:
        block = it.feed.chain.at_height(4)
        assert block is not None
        rival = Branch(it.node.chain[:4]).mine(2, 7)
        for header in rival.chain[4:]:
            it.feed.chain.add(header)
        found = await it.get(f"/v1/headers/{display(block.hash)}")
        assert (found["final"], found["settled"]) == (True, False)
        (lead,) = [c for c in found["conditions"] if not c["met"]]
        assert (lead["name"], lead["have"], lead["need"]) == ("lead", 1, 3)
        lost = await it.get(f"/v1/headers/{display(rival.chain[4].hash)}")
        assert lost["main"] is False
        assert [c["name"] for c in lost["conditions"] if not c["met"]] == ["main", "depth", "work", "lead"]


async def test_a_use_that_does_not_exist_and_a_value_that_is_none_are_refused(tmp_path: Path) -> None:
    async with showing(tmp_path) as it:
        tip = display(it.feed.chain.tip.hash)
        assert (await it.get(f"/v1/headers/{tip}?use=tea", 400))["code"] == "bad_use"
        assert (await it.get(f"/v1/headers/{tip}?value=-1", 400))["code"] == "bad_number"
