"""What a large committee's node costs when nothing happens: `python -m tests.bench.idle_mesh [MEMBERS] [SECONDS]`.

One real node in a process of its own; all the others in a second one, each with its own keys, port and lines, which
ping that node only: so it sends and answers what it would in a full mesh. Prints its CPU time and its pings.
"""

import asyncio
import os
import sys
import tempfile
import time
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

from tests.tss.shells import free_ports
from tss import identity
from tss.dkg.committee import Committee, Member
from tss.identity import HostIdentity
from tss.peer_http import pong
from tss.peers import Peers

_SETTLED_SECONDS = 600.0


async def _measured(committee: Committee, me: HostIdentity, seconds: float) -> tuple[float, int, int]:
    """CPU seconds, pings sent and pings answered of member 1 in so many seconds, once it has heard all."""
    peers, sent, answered = Peers(committee, 1, me.tls, me), [0], [0]
    real = peers._exchange

    async def counted(*arguments: object) -> bytes:
        sent[0] += 1
        return await real(*arguments)  # passed on as they came

    async def pong_counted(member: int, body: bytes) -> bytes:
        answered[0] += 1
        return await pong(member, body)

    peers._exchange = counted  # to count
    peers._handlers["peer.ping"] = pong_counted
    await peers.start("127.0.0.1", _port(me))
    await peers.until_heard(range(1, committee.size + 1), _SETTLED_SECONDS)
    await asyncio.sleep(2 * peers.ping_seconds)
    begun, out, back = time.process_time(), sent[0], answered[0]
    await asyncio.sleep(seconds)
    cost = time.process_time() - begun, sent[0] - out, answered[0] - back
    await peers.close()
    return cost


async def _others(committee: Committee, members: list[HostIdentity], done: Connection) -> None:
    """All but member 1, which call nobody else."""
    running = []
    for index, member in enumerate(members, 2):
        peers = Peers(committee, index, member.tls, member.seated(committee))
        peers._others = {1: peers._others[1]}
        running.append(peers)
        await peers.start("127.0.0.1", _port(member))
    while not done.poll():
        await asyncio.sleep(0.5)
    await asyncio.gather(*(peers.close() for peers in running))


def _port(member: HostIdentity) -> int:
    return int(member.peer_url.rsplit(":", 1)[1])


def _run_others(data: bytes, folders: list[Path], done: Connection) -> None:
    asyncio.run(_others(Committee.decode(data), [identity.load(folder) for folder in folders], done))


def main(size: int, seconds: float) -> None:
    """Measure, and print."""
    with tempfile.TemporaryDirectory() as folder:
        members = [
            identity.create(Path(folder) / f"m{i}", f"m{i}", f"https://127.0.0.1:{port}")
            for i, port in enumerate(free_ports(size))
        ]
        seats = tuple(Member(m.name, m.host_key, m.tls.fingerprint, m.peer_url) for m in members)
        committee = Committee("idle", "regtest", 1, size // 2 + 1, seats)
        folders = [Path(folder) / member.name for member in members[1:]]
        apart = get_context("spawn")
        ours, theirs = apart.Pipe()
        process = apart.Process(target=_run_others, args=(committee.encode(), folders, theirs))
        process.start()
        try:
            cpu, sent, answered = asyncio.run(_measured(committee, members[0].seated(committee), seconds))
        finally:
            ours.send(None)
            process.join()
        print(
            f"{size} members, idle: {cpu / seconds:.1%} of a core, {sent / seconds:.0f} pings sent and "
            f"{answered / seconds:.0f} answered a second"
            f" (load {os.getloadavg()[0]:.1f})"
        )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 128, float(sys.argv[2]) if len(sys.argv) > 2 else 30.0)
