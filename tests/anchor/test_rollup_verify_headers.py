"""`holdfast rollup verify-headers`: from a running rollup or a file of its blocks, without any bitcoind."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from anchor.btc.ids import display
from anchor.rollup import bitcoin_view
from anchor.rollup.tx import Activate
from anchor.rollup_cli import rollup
from anchor.rollup_client import RollupClient
from anchor.sequencer import Sequencer
from tests.anchor.feeding import Branch
from tests.anchor.rollup.rollup_world import GEN, World, a_genesis, an_activation, nothing, signed
from tests.anchor.rollup_parts import a_sequencer
from tests.anchor.test_sequencer import certify

COMMAND = "verify-headers"


async def call(*args: object) -> Result:
    """Run the command beside the rollup that it asks."""
    return await asyncio.to_thread(CliRunner().invoke, rollup, [COMMAND, *map(str, args)])


@asynccontextmanager
async def a_story(folder: Path) -> AsyncIterator[tuple[Sequencer, RollupClient, Path]]:
    """A rollup that saw three blocks of Bitcoin replaced by four."""
    (folder / "genesis.json").write_text(GEN.to_json())
    branch = Branch().mine(6)
    async with a_sequencer(folder, branch, run=False) as (s, client):
        await certify(s, client)
        branch.reorg(3, 4)
        await certify(s, client)
        await certify(s, client)
        yield s, client, folder / "genesis.json"


async def test_it_prints_tip_work_and_reorgs_as_the_rollup_has_them(tmp_path: Path) -> None:
    async with a_story(tmp_path) as (s, client, genesis):
        done = await call("--genesis", genesis, "--rollup", client.url, "--json", "--execute")
        assert done.exit_code == 0, done.output
        found, tip = json.loads(done.output), s.state.view.tip
        assert (found["height"], found["headers"], found["bundles"]) == (3, 10, 2)
        assert found["bitcoin"]["tip_hash"] == display(tip.hash)
        assert found["bitcoin"]["work"] == f"{tip.work:x}"
        assert [(r["depth"], r["rollup_height"]) for r in found["reorgs"]] == [(3, 2)]
        assert found["state_root"] == s.state.root().hex()
        assert "disconnected 3 blocks" in found["paused"]
        said = (await call("--genesis", genesis, "--rollup", client.url)).output
        assert "block 2  3 above Bitcoin height 3 gave way to 4" in said
        assert f"0x{tip.work:x}" in said


async def test_a_saved_file_says_the_same_where_no_rollup_is(tmp_path: Path) -> None:
    async with a_story(tmp_path) as (_, client, genesis):
        live = await call(
            "--genesis", genesis, "--rollup", client.url, "--save", tmp_path / "blocks", "--json"
        )
        assert live.exit_code == 0, live.output
        again = await call("--genesis", genesis, "--rollup", client.url, "--save", tmp_path / "blocks")
        assert "exists: choose another name" in again.output
    filed = await call("--genesis", genesis, "--blocks", tmp_path / "blocks", "--json")
    assert (filed.exit_code, json.loads(filed.output)) == (0, json.loads(live.output))


async def test_the_rollup_may_be_named_once_for_all_commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with a_story(tmp_path) as (_, client, genesis):
        monkeypatch.setenv("HOLDFAST_ROLLUP", client.url)
        live = await call("--genesis", genesis, "--save", tmp_path / "blocks", "--json")
        assert live.exit_code == 0, live.output
    filed = await call("--genesis", genesis, "--blocks", tmp_path / "blocks", "--json")
    assert (filed.exit_code, json.loads(filed.output)) == (0, json.loads(live.output))


async def test_a_file_that_was_cut_changed_or_is_of_another_rollup_is_refused(tmp_path: Path) -> None:
    async with a_story(tmp_path) as (_, client, genesis):
        assert (
            await call("--genesis", genesis, "--rollup", client.url, "--save", tmp_path / "b")
        ).exit_code == 0
    raw = (tmp_path / "b").read_bytes()
    first = 41 + 4 + int.from_bytes(raw[41:45], "big")
    bad = {
        "cut": (raw[:-3], "cut short in its block number 3"),
        "cut in a length": (raw[: first + 2], "damaged before its block number 2"),
        "an absurd length": (raw[:first] + b"\xff" * 4, "damaged before its block number 2"),
        "a changed byte": (
            raw[: 41 + 4 + 60] + b"\x01" + raw[41 + 4 + 61 :],
            "block 1 is refused (certificate)",
        ),
        "a block left out": (raw[:41] + raw[first:], "block 1 is refused (place)"),
        "another file": (genesis.read_bytes(), "is no file of blocks"),
        "nothing": (b"", "is no file of blocks"),
    }
    for name, (data, said) in bad.items():
        (tmp_path / "bad").write_bytes(data)
        done = await call("--genesis", genesis, "--blocks", tmp_path / "bad")
        assert (done.exit_code, said in done.output) == (1, True), (name, done.output)
    (tmp_path / "other.json").write_text(a_genesis(rollup_id=8).to_json())
    other = await call("--genesis", tmp_path / "other.json", "--blocks", tmp_path / "b")
    assert "is of another rollup than the genesis" in other.output


async def test_a_rollup_that_tells_another_view_than_its_blocks_hold_is_caught(tmp_path: Path) -> None:
    async with a_story(tmp_path) as (s, client, genesis):
        (tmp_path / "other.json").write_text(a_genesis(rollup_id=8).to_json())
        other = await call("--genesis", tmp_path / "other.json", "--rollup", client.url)
        assert "is another rollup" in other.output
        told, s.state.reorgs = s.state.reorgs, ()
        assert "tells other reorgs" in (await call("--genesis", genesis, "--rollup", client.url)).output
        s.state.reorgs, s.state.height = told, s.state.height + 2
        withheld = await call("--genesis", genesis, "--rollup", client.url)
        assert (withheld.exit_code, "serves none above 3" in withheld.output) == (1, True), withheld.output
        s.state.height -= 2
        s.state.view = bitcoin_view.begin(GEN)
        done = await call("--genesis", genesis, "--rollup", client.url)
        assert (done.exit_code, "believe the blocks" in done.output) == (1, True)
    gone = await call("--genesis", genesis, "--rollup", client.url)
    assert (gone.exit_code, "does not answer" in gone.output) == (1, True)


async def test_executing_shows_every_key_epoch_and_catches_a_rollup_that_tells_others(tmp_path: Path) -> None:
    (tmp_path / "genesis.json").write_text(GEN.to_json())
    words = ("--genesis", tmp_path / "genesis.json", "--execute")
    async with a_sequencer(tmp_path, Branch().mine(6), run=False) as (s, client):
        await certify(s, client, Activate(signed(an_activation())))
        w = World()
        w.state = s.state
        tx = w.succeed()
        await certify(s, client, tx)
        done = await call(*words, "--rollup", client.url, "--json", "--save", tmp_path / "blocks")
        assert done.exit_code == 0, done.output
        first, second = json.loads(done.output)["epochs"]
        assert (first["epoch"], first["since"], first["record"]) == (1, None, an_activation().hash.hex())
        assert (second["epoch"], second["since"], second["record"]) == (
            2,
            2,
            tx.signed.succession.hash.hex(),
        )
        said = (await call(*words, "--rollup", client.url)).output
        assert "key epoch 2  since block 2: 3 of 4 operators" in said
        truth, other = s.state.successions, w.succeed(committee_hash=nothing("other")).signed
        s.state.successions = (replace(truth[0], signed=other),)  # its root is kept, so only this is a lie
        lied = await call(*words, "--rollup", client.url)
        assert (lied.exit_code, "tells other key epochs" in lied.output) == (1, True), lied.output
        s.state.successions = ()
        assert "tells other key epochs" in (await call(*words, "--rollup", client.url)).output
        s.state.put_succession(replace(truth[0], signed=other))
        assert "lead to state" in (await call(*words, "--rollup", client.url)).output
    filed = await call(*words, "--blocks", tmp_path / "blocks", "--json")
    assert json.loads(filed.output)["epochs"] == [first, second]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "give either --rollup or --blocks"),
        (("--rollup", "nonsense"), "is no URL"),
        (("--blocks", "GENESIS", "--save", "x"), "--save keeps what comes from --rollup"),
    ],
)
async def test_words_that_do_not_fit_are_a_usage_error(
    tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    genesis = tmp_path / "genesis.json"
    genesis.write_text(GEN.to_json())
    done = await call("--genesis", genesis, *(str(genesis) if w == "GENESIS" else w for w in words))
    assert (done.exit_code, said in done.output) == (2, True), done.output
