"""The rollup's HTTP interface, served by its sequencer. Everything is public; writes are self-verifying."""

from collections.abc import Callable

from aiohttp import web

from anchor import problem
from anchor.btc.codec import CodecError
from anchor.btc.ids import display
from anchor.finality.votes import NoQuorum, NotTheNext, VoteRefused
from anchor.problem import Problem, answer
from anchor.rollup import bitcoin_view
from anchor.rollup.block import Block, CertifiedBlock, Vote
from anchor.rollup.refusals import BlockRefused, TxRefused
from anchor.rollup.state import Withdrawal
from anchor.rollup.statements import SettleStatement
from anchor.rollup.tx import MAX_TX_BYTES
from anchor.rollup_wire import (
    AccountView,
    BitcoinView,
    Blocks,
    Handover,
    Proposal,
    SettlementView,
    Standing,
    Status,
    Submission,
    Submitted,
    Voted,
    Votes,
    WithdrawalView,
    decided_view,
    epoch_view,
    pause_view,
    reorg_view,
)
from anchor.sequencer import NotThisBlock, Sequencer

MAX_PAGE = 200
MAX_PAGE_BYTES = 4 << 20
MAX_HANDOVER = 8 << 20  # bytes of a request that hands blocks over; the largest block with its votes fits in
MAX_WAIT_MS = 30_000
MAX_HEIGHT = 1 << 62
_TITLE = "the rollup does not take this transaction"


