"""Three nodes in three processes: frozen and killed by signals in the middle of signing and of a DKG."""

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import DEVNULL
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import aiohttp
import coincurve

from tests.tss.shells import make_identities, signed_committee

ROOT = Path(__file__).parents[2]


class Process:
    """One node's process and its admin port."""

    def __init__(self, folder, session):
        self.folder, self.session = folder, session
        self.name = folder.name
        self.process = None

    async def start(self):
        (self.folder / "admin.json").unlink(missing_ok=True)
        program = (sys.executable, "-m", "tests.tss.one_node", str(self.folder))
        self.process = await asyncio.create_subprocess_exec(*program, cwd=ROOT, stdout=DEVNULL)
        async with asyncio.timeout(60):
            while not (self.folder / "admin.json").exists():  # noqa: ASYNC110
                await asyncio.sleep(0.05)

    def signal(self, number):
        os.kill(self.process.pid, number)

    async def kill(self):
        if self.process is not None:
            self.signal(signal.SIGKILL)
            await self.process.wait()
            self.process = None

    async def ask(self, method, path, **body):
        url = json.loads((self.folder / "admin.json").read_text())["url"]
        async with self.session.request(method, url + path, json=body or None) as response:
            return response.status, await response.json(content_type=None)

    async def get(self, path):
        return (await self.ask("GET", path))[1]

    async def up(self):
        return {p["name"] for p in (await self.get("/v1/tss/peers"))["peers"] if p["up"]}

    async def until_up(self, *names):
        async with asyncio.timeout(60):
            while not set(names) <= await self.up():  # noqa: ASYNC110
                await asyncio.sleep(0.05)

    async def sign_test(self, text):
        return await self.ask("POST", "/v1/tss/sign-test", key="anchor", text=text)


@asynccontextmanager
async def committee(tmp_path):
    identities = make_identities(tmp_path, 3)
    signed = signed_committee(identities, 2)
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession())
        nodes = [Process(tmp_path / one.name, session) for one in identities]
        for node in nodes:
            (node.folder / "committee.json").write_text(signed.to_json())
            stack.push_async_callback(node.kill)
        await asyncio.gather(*(node.start() for node in nodes))
        for node in nodes:
            await node.until_up(*(other.name for other in nodes if other is not node))
        yield nodes


def holds(answer):
    status, signed = answer
    assert status == 200, signed
    public, signature, message = (bytes.fromhex(signed[x]) for x in ("public_key", "signature", "message"))
    assert coincurve.PublicKeyXOnly(public).verify(signature, message)


async def pending_at(node, name):
    found = (await node.get("/v1/tss/sessions"))["sessions"]
    return any(s["state"] == "open" and name in s["pending"] for s in found)


async def test_nodes_are_killed_and_frozen_and_the_others_go_on(tmp_path):
    async with committee(tmp_path) as (alice, bob, carol):
        # A member dies inside a key generation: that attempt fails and names it, nothing else is harmed.
        carol.signal(signal.SIGSTOP)
        attempt = asyncio.create_task(alice.ask("POST", "/v1/tss/dkg", purpose="anchor"))
        await asyncio.sleep(0)
        await carol.kill()
        status, failed = await attempt
        assert status == 503
        assert failed["code"] == "dkg_missing"
        assert "carol" in failed["detail"]
        await carol.start()
        await alice.until_up("bob", "carol")
        status, made = await alice.ask("POST", "/v1/tss/dkg", purpose="anchor")
        assert (status, made.get("state")) == (200, "verified"), made

        # One is frozen in mid-session and then killed: the session ends with the others.
        seen, number = False, 0
        while not seen:
            number += 1
            carol.signal(signal.SIGSTOP)
            work = asyncio.create_task((alice, bob)[number % 2].sign_test(f"frozen {number}"))
            while not work.done() and not seen:
                seen = await pending_at((alice, bob)[number % 2], "carol")
            if seen:
                await carol.kill()
            holds(await work)
            if not seen:
                carol.signal(signal.SIGCONT)
                await alice.until_up("carol")

        # Below the threshold nothing is signed, by name; it resumes when one returns.
        await bob.kill()
        status, refused = await alice.sign_test("alone")
        assert status == 503
        assert "only 1 of the 2 signers needed answered" in refused["detail"]
        assert all(name in refused["detail"] for name in ("bob", "carol")), refused
        await carol.start()
        await alice.until_up("carol")
        holds(await alice.sign_test("again"))
        holds(await carol.sign_test("carol is back and leads"))
        keys = (await carol.get("/v1/tss/keys"))["keys"]
        assert [key["group_key"] for key in keys] == [made["group_key"]]
