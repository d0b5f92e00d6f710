"""A program for the long run: one committee node that kills itself at a chosen durable write, and notes what left.

A durable write is a transaction of signer.db or an fsync of a file. `POST /soak/arm {"at": k, "after": bool}` lets
the process die right before or right after the k-th one from now; at 0 they are only counted. Every share that
leaves is noted in left.log, before its bytes are given to the wire.
"""

import asyncio
import json
import os
import signal
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import structlog
from aiohttp import web

from tss import identity
from tss.api import routes
from tss.dkg.committee import SignedCommittee
from tss.node import TssNode
from tss.peers import Peers
from tss.signing.messages import Shares, SharesRequest, read_answer
from tss.signing_member import SHARES
from tss.store import Store

TOKEN = "t"  # what holdfast's own admin files hold


class Trigger:
    """Counts durable writes and dies at one of them."""

    def __init__(self) -> None:
        self.count, self.at, self.after = 0, 0, False
        self._fsync = os.fsync
        os.fsync = self.fsync
        transaction = Store.transaction

        @asynccontextmanager
        async def counted(store: Store) -> Any:
            # Before: all of it is written into the transaction, and the commit never happens.
            async with transaction(store) as db:
                yield db
                number = self._next()
                self._die(number, after=False)
            self._die(number, after=True)

        Store.transaction = counted

    def fsync(self, handle: int) -> None:
        number = self._next()
        self._die(number, after=False)
        self._fsync(handle)
        self._die(number, after=True)

    def arm(self, at: int, *, after: bool) -> None:
        self.count, self.at, self.after = 0, at, after

    def _next(self) -> int:
        self.count += 1
        return self.count

    def _die(self, number: int, *, after: bool) -> None:
        if self.at and number == self.at and after == self.after:
            os.kill(os.getpid(), signal.SIGKILL)


def note_what_leaves(node: TssNode, folder: Path) -> None:
    """Write down each commitment with its package before the share is given to anyone, oneself included."""
    handlers, index = node.peers._handlers, node.peers.index
    answer = handlers[SHARES]
    log = os.open(folder / "left.log", os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)

    async def noted(member: int, body: bytes) -> bytes:
        given = await answer(member, body)
        if isinstance(read_answer(given), Shares):
            packages = SharesRequest.decode(body).packages
            lines = [f"{p.commitments[index].hex()} {p.hash.hex()}\n" for p in packages]
            os.write(log, "".join(lines).encode())
        return given

    handlers[SHARES] = noted


async def main(folder: Path) -> None:
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(50),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    trigger = Trigger()
    committee = SignedCommittee.from_json((folder / "committee.json").read_text())
    me = identity.load(folder).seated(committee.committee)
    peers = Peers(committee.committee, me.index, me.tls, me, ping_every=0.3)
    node = await TssNode.open(folder, committee, me, peers, share_timeout=1.0)
    note_what_leaves(node, folder)
    await peers.start("127.0.0.1", int(me.peer_url.rsplit(":", 1)[1]))
    await node.start()

    async def arm(request: web.Request) -> web.Response:
        wanted = await request.json()
        seen = trigger.count
        trigger.arm(wanted["at"], after=wanted["after"])
        return web.json_response({"count": seen})

    app = web.Application()
    app.add_routes([*routes(node), web.post("/soak/arm", arm)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    ready = folder / "admin.new"
    ready.write_text(json.dumps({"url": url, "token": TOKEN}))
    ready.rename(folder / "admin.json")
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
