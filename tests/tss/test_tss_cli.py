"""The tss commands: committee files on disk, and a running node through its admin port."""

import asyncio
import json
import sys
from asyncio.subprocess import PIPE, STDOUT
from itertools import product

import aiohttp
import coincurve
import pytest
from aiohttp import web
from click.testing import CliRunner

from tests.tss.shells import committee_of, make_identities
from tss.api import routes
from tss.cli import tss
from tss.node import DkgFailed


def run(*words, ok=True):
    result = CliRunner().invoke(tss, [str(word) for word in words])
    if ok:
        assert result.exit_code == 0, result.output
    else:
        assert result.exit_code in (1, 2), result.output
        assert "Traceback" not in result.output
        assert len(result.output.strip().splitlines()) == 1, result.output
    return result.output


@pytest.fixture
def members(tmp_path):
    return make_identities(tmp_path, 3)


def propose(tmp_path, name="committee.json", **more):
    files = [tmp_path / member / "member.json" for member in ("alice", "bob", "carol")]
    words = ["committee", "propose", "--name", "demo", "--threshold", "2", "--chain", "regtest", *files]
    return run(*words, "-o", tmp_path / name, "--json", **more)


def test_a_committee_file_is_proposed_signed_merged_shown_and_accepted(tmp_path, members):
    proposed = json.loads(propose(tmp_path))
    assert [member["signed"] for member in proposed["members"]] == [False] * 3
    copies = []
    for name in ("alice", "bob", "carol"):
        copy = tmp_path / f"{name}.json"
        copy.write_bytes((tmp_path / "committee.json").read_bytes())
        assert proposed["words"] in run("committee", "sign", "--dir", tmp_path / name, copy)
        copies.append(copy)
    assert "still to be signed by carol" in run(
        "committee", "merge", *copies[:2], "-o", tmp_path / "part.json"
    )
    refused = run("committee", "accept", "--dir", tmp_path / "bob", tmp_path / "part.json", ok=False)
    assert "not signed by carol" in refused
    whole = run("committee", "merge", tmp_path / "part.json", copies[2], "-o", tmp_path / "all.json")
    assert "each runs `holdfast tss committee accept`" in " ".join(whole.split())
    shown = json.loads(run("committee", "show", tmp_path / "all.json", "--json"))
    assert shown["complete"]
    assert [member["host_key"] for member in shown["members"]] == [m.host_key.hex() for m in members]
    for _ in range(2):
        run("committee", "accept", "--dir", tmp_path / "bob", tmp_path / "all.json")
    assert (tmp_path / "bob" / "committee.json").read_bytes() == (tmp_path / "all.json").read_bytes()


def test_committee_files_that_are_wrong_are_refused_with_the_next_move(tmp_path, members):
    propose(tmp_path)
    file = tmp_path / "committee.json"
    assert "never overwritten" in propose(tmp_path, ok=False)
    assert "cannot read" in run("committee", "show", tmp_path / "nothing.json", ok=False)
    bad = tmp_path / "bad.json"
    for text in ("", "{", "[]", '{"members": 1}', file.read_text().replace("alice", "ALICE")):
        bad.write_text(text)
        run("committee", "show", bad, ok=False)
    bad.write_bytes(b"\xff\xfe")
    run("committee", "show", bad, ok=False)
    stranger = make_identities(tmp_path / "strange", 1)[0]
    refused = run("committee", "sign", "--dir", tmp_path / "strange" / "alice", file, ok=False)
    assert stranger.host_key.hex() in refused
    signed = json.loads(file.read_text())
    signed["members"][0]["signature"] = "00" * 64
    bad.write_text(json.dumps(signed))
    run("committee", "sign", "--dir", tmp_path / "bob", bad, ok=False)
    other = tmp_path / "other.json"
    run(
        *("committee", "propose", "--name", "demo", "--threshold", "3", "--chain", "regtest"),
        *(tmp_path / name / "member.json" for name in ("alice", "bob", "carol")),
        *("-o", other),
    )
    assert "the files differ" in run("committee", "merge", file, other, "-o", tmp_path / "x.json", ok=False)
    assert "no member.json" in run(
        *("committee", "propose", "--name", "demo", "--threshold", "2", "--chain", "regtest"),
        *(file, tmp_path / "bob" / "member.json", "-o", tmp_path / "y.json"),
        ok=False,
    )


