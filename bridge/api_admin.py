"""The node's admin HTTP: its status, the genesis ceremony, the word on a swapped chain; joined with tss's own."""

import os
import resource

from aiohttp import web

from anchor import problem
from anchor.api_headers import read_block_hash
from anchor.bitcoind import NodeError
from anchor.btc.codec import CodecError
from anchor.btc.ids import OutPoint
from anchor.problem import Problem, answer
from anchor.rollup.activation import ActivationRefused
from bridge import metrics
from bridge.api import VERSION, health_of
from bridge.api_decisions import DecisionApi
from bridge.api_epochs import EpochAdminApi
from bridge.api_wire import CheckView, ConfirmTip, Consent, GenesisCoins, NodeStatus
from bridge.care import care_of, keys_of, members_of
from bridge.ceremony import Ceremony, CeremonyFault
from bridge.node import Node
from tss.keyring import KeyFault

MAX_LANES = 64


def admin_routes(node: Node, public_url: str) -> list[web.RouteDef]:
    """Every admin route of a node."""
    routes = AdminApi(node, public_url).routes() + DecisionApi(node).routes() + EpochAdminApi(node).routes()
    if node.tss is not None:
        from tss.api import routes as tss_routes

        routes += tss_routes(node.tss)
    return routes


class AdminApi:
    """Handlers for the operator."""

    def __init__(self, node: Node, public_url: str) -> None:
        self._node, self._public_url = node, public_url

    def routes(self) -> list[web.RouteDef]:
        """All routes."""
        return [
            web.get("/v1/node/status", self.status),
            web.get("/v1/metrics", self.metrics),
            web.get("/v1/bridge/genesis", self.addresses),
            web.post("/v1/bridge/genesis", self.propose),
            web.post("/v1/bridge/genesis/consent", self.consent),
            web.post("/v1/headers/confirm", self.confirm),
            web.post("/v1/headers/refuse", self.refuse),
        ]

    async def status(self, _: web.Request) -> web.Response:
        """How the node is."""
        node, health = self._node, await health_of(self._node)
        config = node.config.node
        return answer(
            NodeStatus(
                name=config.name,
                role=config.role,
                network=config.network,
                version=VERSION,
                pid=os.getpid(),
                boot_id=None if node.peers is None else node.peers.boot_id.hex(),
                started=int(node.started),
                uptime=int(node.clock() - node.started),
                peak_memory_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
                public_url=self._public_url,
                active=node.active is not None,
                bitcoin_height=health.bitcoin.height,
                rollup_height=node.follower.state.height,
                rollup_final=node.follower.final,
                status=health.status,
                paused=health.paused,
                disk_free_mb=metrics.disk_free(node) >> 20,
                members=members_of(node),
                keys=keys_of(node),
                checks=[*health.checks, *(CheckView(c.name, c.ok, c.text) for c in await care_of(node))],
                alarms=health.alarms,
            )
        )

    async def metrics(self, _: web.Request) -> web.Response:
        """All metrics, for Prometheus."""
        return metrics.answer(await metrics.admin_text(self._node))

    async def addresses(self, _: web.Request) -> web.Response:
        """Where to fund treasury and lane."""
        try:
            found = self._ceremony().addresses()
        except CeremonyFault as fault:
            raise _not_yet(fault) from fault
        return answer({"treasury_address": found.treasury, "lane_address": found.lane})

    async def propose(self, request: web.Request) -> web.Response:
        """Make the activation record, have all operators sign it, act on it; answers activation.json."""
        body = await problem.read_json(request, GenesisCoins)
        if not 1 <= len(body.lanes) <= MAX_LANES:
            title = "a bridge has at least one lane"
            raise Problem(400, "bad_lanes", title, remedy=f"send 1 to {MAX_LANES} lane outpoints")
        treasury, *lanes = [_outpoint(text) for text in (body.treasury, *body.lanes)]
        ceremony = self._ceremony()
        if self._node.active is not None:
            title = "the bridge is active already"
            raise Problem(409, "already_active", title, remedy="read the record at /v1/activation")
        try:
            signed = await ceremony.propose(treasury, lanes)
            await self._node.activate(signed)
        except CodecError as error:
            title = "no activation record can be made of these coins"
            raise Problem(400, "bad_coins", title, str(error), remedy="send different coins") from error
        except (CeremonyFault, ActivationRefused, KeyFault) as fault:
            raise _not_yet(fault) from fault
        except NodeError as fault:
            title = "this node's bitcoind does not answer"
            raise Problem(
                503, "bitcoind_down", title, str(fault), retryable=True, remedy="start it"
            ) from fault
        await ceremony.publish(signed)
        return web.Response(text=signed.to_json(), content_type="application/json")

    async def consent(self, request: web.Request) -> web.Response:
        """Agree to one activation record, so that this node signs it when it is proposed."""
        body = await problem.read_json(request, Consent)
        self._ceremony()
        self._node.consents.given.add(problem.read_hash(body.hash, "the record's hash"))
        return answer({"consents": sorted(digest.hex() for digest in self._node.consents.given)})

    async def confirm(self, request: web.Request) -> web.Response:
        """The operator's word that the chain with this tip is right, however much it disconnects.

        Only on what the node asks about, so that a slip of the hand is told rather than kept.
        """
        body = await problem.read_json(request, ConfirmTip)
        tip, feed = read_block_hash(body.tip), self._node.feed
        asked = () if feed.held is None else feed.held.reorg.connected
        if feed.chain.is_main(tip):
            return answer({"confirmed": body.tip.lower()})  # it was said before
        if tip not in {at.hash for at in asked}:
            title = "this node does not ask about a chain with that block"
            remedy = "the tip that it asks about, if any, stands in `holdfast node status`"
            raise Problem(409, "not_asked", title, body.tip, retryable=True, remedy=remedy)
        await feed.say(tip, "confirmed")
        self._node.wake()
        return answer({"confirmed": body.tip.lower()})

    async def refuse(self, request: web.Request) -> web.Response:
        """The operator's word that the chain with this tip is wrong: this node never follows it."""
        body = await problem.read_json(request, ConfirmTip)
        tip = read_block_hash(body.tip)
        if self._node.feed.chain.is_main(tip):
            title = "this node follows that block already"
            remedy = (
                "a chain is refused before it is followed: pause signing with `holdfast tss pause` instead"
            )
            raise Problem(409, "followed", title, body.tip, remedy=remedy)
        await self._node.feed.say(tip, "refused")
        self._node.wake()
        return answer({"refused": body.tip.lower()})

    def _ceremony(self) -> Ceremony:
        if self._node.ceremony is None:
            title = "an observer takes no part in the ceremony"
            raise Problem(409, "observer", title, remedy="ask an operator's node")
        return self._node.ceremony


def _outpoint(text: str) -> OutPoint:
    try:
        return OutPoint.parse(text)
    except ValueError as error:
        title = "that is no outpoint"
        raise Problem(400, "bad_outpoint", title, str(error), remedy="send txid:number") from error


def _not_yet(fault: Exception) -> Problem:
    remedy = "then repeat the command"
    return Problem(
        409, "not_signed", "the bridge cannot become active", str(fault), retryable=True, remedy=remedy
    )
