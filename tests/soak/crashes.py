"""SIGKILL at every durable write of signing, key work and key generation, swept, in real processes over mutual TLS.

Three nodes, two of them enough. The victim is in one sweep the one that drives the work, in another one that only
takes part. It is killed right before and right after each of its durable writes; then it is started again,
the work is asked for again, and a signature is made with its share.
"""

import asyncio
import json
import signal
import sqlite3
import sys
from asyncio.subprocess import DEVNULL
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import coincurve

from tests.soak.matrix import SoakFault
from tests.soak.nonces import Nonces
from tests.tss.shells import make_identities, signed_committee

ROOT = Path(__file__).parents[2]
_PATIENCE = 90.0
_MOST_WRITES = 60


class Node:
    """One member's process and its admin port."""

    def __init__(self, folder: Path, session: aiohttp.ClientSession) -> None:
        self.folder, self.session, self.name = folder, session, folder.name
        self.process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        (self.folder / "admin.json").unlink(missing_ok=True)
        program = (sys.executable, "-m", "tests.soak.killed_node", str(self.folder))
        self.process = await asyncio.create_subprocess_exec(*program, cwd=ROOT, stdout=DEVNULL)
        async with asyncio.timeout(_PATIENCE):
            while not (self.folder / "admin.json").exists():
                if self.process.returncode is not None:
                    raise SoakFault(f"{self.name} did not start again: exit {self.process.returncode}")
                await asyncio.sleep(0.05)

    def signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    async def kill(self) -> None:
        if self.process is not None and self.process.returncode is None:
            self.process.kill()
            await self.process.wait()

    async def ask(self, method: str, path: str, **body: Any) -> tuple[int, dict[str, Any]]:
        """Status 0 when the process is gone."""
        try:
            url = json.loads((self.folder / "admin.json").read_text())["url"]
            async with self.session.request(method, url + path, json=body or None) as response:
                return response.status, await response.json(content_type=None)
        except (aiohttp.ClientError, OSError):
            return 0, {}

    async def until_up(self, names: set[str]) -> None:
        async with asyncio.timeout(_PATIENCE):
            while True:
                _, told = await self.ask("GET", "/v1/tss/peers")
                if names <= {peer["name"] for peer in told.get("peers", []) if peer["up"]}:
                    return
                await asyncio.sleep(0.05)

    async def persist(self, path: str, **body: Any) -> dict[str, Any]:
        """Ask until it is done; SoakFault with the last answer when it never is."""
        told: Any = None
        try:
            async with asyncio.timeout(_PATIENCE):
                while True:
                    status, told = await self.ask("POST", path, **body)
                    if status == 200:
                        return told
                    await asyncio.sleep(0.2)
        except TimeoutError:
            raise SoakFault(f"{self.name} is stuck at {path} {body}: {told}") from None


@dataclass
class Work:
    """What is swept: how it is asked for, at whom, and by what name its key goes at kill number k."""

    name: str
    path: str
    body: Callable[[str], dict[str, Any]]
    own_key: bool  # each kill makes its own key; else all use one


DKG = Work("key generation", "/v1/tss/dkg", lambda purpose: {"purpose": purpose}, own_key=True)
SIGN = Work("signing", "/v1/tss/sign-test", lambda purpose: {"key": purpose, "text": "soak"}, own_key=False)
REFRESH = Work("refresh", "/v1/tss/refresh", lambda purpose: {"purpose": purpose}, own_key=False)
REPAIR = Work("repair", "/v1/tss/repair", lambda purpose: {"purpose": purpose}, own_key=False)


