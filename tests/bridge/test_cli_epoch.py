"""`holdfast bridge epoch` beside real operators: what it shows, what it waits for, what it says when it cannot."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web
from click.testing import CliRunner

from anchor.btc.network import REGTEST
from anchor.problem import answer
from anchor.rollup.succession import SignedSuccession
from bridge.api_epochs import EpochAdminApi, EpochApi
from bridge.cli_bridge import bridge
from bridge.epochs import standing_of
from bridge.http import admin_app, public_app
from regtest.bitcoind import Bitcoind
from tests.anchor.feeding import serving
from tests.bridge.commands import command
from tests.bridge.next_committee import bring_in, next_file
from tests.bridge.office import Office, OfficeNode, office

TOKEN = "00" * 32


async def run(*words: object, status: int = 0) -> str:
    """Run a command as a process: what it printed, or the sentence with which it failed."""
    out, err, _ = await command("bridge", "epoch", *words, status=status)
    return err if status else out


def as_node(node: OfficeNode) -> Any:
    """What the handlers ask of a node."""
    return SimpleNamespace(
        active=node.active,
        committee=node.seat.committee,
        folder=node.seat.folder,
        follower=node.follower,
        network=REGTEST,
        successions=node.successions,
        wake=lambda: None,
    )


@asynccontextmanager
async def ports(it: Office) -> AsyncIterator[tuple[list[Path], str]]:
    """Every operator's folder with its admin port, and the first one's public port."""
    async with AsyncExitStack() as stack:
        for node in it.nodes:
            app = admin_app(EpochAdminApi(as_node(node)).routes(), TOKEN)
            url = await stack.enter_async_context(serving(app))
            (node.seat.folder / "admin.json").write_text(json.dumps({"url": url, "token": TOKEN}))
        public = public_app(EpochApi(as_node(it.nodes[0])).routes())
        yield [node.seat.folder for node in it.nodes], await stack.enter_async_context(serving(public))


async def test_a_committee_hands_on_by_three_words_and_everybody_can_read_it(
    tmp_path: Path, bitcoind: Bitcoind
) -> None:
    async with office(tmp_path, bitcoind) as it:
        async with ports(it) as (folders, public):
            await nothing_to_hand_on(folders[0], public)
            await a_file_waits_for_a_restart(it, folders[0])
        await bring_in(it, {"carol": "dave"})
        async with ports(it) as (folders, public):
            await consents_and_refusals(it, folders)
            await hands_on(it, folders, public)


async def nothing_to_hand_on(folder: Path, public: str) -> None:
    alone = json.loads(await run("show", "--node", public, "--json"))
    [only] = alone["epochs"]
    assert (only["epoch"], only["state"], only["rollup_height"], only["move"]) == (1, "active", None, None)
    assert (alone["latest"], alone["treasury"], alone["address"]) == (1, 1, 1)
    assert "next epoch: epoch 1 is this committee's and has begun" in await run("show", "--dir", folder)
    early = await run("propose", "--dir", folder, status=1)
    assert "sign and accept a new committee file first" in early
    neither = await run("show", status=2)
    assert "--node of any node, or --dir of your own" in neither


async def a_file_waits_for_a_restart(it: Office, folder: Path) -> None:
    """Accepted, not started again: that, and not that a file is to be made and accepted."""
    following = next_file(it, [node.seat.identity for node in it.nodes], 2)
    (folder / "committee.json").write_text(following.to_json())
    waits = f"committee.json is of epoch 2 ({following.committee.words}), and this process still runs with"
    for words, status in ((("show",), 0), (("propose",), 1), (("consent", "ab" * 32), 1)):
        said = await run(words[0], "--dir", folder, *words[1:], status=status)
        assert waits in said, words
        assert "restart the node" in said, words
    assert standing_of(as_node(it.nodes[0]), it.nodes[0].active)[0] is False
    (folder / "committee.json").unlink()


async def consents_and_refusals(it: Office, folders: list[Path]) -> None:
    """As outside regtest: nobody signs what his operator has not agreed to, nor does he agree to what differs."""
    for node in it.nodes:
        node.successions.asks = True
    unasked = await run("propose", "--dir", folders[0], status=1)
    assert "the operator must consent first: `holdfast bridge epoch consent " in unasked
    record = unasked.split("consent ")[-1].split("`")[0]
    shown = await run("show", "--dir", folders[1])
    committee, own = it.committee.committee, it.nodes[1].successions.own()
    assert "alice, bob, dave; 2 sign" in shown
    for word in (record, committee.words, own.treasury_key.hex(), own.anchor_key.hex(), own.mint_key.hex()):
        assert word in shown
    another = await run("consent", "--dir", folders[0], "ab" * 32, status=1)
    assert f"the record that this node would sign is {record}" in another
    assert "64 hex digits" in await run("consent", "--dir", folders[0], "zz", status=1)
    for folder in folders[:2]:
        agreed = json.loads(await run("consent", "--dir", folder, record, "--json"))
        assert agreed == {"epoch": 2, "record": record}
    third = await run("propose", "--dir", folders[0], status=1)
    assert "dave did not sign the succession" in third
    assert "must consent first" in third
    await run("consent", "--dir", folders[2], record)


async def hands_on(it: Office, folders: list[Path], public: str) -> None:
    """A newcomer proposes; the rollup takes it; asking again tells the same."""
    file = folders[2] / "succession.json"
    handed = await run("propose", "--dir", folders[2], "-o", file, "--no-wait", "--json")
    made = json.loads(handed)
    signed = SignedSuccession.from_json(file.read_text())
    assert (made["record"], made["rollup_height"]) == (signed.succession.hash.hex(), None)
    before = it.rollup.state.epochs(it.genesis)
    assert before is not None
    signed.verify(before.latest)
    await it.blocks(1)
    file.unlink()
    again = json.loads(await run("propose", "--dir", folders[0], "-o", file, "--json"))
    assert SignedSuccession.from_json(file.read_text()) == signed, "also once the rollup has it"
    assert (again["record"], again["rollup_height"]) == (made["record"], it.rollup.state.height)
    (folders[0] / "committee.json").write_text(
        next_file(it, [n.seat.identity for n in it.nodes], 2).to_json()
    )
    assert "restart the node; then ask again" in await run("propose", "--dir", folders[0], status=1)
    (folders[0] / "committee.json").unlink()
    told = json.loads(await run("show", "--node", public, "--json"))
    second = told["epochs"][1]
    assert (told["latest"], told["treasury"], second["record"]) == (2, 1, made["record"])
    assert second["state"] in ("announced", "rotating")
    assert second["host_keys"] == [node.seat.identity.host_key.hex() for node in it.nodes]
    assert second["treasury_address"] != told["epochs"][0]["treasury_address"]
    text = await run("show", "--node", public)
    assert "active: the treasury and new addresses are under its keys, until the treasury has moved" in text
    assert made["record"] in text
    assert second["treasury_address"] in text


@pytest.mark.parametrize(("taken", "status"), [(True, 0), (False, 1)])
async def test_propose_waits_for_the_block_and_says_what_the_rollup_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, taken: bool, status: int
) -> None:
    monkeypatch.setattr("bridge.cli_epoch._WAIT_SECONDS", 0.3)
    monkeypatch.setattr("bridge.cli_epoch._LOOK_SECONDS", 0.05)
    looks: list[int] = []

    async def proposed(_: web.Request) -> web.Response:
        return answer(
            {"epoch": 2, "record": "ab" * 32, "rollup_height": None, "refusal": "paused", "succession": None}
        )

    async def epochs(_: web.Request) -> web.Response:
        looks.append(1)
        begun = [{"epoch": 2, "rollup_height": 9}] if taken and len(looks) > 1 else []
        return answer({"epochs": [{"epoch": 1, "rollup_height": None}, *begun]})

    routes = [web.post("/v1/bridge/epoch/propose", proposed), web.get("/v1/bridge/epoch", epochs)]
    async with serving(admin_app(routes, TOKEN)) as url:
        (tmp_path / "admin.json").write_text(json.dumps({"url": url, "token": TOKEN}))
        result = await asyncio.to_thread(
            CliRunner().invoke, bridge, ["epoch", "propose", "--dir", str(tmp_path)]
        )
    assert result.exit_code == status
    if taken:
        assert f"epoch 2: record {'ab' * 32}, in rollup block 9" in result.output
    else:
        assert "no rollup block holds it yet (it said: paused)" in result.stderr


async def test_an_observer_has_no_part_in_it(tmp_path: Path) -> None:
    node: Any = SimpleNamespace(successions=None, active=None)
    async with serving(admin_app(EpochAdminApi(node).routes(), TOKEN)) as url:
        (tmp_path / "admin.json").write_text(json.dumps({"url": url, "token": TOKEN}))
        refused = await run("propose", "--dir", tmp_path, status=1)
        assert "an observer takes no part in a succession; ask an operator's node" in refused
        early = await run("show", "--dir", tmp_path, status=1)
        assert "not active yet" in early
        nobody = await run("show", "--dir", tmp_path / "nowhere", status=1)
        assert "no node runs on" in nobody


@pytest.mark.parametrize("word", ["show", "propose", "consent"])
def test_every_command_shows_an_example(word: str) -> None:
    result = CliRunner().invoke(bridge, ["epoch", word, "--help"])
    assert result.exit_code == 0
    assert f"Example: holdfast bridge epoch {word}" in " ".join(result.output.split())
