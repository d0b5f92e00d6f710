"""A program for benches: one committee node in a process of its own, told by JSON lines what to do and to measure.

Everything on the path is the product's own code; around it `Meter` counts what a request cost.
"""

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import structlog

from tests.bench.processes import PASSPHRASE
from tss import identity
from tss.dkg.committee import SignedCommittee
from tss.frost.engine import Engine
from tss.frost.hashing import tagged_hash
from tss.frost.path import KEY_ONLY
from tss.node import TssNode
from tss.peers import Peers
from tss.signing.approval import Approved, Refused
from tss.signing_member import REQUEST, SHARES

ECHO_BYTES = 1024
BLOCK = 4096


class CountPort:
    """Approves as many messages as the payload's first word says."""

    async def approve(self, _purpose: str, payload: bytes, _epoch: int) -> Approved | Refused:
        count = int(payload.split(b" ", 1)[0])
        return Approved(
            tuple((tagged_hash("bench", payload, i.to_bytes(2, "big")), KEY_ONLY) for i in range(count))
        )


class Meter:
    """Counts this process's durable commits and the rounds of calls that its requests make."""

    def __init__(self, node: TssNode) -> None:
        self.commits, self._rounds = 0, set()
        database, peers = node._store._db, node.peers
        commit, call = database.commit, peers.call

        def counted() -> None:
            commit()
            self.commits += 1

        async def called(member: int, topic: str, body: bytes, **more: Any) -> bytes:
            if topic in (REQUEST, SHARES):  # all that ask at once with one topic are one round
                self._rounds.add((topic, body if topic == SHARES else b""))
            return await call(member, topic, body, **more)

        database.commit, peers.call = counted, called

    def take(self) -> tuple[int, int]:
        """Rounds and commits since last asked."""
        taken = len(self._rounds), self.commits
        self._rounds, self.commits = set(), 0
        return taken


class BenchNode:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    async def open(self) -> float:
        begun = time.perf_counter()
        committee = SignedCommittee.from_json((self.folder / "committee.json").read_text())
        loaded = identity.load(self.folder, lambda: bytearray(PASSPHRASE))
        seconds = time.perf_counter() - begun
        self.me = loaded.seated(committee.committee)
        self.peers = Peers(committee.committee, self.me.index, self.me.tls, self.me)
        self.node = await TssNode.open(self.folder, committee, self.me, self.peers)
        self.node.use_approval(CountPort())
        self.meter = Meter(self.node)
        await self.peers.start("127.0.0.1", int(self.me.peer_url.rsplit(":", 1)[1]))
        await self.node.start()
        return seconds

    async def up(self, members: list[int]) -> bool:
        await self.peers.until_heard(members, 120)
        return True

    async def dkg(self, purpose: str) -> float:
        begun = time.perf_counter()
        await self.node.dkg(purpose)
        return (time.perf_counter() - begun) * 1000

    async def sign(
        self, purpose: str, count: int, messages: int, tag: str, seconds: float = 600
    ) -> dict[str, list[float]]:
        """One request after the other, in milliseconds, with the rounds and own commits of each."""
        took: dict[str, list[float]] = {"ms": [], "rounds": [], "commits": []}
        deadline = time.monotonic() + seconds
        for number in range(count):
            self.meter.take()
            payload = f"{messages} {tag} {number}".encode()
            begun = time.perf_counter()
            signatures = await self.node.sign(purpose, payload)
            took["ms"].append((time.perf_counter() - begun) * 1000)
            assert len(signatures) == messages
            rounds, commits = self.meter.take()
            took["rounds"].append(rounds)
            took["commits"].append(commits)
            if time.monotonic() > deadline:
                break
        return took

    async def fsync(self, count: int) -> list[float]:
        """One 4 kB write with its fsync, on the disk where the databases lie, in milliseconds."""
        took, handle = [], os.open(self.folder / "fsync.bin", os.O_CREAT | os.O_WRONLY, 0o600)
        for _ in range(count):
            begun = time.perf_counter()
            os.write(handle, bytes(BLOCK))
            os.fsync(handle)
            took.append((time.perf_counter() - begun) * 1000)
        os.close(handle)
        return took

    async def echo_server(self) -> int:
        """A bare echo behind this member's own TLS; its port."""

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while data := await reader.read(ECHO_BYTES):
                writer.write(data)
            writer.close()

        self.server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=self.peers.pins.server)
        return self.server.sockets[0].getsockname()[1]

    async def echo(self, port: int, count: int) -> list[float]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=self.peers.pins.client)
        took = []
        for _ in range(count):
            begun = time.perf_counter()
            writer.write(bytes(ECHO_BYTES))
            await reader.readexactly(ECHO_BYTES)
            took.append((time.perf_counter() - begun) * 1000)
        writer.close()
        return took

    async def memory(self) -> float:
        """Resident, in MiB."""
        return resident()

    async def lie(self) -> bool:
        """From now on every share that leaves is wrong."""
        honest: Callable[..., bytes] = Engine.sign

        def crooked(*given: Any) -> bytes:
            share = honest(*given)
            return bytes([*share[:31], share[31] ^ 1])

        Engine.sign = crooked
        return True


def resident() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


async def main(folder: Path) -> None:
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(40),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    node = BenchNode(folder)
    loop, reader = asyncio.get_running_loop(), asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        order = json.loads(line)
        try:
            answer = {"ok": await getattr(node, order.pop("do"))(**order)}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
