"""The node's public HTTP: who it is, how it is, its documents, reserves; joined with deposits and anchors."""

from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from importlib.metadata import version

from aiohttp import web

from anchor.api import AnchorApi, Sources
from anchor.api_headers import HeaderApi, HeaderSources
from anchor.api_rotations import RotationApi
from anchor.api_wire import TouchedView
from anchor.btc.address import address_of
from anchor.btc.ids import display
from anchor.problem import Problem, answer
from bridge import metrics
from bridge.active import TotalsFault
from bridge.api_active import active_of
from bridge.api_deposits import DepositApi
from bridge.api_epochs import EpochApi
from bridge.api_wire import ChainTip, CheckView, CommitteeView, Health, Info, MemberView, RollupView
from bridge.api_withdrawals import WithdrawalApi
from bridge.deposit.address import treasury_script
from bridge.epochs import present_of
from bridge.node import Node
from bridge.watch import ChainView

VERSION = version("holdfast")
ALARMS = 20


def public_routes(node: Node) -> list[web.RouteDef]:
    """Every public route of a node."""
    sources = Sources(
        network=node.network,
        k=node.genesis.k,
        chain=node.feed.chain,
        anchors=lambda: () if (view := _view(node)) is None else view.anchors,
        ranges=lambda: node.follower.ranges,
        coverage=lambda: None if node.active is None else node.active.coverage(),
        block=node.bitcoind.raw_block,
        lanes=lambda: () if node.active is None else node.active.activation.lanes,
        rotations=lambda: () if (view := _view(node)) is None else view.rotations,
        voids=lambda: () if (view := _view(node)) is None else view.voids,
        successions=lambda: [s.signed for s in node.follower.state.successions],
    )
    headers = HeaderSources(
        name=node.config.node.name,
        k=node.genesis.k,
        chain=node.feed.chain,
        ledger=node.feed.ledger,
        depths=node.depths,
        touched=partial(_touched, node),
        paused=lambda: node.follower.state.paused if node.active is None else node.active.paused(),
        rollup_reorgs=lambda: node.follower.state.reorgs,
    )
    parts = (
        NodeApi(node),
        EpochApi(node),
        DepositApi(node),
        WithdrawalApi(node),
        AnchorApi(sources),
        RotationApi(sources),
        HeaderApi(headers),
    )
    return [route for part in parts for route in part.routes()]


def _view(node: Node) -> ChainView | None:
    return None if node.active is None else node.active.view


async def _touched(node: Node, reorgs: Sequence[int]) -> dict[int, list[TouchedView]]:
    return {} if node.active is None else await node.active.reorgs.touched(reorgs)


async def health_of(node: Node) -> Health:
    """Say how a node is."""
    checks = [CheckView(check.name, check.ok, check.text) for check in node.health()]
    chain = node.feed.chain.tip
    tip = ChainTip(chain.height, display(chain.hash), node.feed.agrees)
    paused = node.follower.state.paused if node.active is None else node.active.paused()
    good = all(check.ok for check in checks) and paused is None and tip.agrees
    return Health("ok" if good else "degraded", checks, await node.anchors.alarms(ALARMS), tip, paused)


