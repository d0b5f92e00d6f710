"""The operator's stop: nothing is signed while it stands, the others go on, and a restart does not end it."""

import asyncio
import json

import pytest
from aiohttp import web
from click.testing import CliRunner

from tests.tss.shells import committee_of
from tss.api import routes
from tss.cli import tss as command
from tss.node import DkgFailed, SigningFailed


async def cli(*words, ok=True):
    result = await asyncio.to_thread(CliRunner().invoke, command, [str(word) for word in words])
    assert (result.exit_code == 0) is ok, result.output
    return result.output


async def admin_of(seat):
    app = web.Application()
    app.add_routes(routes(seat.node))
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    (seat.folder / "admin.json").write_text(json.dumps({"url": url, "token": "t"}))
    return runner


async def test_a_paused_node_signs_nothing_and_the_others_go_on(tmp_path):
    async with committee_of(tmp_path, 3, 2) as (alice, bob, carol):
        await alice.node.dkg("anchor")
        await bob.node.pause.pause("strange withdrawals")
        with pytest.raises(SigningFailed, match="paused here: strange withdrawals") as failed:
            await bob.node.sign("anchor", b"pay")
        assert failed.value.retryable
        with pytest.raises(SigningFailed, match="paused"):
            await bob.node.sign("test", b"anchor\0hello")
        assert len(await alice.node.sign("anchor", b"pay")) == 2
        await carol.node.pause.pause("the same here")
        with pytest.raises(SigningFailed, match=r"strange withdrawals|the same here"):
            await alice.node.sign("anchor", b"pay more")
        shares = [row for row in await bob.node.audit.store.rows(0, 1000) if row.kind == "shares"]
        begun = [row.number for row in await bob.node.audit.store.rows(0, 1000) if row.kind == "pause"]
        assert all(row.number < begun[0] for row in shares), "no share left after the stop"
        await bob.down()
        await bob.up()
        assert bob.node.pause.now.reason == "strange withdrawals", "a restart does not end it"
        await bob.node.pause.resume()
        await alice.peers.until_heard([2], 40)
        assert len(await alice.node.sign("anchor", b"pay more")) == 2
        await bob.down()
        await bob.up()
        assert bob.node.pause.now is None


async def test_the_newest_reason_counts_and_bad_ones_are_refused(tmp_path):
    async with committee_of(tmp_path, 2, 2) as (alice, _bob):
        first = await alice.node.pause.pause("one")
        second = await alice.node.pause.pause(" two\n words ")
        assert (second.reason, second.since) == ("two words", first.since)
        for bad in ("", "  ", "x" * 201, "a\x1b[31m"):
            with pytest.raises(ValueError, match="reason"):
                await alice.node.pause.pause(bad)
        await alice.node.pause.load()
        assert alice.node.pause.now == second
        assert (await alice.node.pause.resume()) == second
        assert (await alice.node.pause.resume()) is None


async def test_pause_resume_and_heads_as_commands(tmp_path):
    async with committee_of(tmp_path, 2, 2) as (alice, _bob):
        runner = await admin_of(alice)
        try:
            said = await cli("pause", "--dir", alice.folder, "--reason", "lunch")
            assert "signs nothing: lunch" in said
            assert alice.node.pause.now.reason == "lunch"
            assert "printable" in await cli("pause", "--dir", alice.folder, "--reason", "x" * 500, ok=False)
            resumed = json.loads(await cli("resume", "--dir", alice.folder, "--json"))
            assert (resumed["paused"], resumed["ended"]["reason"]) == (False, "lunch")
            assert "was not paused" in await cli("resume", "--dir", alice.folder)
            await alice.node.audit.compare(2)
            heads = json.loads(await cli("audit", "heads", "--dir", alice.folder, "--json"))
            assert [head["member"] for head in heads["heads"]] == ["bob"]
            assert heads["alarms"] == []
        finally:
            await runner.cleanup()


async def test_a_look_at_the_signer_shows_members_keys_sessions_and_what_failed(tmp_path):
    async with committee_of(tmp_path, 3, 2) as (alice, _bob, carol):
        runner = await admin_of(alice)
        try:
            await carol.down()
            with pytest.raises(DkgFailed):
                await alice.node.dkg("mint")
            await carol.up()
            await alice.peers.until_heard([3], 40)
            await alice.node.dkg("anchor")
            await alice.node.sign("anchor", b"pay")
            seen = await cli("watch", "--dir", alice.folder)
            for word in ("alice at", "bob", "verified", "anchor", "done", "0.", "2 of 3"):
                assert word in seen, word
            streamed = await cli("watch", "--dir", alice.folder, "--json", "--count", "3", "--every", "0.1")
            first = json.loads(streamed.splitlines()[0])
            assert [member["name"] for member in first["members"]] == ["bob", "carol"]
            assert first["sessions"][0]["state"] == "done"
            assert first["paused"] is None
        finally:
            await runner.cleanup()
