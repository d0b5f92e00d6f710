"""Five nodes in five processes become six: one is replaced, one comes, four of six sign; by the commands."""

import asyncio
from contextlib import AsyncExitStack

import aiohttp
from click.testing import CliRunner

from tests.tss.shells import make_identities, signed_committee
from tests.tss.test_tss_processes import Process, holds
from tss.cli import tss

STAY = ("alice", "bob", "dave", "erin")


def run(*words):
    result = CliRunner().invoke(tss, [str(word) for word in words])
    assert result.exit_code == 0, result.output


def next_committee(folder):
    """Carol's place is frank's, grace comes, four sign; the file is signed and accepted by all six."""
    first, made = folder / "alice" / "committee.json", folder / "next.json"
    come = ("--replace", "carol", folder / "frank" / "member.json", "--add", folder / "grace" / "member.json")
    run("rotate", "propose", first, *come, "--threshold", "4", "-o", made)
    for name in (*STAY, "frank", "grace"):
        run("committee", "sign", "--dir", folder / name, made)
    for name in ("frank", "grace"):
        run("rotate", "accept", "--dir", folder / name, made, "--earlier", first)
    for name in STAY:
        run("rotate", "accept", "--dir", folder / name, made)


async def signs(node, epoch=None, key="treasury"):
    answer = await node.ask(
        "POST", "/v1/tss/sign-test", key=key, text="x", **({"epoch": epoch} if epoch else {})
    )
    holds(answer)
    return answer[1]["epoch"]


async def make(node):
    return await node.ask("POST", "/v1/tss/dkg", purpose="treasury")


async def move(node, state):
    return await node.ask("POST", "/v1/tss/key-state", purpose="treasury", epoch=1, state=state)


async def finished_on_three(folder, nodes):
    """Finished on three of four the old key has no quorum left; a killed node remembers what it finished."""
    alice, erin = nodes["alice"], nodes["erin"]
    for name in STAY[:3]:
        assert (await move(nodes[name], "retiring"))[1]["state"] == "retiring"
        assert (await move(nodes[name], "retired"))[1]["state"] == "retired"
        assert not (folder / name / "keys" / "treasury-1.share").exists()
    await alice.kill()
    await alice.start()
    await alice.until_up("bob", "dave", "erin", "frank", "grace")
    keys = (await alice.get("/v1/tss/keys"))["keys"]
    assert [(key["epoch"], key["state"]) for key in keys] == [(1, "retired"), (2, "verified")]
    status, refused = await erin.ask("POST", "/v1/tss/sign-test", key="treasury", text="x", epoch=1)
    assert status == 503, refused
    assert "of the 3 signers needed answered" in refused["detail"], refused
    assert await signs(erin) == 2


async def test_three_of_five_become_four_of_six_and_the_old_key_signs_until_it_is_finished(tmp_path):
    people = make_identities(tmp_path, 7)
    first = signed_committee(people[:5], 3)
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession())
        nodes = {one.name: Process(tmp_path / one.name, session) for one in people}
        for one in people[:5]:
            (one.tls.key.parent.parent / "committee.json").write_text(first.to_json())
        for node in nodes.values():
            stack.push_async_callback(node.kill)
        await asyncio.gather(*(nodes[one.name].start() for one in people[:5]))
        alice, carol, grace = nodes["alice"], nodes["carol"], nodes["grace"]
        await alice.until_up("bob", "carol", "dave", "erin")
        assert (await make(alice))[0] == 200
        assert await signs(alice) == 1

        next_committee(tmp_path)
        assert await signs(alice) == 1, "the file counts from the next start"
        for name in STAY:
            await nodes[name].kill()
        await asyncio.gather(*(nodes[name].start() for name in (*STAY, "frank")))
        await alice.until_up("bob", "dave", "erin", "frank")
        assert await signs(alice) == 1, "three of those who stayed are enough"

        # Who left is let in by nobody, and does nobody harm.
        assert await carol.up() == set()
        status, refused = await carol.ask("POST", "/v1/tss/sign-test", key="treasury", text="alone")
        assert (status, refused["code"]) == (503, "sign_too_few_signers")
        assert "carol" not in {peer["name"] for peer in (await alice.get("/v1/tss/peers"))["peers"]}

        # A key generation without one of the new members fails by name, and the old key signs on.
        status, failed = await make(alice)
        assert status == 503
        assert "grace" in failed["detail"]
        assert await signs(alice) == 1
        await grace.start()
        await alice.until_up("grace")
        await grace.until_up(*STAY, "frank")
        status, made = await make(grace)
        assert (status, made["epoch"], made["threshold"], made["members"]) == (200, 2, 4, 6), made
        assert not made["existed"]
        assert [await signs(nodes[name]) for name in ("frank", "grace", "alice")] == [2, 2, 2]
        assert await signs(alice, epoch=1) == 1
        status, refused = await grace.ask("POST", "/v1/tss/sign-test", key="treasury", text="x", epoch=1)
        assert (status, refused["code"]) == (409, "sign_no_key"), "a newcomer's node tests no old key"

        await finished_on_three(tmp_path, nodes)
