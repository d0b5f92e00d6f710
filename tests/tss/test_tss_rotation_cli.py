"""The commands of key work: files of the next epoch, and a running node through its admin port."""

import asyncio
import json
import sys
from asyncio.subprocess import PIPE, STDOUT

import pytest
from aiohttp import web
from click.testing import CliRunner

from tests.tss.shells import committee_of, make_identities, sign_test, signed_committee, until
from tss.api import routes
from tss.cli import tss
from tss.dkg.committee import SignedCommittee


def run(*words, code=0):
    result = CliRunner().invoke(tss, [str(word) for word in words])
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result.output


@pytest.fixture
def epoch1(tmp_path):
    """Alice, bob and carol with a committee file, and dave without one."""
    people = make_identities(tmp_path, 4)
    signed = signed_committee(people[:3], 2)
    for one in people[:3]:
        (tmp_path / one.name / "committee.json").write_text(signed.to_json())
    (tmp_path / "now.json").write_text(signed.to_json())
    return people, signed


def test_the_next_committee_is_proposed_signed_and_accepted(tmp_path, epoch1):
    people, signed = epoch1
    dave = tmp_path / "dave" / "member.json"
    proposed = ["rotate", "propose", tmp_path / "now.json", "--replace", "carol", dave]
    said = json.loads(run(*proposed, "-o", tmp_path / "next.json", "--json"))
    assert said["members"] == ["alice", "bob", "dave"]
    assert (said["epoch"], said["previous"]) == (2, signed.committee.hash.hex())
    assert "choose another name" in run(*proposed, "-o", tmp_path / "next.json", code=1)
    refused = run("rotate", "accept", "--dir", tmp_path / "alice", tmp_path / "next.json", code=2)
    assert "is not signed by alice, bob and dave" in refused
    leaves = run("committee", "sign", "--dir", tmp_path / "carol", tmp_path / "next.json", code=1)
    assert "no place for this node: those sign it who are in it" in leaves
    for who in ("alice", "bob", "dave"):
        run("committee", "sign", "--dir", tmp_path / who, tmp_path / "next.json")
    said = run("committee", "merge", tmp_path / "next.json", "-o", tmp_path / "signed.json")
    assert "each runs `holdfast tss rotate accept`" in " ".join(said.split())
    folder = tmp_path / "alice"
    for _ in range(2):
        assert "restart the node" in run("rotate", "accept", "--dir", folder, tmp_path / "next.json")
    assert (folder / "committee.json").read_text() == (tmp_path / "next.json").read_text()
    assert SignedCommittee.from_json((folder / "committee-1.json").read_text()) == signed
    assert people[3].host_key.hex() in (folder / "committee.json").read_text()


def test_files_that_do_not_follow_are_refused_with_the_next_move(tmp_path, epoch1):
    out = ["-o", tmp_path / "next.json"]
    dave = tmp_path / "dave" / "member.json"
    now = tmp_path / "now.json"
    for options, why in (
        (["--replace", "zoe", dave], "zoe is no member"),
        (["--drop", "alice"], "only the last 1 of alice, bob, carol can be dropped"),
        (["--drop", "carol", "--threshold", "3"], "threshold 3 of 2"),
        (["--add", tmp_path / "alice" / "member.json"], "same name"),
        (["--add", now], "no member.json"),
    ):
        assert why in run("rotate", "propose", now, *options, *out, code=2)
    assert "give a committee file" in run("rotate", "propose", tmp_path / "none.json", *out, code=2)
    said = json.loads(run("rotate", "propose", now, "--drop", "carol", "--add", dave, *out, "--json"))
    assert said["members"] == ["alice", "bob", "dave"]
    stranger = signed_committee(epoch1[0][:3], 3)
    (tmp_path / "other.json").write_text(stranger.to_json())
    said = run("rotate", "accept", "--dir", tmp_path / "alice", tmp_path / "other.json", code=2)
    assert "does not succeed ours" in said


