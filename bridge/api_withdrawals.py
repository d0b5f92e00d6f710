"""HTTP about withdrawals: every burn-lock of the rollup, and how far its payout is."""

from aiohttp import web

from anchor import problem
from anchor.btc.address import AddressError, address_of
from anchor.btc.ids import BlockHash, display
from anchor.problem import Problem, answer
from anchor.rollup.state import Withdrawal
from bridge.active import Active
from bridge.api_active import active_of
from bridge.api_wire import Withdrawals, WithdrawalView
from bridge.node import Node
from bridge.treasury.machine import InBatch
from bridge.withdrawal import states as wst

PAGE, MAX_PAGE = 50, 500
PENDING = "PENDING"


class WithdrawalApi:
    """Handlers about withdrawals."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def routes(self) -> list[web.RouteDef]:
        """All routes."""
        return [
            web.get("/v1/withdrawals", self.withdrawals),
            web.get("/v1/withdrawals/{id}", self.withdrawal),
        ]

    async def withdrawals(self, request: web.Request) -> web.Response:
        """Withdrawals, newest first."""
        limit = max(1, min(problem.read_number(request, "limit", PAGE, 1 << 62), MAX_PAGE))
        active = active_of(self._node)
        locks = sorted(self._node.follower.state.withdrawals.items(), key=lambda item: -item[1].height)
        return answer(Withdrawals([self._view(active, i, lock) for i, lock in locks[:limit]]))

    async def withdrawal(self, request: web.Request) -> web.Response:
        """One withdrawal by its id."""
        wanted = problem.read_hash(request.match_info["id"], "the withdrawal's id")
        active = active_of(self._node)
        lock = self._node.follower.state.withdrawals.get(wanted)
        if lock is None:
            title = "there is no such withdrawal"
            remedy = "check the id; a new one appears with the rollup's next certified block"
            raise Problem(404, "unknown_withdrawal", title, retryable=True, remedy=remedy)
        return answer(self._view(active, wanted, lock))

    def _view(self, active: Active, identity: bytes, lock: Withdrawal) -> WithdrawalView:
        state = active.book.withdrawals.get(identity)
        payout: InBatch | None = getattr(state, "payout", None)
        txid = payout.txid if payout else getattr(state, "txid", None)
        chain = self._node.feed.chain
        return WithdrawalView(
            id=identity.hex(),
            state=PENDING if state is None else wst.name(state),
            amount=lock.lock.amount,
            fee=payout.fee_share if payout else active.activation.params.withdrawal_fee,
            script=lock.lock.script.hex(),
            address=self._address(lock.lock.script),
            txid=None if txid is None else display(txid),
            depth=chain.depth(BlockHash(payout.block_hash)) if payout else 0,
            required=active.depths.k_for("payout", lock.lock.amount),
            expiry=lock.lock.expiry,
            rollup_height=lock.height,
        )

    def _address(self, script: bytes) -> str | None:
        try:
            return address_of(script, self._node.network)
        except AddressError:
            return None
