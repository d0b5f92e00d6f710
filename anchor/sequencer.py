"""Makes the rollup's blocks: one proposal at a time, each height once for ever, the next after its certificate.

It is trusted with nothing but liveness: validators execute every block themselves.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

import structlog

from anchor.btc.codec import CodecError
from anchor.finality.votes import FinalTracker, NoQuorum, VoteRefused, certify, check_vote
from anchor.headers.bundle import Bundle, BundleRefused
from anchor.headers.chain import HeaderChain
from anchor.rollup.block import Block, CertifiedBlock, Vote
from anchor.rollup.genesis import Genesis
from anchor.rollup.mempool import Mempool
from anchor.rollup.refusals import TxRefused
from anchor.rollup.state import RollupState
from anchor.rollup.transitions import check_block, make_block
from anchor.rollup.tx import decode_tx
from anchor.rollup_store import RollupStore
from anchor.rollup_wire import TransactionView

PAGE = 500
FEED_PAUSE = 0.25  # seconds between two looks at a node's headers
_MAX_BUNDLE_HEADERS = 2000

log = structlog.get_logger("anchor.sequencer")


class BundleSource(Protocol):
    """Where new Bitcoin headers come from."""

    async def sync(self) -> object:
        """Look for new headers."""
        ...

    def bundle_for(self, view: HeaderChain, limit: int = ...) -> Bundle | None:
        """What brings the rollup's view closer."""
        ...


class NotThisBlock(Exception):
    """A vote for anything but the block that waits for votes."""


