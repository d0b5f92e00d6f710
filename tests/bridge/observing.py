"""A committee on paper and a real observer node over a real bitcoind, served over real sockets."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from anchor.btc.amounts import Sats
from anchor.btc.curve import x_only_from_secret
from anchor.btc.ids import OutPoint, Txid, XOnlyKey
from anchor.btc.network import REGTEST
from anchor.rollup.activation import Activation, Lane, SignedActivation
from anchor.rollup.genesis import Genesis, Validator
from bridge import config as configs
from bridge import http
from bridge.config import BitcoindSection, Config, ListenSection, NodeSection
from bridge.node import Node
from bridge.params import REGTEST as PARAMS
from regtest.bitcoind import Bitcoind
from tss import identity
from tss.dkg.committee import Committee, Member, SignedCommittee
from tss.identity import HostIdentity


def key(number: int) -> bytes:
    """An x-only key whose secret everybody knows."""
    return x_only_from_secret(number.to_bytes(32, "big"))


@dataclass(frozen=True)
class Paper:
    """A committee of three that exists as files only."""

    identities: list[HostIdentity]
    committee: SignedCommittee
    genesis: Genesis

    def activation(self, height: int) -> SignedActivation:
        """A record that all signed; its genesis coins are nowhere."""
        coins = [OutPoint(Txid(bytes([i]) * 32), 0) for i in (1, 2)]
        keys = [b"\x02" + key(number) for number in (11, 12, 13)]
        record = Activation(
            self.genesis.rollup_id,
            self.genesis.hash,
            self.genesis.committee_hash,
            "regtest",
            1,
            *keys,
            treasury=coins[0],
            treasury_value=Sats(1_000_000),
            lanes=(Lane(0, coins[1], Sats(500_000)),),
            height=height,
            params=PARAMS,
        )
        return SignedActivation(record, tuple(each.sign(record.hash) for each in self.identities))


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def make_paper(folder: Path) -> Paper:
    names = ("alice", "bob", "carol")
    mine = [identity.create(folder / name, name, f"https://127.0.0.1:{free_port()}") for name in names]
    members = tuple(Member(m.name, m.host_key, m.tls.fingerprint, m.peer_url) for m in mine)
    committee = SignedCommittee.unsigned(Committee("paper", "regtest", 1, 2, members))
    for index, each in enumerate(mine, 1):
        committee = committee.with_signature(index, each.sign(committee.committee.hash))
    genesis = Genesis(
        7,
        "paper-rollup",
        "regtest",
        committee.committee.hash,
        tuple(m.host_key for m in mine),
        committee.committee.threshold,
        (Validator(XOnlyKey(key(21)), 1),),
        0,
        REGTEST.genesis,
        3,
        500,
    )
    return Paper(mine, committee, genesis)


def write_observer(folder: Path, paper: Paper, bitcoind: Bitcoind) -> Path:
    """An observer's folder as `holdfast node init` and its operator leave it, on free ports."""
    folder.mkdir()
    return _write(folder, NodeSection("watcher", "regtest", "observer"), paper, bitcoind, ListenSection())


def write_operator(folder: Path, paper: Paper, bitcoind: Bitcoind) -> Path:
    """Complete the folder in which `make_paper` has made an identity."""
    port = int(next(i.peer_url for i in paper.identities if i.name == folder.name).rpartition(":")[2])
    node = NodeSection(folder.name, "regtest")
    return _write(folder, node, paper, bitcoind, ListenSection(port=port))


def _write(folder: Path, node: NodeSection, paper: Paper, bitcoind: Bitcoind, peer: ListenSection) -> Path:
    bitcoin = BitcoindSection(bitcoind.rpc_url, str(bitcoind.cookie))
    configs.write(folder, Config(node, bitcoin, peer=peer, public=ListenSection(port=0)))
    (folder / "committee.json").write_text(paper.committee.to_json())
    (folder / "genesis.json").write_text(paper.genesis.to_json())
    return folder


@dataclass
class Observer:
    """A running observer and a client of both its sites."""

    node: Node
    sites: http.Sites
    session: aiohttp.ClientSession

    async def ask(self, method: str, path: str, **options: Any) -> tuple[int, Any]:
        """Status and JSON of a public answer; every answer must allow any origin."""
        async with self.session.request(method, self.sites.public_url + path, **options) as answer:
            assert answer.headers["Access-Control-Allow-Origin"] == "*"
            problem = answer.status >= 400
            assert answer.content_type == ("application/problem+json" if problem else "application/json"), (
                path
            )
            return answer.status, json.loads(await answer.read())

    async def get(self, path: str) -> Any:
        """JSON of a public answer that must be good."""
        status, body = await self.ask("GET", path)
        assert status == 200, body
        return body

    async def reach(self, height: int) -> None:
        """Until the node stands at this height."""
        async with asyncio.timeout(60):
            while self.node.feed.chain.tip.height < height or not await self._read(height):
                self.node.wake()
                await asyncio.sleep(0.02)

    async def _read(self, height: int) -> bool:
        active = self.node.active
        return active is None or (active.view is not None and active.view.height >= height)


@asynccontextmanager
async def observing(folder: Path) -> AsyncIterator[Observer]:
    """Run the node of a folder in this loop."""
    node = await Node.open(folder)
    sites = await http.serve(node)
    stop = asyncio.Event()
    loop = asyncio.create_task(node.run(stop))
    session = aiohttp.ClientSession()
    try:
        yield Observer(node, sites, session)
    finally:
        stop.set()
        await asyncio.wait_for(loop, 10)
        await session.close()
        await sites.close()
        await node.close()