class RollupApi:
    """Handlers over one sequencer."""

    def __init__(self, sequencer: Sequencer) -> None:
        self._s = sequencer

    def app(self) -> web.Application:
        """The application with all routes."""
        app = problem.app(max_body=1 << 20)
        app.add_routes(
            [
                web.get("/v1/status", self.status),
                web.get("/v1/genesis", self.genesis),
                web.get("/v1/activation", self.activation),
                web.get("/v1/blocks", self.blocks),
                web.post("/v1/blocks", self.adopt),
                web.get("/v1/proposal", self.proposal),
                web.post("/v1/votes", self.votes),
                web.post("/v1/transactions", self.submit),
                web.get("/v1/transactions/{id}", self.transaction),
                web.get("/v1/accounts/{key}", self.account),
                web.get("/v1/withdrawals/{id}", self.withdrawal),
                web.get("/v1/reorgs", self.reorgs),
                web.get("/v1/pause", self.pause),
                web.get("/v1/decisions", self.decisions),
                web.get("/v1/epochs", self.epochs),
                web.get("/v1/successions/{epoch}", self.succession),
            ]
        )
        return app

    async def status(self, _: web.Request) -> web.Response:
        """Heights, view of Bitcoin, supply and escrow, after the newest certified block."""
        s, state = self._s, self._s.state
        epochs = state.epochs(s.genesis)
        height, block = bitcoin_view.final_of(state.view, s.genesis.k)
        tip = state.view.tip
        view = BitcoinView(tip.height, display(tip.hash), f"{tip.work:x}", height, display(block))
        return answer(
            Status(
                rollup_id=s.genesis.rollup_id,
                genesis_hash=s.genesis.hash.hex(),
                height=s.after.height,
                certified_height=state.height,
                final_height=s.tracker.final,
                tip=state.tip.hex(),
                state_root=state.root().hex(),
                time=state.time,
                bitcoin=view,
                paused=state.paused,
                active=state.activation is not None,
                supply=state.supply,
                escrow=state.escrow,
                pending=len(s.mempool),
                epoch=None if epochs is None else epochs.latest.number,
            )
        )

    async def genesis(self, _: web.Request) -> web.Response:
        """genesis.json."""
        return web.Response(text=self._s.genesis.to_json(), content_type="application/json")

    async def activation(self, _: web.Request) -> web.Response:
        """activation.json."""
        record = self._s.state.activation
        if record is None:
            raise Problem(
                404,
                "not_active",
                "the bridge is not active yet",
                retryable=True,
                remedy="wait until the operators have signed the activation record",
            )
        return web.Response(text=record.to_json(), content_type="application/json")

    async def blocks(self, request: web.Request) -> web.Response:
        """Certified blocks after a height; waits for the first one if asked to."""
        after = problem.read_number(request, "after", 0, MAX_HEIGHT)
        limit = min(problem.read_number(request, "limit", 100, MAX_HEIGHT), MAX_PAGE)
        await self._wait(request, lambda: self._s.state.height > after)
        page: list[str] = []
        size = 0
        for certified in await self._s.store.certified(after, limit):
            raw = certified.encode()
            size += len(raw)
            if page and size > MAX_PAGE_BYTES:
                break
            page.append(raw.hex())
        return answer(Blocks(page, self._s.state.height, self._s.tracker.final))

    async def adopt(self, request: web.Request) -> web.Response:
        """Take certified blocks that this sequencer lacks, lowest first, after checking all of each."""
        body = await problem.read_json(request.clone(client_max_size=MAX_HANDOVER), Handover)
        if not 0 < len(body.blocks) <= MAX_PAGE:
            raise Problem(
                400, "bad_blocks", f"hand over 1 to {MAX_PAGE} blocks", remedy="send them in several requests"
            )
        try:
            raws = (problem.read_hex(raw, "a block", most=MAX_HANDOVER) for raw in body.blocks)
            await self._s.adopt([CertifiedBlock.decode(raw) for raw in raws])
        except (CodecError, VoteRefused, NoQuorum, NotTheNext, BlockRefused) as error:
            raise Problem(
                422,
                "bad_block",
                "a block is not the next certified one",
                str(error),
                remedy=f"send certified blocks from height {self._s.state.height + 1} on",
            ) from error
        return answer(Voted(self._s.state.height))

    async def proposal(self, request: web.Request) -> web.Response:
        """The newest block that waits for votes; 204 when there is none of that height."""
        height = problem.read_number(request, "height", 0, MAX_HEIGHT)
        s = self._s
        await self._wait(request, lambda: s.proposal is not None and s.after.height >= height)
        block, after = s.proposal, s.after
        if block is None or after.height < height:
            return web.Response(status=204)
        return answer(Proposal(after.height, after.tip.hex(), block.encode().hex()))

    async def votes(self, request: web.Request) -> web.Response:
        """Take votes for the proposal."""
        body = await problem.read_json(request.clone(client_max_size=MAX_HANDOVER), Votes)
        if not 0 < len(body.votes) <= len(self._s.genesis.validators):
            raise Problem(
                400, "bad_votes", "send one vote per validator that you hold", remedy="send fewer votes"
            )
        try:
            votes = [Vote.decode(problem.read_hex(v, "a vote", most=200)) for v in body.votes]
            block = body.block and Block.decode(problem.read_hex(body.block, "the block", most=MAX_HANDOVER))
            await self._s.vote(votes, block or None)
        except BlockRefused as error:
            raise Problem(
                422, "bad_block", "the block is refused", str(error), remedy="vote for the next block"
            ) from error
        except (CodecError, VoteRefused) as error:
            raise Problem(
                422, "bad_vote", "a vote is not valid", str(error), remedy="sign the proposal that is served"
            ) from error
        except NotThisBlock as error:
            raise Problem(
                409,
                "not_this_block",
                "that block does not wait for votes",
                str(error),
                remedy="fetch /v1/proposal",
            ) from error
        return answer(Voted(self._s.state.height))

    async def submit(self, request: web.Request) -> web.Response:
        """Take a transaction."""
        body = await problem.read_json(request, Submission)
        raw = problem.read_hex(body.tx, "the transaction", most=MAX_TX_BYTES)
        try:
            txid = await self._s.submit(raw)
        except TxRefused as refused:
            raise _refusal(refused) from refused
        return answer(Submitted(txid.hex()))

    async def transaction(self, request: web.Request) -> web.Response:
        """Where a transaction is."""
        txid = problem.read_hash(request.match_info["id"], "the transaction's id")
        found = await self._s.transaction(txid)
        if found is None:
            raise _unknown("transaction", "send it again, it may have been lost in a restart")
        return answer(found)

    async def account(self, request: web.Request) -> web.Response:
        """An account; zeros for a key never seen."""
        key = problem.read_hash(request.match_info["key"], "the rollup key")
        account, pending = self._s.state.account(key), self._s.mempool.pending.account(key)
        return answer(AccountView(key.hex(), account.balance, account.nonce, pending.nonce))

    async def withdrawal(self, request: web.Request) -> web.Response:
        """A withdrawal."""
        withdrawal_id = problem.read_hash(request.match_info["id"], "the withdrawal's id")
        found = self._s.state.withdrawals.get(withdrawal_id)
        if found is None:
            raise _unknown("withdrawal", "check the id; a new one appears with the next block")
        return answer(_withdrawal(withdrawal_id, found))

    async def reorgs(self, _: web.Request) -> web.Response:
        """Every reorg in the rollup's view, oldest first."""
        return answer([reorg_view(reorg) for reorg in self._s.state.reorgs])

    async def pause(self, _: web.Request) -> web.Response:
        """Whether value moves, and if not, what the operators are to decide about."""
        state = self._s.state
        view = None if state.pause is None else pause_view(state.pause, self._s.genesis.hash)
        return answer(Standing(state.paused, view))

    async def decisions(self, _: web.Request) -> web.Response:
        """Every decision of the operators, oldest first."""
        return answer([decided_view(decided) for decided in self._s.state.decisions])

    async def epochs(self, _: web.Request) -> web.Response:
        """Every key epoch, oldest first; none before the activation record."""
        return answer([epoch_view(epoch) for epoch in self._s.state.epochs(self._s.genesis) or ()])

    async def succession(self, request: web.Request) -> web.Response:
        """succession.json of the record that began an epoch."""
        for succeeded in self._s.state.successions:
            if str(succeeded.signed.succession.epoch) == request.match_info["epoch"]:
                return web.Response(text=succeeded.signed.to_json(), content_type="application/json")
        raise _unknown("succession", "see /v1/epochs; the first epoch begins with /v1/activation")

    async def _wait(self, request: web.Request, condition: Callable[[], bool]) -> None:
        wait = problem.read_number(request, "wait", 0, MAX_WAIT_MS)
        if wait:
            await self._s.wait_for(condition, wait / 1000)


def _refusal(refused: TxRefused) -> Problem:
    status = 400 if refused.code == "malformed" else 503 if refused.code == "mempool_full" else 409
    remedy = (
        "send it again later" if refused.retryable else "correct the transaction; sending it again is no use"
    )
    return Problem(status, refused.code, _TITLE, refused.reason, retryable=refused.retryable, remedy=remedy)


def _unknown(what: str, remedy: str) -> Problem:
    return Problem(404, f"unknown_{what}", f"there is no such {what}", remedy=remedy)


def _withdrawal(withdrawal_id: bytes, w: Withdrawal) -> WithdrawalView:
    lock = w.lock
    return WithdrawalView(
        id=withdrawal_id.hex(),
        state=w.state,
        sender=lock.sender.hex(),
        amount=lock.amount,
        script=lock.script.hex(),
        max_fee=lock.max_fee,
        expiry=lock.expiry,
        height=w.height,
        settlement=None if w.settled is None else _settlement(w.settled),
    )


def _settlement(s: SettleStatement) -> SettlementView:
    return SettlementView(display(s.txid), display(s.block_hash), s.height, s.paid, s.fee)