class Sequencer:
    """One rollup's block maker. `state` is after the newest certified block, `after` after the proposal, too."""

    def __init__(
        self,
        genesis: Genesis,
        store: RollupStore,
        feed: Callable[[HeaderChain], BundleSource],
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.genesis, self.store = genesis, store
        self.state = self.after = RollupState.at_genesis(genesis)
        self.tracker = FinalTracker(genesis)
        self.proposal: Block | None = None
        self.mempool = Mempool(genesis, self.state)
        self._make_feed = feed
        self._feed: BundleSource | None = None
        self._clock = clock
        self._ids: list[bytes] = []  # of the proposal's transactions
        self._votes: dict[int, Vote] = {}
        self._changed = asyncio.Condition()
        self._voting = asyncio.Lock()
        self._feed_trouble: str | None = None

    async def open(self) -> None:
        """Execute what is stored; a proposal that was served before stays the proposal."""
        while page := await self.store.certified(self.state.height, PAGE):
            for certified in page:
                self.tracker.add(certified)
                self.state = check_block(self.genesis, self.state, certified.block)
        self.after = self.state
        self.proposal = await self.store.proposal()
        if self.proposal is not None:
            self.after = check_block(self.genesis, self.state, self.proposal)
            self._ids = self._txids(self.proposal)
            for vote in await self.store.votes(self.after.height):
                if vote.block_hash == self.after.tip:
                    self._votes[vote.validator] = vote
        self.mempool.rebase(self.after, self._ids)
        self._feed = self._make_feed(self.after.view)
        await self._certify()  # the last vote may have come before the certificate was stored
        log.info("sequencer_open", certified=self.state.height, proposal=self.proposal is not None)

    async def run(self) -> None:
        """Make blocks until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow_headers())
            tasks.create_task(self._make_blocks())

    # Blocks

    async def _make_blocks(self) -> None:
        pause = self.genesis.block_ms / 1000
        while True:
            began = time.monotonic()
            if self.proposal is None:
                await self.propose()
            await self.wait_for(lambda: self.proposal is None, None)
            await asyncio.sleep(max(0.0, began + pause - time.monotonic()))

    async def propose(self) -> Block:
        """Make the next block, store it, and only then show it."""
        assert self.proposal is None, "one proposal at a time"
        block, after, refused = make_block(
            self.genesis, self.state, self.mempool.waiting(), self._bundle(), int(self._clock())
        )
        await self.store.propose(after.height, after.tip, block)
        self.proposal, self.after, self._votes = block, after, {}
        self._ids = self._txids(block)
        self.mempool.rebase(after, self._ids)
        for _, refusal in refused:
            log.info("transaction_dropped", code=refusal.code, reason=refusal.reason)
        await self._tell()
        return block

    def _bundle(self) -> bytes:
        assert self._feed is not None, "open first"
        try:
            bundle = self._feed.bundle_for(self.state.view, _MAX_BUNDLE_HEADERS)
        except BundleRefused as error:
            log.error("no_header_bundle", error=str(error))
            return b""
        return b"" if bundle is None else bundle.encode()

    def _txids(self, block: Block) -> list[bytes]:
        return [decode_tx(raw).txid(self.genesis.hash) for raw in block.transactions]

    async def _follow_headers(self) -> None:
        assert self._feed is not None, "open first"
        while True:
            try:
                await self._feed.sync()
                trouble = None
            except Exception as error:  # whatever a node answers, blocks go on without new headers
                trouble = str(error)
            if trouble != self._feed_trouble:
                self._feed_trouble = trouble
                log.warning("header_feed", trouble=trouble or "none any more")
            await asyncio.sleep(FEED_PAUSE)

    # Votes

    async def vote(self, votes: Sequence[Vote]) -> None:
        """Take votes for the proposal, durably; certify it when they suffice.

        Raises VoteRefused or NotThisBlock, and then none of them counts. Votes for the newest certified block are
        late and harmless.
        """
        async with self._voting:
            if all(v.block_hash == self.state.tip for v in votes):
                return
            for vote in votes:
                if self.proposal is None or (vote.height, vote.block_hash) != (
                    self.after.height,
                    self.after.tip,
                ):
                    raise NotThisBlock(
                        f"block {vote.height} {vote.block_hash.hex()[:16]}… does not wait for votes"
                    )
                check_vote(self.genesis, vote)
            await self.store.add_votes(votes)
            for vote in votes:
                self._votes.setdefault(vote.validator, vote)
            await self._certify()

    async def _certify(self) -> None:
        if self.proposal is None:
            return
        try:
            certificate = certify(self.genesis, self.after.tip, self._votes.values())
        except (NoQuorum, VoteRefused):
            return
        await self.store.certify(self.after.height, certificate, self._ids)
        self.tracker.add(CertifiedBlock(self.proposal, certificate))
        self.state, self.proposal, self._ids = self.after, None, []
        await self._tell()

    # Transactions

    async def submit(self, raw: bytes) -> bytes:
        """Take an encoded transaction into the mempool; return its id. TxRefused says why not.

        One that waits or stands in a block already is taken again without effect.
        """
        try:
            txid = decode_tx(raw).txid(self.genesis.hash)
        except CodecError as error:
            raise TxRefused("malformed", f"not a transaction: {error}") from error
        known = await self.transaction(txid)
        if known is not None and known.state != "dropped":
            return txid
        return self.mempool.add(raw)

    async def transaction(self, txid: bytes) -> TransactionView | None:
        """Where a transaction is, None when it is unknown."""
        if txid in self.mempool:
            return TransactionView(txid.hex(), "pending")
        if txid in self._ids:
            return TransactionView(txid.hex(), "proposed", self.after.height)
        height = await self.store.find(txid)
        if height is not None:
            state = "final" if height <= self.tracker.final else "certified"
            return TransactionView(txid.hex(), state, height)
        dropped = self.mempool.dropped.get(txid)
        return None if dropped is None else TransactionView(txid.hex(), "dropped", reason=str(dropped))

    # Waiting

    async def wait_for(self, condition: Callable[[], bool], seconds: float | None) -> bool:
        """Wait until a condition on this sequencer holds; tell whether it did in time."""
        async with self._changed:
            try:
                await _in_time(self._changed.wait_for(condition), seconds)
            except TimeoutError:
                return False
        return True

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()


async def _in_time(waiting: Awaitable[object], seconds: float | None) -> None:
    async with asyncio.timeout(seconds):
        await waiting
