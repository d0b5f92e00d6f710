"""The admin HTTP of decisions: what stands still, a decision to sign, this operator's signature, handing it in."""

from collections.abc import Sequence
from typing import Any

import msgspec
from aiohttp import web

from anchor import problem
from anchor.btc.codec import CodecError
from anchor.btc.ids import OutPoint
from anchor.problem import Problem, answer
from anchor.rollup.decisions import SignedDecision
from anchor.rollup.tx import Decide
from anchor.rollup_client import RollupError, RollupRefused
from bridge.decisions import DecisionDesk, DecisionFault, Operator
from bridge.deposit.address import DepositParams
from bridge.node import Node
from bridge.store import DepositRow

LEDGER_ROWS = 20  # of the reorg ledger that are shown beside a pause


class MakeDecision(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why the operators decide so: one line for those who read the log."""

    reason: str


class GivenDecision(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """decision.json as text; `despite_deficit` is what the operator knows to be lacking, sats."""

    decision: str
    despite_deficit: int = 0


class DecisionApi:
    """Handlers for the operator."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def routes(self) -> list[web.RouteDef]:
        """All routes."""
        return [
            web.get("/v1/bridge/decision", self.standing),
            web.post("/v1/bridge/decision", self.make),
            web.post("/v1/bridge/decision/sign", self.sign),
            web.post("/v1/bridge/decision/combine", self.combine),
            web.post("/v1/bridge/decision/submit", self.submit),
        ]

    def _desk(self) -> DecisionDesk:
        node, operator = self._node, None
        if node.active is None:
            raise Problem(
                409, "not_active", "the bridge is not active yet", remedy="there is nothing to decide"
            )
        if node.tss is not None and node.identity is not None:
            operator = Operator(node.identity.host_key, node.tss.host_sign)
        return DecisionDesk(node.follower, node.feed, node.active.totals, operator)

    async def standing(self, _: web.Request) -> web.Response:
        """What stands still; beside it what deep reorgs took from this node's chain, and what became of it."""
        try:
            found = self._desk().standing()
        except DecisionFault as fault:
            raise _refused(fault) from fault
        if found["pause"] is not None and self._node.active is not None:
            tell_reclaims(found["pause"]["mints"], self._node.active.book.deposits)
        return answer(found | {"touched": await self._touched()})

    async def _touched(self) -> list[dict[str, Any]]:
        node = self._node
        assert node.active is not None
        rows = [r for r in await node.feed.reorgs(LEDGER_ROWS) if r.depth >= node.genesis.k]
        touched = await node.active.reorgs.touched([row.id for row in rows])
        return [{"reorg": i, **msgspec.to_builtins(each)} for i, found in touched.items() for each in found]

    async def make(self, request: web.Request) -> web.Response:
        """A decision to sign, as decision.json."""
        body = await problem.read_json(request, MakeDecision)
        try:
            made = self._desk().make(body.reason)
        except CodecError as error:
            raise _unread(error) from error
        except DecisionFault as fault:
            raise _refused(fault) from fault
        return _file(made)

    async def sign(self, request: web.Request) -> web.Response:
        """The decision with this operator's signature."""
        body = await problem.read_json(request, GivenDecision)
        try:
            signed = self._desk().sign(_read(body), despite_deficit=body.despite_deficit)
        except DecisionFault as fault:
            raise _refused(fault) from fault
        self._node.log.warning(
            "decision_signed", decision=signed.decision.hash.hex(), reason=signed.decision.reason
        )
        return _file(signed)

    async def combine(self, request: web.Request) -> web.Response:
        """Several copies of one decision as one, all signatures checked."""
        from anchor.rollup.decisions import DecisionRefused, combine

        body, committee = await problem.read_json(request, list[GivenDecision]), self._desk().committee
        if not 0 < len(body) <= len(committee.host_keys):
            raise Problem(400, "bad_count", "send one copy per operator", remedy="send fewer")
        try:
            return _file(combine([_read(each) for each in body], committee))
        except DecisionRefused as refused:
            raise _refused(DecisionFault(refused.code, refused.reason)) from refused

    async def submit(self, request: web.Request) -> web.Response:
        """Hand a decision to the rollup."""
        signed = _read(await problem.read_json(request, GivenDecision))
        if self._node.rollup is None:
            raise Problem(
                409, "no_rollup", "this node follows no rollup", remedy="set [rollup] url in config.toml"
            )
        try:
            txid = await self._node.rollup.submit(Decide(signed).encode())
        except RollupRefused as refused:
            raise Problem(
                409, refused.code, "the rollup does not take it", refused.detail, remedy="then ask again"
            ) from refused
        except RollupError as error:
            raise Problem(
                503,
                "rollup_down",
                "the rollup does not answer",
                str(error),
                retryable=True,
                remedy="start it",
            ) from error
        return answer({"txid": txid.hex()})


def tell_reclaims(mints: list[dict[str, Any]], deposits: Sequence[DepositRow]) -> None:
    """Add to each credited deposit from which block its depositor may take it back; None: swept, or in no block.

    Value stands still, so no new sweep is signed: that is how long the operators have.
    """
    unspent = {
        str(OutPoint.decode(row.outpoint)): row.height + DepositParams.decode(row.params).delay
        for row in deposits
        if row.height is not None and row.spent_by is None
    }
    for mint in mints:
        mint["reclaim_from"] = unspent.get(mint["outpoint"])


def _read(body: GivenDecision) -> SignedDecision:
    try:
        return SignedDecision.from_json(body.decision)
    except CodecError as error:
        raise _unread(error) from error


def _unread(error: CodecError) -> Problem:
    remedy = "send what `holdfast bridge decision make` wrote"
    return Problem(400, "bad_decision", "that is no decision", str(error), remedy=remedy)


def _refused(fault: DecisionFault) -> Problem:
    return Problem(409, fault.code, "this node does not do that", str(fault), remedy="then ask again")


def _file(signed: SignedDecision) -> web.Response:
    return web.Response(text=signed.to_json(), content_type="application/json")