@dataclass
class Sweep:
    """A running committee and what was seen of it."""

    nodes: list[Node]
    kills: dict[str, int] = field(default_factory=dict)
    texts: int = 0
    pending: "asyncio.Task[tuple[int, dict[str, Any]]] | None" = None

    async def run(self, work: Work, *, drives: bool, say: Callable[[str], None]) -> None:
        """Kill the victim before and after its first, second, … durable write until it has no more."""
        alice, bob, carol = self.nodes
        victim, driver = carol, carol if drives else alice
        name = f"{work.name}, the victim {'drives' if drives else 'takes part'}"
        self.kills[name] = 0
        if not work.own_key:
            await alice.persist("/v1/tss/dkg", purpose="shared")
        for at in range(1, _MOST_WRITES):
            for after in (False, True):
                label = "d" if drives else "m"
                purpose = f"k{label}{at}-{int(after)}" if work.own_key else "shared"
                died = await self._once(work, purpose, driver, victim, at, after=after)
                if not died:
                    say(f"{name}: {self.kills[name]} kills")
                    return
                self.kills[name] += 1
                await self._recover(work, purpose, (alice, bob, carol), f"{name}, write {at}")
        raise SoakFault(f"{name}: no end of durable writes")

    async def _once(
        self, work: Work, purpose: str, driver: Node, victim: Node, at: int, *, after: bool
    ) -> bool:
        """Whether the victim died. For a signature bob is frozen, else it would be made without the victim."""
        assert victim.process is not None
        await victim.ask("POST", "/soak/arm", at=at, after=after)
        self.texts += 1
        body = work.body(purpose) | ({"text": f"soak {self.texts}"} if work is SIGN else {})
        bob = self.nodes[1]
        if work is SIGN:
            bob.signal(signal.SIGSTOP)
        gone = asyncio.create_task(victim.process.wait())
        try:
            asked = asyncio.create_task(driver.ask("POST", work.path, **body))
            await asyncio.wait({asked, gone}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            bob.signal(signal.SIGCONT)
        self.pending = (
            asked  # a key generation waits some seconds for the dead to come back, and then goes on
        )
        if victim.process.returncode is None:
            await asked
        # A write may follow the answer, as the other members' news of it does.
        done, _ = await asyncio.wait({gone}, timeout=0.3)
        if not done:
            gone.cancel()
            await victim.ask("POST", "/soak/arm", at=0, after=False)
        return bool(done)

    async def _recover(self, work: Work, purpose: str, nodes: tuple[Node, ...], where: str) -> None:
        alice, _, victim = nodes
        await victim.start()
        if self.pending is not None:
            await self.pending
        try:
            await alice.until_up({node.name for node in nodes} - {alice.name})
            await victim.until_up({node.name for node in nodes} - {victim.name})
            if work is not SIGN:
                await alice.persist(work.path, **work.body(purpose))
            for node in (victim, alice):
                self.texts += 1
                text = f"after {self.texts}"
                holds(await node.persist("/v1/tss/sign-test", key=purpose, text=text))
        except (SoakFault, TimeoutError) as fault:
            raise SoakFault(f"{where}: {fault}") from fault

    def nonces(self) -> tuple[Nonces, int]:
        """Over every share that left any process; and how many of them have no durable row, which must be none."""
        table, unrecorded = Nonces(), 0
        for node in self.nodes:
            lines = (node.folder / "left.log").read_text().splitlines()
            left = [tuple(bytes.fromhex(word) for word in line.split()) for line in lines]
            with sqlite3.connect(node.folder / "signer.db") as db:
                rows = dict(db.execute("SELECT commitment, package_hash FROM nonces").fetchall())
            for commitment, package in left:
                table.left(commitment, package)
                unrecorded += rows.get(commitment) != package
        return table, unrecorded


def holds(signed: dict[str, Any]) -> None:
    public, signature, message = (bytes.fromhex(signed[x]) for x in ("public_key", "signature", "message"))
    if not coincurve.PublicKeyXOnly(public).verify(signature, message):
        raise SoakFault("a signature does not verify")


@asynccontextmanager
async def committee(folder: Path) -> AsyncIterator[Sweep]:
    """Three nodes in three processes, two needed."""
    identities = make_identities(folder, 3)
    signed = signed_committee(identities, 2)
    async with AsyncExitStack() as stack:
        patience = aiohttp.ClientTimeout(total=_PATIENCE)
        session = await stack.enter_async_context(aiohttp.ClientSession(timeout=patience))
        nodes = [Node(folder / one.name, session) for one in identities]
        for node in nodes:
            (node.folder / "committee.json").write_text(signed.to_json())
            stack.push_async_callback(node.kill)
        await asyncio.gather(*(node.start() for node in nodes))
        for node in nodes:
            await node.until_up({other.name for other in nodes if other is not node})
        yield Sweep(nodes)
