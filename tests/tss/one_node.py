"""A program for tests: one committee node in a process of its own, with an admin site and nothing else."""

import asyncio
import json
import sys
from pathlib import Path

from aiohttp import web

from tss import hardening, identity, passphrase
from tss.api import routes
from tss.dkg.committee import SignedCommittee
from tss.node import TssNode
from tss.peers import Peers


async def main(folder: Path, descriptor: int | None) -> None:
    if descriptor is not None:
        hardening.harden()
    committee = SignedCommittee.from_json((folder / "committee.json").read_text())
    me = identity.load(folder, passphrase.source(descriptor)).seated(committee.committee)
    peers = Peers(committee.committee, me.index, me.tls, me, ping_every=0.5)
    node = await TssNode.open(folder, committee, me, peers)
    await peers.start("127.0.0.1", int(me.peer_url.rsplit(":", 1)[1]))
    await node.start()
    app = web.Application()
    app.add_routes(routes(node))
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    (folder / "admin.json").write_text(json.dumps({"url": url, "token": "t"}))
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]) if sys.argv[2:] else None))
