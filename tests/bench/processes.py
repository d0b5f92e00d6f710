"""A committee of real processes for benches: started, told what to do, frozen and ended."""

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.tss.shells import free_ports, signed_committee
from tss import identity
from tss.vault import Cost

ROOT = Path(__file__).parents[2]
PASSPHRASE = b"a passphrase of the bench"
_LINE = 64 << 20


class BenchFault(Exception):
    """A bench process could not do what it was told."""


class Worker:
    """One member's process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    async def start(self) -> float:
        """Start it; gives the seconds that its passphrase took."""
        program = (sys.executable, "-m", "tests.bench.bench_node", str(self.folder))
        self.process = await asyncio.create_subprocess_exec(
            *program, cwd=ROOT, stdin=PIPE, stdout=PIPE, limit=_LINE
        )
        return await self.do("open")

    async def do(self, what: str, **how: Any) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"do": what} | how).encode() + b"\n")
        line = await self.process.stdout.readline()
        if not line:
            raise BenchFault(f"{self.folder.name} ended while it was to {what}")
        answer = json.loads(line)
        if "error" in answer:
            raise BenchFault(f"{self.folder.name} could not {what}: {answer['error']}")
        return answer["ok"]

    def freeze(self) -> None:
        os.kill(self.process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.process.pid, signal.SIGCONT)

    async def stop(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
            await self.process.wait()


@asynccontextmanager
async def workers(folder: Path, n: int, threshold: int, cost: Cost) -> AsyncIterator[list[Worker]]:
    """A committee whose members all run and hear each other."""
    identities = [
        identity.create(
            folder / f"m{i:02}", f"m{i:02}", f"https://127.0.0.1:{port}", bytearray(PASSPHRASE), cost
        )
        for i, port in enumerate(free_ports(n), 1)
    ]
    committee = signed_committee(identities, threshold)
    found = [Worker(folder / one.name) for one in identities]
    started: list[Worker] = []
    try:
        for worker in found:  # one after the other: each start takes the passphrase's memory
            (worker.folder / "committee.json").write_text(committee.to_json())
            started.append(worker)
            await worker.start()
        for index, worker in enumerate(found, 1):
            await worker.do("up", members=[i for i in range(1, n + 1) if i != index])
        yield found
    finally:
        await asyncio.gather(*(worker.stop() for worker in started if hasattr(worker, "process")))
