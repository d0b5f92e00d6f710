"""Makes the rollup's blocks: one proposal at a time, the next after its certificate.

It is trusted with nothing but liveness: validators execute every block themselves and vote once per height. So a
proposal may be replaced while another can still get a quorum: it rescues a height whose Bitcoin headers were a lie.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Protocol

import structlog

from anchor.btc.codec import CodecError
from anchor.btc.header import Header
from anchor.btc.ids import BlockHash
from anchor.finality.votes import (
    FinalTracker,
    NoQuorum,
    NotTheNext,
    VoteRefused,
    certify,
    check_certified,
    check_vote,
    quorum,
    stake_of,
)
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
FEED_PAUSE = 0.25  # seconds between two looks at the nodes' headers
PATIENCE = 10.0  # seconds without any vote before a proposal on a chain that was given up is replaced
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

    def has(self, height: int, block: BlockHash) -> bool | None:
        """Whether a Bitcoin block is on the sources' chain; None while none answers."""
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
        patience: float = PATIENCE,
    ) -> None:
        self.genesis, self.store = genesis, store
        self.state = self.after = RollupState.at_genesis(genesis)
        self.tracker = FinalTracker(genesis)
        self.proposal: Block | None = None
        self.mempool = Mempool(genesis, self.state)
        self._make_feed = feed
        self._feed: BundleSource | None = None
        self._clock = clock
        self._patience = patience
        self._since = 0.0  # monotonic seconds since which this process has served the proposal
        self._ids: list[bytes] = []  # of the proposal's transactions
        self._rounds: dict[bytes, Block] = {}  # the proposal and those that it replaced, by hash
        self._votes: dict[tuple[bytes, int], Vote] = {}  # for any of them, by block and validator
        self._changed = asyncio.Condition()
        self._turn = asyncio.Lock()  # whoever changes state, proposal or votes
        self._feed_trouble: str | None = None

    async def open(self) -> None:
        """Execute what is stored; the proposal that was served last stays the proposal."""
        while page := await self.store.certified(self.state.height, PAGE):
            for certified in page:
                self.tracker.add(certified)
                self.state = check_block(self.genesis, self.state, certified.block)
        self.after = self.state
        proposal = await self.store.proposal()
        if proposal is not None:
            self._serve(proposal, check_block(self.genesis, self.state, proposal))
            for block in await self.store.retired(self.after.height):
                self._rounds[block.header.hash(self.genesis.hash)] = block
            for vote in await self.store.votes(self.after.height):
                self._votes[vote.block_hash, vote.validator] = vote
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
        async with self._turn:
            assert self.proposal is None, "one proposal at a time"
            block, after, refused = make_block(
                self.genesis, self.state, self.mempool.waiting(), self._bundle(), int(self._clock())
            )
            await self.store.propose(after.height, after.tip, block)
            self._serve(block, after)
            self.mempool.rebase(after, self._ids)
        for _, refusal in refused:
            log.info("transaction_dropped", code=refusal.code, reason=refusal.reason)
        await self._tell()
        return block

    def _serve(self, block: Block, after: RollupState) -> None:
        self.proposal, self.after, self._ids = block, after, self._txids(block)
        self._rounds[after.tip] = block
        self._since = time.monotonic()

    async def reconsider(self) -> bool:
        """Replace a proposal without quorum in time whose Bitcoin headers the sources gave up; tell whether.

        Safe at any moment, because validators vote once per height. One with votes gives way only while those who
        have not voted at this height are a quorum. NOTES.md says when a height may be stuck all the same.
        """
        async with self._turn:
            old = self.proposal
            if old is None or (self._votes_for_it() and not self._others_suffice()):
                return False
            if time.monotonic() - self._since < self._patience:
                return False
            if not self._given_up(old):
                return False
            bundle = self._bundle()
            if not old.bundle and not bundle:
                return False  # nothing new could be said
            await self._replace(old, bundle)
        await self._tell()
        return True

    def _votes_for_it(self) -> int:
        return sum(voted == self.after.tip for voted, _ in self._votes)

    def _others_suffice(self) -> bool:
        total = self.genesis.total_stake
        return quorum(total - stake_of(self.genesis, (voter for _, voter in self._votes)), total)

    def _given_up(self, old: Block) -> bool:
        assert self._feed is not None, "open first"
        if old.bundle:
            carried = Bundle.decode(old.bundle)
            height, block = carried.fork_height + len(carried.headers), Header.parse(carried.headers[-1]).hash
        else:  # it stays on a view that may have lost; another one would turn it
            height, block = self.after.view.tip.height, self.after.view.tip.hash
        return self._feed.has(height, block) is False

    async def _replace(self, old: Block, bundle: bytes) -> None:
        txs = [*old.transactions, *self.mempool.waiting()]
        block, after, _ = make_block(self.genesis, self.state, txs, bundle, int(self._clock()))
        await self.store.replace(after.height, after.tip, block, despite=self._votes_for_it())
        log.warning(
            "proposal_replaced",
            height=after.height,
            was=self.after.tip.hex(),
            now=after.tip.hex(),
            why=f"no quorum in {self._patience:g} s, and the nodes gave its Bitcoin headers up",
        )
        self._serve(block, after)
        self._refill(old.transactions)

    def _refill(self, returned: Sequence[bytes]) -> None:
        # What a block that did not come to be held waits again, first, upon the state as it is now.
        fresh = Mempool(self.genesis, self.after)
        fresh.dropped.update(self.mempool.dropped)
        for raw in (*returned, *self.mempool.waiting()):
            txid = decode_tx(raw).txid(self.genesis.hash)
            if txid in self._ids:
                continue
            try:
                fresh.add(raw)
            except TxRefused as refusal:
                log.info("transaction_dropped", code=refusal.code, reason=refusal.reason)
                fresh.dropped[txid] = refusal
        self.mempool = fresh

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
            await self.reconsider()
            await asyncio.sleep(FEED_PAUSE)

    # Votes

    async def vote(self, votes: Sequence[Vote], block: Block | None = None) -> None:
        """Take votes for the proposal, durably; certify it when they suffice.

        Votes for one that it replaced were under way then: they count, too, for that one; so they do for a `block`
        that comes with them, which this database forgot when it was restored. Raises VoteRefused, BlockRefused or
        NotThisBlock, and then none of them counts. Votes for the newest certified block are late and harmless.
        """
        async with self._turn:
            if all(v.block_hash == self.state.tip for v in votes):
                return
            forgotten = None if block is None else block.header.hash(self.genesis.hash)
            for vote in votes:
                known = vote.block_hash in self._rounds or vote.block_hash == forgotten
                if vote.height != self.state.height + 1 or not known:
                    raise NotThisBlock(
                        f"block {vote.height} {vote.block_hash.hex()[:16]}… does not wait for votes"
                    )
                check_vote(self.genesis, vote)
            if block is not None and forgotten is not None and forgotten not in self._rounds:
                await self._recall(block, forgotten, votes)
            await self.store.add_votes(votes)
            for vote in votes:
                self._votes.setdefault((vote.block_hash, vote.validator), vote)
            await self._certify()

    async def _recall(self, block: Block, block_hash: bytes, votes: Sequence[Vote]) -> None:
        """Know a block again beside the proposal. It is not proposed: one voter could hold the height with it."""
        if {vote.validator for vote in votes} <= {validator for _, validator in self._votes}:
            raise NotThisBlock(
                "these validators voted for other blocks at this height"
            )  # bounds what we keep
        check_block(self.genesis, self.state, block)
        await self.store.keep(block.header.height, block_hash, block)
        self._rounds[block_hash] = block
        log.warning("block_recalled", height=block.header.height, hash=block_hash.hex())

    async def _certify(self) -> None:
        for block_hash, block in self._rounds.items():
            votes = [vote for vote in self._votes.values() if vote.block_hash == block_hash]
            try:
                certified = CertifiedBlock(block, certify(self.genesis, block_hash, votes))
            except (NoQuorum, VoteRefused):
                continue
            if block_hash == self.after.tip:
                await self._take(certified, self.after)
            else:
                returned = self._unmade(block_hash)
                await self._take(certified, check_block(self.genesis, self.state, block))
                self._refill(returned)
            await self._tell()
            return

    def _unmade(self, block_hash: bytes) -> Sequence[bytes]:
        """The transactions of our proposal, unless it is this block."""
        return () if self.proposal is None or block_hash == self.after.tip else self.proposal.transactions

    async def _take(self, certified: CertifiedBlock, after: RollupState) -> None:
        await self.store.add_certified(certified, self._txids(certified.block))
        self.tracker.add(certified)
        self.state = self.after = after
        self.proposal, self._ids, self._rounds, self._votes = None, [], {}, {}

    async def adopt(self, blocks: Sequence[CertifiedBlock]) -> None:
        """Take blocks that a quorum certified and this database lacks: it is an older copy. Known heights pass.

        Raises NotTheNext, VoteRefused, NoQuorum or BlockRefused at the first one that is not the next certified
        block; those before it are taken. Our own proposal at such a height gives way, its transactions wait again.
        """
        async with self._turn:
            before = self.state.height
            returned: Sequence[bytes] = ()
            try:
                for certified in blocks:
                    if certified.height <= self.state.height:
                        continue
                    if certified.height != self.state.height + 1:
                        raise NotTheNext(
                            f"block {certified.height} does not follow block {self.state.height}"
                        )
                    check_certified(self.genesis, certified)
                    after = check_block(self.genesis, self.state, certified.block)
                    returned = returned or self._unmade(certified.hash)
                    await self._take(certified, after)
            finally:
                if self.state.height > before:
                    self._refill(returned)
                    log.warning("certified_blocks_adopted", above=before, height=self.state.height)
        await self._tell()

    # Transactions

    async def submit(self, raw: bytes) -> bytes:
        """Take an encoded transaction into the mempool; return its id. TxRefused says why not.

        One that waits or stands in a block already is taken again without effect, unless a reorg undid what it did:
        then it applies once more.
        """
        try:
            txid = decode_tx(raw).txid(self.genesis.hash)
        except CodecError as error:
            raise TxRefused("malformed", f"not a transaction: {error}") from error
        known = await self.transaction(txid)
        if known is None or known.state == "dropped":
            return self.mempool.add(raw)
        if known.state in ("certified", "final"):
            with suppress(TxRefused):
                self.mempool.add(raw)
        return txid

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
