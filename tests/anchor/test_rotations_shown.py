"""A lane over three key epochs, as a node serves it and as the auditor's commands show and verify it."""

import asyncio
import json
from dataclasses import replace

import pytest
from click.testing import CliRunner

from anchor.api_rotations import RotationApi
from anchor.btc.ids import display
from anchor.cli_anchor import anchor
from anchor.inscription.reader import RotationFound
from anchor.proofs.rotation_file import RotationProofs
from tests.anchor.anchored import Anchored, anchor_twice, served
from tests.anchor.moved import Moved
from tests.anchor.proofs.moving import Moving, move_twice


@pytest.fixture(scope="module")
def it(tmp_path_factory) -> Moving:
    return move_twice(tmp_path_factory.mktemp("chain"))


@pytest.fixture
def node(it) -> Moved:
    return Moved.of(it)


@pytest.fixture
async def url(node):
    async with served(node) as found:
        yield found


async def run(*words: object, status: int = 0):
    """Run a command beside the server's loop; return its result."""
    result = await asyncio.to_thread(CliRunner().invoke, anchor, [str(word) for word in words])
    assert result.exit_code == status, result.output
    return result


async def test_rotations_stand_among_the_anchors_and_cover_nothing(url, it):
    listed = json.loads((await run("list", "--node", url, "--json")).output)["anchors"]
    assert [(a["sequence"], a["kind"], a["epoch"], a["first"], a["last"]) for a in listed] == [
        (1, "anchor", 1, 1, 10),
        (3, "rotation", 1, None, None),
        (4, "anchor", 2, 11, 20),
        (5, "anchor", 2, 21, 30),
        (6, "rotation", 2, None, None),
        (7, "anchor", 3, 31, 40),
    ]
    rotation, found = listed[1], it.found[2]
    assert (rotation["count"], rotation["root"]) == (0, listed[0]["root"])
    assert (rotation["txid"], rotation["fee"]) == (display(found.txid), found.fee)
    assert rotation["successor"] == {
        "epoch": 2,
        "treasury_key": found.successor.treasury_key.hex(),
        "anchor_key": found.successor.anchor_key.hex(),
        "mint_key": found.successor.mint_key.hex(),
        "record": it.successions[2].succession.hash.hex(),
    }
    assert all(a["successor"] is None for a in listed if a["kind"] == "anchor")
    shown = (await run("list", "--node", url)).output.splitlines()
    assert shown[2].split()[:5] == ["3", "key", "epoch", "2", "0"]
    one = (await run("show", 3, "--node", url)).output
    assert "next_anchor_key" in one
    assert found.successor.anchor_key.hex() in one
    assert "next_" not in (await run("show", 4, "--node", url)).output


async def test_pages_count_rotations_like_anchors(url):
    page = json.loads((await run("list", "--node", url, "--limit", 2, "--json")).output)
    assert ([a["sequence"] for a in page["anchors"]], page["next"]) == ([1, 3], 3)
    page = json.loads((await run("list", "--node", url, "--after", 3, "--limit", 2, "--json")).output)
    assert [a["sequence"] for a in page["anchors"]] == [4, 5]


@pytest.fixture
async def files(url, tmp_path):
    """What an auditor fetches."""
    await run("headers", "export", "--node", url, "-o", tmp_path / "h.bin")
    (tmp_path / "a.json").write_bytes((await run("activation", "--node", url)).stdout_bytes)
    await run("rotations", "--node", url, "-o", tmp_path / "r.json")
    for block in (5, 15, 35):
        got = await run("proof", "--last-block", block, "--node", url)
        (tmp_path / f"{block}.json").write_bytes(got.stdout_bytes)
    return tmp_path


def verifying(folder, block: int, *more: object):
    where = ("--headers", folder / "h.bin", "--activation", folder / "a.json", "--network", "regtest")
    return ("verify", folder / f"{block}.json", *where, *more)


