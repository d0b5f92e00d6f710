"""Votes for rollup blocks: executes each one itself, asks its own bitcoind, writes down the vote, then signs.

One process may hold several keys (they vote alike). It follows the sequencer's certified blocks, checking all
votes and executing all transactions, so that a lying sequencer can at worst stop it.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

import structlog

from anchor.feed import HeaderFeed
from anchor.finality.judge import objection
from anchor.finality.votes import FinalTracker, NoQuorum, NotTheNext, VoteRefused
from anchor.rollup.block import Block, CertifiedBlock, Vote
from anchor.rollup.genesis import Genesis
from anchor.rollup.refusals import BlockRefused
from anchor.rollup.state import RollupState
from anchor.rollup.transitions import check_block
from anchor.rollup.tx import decode_tx
from anchor.rollup_client import RollupClient, RollupError, RollupRefused
from anchor.rollup_keys import RollupKey
from anchor.rollup_store import AlreadySigned, RollupStore

PAGE = 100
HANDOVER_BYTES = 1 << 20  # of blocks in one request, unless a single one is larger
LONG_POLL = 20.0  # seconds
RETRY = 0.5  # seconds after a failure
RECONCILE = 2.0  # seconds between two looks at bitcoind, whatever ZMQ says

log = structlog.get_logger("anchor.validator")


class NotAValidator(Exception):
    """Keys that the genesis does not name."""


class Restored(Exception):
    """The chain holds votes of ours that our database has forgotten: it is an old copy, or not ours."""


class ChainLied(Exception):
    """A quorum certified a block that does not execute or does not follow: there is nothing to vote on."""


class RollupBehind(RollupError):
    """The sequencer lacks blocks that were certified, and does not take them from us: nothing is voted on."""


class Validator:
    """Follows one rollup and votes with some of its keys."""

    def __init__(
        self,
        genesis: Genesis,
        keys: Sequence[RollupKey],
        store: RollupStore,
        client: RollupClient,
        feed: HeaderFeed,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        positions = {v.key: i for i, v in enumerate(genesis.validators)}
        strangers = [key.public.hex() for key in keys if key.public not in positions]
        if strangers or not keys:
            raise NotAValidator(
                f"key {', '.join(strangers) or '(none)'} is no validator of this genesis: give this rollup's own "
                "--genesis and --keys"
            )
        self.genesis, self.store, self.client, self.feed = genesis, store, client, feed
        self.state = RollupState.at_genesis(genesis)
        self.tracker = FinalTracker(genesis)
        self._keys = {positions[key.public]: key for key in keys}
        self._clock = clock
        self._floor = 0
        self._looked = asyncio.Event()  # set after each look at bitcoind
        self._said = ""

    async def open(self, *, resume_above: int | None = None) -> None:
        """Execute what is stored; `resume_above`: the operator says that we signed nothing above it."""
        self._floor = await self.store.floor(resume_above)
        while page := await self.store.certified(self.state.height, PAGE):
            for certified in page:
                await self._take(certified, stored=True)
        log.info("validator_open", height=self.state.height, keys=len(self._keys))

    async def run(self) -> None:
        """Follow bitcoind and the rollup until cancelled. Raises Restored or ChainLied, which need a person."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow_bitcoind())
            tasks.create_task(self._follow_rollup())

    async def _follow_bitcoind(self) -> None:
        while True:
            try:
                await self.feed.sync()
            except Exception as error:  # bitcoind may be away or swapped; without it we do not vote
                self._say("bitcoind_trouble", str(error))
            self._looked.set()
            await self.feed.wait(RECONCILE)

    async def _follow_rollup(self) -> None:
        while True:
            try:
                await self.step()
            except RollupBehind as error:
                self._say("rollup_behind", str(error))
                await asyncio.sleep(RETRY)
            except RollupError as error:
                self._say("rollup_trouble", str(error))
                await asyncio.sleep(RETRY)

    async def step(self) -> None:
        """Catch up, then vote for the next proposal when there is one and nothing speaks against it."""
        await self.catch_up()
        block = await self.client.proposal(self.state.height + 1, wait=LONG_POLL)
        if block is None or block.header.height != self.state.height + 1:
            return
        try:
            after = check_block(self.genesis, self.state, block)
        except BlockRefused as refused:
            self._say("proposal_refused", f"block {block.header.height} is refused: {refused}")
            await asyncio.sleep(RETRY)
            return
        if await self._wait_for_bitcoind(block, after):
            await self._vote(block, after)
            await self.catch_up(wait=LONG_POLL)

    async def _wait_for_bitcoind(self, block: Block, after: RollupState) -> bool:
        """True when nothing speaks against the block; False to look again at what the rollup proposes."""
        self._looked.clear()
        why = objection(block, after.view, self.feed.chain, self.feed.node_tip, int(self._clock()))
        if why is None and self.feed.last_sync is None:
            why = "our bitcoind has not answered yet"
        if why is None:
            return True
        self._say("no_vote", f"block {block.header.height}: {why}")
        try:
            async with asyncio.timeout(RECONCILE):
                await self._looked.wait()
        except TimeoutError:
            pass
        return False

    async def _vote(self, block: Block, after: RollupState) -> None:
        height, block_hash = block.header.height, after.tip
        if height <= self._floor:
            self._say("no_vote", f"block {height}: votes up to {self._floor} may be lost, we sign none there")
            await asyncio.sleep(RETRY)
            return
        try:
            await self.store.will_sign([key.public for key in self._keys.values()], height, block_hash, block)
        except AlreadySigned as error:
            self._say("no_vote", f"block {height}: {error}")
            await self._repeat_votes(height)
            await asyncio.sleep(RETRY)
            return
        votes = [Vote(i, height, block_hash, key.sign(block_hash)) for i, key in self._keys.items()]
        await self.client.vote(votes)

    async def _repeat_votes(self, height: int) -> None:
        """Send what we voted for at this height again: it was replaced under way, or the sequencer forgot it."""
        votes: dict[bytes, list[Vote]] = {}
        for i, key in self._keys.items():
            mine = await self.store.signed_at(key.public, height)
            if mine is not None:
                votes.setdefault(mine, []).append(Vote(i, height, mine, key.sign(mine)))
        for mine, those in votes.items():
            try:
                await self.client.vote(those)
            except RollupRefused as refused:
                block = await self.store.uncertified(height, mine)
                if refused.code == "not_this_block" and block is not None:
                    with suppress(RollupRefused):  # somebody else's votes may do
                        await self.client.vote(those, block)

    async def catch_up(self, *, wait: float = 0) -> None:
        """Take certified blocks from the rollup; waits up to `wait` seconds for the first one.

        Gives it those that it lacks. Raises RollupBehind when it does not take them.
        """
        while True:
            page, theirs = await self.client.page(self.state.height, PAGE, wait=wait)
            for certified in page:
                await self._take(certified, stored=False)
            if not page and theirs < self.state.height:
                await self._hand_over(max(theirs, 0))
            if len(page) < PAGE:
                return

    async def _hand_over(self, theirs: int) -> None:
        ours = self.state.height
        why = (
            f"the rollup is behind what was certified: height {theirs}, we know {ours}: "
            "start the sequencer on its newest database, or feed it"
        )
        while theirs < ours:
            blocks = _fitting(await self.store.certified(theirs, PAGE))
            try:
                reached = await self.client.hand_over(blocks)
            except RollupError as error:
                raise RollupBehind(f"{why} (it took none from us: {error})") from error
            if reached <= theirs:
                raise RollupBehind(f"{why} (it took none from us)")
            theirs = reached
        log.warning("rollup_behind", why=f"{why} (we fed it up to {theirs})")
        self._said = ""

    async def _take(self, certified: CertifiedBlock, *, stored: bool) -> None:
        height = certified.height
        try:
            self.tracker.add(certified)
            state = check_block(self.genesis, self.state, certified.block)
        except (NotTheNext, VoteRefused, NoQuorum) as error:
            if stored:
                raise ChainLied(f"our database is damaged at block {height}: {error}") from error
            raise RollupError(f"the rollup served a block {height} that is not certified: {error}") from error
        except BlockRefused as error:
            raise ChainLied(
                f"block {height} is certified and does not execute ({error}): ask its operators"
            ) from error
        await self._check_memory(certified)
        if not stored:
            txids = [decode_tx(raw).txid(self.genesis.hash) for raw in certified.block.transactions]
            await self.store.add_certified(certified, txids)
        self.state = state

    async def _check_memory(self, certified: CertifiedBlock) -> None:
        if certified.height <= self._floor:
            return
        for vote in certified.certificate.votes:
            key = self._keys.get(vote.validator)
            if key is None:
                continue
            mine = await self.store.signed_at(key.public, certified.height)
            if mine != certified.hash:
                raise Restored(
                    f"validator {vote.validator} voted for block {certified.height}, and our database "
                    "does not know: it is an old copy or a new file. Make sure that no other process uses these "
                    "keys, then start with --resume-above and a height above everything they ever signed"
                )

    def _say(self, event: str, why: str) -> None:
        if why != self._said:  # the same trouble once, not twice a second
            self._said = why
            log.warning(event, why=why)


def _fitting(blocks: Sequence[CertifiedBlock]) -> Sequence[CertifiedBlock]:
    size = 0
    for count, block in enumerate(blocks):
        size += len(block.encode())
        if count and size > HANDOVER_BYTES:
            return blocks[:count]
    return blocks