def test_each_may_sign_a_copy_of_his_own_and_the_proposal_stays_as_it_was(tmp_path, members):
    propose(tmp_path)
    proposal = (tmp_path / "committee.json").read_bytes()
    copies = [tmp_path / f"by-{name}.json" for name in ("alice", "bob", "carol")]
    for name, copy in zip(("alice", "bob", "carol"), copies, strict=True):
        run("committee", "sign", "--dir", tmp_path / name, tmp_path / "committee.json", "-o", copy)
    assert (tmp_path / "committee.json").read_bytes() == proposal
    again = ("committee", "sign", "--dir", tmp_path / "bob", tmp_path / "committee.json", "-o", copies[0])
    assert "never overwritten" in run(*again, ok=False)
    assert "signed by all" in run("committee", "merge", *copies, "-o", tmp_path / "all.json")


def test_a_committee_file_of_another_network_is_neither_signed_nor_accepted(tmp_path, members):
    propose(tmp_path)
    (tmp_path / "alice" / "config.toml").write_text('[node]\nnetwork = "signet"\nrole = "operator"\n')
    for verb in ("sign", "accept"):
        said = run("committee", verb, "--dir", tmp_path / "alice", tmp_path / "committee.json", ok=False)
        assert "is for regtest" in said
        assert "says signet" in said
    result = CliRunner().invoke(
        tss, ["committee", "propose", "--name", "a", "--threshold", "2", "--chain", "regtset", "x", "-o", "y"]
    )
    assert (result.exit_code, "'regtest'" in result.output) == (2, True)


def test_a_changed_or_cut_file_is_to_be_had_from_its_source_not_signed_again(tmp_path, members):
    propose(tmp_path)
    file = tmp_path / "committee.json"
    run("committee", "sign", "--dir", tmp_path / "bob", file)
    whole = file.read_text()
    for changed in (whole.replace('"demo"', '"mine"'), whole[:300]):
        file.write_text(changed)
        said = run("committee", "show", file, ok=False)
        assert "get the original from whoever proposed it, and compare the words" in said
        assert "sign it again" not in said


def test_an_observer_has_no_keys_to_ask_for(tmp_path):
    (tmp_path / "config.toml").write_text('[node]\nrole = "observer"\n')
    for words in (["keys"], ["dkg", "--purpose", "mint"], ["sign-test", "hello"]):
        assert "an observer has no keys" in run(*words, "--dir", tmp_path, ok=False)


async def test_shares_that_are_lost_on_an_active_bridge_are_not_to_be_made_anew(tmp_path):
    async with committee_of(tmp_path, 2, 2) as (alice, _bob):

        async def status(_request):
            return web.json_response({"active": True})

        runner = await admin_site(alice, web.get("/v1/node/status", status))
        try:
            said = await asyncio.to_thread(run, "keys", "--dir", alice.folder, ok=False)
        finally:
            await runner.cleanup()
        assert "the shares are lost here" in said
        assert "holdfast node restore" in said


def test_without_a_running_node_the_commands_say_how_to_start_it(tmp_path):
    for words in (["keys"], ["peers"], ["sessions"], ["dkg", "--purpose", "mint"], ["sign-test", "hello"]):
        said = run(*words, "--dir", tmp_path, ok=False)
        assert "start it with `holdfast node run" in said
    (tmp_path / "admin.json").write_text("{")
    assert "is damaged" in run("keys", "--dir", tmp_path, ok=False)


async def admin_site(seat, *more):
    app = web.Application(client_max_size=1 << 16)
    app.add_routes([*routes(seat.node), *more])
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    (seat.folder / "admin.json").write_text(json.dumps({"url": f"http://127.0.0.1:{port}", "token": "t"}))
    return runner