def test_a_file_that_came_to_nothing_is_replaced_only_when_one_says_so_and_by_one_of_its_epoch(
    tmp_path, epoch1
):
    people, _signed = epoch1
    folder, now = tmp_path / "alice", tmp_path / "now.json"
    files = {}
    for name, options in (
        ("dave", ["--replace", "carol", tmp_path / "dave" / "member.json"]),
        ("nobody", ["--drop", "carol"]),
    ):
        files[name] = tmp_path / f"with-{name}.json"
        run("rotate", "propose", now, *options, "-o", files[name])
        for who in ("alice", "bob", *(["dave"] if name == "dave" else [])):
            run("committee", "sign", "--dir", tmp_path / who, files[name])
    accept = ("rotate", "accept", "--dir", folder)
    assert "none" in run(*accept, files["dave"], "--instead", code=2), (
        "there is no file of its epoch to replace"
    )
    run(*accept, files["dave"])
    before = (folder / "committee.json").read_bytes()
    assert "came to nothing, put this one in its place with --instead" in run(
        *accept, files["nobody"], code=2
    )
    assert (folder / "committee.json").read_bytes() == before
    for _ in range(2):
        run(*accept, files["nobody"], "--instead")
        assert (folder / "committee.json").read_text() == files["nobody"].read_text()
    digest = SignedCommittee.from_json(before).committee.hash.hex()[:16]
    assert (folder / f"committee-2-{digest}.json").read_bytes() == before
    run(*accept, files["dave"], "--instead")
    assert (folder / "committee.json").read_bytes() == before
    assert (folder / "committee-1.json").read_text() == now.read_text()
    assert people[0].name == "alice"


def test_help_says_what_a_refresh_does_not_do_and_what_rotate_leaves_to_the_bridge():
    assert "t old shares, which still sign for ever" in " ".join(run("refresh", "--help").split())
    assert "stolen host key" in " ".join(run("refresh", "--help").split())
    assert "It does not move coins: the bridge does" in " ".join(run("rotate", "--help").split())
    for words in (
        ["refresh"],
        ["repair"],
        *(["rotate", c] for c in ("propose", "accept", "retire", "finish")),
    ):
        said = run(*words, "--help")
        assert "Example: holdfast tss " + " ".join(words) in " ".join(said.split())
        assert "--json" in said


def test_without_a_running_node_the_commands_say_how_to_start_it(tmp_path):
    for words in (
        ["refresh", "--purpose", "mint"],
        ["repair", "--purpose", "mint"],
        ["rotate", "retire", "--purpose", "mint", "--epoch", "1"],
        ["rotate", "finish", "--purpose", "mint", "--epoch", "1", "--yes"],
    ):
        assert "start it with `holdfast node run" in run(*words, "--dir", tmp_path, code=1)


async def admin_site(seat):
    app = web.Application()
    app.add_routes(routes(seat.node))
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    (seat.folder / "admin.json").write_text(json.dumps({"url": f"http://127.0.0.1:{port}", "token": "t"}))
    return runner


async def command(seat, *words, ok=True):
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", "from tss.cli import tss; tss()", *words, "--dir", str(seat.folder)),
        stdout=PIPE,
        stderr=STDOUT,
    )
    said = (await process.communicate())[0].decode()
    assert (process.returncode == 0) is ok, said
    return said


async def test_shares_are_refreshed_removed_and_repaired_from_the_command_line(tmp_path):
    async with committee_of(tmp_path, 3, 2) as (alice, bob, carol):
        runners = [await admin_site(alice), await admin_site(bob)]
        try:
            assert "run `holdfast tss dkg" in await command(alice, "refresh", "--purpose", "anchor", ok=False)
            await alice.node.dkg("anchor")
            await until(lambda: bob.node.public("anchor") and carol.node.public("anchor"))
            made = json.loads(await command(alice, "refresh", "--purpose", "anchor", "--json"))
            assert (made["generation"], made["members"]) == (1, ["alice", "bob", "carol"])
            await until(lambda: bob.node.public("anchor").share_set.hex() == made["share_set"])
            assert "our share is there" in await command(bob, "repair", "--purpose", "anchor")
            remove = ("refresh", "--purpose", "anchor", "--without", "carol")
            assert "bob has not agreed" not in await command(alice, *remove, ok=False)
            assert "this node agrees that carol leaves" in await command(bob, *remove, "--consent")
            assert "without carol" in await command(alice, *remove)
            assert "is no member" in await command(alice, *remove[:3], "--without", "zoe", ok=False)
            await until(lambda: bob.node.public("anchor") == alice.node.public("anchor"))
            await sign_test(bob.node, b"two are left")
            held = await command(alice, "rotate", "retire", "--purpose", "anchor", "--epoch", "1")
            assert "anchor key of epoch 1: retiring" in held
            finish = ("rotate", "finish", "--purpose", "anchor", "--epoch", "1", "--yes")
            assert "no later anchor key serves" in await command(alice, *finish, ok=False)
            back = await command(alice, "rotate", "retire", "--purpose", "anchor", "--epoch", "1", "--undo")
            assert "active" in back
        finally:
            for runner in runners:
                await runner.cleanup()