async def test_anchors_of_all_epochs_are_verified_without_a_server(files, it):
    for block, epoch, until in ((5, 1, it.height(3)), (15, 2, it.height(6)), (35, 3, None)):
        said = json.loads(
            (await run(*verifying(files, block, "--rotations", files / "r.json", "--json"))).output
        )
        assert (said["valid"], said["epoch"], said["rotations"]) == (True, epoch, "checked")
        assert said["key_succeeded_at"] == until


async def test_without_rotations_later_epochs_existed_only_and_the_first_is_told_apart(files):
    refused = await run(*verifying(files, 15), status=1)
    assert "existed, not authorised: the payload is of key epoch 2" in refused.stderr
    assert "give --rotations" in refused.stderr
    said = await run(*verifying(files, 5))
    assert "whether the key was succeeded before that block was not checked: give --rotations" in said.output
    assert (
        "was not checked: give --rotations"
        not in (await run(*verifying(files, 5, "--rotations", files / "r.json"))).output
    )


async def test_a_file_cannot_show_that_no_rotation_is_missing_and_that_is_said(files):
    said = (await run(*verifying(files, 35, "--rotations", files / "r.json"))).output
    assert "the rotations given end with key epoch 3; that none is missing, other nodes' files show" in said
    said = (await run(*verifying(files, 15, "--rotations", files / "r.json"))).output
    assert "that none is missing" not in said


async def test_a_damaged_file_of_rotations_proves_nothing(files):
    raw = (files / "r.json").read_bytes()
    for name, data in (("cut", raw[:-9]), ("none", b""), ("other", (files / "a.json").read_bytes())):
        (files / name).write_bytes(data)
        refused = await run(*verifying(files, 15, "--rotations", files / name), status=1)
        assert "not a file of rotations" in refused.stderr


async def test_the_file_is_what_the_lanes_own_blocks_give_and_stdout_has_it_too(files, url, it):
    assert (files / "r.json").read_bytes() == it.rotations().encode()
    assert (await run("rotations", "--node", url)).stdout_bytes == it.rotations().encode()
    missing = await run("rotations", "--node", url, "--lane", 4, status=1)
    assert "there is no such lane" in missing.stderr
    nowhere = await run("rotations", "--node", url, "-o", "/nowhere/r.json", status=1)
    assert "choose another place" in nowhere.stderr


async def test_a_record_that_the_node_has_not_seen_or_blocks_that_are_gone_can_be_asked_for_again(it):
    late = Moved.of(it)
    late.forgotten = frozenset({3})
    async with served(late) as url:
        told = await run("rotations", "--node", url, status=1)
        assert "not in this node's copy of the rollup yet" in told.stderr
    down = Moved.of(it)
    async with served(down) as url:
        down.down = True
        told = await run("rotations", "--node", url, status=1)
        assert "cannot be read now" in told.stderr
    moved = Moved.of(it)
    moved.blocks[it.core.headers[it.height(3)].hash] = moved.blocks[it.core.headers[it.height(1)].hash]
    async with served(moved) as url:
        told = await run("rotations", "--node", url, status=1)
        assert "cannot be read now" in told.stderr


async def test_a_lane_without_rotations_has_an_empty_file(tmp_path):
    still: Anchored = anchor_twice(tmp_path)
    async with served(still) as url:
        said = await run("rotations", "--node", url)
    assert RotationProofs.decode(said.stdout_bytes) == RotationProofs("regtest", 0, ())


async def test_a_proof_that_was_made_once_needs_no_bitcoind_again(it):
    node = Moved.of(it)
    async with served(node) as url:
        first = (await run("rotations", "--node", url)).stdout_bytes
        node.down = True
        assert (await run("rotations", "--node", url)).stdout_bytes == first


async def test_the_file_is_written_once_for_the_rotations_that_there_are(it):
    node = Moved.of(it)
    there = node.placed(RotationFound)
    api = RotationApi(replace(node.sources(), rotations=lambda: tuple(there)))
    [lane] = it.activation.lanes
    whole = await api._file(lane)
    assert await api._file(lane) is whole
    last = there.pop()
    assert await api._file(lane) == replace(it.rotations(), rotations=it.rotations().rotations[:1]).encode()
    there.append(last)
    assert await api._file(lane) == whole
