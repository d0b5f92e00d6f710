"""A committee of real processes over mutual TLS, for the long runs: started, hurt, asked, counted."""

import asyncio
import json
import shutil
import signal
import sqlite3
import sys
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import coincurve

from tests.soak.faults import SoakFault
from tests.soak.nonces import Nonces
from tests.tss.shells import free_ports, signed_committee
from tests.tss.simnet import NAMES
from tss import identity

ROOT = Path(__file__).parents[2]
PATIENCE = 300.0  # a wait ends when its condition holds: patience costs a failing run only


class Node:
    """One member's process and its admin port."""

    def __init__(self, folder: Path, session: aiohttp.ClientSession, settings: dict[str, Any]) -> None:
        self.folder, self.session, self.name, self.settings = folder, session, folder.name, settings
        self.process: asyncio.subprocess.Process | None = None
        self.rows: dict[bytes, bytes] = {}  # nonce rows of databases that were taken away

    async def spawn(self, **settings: Any) -> asyncio.subprocess.Process:
        """A process on this folder; a second one too."""
        words = json.dumps(self.settings | settings)
        program = (sys.executable, "-m", "tests.soak.killed_node", str(self.folder), words)
        return await asyncio.create_subprocess_exec(*program, cwd=ROOT, stdout=DEVNULL, stderr=PIPE)

    async def start(self, **settings: Any) -> bool:
        """Start it; False when it died by its own signal on the way, SoakFault when it refused to start."""
        (self.folder / "admin.json").unlink(missing_ok=True)
        self.process = await self.spawn(**settings)
        said = asyncio.create_task(_tail(self.process))
        async with asyncio.timeout(PATIENCE):
            while not (self.folder / "admin.json").exists():
                if self.process.returncode == -signal.SIGKILL:
                    return False
                if self.process.returncode is not None:
                    raise SoakFault(
                        f"{self.name} did not start: exit {self.process.returncode}: {await said}"
                    )
                await asyncio.sleep(0.02)
        return True

    def signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    async def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        if self.process is not None and self.process.returncode is None:
            self.process.kill()
            await self.process.wait()

    async def ask(self, method: str, path: str, **body: Any) -> tuple[int, dict[str, Any]]:
        """Status 0 when the process is gone."""
        try:
            url = json.loads((self.folder / "admin.json").read_text())["url"]
            async with self.session.request(method, url + path, json=body or None) as response:
                return response.status, await response.json(content_type=None)
        except (aiohttp.ClientError, OSError, TimeoutError):
            return 0, {}

    async def up(self) -> set[str]:
        """The names of those that answer it."""
        _, told = await self.ask("GET", "/v1/tss/peers")
        return {peer["name"] for peer in told.get("peers", []) if peer["up"]}

    async def until_up(self, names: set[str]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not names <= await self.up():
                await asyncio.sleep(0.05)

    async def persist(self, path: str, **body: Any) -> dict[str, Any]:
        """Ask until it is done; SoakFault with the last answer when it never is."""
        told: Any = None
        try:
            async with asyncio.timeout(PATIENCE):
                while True:
                    status, told = await self.ask("POST", path, **body)
                    if status == 200:
                        return told
                    await asyncio.sleep(0.2)
        except TimeoutError:
            raise SoakFault(f"{self.name} is stuck at {path} {body}: {told}") from None

    async def sign(self, purpose: str, text: str) -> dict[str, Any]:
        """A test signature, asked for until it is there, and checked."""
        signed = await self.persist("/v1/tss/sign-test", key=purpose, text=text)
        holds(signed)
        return signed

    def remember(self) -> None:
        """Note the nonce rows before the database is taken away or replaced."""
        self.rows |= self.recorded()

    def recorded(self) -> dict[bytes, bytes]:
        """Commitment → package hash of every row that there is or ever was."""
        path = self.folder / "signer.db"
        if not path.exists():
            return dict(self.rows)
        with closing(sqlite3.connect(path)) as db:
            rows = dict(db.execute("SELECT commitment, package_hash FROM nonces").fetchall())
        return self.rows | rows

    def copy_database(self, to: Path) -> None:
        """A consistent copy while the node runs, as a backup program makes one."""
        with (
            closing(sqlite3.connect(self.folder / "signer.db")) as source,
            closing(sqlite3.connect(to)) as db,
        ):
            source.backup(db)

    def replace_database(self, by: Path | None) -> None:
        """Put an older copy in its place, or nothing at all; the node is down."""
        self.remember()
        for suffix in ("", "-wal", "-shm"):
            (self.folder / f"signer.db{suffix}").unlink(missing_ok=True)
        if by is not None:
            shutil.copy(by, self.folder / "signer.db")

    def left(self) -> list[tuple[bytes, bytes]]:
        """Commitment and package of every share that left this member."""
        path = self.folder / "left.log"
        lines = path.read_text().splitlines() if path.exists() else []
        return [tuple(bytes.fromhex(word) for word in line.split()) for line in lines]


async def _tail(process: asyncio.subprocess.Process) -> str:
    """The last of what it said; read to the end, so that it never waits for us."""
    assert process.stderr is not None
    said = b""
    while chunk := await process.stderr.read(65536):
        said = (said + chunk)[-2000:]
    return said.decode("utf-8", "replace")


@dataclass
class Counts:
    """What was done to real processes, for the last lines of the run."""

    kills: dict[str, int] = field(default_factory=dict)
    troubles: dict[str, str] = field(default_factory=dict)
    nonces: Nonces = field(default_factory=Nonces)
    unrecorded: int = 0
    signatures: int = 0

    def take(self, nodes: list[Node]) -> None:
        """Over every share that left any process: its commitment, its package, and whether a row says so."""
        for node in nodes:
            rows = node.recorded()
            for commitment, package in node.left():
                self.nonces.left(commitment, package)
                self.unrecorded += rows.get(commitment) != package


def holds(signed: dict[str, Any]) -> None:
    """SoakFault unless an independent library takes the signature."""
    public, signature, message = (bytes.fromhex(signed[x]) for x in ("public_key", "signature", "message"))
    if not coincurve.PublicKeyXOnly(public).verify(signature, message):
        raise SoakFault("a signature does not verify")


@asynccontextmanager
async def committee(folder: Path, n: int = 3, t: int = 2, **settings: Any) -> AsyncIterator[list[Node]]:
    """N nodes in n processes that have heard each other, t of them needed."""
    ports = free_ports(n)
    identities = [
        identity.create(folder / name, name, f"https://127.0.0.1:{port}")
        for name, port in zip(NAMES[:n], ports, strict=True)
    ]
    signed = signed_committee(identities, t)
    async with AsyncExitStack() as stack:
        patience = aiohttp.ClientTimeout(total=PATIENCE)
        session = await stack.enter_async_context(aiohttp.ClientSession(timeout=patience))
        nodes = [Node(folder / one.name, session, settings) for one in identities]
        for node in nodes:
            (node.folder / "committee.json").write_text(signed.to_json())
            stack.push_async_callback(node.kill)
        await asyncio.gather(*(node.start() for node in nodes))
        for node in nodes:
            await node.until_up({other.name for other in nodes if other is not node})
        yield nodes