async def test_keys_are_made_and_used_from_the_command_line(tmp_path):
    async with committee_of(tmp_path, 3, 2) as (alice, _bob, carol):
        runner = await admin_site(alice)

        async def command(*words, ok=True):
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-c", "from tss.cli import tss; tss()", *words, "--dir", str(alice.folder)),
                stdout=PIPE,
                stderr=STDOUT,
            )
            said = (await process.communicate())[0].decode()
            assert (process.returncode == 0) is ok, said
            return said

        try:
            assert "no keys yet" in await command("keys")
            assert "there is no mint key" in await command("sign-test", "--key", "mint", "x", ok=False)
            made = json.loads(await command("dkg", "--purpose", "anchor", "--json"))
            assert (made["state"], made["threshold"], made["members"]) == ("verified", 2, 3)
            assert "2 of 3" in await command("keys")
            signed = json.loads(await command("sign-test", "--key", "anchor", "hello", "--json"))
            assert signed["public_key"] == made["group_key"][2:]
            assert coincurve.PublicKeyXOnly(bytes.fromhex(signed["public_key"])).verify(
                bytes.fromhex(signed["signature"]), bytes.fromhex(signed["message"])
            )
            session = json.loads(await command("sessions", "--json"))["sessions"][0]
            assert (session["purpose"], session["state"], session["pending"]) == ("test", "done", [])
            assert "bob" in await command("peers")
            await carol.down()
            failed = await command("dkg", "--purpose", "mint", ok=False)
            assert "carol is down" in failed
            assert "key generation needs all 3 members" in failed
            again = await command("dkg", "--purpose", "anchor")
            assert "nothing was made: the anchor key of epoch 1 is verified already, 2 of 3" in again
            assert "'treasury', 'anchor', 'mint'" in await command("dkg", "--purpose", "test", ok=False)
        finally:
            await runner.cleanup()


BAD_BODIES = [b"", b"{", b"[]", b'{"purpose": 7}', b'{"purpose": "mint", "more": 1}', b"\xff", b"null"]


async def test_malformed_bodies_are_bad_requests(tmp_path):
    async with committee_of(tmp_path, 2, 2) as (alice, _bob):
        runner = await admin_site(alice)
        try:
            url = json.loads((alice.folder / "admin.json").read_text())["url"]
            async with aiohttp.ClientSession() as session:
                for path, body in product(("/v1/tss/dkg", "/v1/tss/sign-test"), BAD_BODIES):
                    async with session.post(url + path, data=body) as response:
                        assert response.status == 400
                        assert response.content_type == "application/problem+json"
                        assert (await response.json(content_type=None))["code"] == "bad_request"
        finally:
            await runner.cleanup()


async def test_what_no_key_is_for_is_refused_for_good(tmp_path):
    async with committee_of(tmp_path, 2, 2) as (alice, _bob):
        runner = await admin_site(alice)
        wanted = (
            (
                "/v1/tss/dkg",
                {"purpose": "payroll"},
                "'payroll' names no key: use one of anchor, mint, treasury",
            ),
            ("/v1/tss/dkg", {"purpose": "test"}, "'test' names no key"),
            (
                "/v1/tss/sign-test",
                {"key": "payroll", "text": "x"},
                "no key is for payroll: the keys are anchor",
            ),
            ("/v1/tss/refresh", {"purpose": "payroll"}, "no key is for payroll"),
            ("/v1/tss/repair", {"purpose": "payroll"}, "no key is for payroll"),
        )
        try:
            url = json.loads((alice.folder / "admin.json").read_text())["url"]
            async with aiohttp.ClientSession() as session:
                for path, body, why in wanted:
                    async with session.post(url + path, json=body) as response:
                        said = await response.json(content_type=None)
                        assert (response.status, said["retryable"]) == (409, False), said
                        assert why in said["detail"]
                async with session.post(
                    url + "/v1/tss/sign-test", json={"key": "mint", "text": "x"}
                ) as response:
                    said = await response.json(content_type=None)
                    assert (response.status, said["retryable"]) == (503, True), (
                        "that one may be made any time"
                    )
        finally:
            await runner.cleanup()


async def test_a_member_that_refuses_a_purpose_refuses_it_for_good(tmp_path):
    async with committee_of(tmp_path, 2, 2) as (alice, bob):
        bob.node._dkg_member.purposes = frozenset({"mint"})
        with pytest.raises(DkgFailed, match=r"bob refused to begin: .*no key is for anchor") as failed:
            await alice.node.dkg("anchor")
        assert not failed.value.retryable
