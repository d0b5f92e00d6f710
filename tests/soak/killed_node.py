"""A program for the long runs: one committee node that can be hurt from outside, and that notes what left it.

    python -m tests.soak.killed_node FOLDER [SETTINGS as JSON]

`POST /soak/arm {"at": k, "after": bool}` lets the process die right before or right after its k-th durable write
from now; the setting `die_at` (with `after`) does so from the start of the process on. `POST /soak/clock {"ahead":
seconds}` makes its clock jump, `ahead` sets it from the start. `lose` names a key whose transcript gives no share
any more; `lie` makes it sign wrong shares. Every share that leaves is noted in left.log, before its bytes are given
to the wire.

None of this is in the product: there the clock is the machine's, and nothing counts writes.
"""

import asyncio
import json
import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import structlog
from aiohttp import web

from tests.soak.kill_points import Trigger
from tss import identity
from tss.api import routes
from tss.dkg.committee import SignedCommittee
from tss.dkg.faults import RestoreFault
from tss.dkg.transcript import RecoveryData
from tss.node import TssNode
from tss.peers import Peers
from tss.rotation import chain
from tss.signing.messages import Shares, SharesRequest, read_answer
from tss.signing_member import SHARES

TOKEN = "t"  # what holdfast's own admin files hold


class Clock:
    """The machine's clock, and how far this node's is ahead of it."""

    def __init__(self, ahead: float) -> None:
        self.ahead = ahead

    def __call__(self) -> float:
        return time.time() + self.ahead


def lie(node: TssNode) -> None:
    """Sign shares that are wrong, and nothing else."""
    handlers, answer = node.peers._handlers, node.peers._handlers[SHARES]

    async def lying(member: int, body: bytes) -> bytes:
        given = await answer(member, body)
        made = read_answer(given)
        if not isinstance(made, Shares):
            return given
        worse = tuple(bytes([share[0] ^ 1]) + share[1:] for share in made.shares)
        return replace(made, shares=worse).signed(node.identity).encode()

    handlers[SHARES] = lying


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


def lose(purpose: str) -> None:
    """Let this key's transcript give no share any more, as when its sealed shares are damaged."""
    real = chain.participant.restore

    def restore(engine: Any, sealer: Any, me: Any, recovery: RecoveryData) -> Any:
        if recovery.transcript.roster.purpose == purpose:
            raise RestoreFault("the sealed shares are damaged")
        return real(engine, sealer, me, recovery)

    chain.participant.restore = restore


class Anything:
    """Key generations for any word: a sweep needs more keys than a committee has."""

    def __contains__(self, _purpose: object) -> bool:
        return True


async def main(folder: Path, settings: dict[str, Any]) -> None:
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(50),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    trigger = Trigger(settings.get("die_at", 0), after=settings.get("after", False))
    clock = Clock(settings.get("ahead", 0.0))
    trigger.install()
    committee = SignedCommittee.from_json((folder / "committee.json").read_text())
    me = identity.load(folder).seated(committee.committee)
    peers = Peers(
        committee.committee, me.index, me.tls, me, clock, ping_every=settings.get("ping_every", 0.3)
    )
    if lost := settings.get("lose"):
        lose(lost)
    patience = settings.get("share_timeout", 1.0)
    node = await TssNode.open(folder, committee, me, peers, clock=clock, share_timeout=patience)
    node._dkg_member.purposes = Anything()
    note_what_leaves(node, folder)
    if settings.get("lie"):
        lie(node)
    await peers.start("127.0.0.1", int(me.peer_url.rsplit(":", 1)[1]))
    await node.start()

    async def arm(request: web.Request) -> web.Response:
        wanted, seen = await request.json(), trigger.count
        trigger.arm(wanted["at"], after=wanted["after"])
        return web.json_response({"count": seen})

    async def jump(request: web.Request) -> web.Response:
        clock.ahead = (await request.json())["ahead"]
        return web.json_response({})

    app = web.Application()
    app.add_routes([*routes(node), web.post("/soak/arm", arm), web.post("/soak/clock", jump)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    ready = folder / "admin.new"
    ready.write_text(json.dumps({"url": url, "token": TOKEN}))
    ready.rename(folder / "admin.json")
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), json.loads(sys.argv[2]) if sys.argv[2:] else {}))
