"""HTTP about deposits: addresses, parameters that come late, and where each payment is."""

import asyncio
from itertools import islice

from aiohttp import web

from anchor import problem
from anchor.api import block_status
from anchor.bitcoind import NodeError
from anchor.btc.address import AddressError, address_of, script_of
from anchor.btc.ids import BlockHash, OutPoint, display
from anchor.problem import Problem, answer
from bridge.active import Active
from bridge.api_active import active_of
from bridge.api_wire import (
    AddressRequest,
    AddressView,
    Deposits,
    DepositView,
    LateDeposit,
    ReclaimView,
)
from bridge.deposit import states as dst
from bridge.deposit.address import DepositFault, DepositParams, blocks_to_reclaim, leaf, output, recovery_file
from bridge.limits import RateLimit
from bridge.node import Node
from bridge.registry import NotStored
from bridge.store import DepositRow
from bridge.treasury.machine import InBatch

PAGE, MAX_PAGE = 50, 500
ASK_RATE, ASK_BURST = 0.5, 60  # addresses a second from one place, and at once
_TAKEN = (dst.Swept, dst.Minting, dst.Credited, dst.Reclaimed, dst.Deficit)  # nothing is left to reclaim
STATES = {kind.__name__.upper() for kind in dst.State.__args__}


class DepositApi:
    """Handlers about deposits."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._scanning = asyncio.Lock()
        self._asked = RateLimit(ASK_RATE, ASK_BURST, node.clock)

    def routes(self) -> list[web.RouteDef]:
        """All routes."""
        return [
            web.post("/v1/deposit-addresses", self.address),
            web.post("/v1/deposits", self.late),
            web.get("/v1/deposits", self.deposits),
            web.get("/v1/deposits/{outpoint}", self.deposit),
        ]

    async def address(self, request: web.Request) -> web.Response:
        """Give a deposit address, once t nodes have stored its parameters."""
        recipient, user_key = await _keys(request)
        active = active_of(self._node)
        self._slow_down(request)
        try:
            params, _, epoch = await active.registry.issue(recipient, user_key)
        except DepositFault as fault:
            raise _bad_keys(fault) from fault
        except NotStored as fault:
            if self._node.peers is None:
                title = "an observer gives no addresses: operators store them before they are shown"
                raise Problem(409, "observer", title, remedy="ask the node of an operator") from fault
            raise Problem(
                503,
                "not_stored",
                "too few nodes are up to give an address",
                str(fault),
                retryable=True,
                remedy="try again soon; do not pay an address that you derived but no node gave you",
            ) from fault
        return answer(self._address(active, params, epoch))

    def _slow_down(self, request: web.Request) -> None:
        """429 for who asks for addresses faster than people do: each is stored by every node."""
        seconds = self._asked.wait(request.remote)
        if seconds:
            raise Problem(
                429,
                "too_many",
                "too many addresses from this place",
                retryable=True,
                remedy=f"ask again in {int(seconds) + 1} seconds; one address takes any number of payments",
            )

    def _address(self, active: Active, params: DepositParams, epoch: int) -> AddressView:
        record = active.activation
        key = active.keys.key(epoch)
        derived, recovery = output(params, key), recovery_file(params, key, self._node.network)
        address = address_of(derived.script_pubkey, self._node.network)
        return AddressView(
            address=address,
            uri=f"bitcoin:{address}",
            recipient=params.recipient.hex(),
            user_key=params.user_key.hex(),
            delay=params.delay,
            descriptor=str(recovery["descriptor"]),
            leaf=leaf(params).hex(),
            control_block=derived.control_block.hex(),
            script_pubkey=derived.script_pubkey.hex(),
            min_sats=record.params.min_deposit,
            max_sats=record.params.max_deposit,
            fee_sats=record.params.deposit_fee,
            k=self._node.genesis.k,
            epoch=epoch,
            pay_until=active.moving.pay_until(),
            recovery=recovery,
        )

    async def late(self, request: web.Request) -> web.Response:
        """Take parameters of an address that no node gave out, and look for payments to it."""
        recipient, user_key = await _keys(request)
        active = active_of(self._node)
        self._slow_down(request)
        if self._scanning.locked():  # a scan reads bitcoind's whole set of coins: one at a time
            title = "another search is under way"
            raise Problem(503, "busy", title, retryable=True, remedy="send it again in a minute")
        async with self._scanning:
            try:
                params = DepositParams(recipient, user_key, active.activation.params.reclaim_delay)
                await active.registry.take(params)  # who does not hear of it learns it from the sweep
            except DepositFault as fault:
                raise _bad_keys(fault) from fault
            try:
                found = await active.registry.look_back(params)
            except NodeError as fault:
                title = "this node's bitcoind does not answer"
                raise Problem(
                    503,
                    "bitcoind_down",
                    title,
                    str(fault),
                    retryable=True,
                    remedy="try again, or another node",
                ) from fault
        self._node.wake()
        made = active.registry.addresses(params)
        addresses = {n: address_of(derived.script_pubkey, self._node.network) for n, derived in made.items()}
        known = LateDeposit(
            addresses[active.address_epoch],
            [str(OutPoint.decode(o)) for o in found],
            list(addresses.values()),
        )
        return answer(known, 202)

    async def deposits(self, request: web.Request) -> web.Response:
        """Payments to deposit addresses, newest first."""
        active = active_of(self._node)
        limit = max(1, min(problem.read_number(request, "limit", PAGE, 1 << 62), MAX_PAGE))
        script, recipient, state = self._script(request), None, request.query.get("state", "").upper()
        if (text := request.query.get("recipient")) is not None:
            recipient = problem.read_hash(text, "the recipient")
        if state and state not in STATES:
            remedy = f"use one of {', '.join(sorted(STATES))}"
            raise Problem(400, "bad_state", "there is no such state", state[:40], remedy=remedy)
        rows = (
            row
            for row in reversed(await self._node.store.deposits())
            if (script is None or row.script == script)
            and (recipient is None or row.params[:32] == recipient)
            and (not state or row.state["state"] == state.lower())
        )
        known = None if script is None else script in await self._node.store.params()
        return answer(Deposits([self._view(active, row) for row in islice(rows, limit)], known))

    def _script(self, request: web.Request) -> bytes | None:
        address = request.query.get("address")
        if address is None:
            return None
        try:
            return script_of(address, self._node.network)
        except AddressError as error:
            title = "that is no address of this network"
            raise Problem(400, "bad_address", title, str(error)[:200], remedy="then ask again") from error

    async def deposit(self, request: web.Request) -> web.Response:
        """One payment."""
        try:
            wanted = OutPoint.parse(request.match_info["outpoint"]).encode()
        except ValueError as error:
            title = "that is no outpoint"
            raise Problem(400, "bad_outpoint", title, str(error), remedy="send txid:number") from error
        active = active_of(self._node)
        for row in await self._node.store.deposits():
            if row.outpoint == wanted:
                return answer(self._view(active, row))
        if (seen := await self._in_mempool(wanted)) is not None:
            return answer(self._view(active, seen))
        title = "no deposit address holds that payment"
        remedy = "wait for its first confirmation; for an address you derived yourself POST /v1/deposits"
        raise Problem(404, "unknown_deposit", title, retryable=True, remedy=remedy)

    async def _in_mempool(self, outpoint: bytes) -> DepositRow | None:
        """An unconfirmed payment to an address of ours, as a row that is stored nowhere."""
        try:
            coin = await self._node.bitcoind.txout(OutPoint.decode(outpoint))
        except NodeError:
            return None
        known = None if coin is None else (await self._node.store.params()).get(coin.out.script)
        if coin is None or known is None or coin.confirmations:
            return None
        return DepositRow(
            outpoint,
            coin.out.script,
            known.params,
            coin.out.value,
            coinbase=False,
            height=None,
            block=None,
            spent_by=None,
            spent_height=None,
            state=dst.encode(dst.Seen(coin.out.value)),
            created=int(self._node.clock()),
            epoch=known.epoch,
        )

    def _view(self, active: Active, row: DepositRow) -> DepositView:
        chain, k, rules = self._node.feed.chain, self._node.genesis.k, active.activation.params
        state, params = dst.decode(row.state), DepositParams.decode(row.params)
        status = block_status(chain, None if row.block is None else BlockHash(row.block), k)
        sweep: InBatch | None = getattr(state, "sweep", None)
        sweep_txid = sweep.txid if sweep else state.txid if isinstance(state, dst.Sweeping) else None
        reclaim = ReclaimView(available=False, at_height=None)
        if status.block_height is not None and not isinstance(state, _TAKEN):
            waits = blocks_to_reclaim(status.block_height, params.delay, chain.tip.height)
            reclaim = ReclaimView(waits == 0 and row.spent_by is None, status.block_height + params.delay)
        return DepositView(
            outpoint=str(OutPoint.decode(row.outpoint)),
            address=address_of(row.script, self._node.network),
            recipient=params.recipient.hex(),
            epoch=row.epoch,
            value=row.value,
            state=dst.name(state),
            reason=state.reason if isinstance(state, dst.Rejected) else None,
            confirmations=status.depth,
            required=active.depths.k_for("deposit", row.value),
            sweep_txid=None if sweep_txid is None else display(sweep_txid),
            sweep_depth=chain.depth(BlockHash(sweep.block_hash)) if sweep else 0,
            minted=getattr(state, "amount", None),
            fee=sweep.fee_share if sweep else rules.deposit_fee,
            status=status,
            reclaim=reclaim,
        )


async def _keys(request: web.Request) -> tuple[bytes, bytes]:
    body = await problem.read_json(request, AddressRequest)
    recipient = problem.read_hash(body.recipient, "the recipient")
    return recipient, problem.read_hash(body.user_key, "the reclaim key")


def _bad_keys(fault: DepositFault) -> Problem:
    title = "no address can be made from these keys"
    return Problem(400, "bad_keys", title, str(fault), remedy="send two x-only keys of points you know")
