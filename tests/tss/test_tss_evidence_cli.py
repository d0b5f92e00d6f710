"""`holdfast tss evidence` and `judge`: from a running node to a stranger's machine."""

import asyncio
import json
import time
from dataclasses import replace

from aiohttp import web
from click.testing import CliRunner
from structlog.testing import capture_logs

from tests.tss.evidence import show
from tests.tss.evidence.cases import true_case
from tests.tss.evidence.running import some_evidence
from tests.tss.shells import committee_of, make_identities, signed_committee
from tss.api import routes
from tss.cli import tss
from tss.evidence.form import Kind
from tss.signing.slots import request_id
from tss.store import RequestRow, VerdictRow


async def test_evidence_is_listed_taken_out_and_judged_by_commands(tmp_path):
    # What the nodes of this process log meanwhile must not land in a command's output.
    with capture_logs():
        await listed_taken_out_and_judged(tmp_path)


async def listed_taken_out_and_judged(tmp_path):
    async with committee_of(tmp_path, 3, 2) as seats:
        alice = seats[0]
        await alice.node._book.report([some_evidence(seats)])
        app = web.Application()
        app.add_routes(routes(alice.node))
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        (alice.folder / "admin.json").write_text(json.dumps({"url": url, "token": "t"}))
        committee = tmp_path / "committee.json"
        (tmp_path / "other").mkdir()
        committee.write_text(alice.committee.to_json())
        try:

            async def run(*words, status=0):
                made = await asyncio.to_thread(CliRunner().invoke, tss, [str(word) for word in words])
                assert made.exit_code == status, made.output
                assert "Traceback" not in made.output
                return made.output

            at = ("--dir", alice.folder)
            [piece] = json.loads(await run("evidence", *at, "--json"))["evidence"]
            assert (piece["member"], piece["kind"]) == ("bob", "replayed-commitment")
            assert "bob offered one commitment in two messages" in await run("evidence", *at)
            file = tmp_path / "bob.evidence"
            assert "judge it anywhere" in await run("evidence", *at, piece["id"][:8], "-o", file)
            assert "choose another name" in await run("evidence", *at, piece["id"], "-o", file, status=1)
            assert "names no one piece" in await run("evidence", *at, "ffff0000", status=1)
            assert "Name its id" in await run("evidence", *at, "-o", tmp_path / "x", status=2)
            said = await run("judge", file)
            assert "proven: bob offered one commitment in two messages" in said
            assert alice.committee.committee.words in said
            judged = json.loads(await run("judge", file, "--committee", committee, "--json"))
            assert judged["proven"]
            assert judged["committee_checked"]
            assert judged["culprit"]["host_key"] == seats[1].identity.host_key.hex()
            other = show.committee_file(tmp_path / "other")
            judged = json.loads(await run("judge", file, "--committee", other, "--json", status=1))
            assert not judged["committee_checked"]
            assert "the file given is" in await run("judge", file, "--committee", other, status=1)
            assert '"boots"' in await run("nonces", *at, "--json")
            assert "no nonces were made yet" in await run("nonces", *at)
            assert "nothing waits" in await run("requests", *at)
            assert "no such request" in await run("requests", *at, "--lead", "00" * 32, status=1)
            assert "no such request" in await run("requests", *at, "--lead", "nonsense", status=1)
            assert "8 to 64 hexadecimal digits" in await run("requests", *at, "--lead", "00", status=1)
            await by_first_digits(alice, run, at)
        finally:
            await runner.cleanup()


async def by_first_digits(alice, run, at):
    await alice.node.dkg("treasury")
    alice.port.refusal = None
    twins = [bytes.fromhex("5b1f09c4") + bytes([number]) * 28 for number in (1, 2)]
    for twin in twins:
        await alice.node._store.keep_request(
            RequestRow(twin, "treasury", 1, b"", 2, time.time()),
            VerdictRow(twin, "request", True, "", b""),
        )
    said = await run("requests", *at, "--lead", "5b1f09c4", status=1)
    assert "2 requests begin with 5b1f09c4" in said
    assert all(twin.hex() in "".join(said.split()) for twin in twins)
    payload = b"pay the miller"
    row = RequestRow(request_id("treasury", payload, 1), "treasury", 1, payload, 2, time.time())
    await alice.node._store.keep_request(row, VerdictRow(row.request_id, "request", True, "", b""))
    begun = json.loads(await run("requests", *at, "--lead", row.request_id.hex()[:8].upper(), "--json"))
    assert (begun["id"], len(begun["signatures"])) == (row.request_id.hex(), 2)
    assert "no request that waits here begins with" in await run(
        "requests", *at, "--lead", row.request_id.hex()[:8], status=1
    )


def test_the_show_has_a_piece_judged_by_the_real_command_and_a_slander_refused(tmp_path, capsys):
    committee = show.committee_file(tmp_path)
    assert show.show(tmp_path, Kind.BAD_R2, committee)
    assert "proven: bob signed an R2" in capsys.readouterr().out
    empty = tmp_path / "empty"
    empty.write_bytes(b"")
    assert show.judged(empty, committee)[0] == 2


def test_the_judge_says_when_it_cannot_read_or_convict(tmp_path):
    def run(*words):
        made = CliRunner().invoke(tss, ["judge", *map(str, words)])
        assert "Traceback" not in made.output
        return made.exit_code, made.output

    evidence = true_case(Kind.FALSE_KEY)
    file = tmp_path / "x.evidence"
    file.write_bytes(evidence.encode())
    assert run(file)[0] == 0
    other = tmp_path / "committee.json"
    other.write_text(signed_committee(make_identities(tmp_path, 3), 2).to_json())
    status, said = run(file, "--committee", other)
    assert status == 1
    assert said.startswith("not proven: it is about the committee sim")
    file.write_bytes(replace(evidence, culprit=1).encode())
    status, said = run(file, "--json")
    assert (status, json.loads(said)["proven"]) == (1, False)
    for bad in (b"", b"\x40", b"text", bytes(3_000_000), evidence.encode()[:-1]):
        file.write_bytes(bad)
        status, said = run(file)
        assert status == 2
        assert len(said.strip().splitlines()) == 1
        assert "is no evidence" in said
    assert run(tmp_path / "nothing")[0] == 2
    file.write_bytes(evidence.encode())
    other.write_text("{}")
    assert run(file, "--committee", other)[0] == 2
    assert run(file, "--committee", tmp_path / "nothing")[0] == 2
