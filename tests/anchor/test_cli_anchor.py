"""The auditor's commands: what they print, what they refuse, and that verifying asks no server."""

import asyncio
import json

import pytest
from click.testing import CliRunner

from anchor.cli_anchor import anchor
from anchor.cli_headers import trusted
from tests.anchor.anchored import Anchored, anchor_twice, headers_of, served


@pytest.fixture(scope="module")
def anchored(tmp_path_factory) -> Anchored:
    return anchor_twice(tmp_path_factory.mktemp("chain"))


@pytest.fixture
async def url(anchored):
    async with served(anchored) as found:
        yield found


async def run(*words: object, status: int = 0):
    """Run a command beside the server's loop; return its result."""
    result = await asyncio.to_thread(CliRunner().invoke, anchor, [str(word) for word in words])
    assert result.exit_code == status, result.output
    return result


@pytest.fixture
async def files(url, tmp_path):
    """A proof, headers and the activation record, as an auditor fetches them."""
    proof = await run("proof", "--last-block", 20, "--node", url)
    (tmp_path / "p.json").write_bytes(proof.stdout_bytes)
    await run("headers", "export", "--node", url, "-o", tmp_path / "h.bin")
    (tmp_path / "a.json").write_bytes((await run("activation", "--node", url)).stdout_bytes)
    return tmp_path


def verifying(folder, *, headers="h.bin", network="regtest"):
    where = (folder / "p.json", "--headers", folder / headers, "--activation", folder / "a.json")
    return ("verify", *where, "--network", network)


async def test_anchors_are_listed_and_shown(url):
    listed = (await run("list", "--node", url)).output.splitlines()
    assert listed[0].split() == ["seq", "blocks", "records", "txid", "height", "depth", "final"]
    assert listed[1].split()[:3] == ["1", "1..20", "2"]
    assert listed[2].split()[:3] == ["2", "21..30", "1"]
    shown = json.loads((await run("show", 2, "--node", url, "--json")).output)
    assert (shown["sequence"], shown["status"]["confirmed"]) == (2, True)
    missing = await run("show", 9, "--node", url, status=1)
    assert "there is no such anchor" in missing.stderr


async def test_a_proof_is_written_byte_for_byte_and_verified_alone(files, anchored):
    assert (files / "h.bin").read_bytes() == headers_of(anchored.chain)
    said = json.loads((await run(*verifying(files), "--json")).output)
    assert (said["valid"], said["first"], said["last"], said["sequence"]) == (True, 11, 20, 1)
    said = await run(*verifying(files))
    assert said.output.startswith("proven: the committee anchored this record")
    assert "signatures on the activation record were not checked: give --genesis" in said.output


async def test_a_changed_byte_anywhere_is_refused_with_status_1(files):
    data = (files / "p.json").read_bytes()
    for at in range(0, len(data), len(data) // 40):
        changed = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        (files / "p.json").write_bytes(changed)
        result = await run(*verifying(files), status=1)
        assert result.stderr.startswith("Error: not proven: "), at
        assert result.output.count("\n") == 1


async def test_what_is_taken_on_trust_is_said_beside_a_proof(files):
    assert json.loads((await run(*verifying(files), "--json")).output)["notes"] == []
    (files / "later.bin").write_bytes((files / "h.bin").read_bytes()[80:])
    said = await run(*verifying(files, headers="later.bin"), "--trusted-start", 1)
    assert "note: header 1 was taken on trust: compare its hash" in said.output
    (note,) = trusted("signet", 0)
    assert "signature (BIP325), which headers do not show: not checked" in note


async def test_headers_that_are_cut_changed_or_of_another_network_prove_nothing(files):
    raw = (files / "h.bin").read_bytes()
    for name, data in (("cut.bin", raw[:-1]), ("short.bin", raw[:800]), ("empty.bin", b"")):
        (files / name).write_bytes(data)
        refused = await run(*verifying(files, headers=name), status=1)
        alone = CliRunner().invoke(
            anchor, ["headers", "verify", str(files / name), "--network", "regtest"], catch_exceptions=False
        )
        if name != "short.bin":
            assert "no whole number of headers" in refused.stderr
            assert alone.stderr.startswith("Error: not valid: header at height")
            assert "export it again" in alone.stderr
    await run(*verifying(files, network="signet"), status=1)


async def test_a_headers_file_is_judged_by_itself(files):
    good = json.loads(
        (await run("headers", "verify", files / "h.bin", "--network", "regtest", "--json")).output
    )
    assert good["count"] == good["height"] + 1
    raw = bytearray((files / "h.bin").read_bytes())
    raw[400] ^= 1
    (files / "bad.bin").write_bytes(raw)
    bad = await run("headers", "verify", files / "bad.bin", "--network", "regtest", status=1)
    assert bad.stderr.startswith("Error: not valid: ")


async def test_a_record_that_waits_or_is_unknown_is_told_in_one_sentence(url):
    waits = await run("proof", "--last-block", 40, "--node", url, status=1)
    assert "not anchored yet" in waits.stderr
    unknown = await run("proof", "ab" * 32, "--node", url, status=1)
    assert "there is no such record" in unknown.stderr
    nothing = await run("proof", "--last-block", 41, "--node", url, status=1)
    assert "no record holds block 41 yet" in nothing.stderr
    await run("proof", "--node", url, status=2)


async def test_a_node_that_is_down_or_no_node_is_told_in_one_sentence(url):
    down = await run("list", "--node", "http://127.0.0.1:9", status=1)
    assert "does not answer" in down.stderr
    assert "correct --node" in down.stderr
    assert "is no URL" in (await run("list", "--node", "nonsense", status=2)).stderr
    other = await run("list", "--node", url + "/elsewhere", status=1)
    assert "has no /elsewhere/v1/anchors: is it the node? Correct --node" in other.stderr


async def test_a_damaged_activation_record_is_named(files):
    (files / "a.json").write_text("{}")
    result = await run(*verifying(files), status=1)
    assert "a.json: not an activation record" in result.stderr
