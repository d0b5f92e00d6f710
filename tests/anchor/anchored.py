"""Two anchors on Core's own chain and a third range that waits, as the sources of a node's HTTP, and served."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

from aiohttp import web

from anchor import problem
from anchor.api import AnchorApi, Sources
from anchor.api_headers import HeaderApi, HeaderSources
from anchor.api_rotations import RotationApi
from anchor.bitcoind import Unreachable
from anchor.btc.block import Block
from anchor.btc.ids import BlockHash
from anchor.btc.network import REGTEST
from anchor.headers.chain import HeaderChain
from anchor.headers.finality import Policy
from anchor.headers.rules import rules_of
from anchor.inscription.builder import build
from anchor.inscription.lane import tip_script
from anchor.inscription.reader import FIRST_ROOT, AnchorFound, LaneState, apply_block
from anchor.proofs.coverage import cover
from anchor.rollup.activation import Activation, SignedActivation
from tests.anchor.inscription.batches import a_batch, a_range
from tests.anchor.inscription.core import CoreChain
from tests.anchor.inscription.whole_key import ANCHOR
from tests.anchor.proofs.story import an_activation

RANGES = [a_range(number) for number in range(4)]


@dataclass(frozen=True)
class Place:
    """An anchor in its block."""

    found: AnchorFound
    block: BlockHash


@dataclass
class Anchored:
    """The chain, what a lane's reader finds on it, and blocks by hash; `down` makes bitcoind fail."""

    chain: HeaderChain
    activation: Activation
    anchors: list[Place]
    blocks: dict[bytes, bytes]
    down: bool = False

    async def block(self, block: BlockHash) -> bytes:
        if self.down:
            raise Unreachable("bitcoind at http://127.0.0.1:1 does not answer: start it")
        return self.blocks[block]

    def header_sources(self) -> HeaderSources:
        """Enough for raw headers; there is no ledger of reorgs."""
        nothing = SimpleNamespace()
        return HeaderSources("alice", 3, self.chain, nothing, lambda: Policy(3), nothing, lambda: None, tuple)

    def sources(self) -> Sources:
        payloads = [place.found.payload for place in self.anchors]

        return Sources(
            REGTEST,
            3,
            self.chain,
            lambda: self.anchors,
            lambda: RANGES,
            lambda: cover(payloads, RANGES, FIRST_ROOT),
            self.block,
            lambda: self.activation.lanes,
            tuple,
            tuple,
            tuple,
        )


def anchor_twice(folder: Path) -> Anchored:
    """Anchor 1 covers ranges 0 and 1, its commit one block before its reveal; anchor 2 covers range 2."""
    core = CoreChain(folder)
    coin = core.coins(tip_script(ANCHOR.key33), 10**9)
    value = core.blocks[1].txs[0].outputs[0].value
    first = a_batch(*RANGES[:2], tip=coin, tip_value=value)
    one = ANCHOR.sign_package(build(first, ANCHOR.key33, [1]))
    core.mine((one.commit,))
    core.mine((one.reveals[0],))
    tip = one.reveals[0].outputs[0].value
    second = a_batch(
        RANGES[2],
        sequence=2,
        tip=one.reveals[0].outpoint(0),
        tip_value=tip,
        previous_root=first.payload().root,
    )
    two = ANCHOR.sign_package(build(second, ANCHOR.key33, [1]))
    core.mine((two.commit, two.reveals[0]))
    core.mine()
    chain = HeaderChain(rules_of(REGTEST), core.headers[0])
    for header in core.headers[1:]:
        chain.add(header)
    activation = an_activation(coin, value)
    return Anchored(chain, activation, _read(core, activation), raw_blocks(core))


def _read(core: CoreChain, activation: Activation) -> list[Place]:
    lane = activation.lanes[0]
    state = LaneState(lane.number, 1, ANCHOR.key33, lane.outpoint, lane.value)
    places = []
    for height in sorted(core.blocks):
        state, events = apply_block(state, core.blocks[height], height)
        places += [Place(e, core.headers[height].hash) for e in events if isinstance(e, AnchorFound)]
    return places


def raw_blocks(core: CoreChain) -> dict[bytes, bytes]:
    """Every block's bytes by its hash."""
    return {core.headers[height].hash: _serialize(block) for height, block in core.blocks.items()}


def _serialize(block: Block) -> bytes:
    body = b"".join(tx.serialize() for tx in block.txs)
    assert len(block.txs) < 253
    return block.header.raw + bytes([len(block.txs)]) + body


def headers_of(chain: HeaderChain) -> bytes:
    return b"".join(at.header.raw for at in chain.main(0, chain.tip.height + 1))


@asynccontextmanager
async def served(anchored: Anchored) -> AsyncIterator[str]:
    """Serve the routes and the activation record; yields the URL."""
    app, sources = problem.app(), anchored.sources()
    app.add_routes([*AnchorApi(sources).routes(), *RotationApi(sources).routes()])
    app.router.add_get("/v1/headers", HeaderApi(anchored.header_sources()).headers)
    record = SignedActivation(anchored.activation, (bytes(64),)).to_json()

    async def activation(_: web.Request) -> web.Response:
        return web.Response(text=record, content_type="application/json")

    app.router.add_get("/v1/activation", activation)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