class NodeApi:
    """Handlers about the node itself."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def routes(self) -> list[web.RouteDef]:
        """All routes."""
        return [
            web.get("/v1/info", self.info),
            web.get("/v1/health", self.health),
            web.get("/v1/ready", self.ready),
            web.get("/v1/metrics", self.metrics),
            web.get("/v1/stream", self._node.stream.serve),
            web.get("/v1/committee", self.committee),
            web.get("/v1/committee/{epoch}", self.earlier),
            web.get("/v1/activation", self.activation),
            web.get("/v1/genesis", self.genesis),
            web.get("/v1/reserves", self.reserves),
        ]

    async def info(self, _: web.Request) -> web.Response:
        """Who this node is."""
        node = self._node
        config, follower = node.config.node, node.follower
        record = None if node.active is None else node.active.activation
        epoch = keys = params = address = None
        if node.active is not None and record is not None:
            present = present_of(node.active)
            epoch, params = present.number, asdict(record.params)
            keys = {name: getattr(present, f"{name}_key").hex() for name in ("treasury", "anchor", "mint")}
            address = address_of(treasury_script(present.treasury_key), node.network)
        return answer(
            Info(
                name=config.name,
                role=config.role,
                network=config.network,
                version=VERSION,
                committee=self._committee(),
                rollup=RollupView(
                    node.genesis.rollup_id, node.genesis.hash.hex(), follower.state.height, follower.final
                ),
                activation_hash=None if record is None else record.hash.hex(),
                epoch=epoch,
                keys=keys,
                params=params,
                treasury_address=address,
                boot_id=None if node.peers is None else node.peers.boot_id.hex(),
            )
        )

    def _committee(self) -> CommitteeView:
        committee = self._node.committee.committee
        members = [MemberView(member.name, member.host_key.hex()) for member in committee.members]
        named = committee.name, committee.epoch, committee.hash.hex(), committee.words
        return CommitteeView(*named, committee.threshold, members)

    async def health(self, _: web.Request) -> web.Response:
        """What works, what does not, what happened."""
        return answer(await health_of(self._node))

    async def ready(self, _: web.Request) -> web.Response:
        """200 once this node follows its bitcoind, and its books when the bridge is active."""
        node = self._node
        behind = node.feed.last_sync is None or "bitcoind" in node.trouble
        if behind or (node.active is not None and node.active.view is None):
            why = node.trouble.get("bitcoind", "it is still reading blocks")
            title = "this node is not ready yet"
            raise Problem(503, "not_ready", title, why, retryable=True, remedy="look at /v1/health")
        return answer({"ready": True})

    async def metrics(self, _: web.Request) -> web.Response:
        """What anybody may measure, for Prometheus."""
        return metrics.answer(metrics.public_text(self._node))

    async def committee(self, _: web.Request) -> web.Response:
        """committee.json."""
        return _document(self._node.committee.to_json())

    async def earlier(self, request: web.Request) -> web.Response:
        """The committee file of a key epoch, from the genesis's on."""
        wanted = request.match_info["epoch"]
        for signed in self._node.committees:
            if str(signed.committee.epoch) == wanted:
                return _document(signed.to_json())
        known = [signed.committee.epoch for signed in self._node.committees]
        title = "this node has no committee file of that epoch"
        remedy = f"ask for {known[0]} to {known[-1]}, or another node"
        raise Problem(404, "no_such_epoch", title, wanted[:20], remedy=remedy)

    async def genesis(self, _: web.Request) -> web.Response:
        """genesis.json of the rollup."""
        return _document(self._node.genesis.to_json())

    async def activation(self, _: web.Request) -> web.Response:
        """activation.json."""
        if self._node.active is None:
            raise Problem(
                404,
                "not_active",
                "there is no activation record yet",
                retryable=True,
                remedy="wait until the operators have signed it",
            )
        return _document(self._node.active.signed.to_json())

    async def reserves(self, _: web.Request) -> web.Response:
        """The audit's numbers, the same on every node at the same two heights."""
        active = active_of(self._node)
        try:
            totals, view = active.totals(), active.view
        except TotalsFault as fault:
            title = "the facts do not add up"
            raise Problem(
                503, "audit_failed", title, str(fault), remedy="tell the operators: value may be missing"
            ) from fault
        if totals is None or view is None:
            raise Problem(
                503,
                "reading_blocks",
                "this node has not read as far as the rollup's view",
                retryable=True,
                remedy="ask again in a moment",
            )
        more = {
            "holds": totals.holds,
            "treasury_outpoint": str(view.treasury.tip),
            "treasury_address": address_of(view.treasury.script, self._node.network),
            "anchors_total": len(view.anchors),
        }
        return answer({**totals.to_dict(), **more})


def _document(text: str) -> web.Response:
    return web.Response(text=text, content_type="application/json")
