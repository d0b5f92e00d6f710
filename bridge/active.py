"""Everything that runs once the activation record is known: chain watch, books, desks, certificates.

One `tick` brings it all to where both chains are. It holds no truth of its own: `facts` below are read anew from
the node's header chain, its copy of the rollup, and the two stores.
"""

from functools import partial

from anchor.btc.ids import BlockHash, OutPoint
from anchor.header_alarms import HeaderAlarm
from anchor.headers.finality import Policy, final_tip
from anchor.inscriber import LaneFacts
from anchor.inscription.payload import Payload
from anchor.inscription.reader import FIRST_ROOT
from anchor.proofs.coverage import Coverage, cover
from anchor.rollup.activation import SignedActivation
from anchor.rollup.bitcoin_view import final_of
from anchor.rollup.succession import Epochs
from anchor.store import StoredPackage
from bridge import keeper
from bridge.apart import one_by_one
from bridge.approvals import Approvals
from bridge.book import Book, Page
from bridge.certifier import Certifier, CertifyFacts
from bridge.deposit import states as dst
from bridge.ground import Ground, Signer
from bridge.journal import Journal
from bridge.keeper import Keeper
from bridge.lane import LaneOnChain
from bridge.learning import Learning
from bridge.ledger.totals import Totals, TotalsFault, rollup_facts, totals, treasury_facts
from bridge.library import Library
from bridge.moving import Moving
from bridge.outgoing import Whereabouts
from bridge.registry import Registry
from bridge.reorgs import Now, ReorgBook
from bridge.treasurer import TreasuryDesk, TreasuryFacts
from bridge.treasury.keys import TreasuryKeys
from bridge.watch import ChainView, ChainWatch
from bridge.whereabouts import Stages, of_lane_batch, of_treasury_batch


class Active:
    """The bridge and the lanes of one activation record."""

    def __init__(self, ground: Ground, signed: SignedActivation) -> None:
        g, self.signed, self.activation = ground, signed, signed.activation
        self.ground = ground
        self.genesis = g.follower.genesis
        self.depths = g.depths or Policy(self.genesis.k)
        self.watch = ChainWatch(
            self.activation,
            g.feed.chain,
            g.bitcoind,
            g.store,
            new_deposit=dst.encode(dst.Issued()),
            clock=g.clock,
        )
        peers = None if g.signer is None else g.signer.peers
        self.moving = Moving(
            self.genesis,
            self.activation,
            g.follower,
            lambda: self.view,
            self.is_final,
            g.committee_epoch,
            g.committee_hash,
        )
        self.registry = Registry(
            self.activation, self.moving, g.threshold, g.store, g.bitcoind, self.watch, peers, g.clock, g.log
        )
        self.book = Book(self.genesis, self.activation, g.store, self._alarm, g.clock, self.depths)
        self.lanes = LaneOnChain(
            self.genesis,
            self.activation,
            g.bitcoind,
            self.lane_facts,
            lambda: self.epochs,
            max_fee_rate=g.policy.max_fee_rate,
            where=self._where_in_lane,
        )
        self.treasury = TreasuryDesk(
            self.activation,
            lambda: self.keys,
            g.bitcoind,
            self.treasury_facts,
            self._where_in_treasury,
            min_fee_rate=g.policy.min_fee_rate,
            max_fee_rate=g.policy.max_fee_rate,
        )
        self.keepers: dict[str, Keeper] = {}
        self.certifier: Certifier | None = None
        self.library = Library(g.store)
        self.learning = Learning(
            self.activation, self.watch, g.anchors, self.library, self.registry, self.keepers
        )
        self.journal = Journal(g.store, self.library, self.is_final)
        self.reorgs = ReorgBook(
            g.feed, self.watch.items, g.bitcoind, self.is_final, self.genesis.k, g.stream, g.clock
        )
        self._coverage: Coverage | None = None
        self._covered: list[Payload] = []

    def _make_keepers(self, signer: Signer) -> None:
        g = self.ground
        self.keepers |= {
            desk.purpose: Keeper(
                desk,
                g.anchors,
                signer.tss,
                signer.peers,
                index=signer.index,
                clock=g.clock,
                timeout=g.policy.leader_timeout,
                alarm=self._alarm,
                fresh=self.fresh,
                kept=self._kept,
                wake=g.wake,
                log=g.log,
            )
            for desk in (self.lanes, self.treasury)
        }
        self.certifier = Certifier(
            self.genesis,
            lambda: self.epochs.latest.number,
            self.certify_facts,
            self._post,
            self.book.signed,
            signer.tss,
            index=signer.index,
            clock=g.clock,
            timeout=g.policy.leader_timeout,
            supply_cap=self.activation.params.supply_cap,
            depths=self.depths,
            log=g.log,
        )
        signer.tss.use_approval(
            Approvals(
                self.lanes,
                self.treasury,
                self.certifier,
                g.successions,
                g.anchors,
                self.fresh,
                g.look_again,
                g.clock,
                self.moving.outdated,
            )
        )
        signer.tss.use_retirement(self._may_finish)
        keeper.serve(signer.peers, g.anchors, self.keepers, g.wake)
        self.registry.serve()

    async def start(self) -> None:
        """Learn what peers registered meanwhile, then read the chain."""
        await self.registry.catch_up()
        await self.library.load()
        await self.journal.load()
        await self.watch.start()
        if self.ground.signer is not None:  # last: what failed above can be tried again
            self._make_keepers(self.ground.signer)

    async def close(self) -> None:
        """Let go of running sessions."""
        for each in self.keepers.values():
            await each.close()
        if self.certifier is not None:
            await self.certifier.close()

    async def tick(self) -> None:
        """Bring everything to where both chains are, then do what is due."""
        await self.watch.advance()
        await self.library.add_carried(self.ground.follower.state.manifests)
        view = self.view
        if view is None:
            return
        await self.learning.tick(view)
        waiting = await self.ground.anchors.packages("treasury", tip=view.treasury.tip.encode(), signed=True)
        page = Page(
            self.ground.feed.chain,
            view,
            self.ground.follower.state,
            self.ground.follower.final,
            self.library.decoded,
            tuple(waiting),
            self.epochs.latest.number,
            self.keys,
            self.moving.all_retire(),
        )
        await self.book.advance(page)
        await self.reorgs.tick(Now(view, self.book.deposits, self.book.withdrawals, self.library.decoded))
        found = self.totals()
        deficit = self.journal.books.deficit if found is None else found.deficit
        await self.journal.write(view, self.ground.follower.state, self.ground.follower.final, deficit)
        if self.ground.signer is not None:
            await self.moving.keep(self.ground.signer.tss)
        if self.moving.outdated() is not None:
            return  # whoever follows the committee's files signs; we look on
        turns = [each.tick for each in self.keepers.values()]
        if self.certifier is not None:
            turns.append(partial(self.certifier.tick, self.book.wanted()))
        await one_by_one(turns)

    # What this node knows, as the desks and interfaces need it

    @property
    def view(self) -> ChainView | None:
        """Lanes and treasury at our chain's tip; None until bitcoind has come so far."""
        return self.watch.view

    @property
    def epochs(self) -> Epochs:
        """All key epochs that the rollup knows; the activation record's before it is there."""
        return self.moving.epochs

    @property
    def keys(self) -> TreasuryKeys:
        """The treasury's keys of all epochs."""
        return self.moving.keys

    @property
    def address_epoch(self) -> int:
        """The key epoch of new deposit addresses."""
        return self.moving.address_epoch

    def retires(self, epoch: int) -> int | None:
        """Up to which Bitcoin height deposits to addresses of a key epoch are swept; None: it has not moved."""
        return self.moving.retires(epoch)

    def payloads(self, lane: int = 0) -> list[Payload]:
        """The lane's anchors on our chain, oldest first."""
        if self.view is None:
            return []
        return [a.found.payload for a in self.view.anchors if a.found.payload.lane == lane]

    def coverage(self, lane: int = 0) -> Coverage:
        """Which ranges the lane's anchors cover."""
        payloads, known = self.payloads(lane), self._coverage
        if known is not None and any(
            a is not b for a, b in zip(self._covered, payloads[: len(known.spans)], strict=False)
        ):
            known = None  # a reorg replaced an anchor
        self._coverage = cover(payloads, self.ground.follower.ranges, FIRST_ROOT, known)
        self._covered = payloads[: len(self._coverage.spans)]
        return self._coverage

    def lane_facts(self) -> LaneFacts | None:
        """For the lane's desk. One rollup has one lane: the first."""
        lane = None if self.view is None else self.view.lane(0)
        if lane is None or self._behind() is not None:
            return None
        follower, successor = self.ground.follower, self.moving.next_of_lane()
        return LaneFacts(lane, self.coverage(), follower.ranges, follower.evidence, successor)

    def treasury_facts(self) -> TreasuryFacts | None:
        """For the treasury's desk."""
        if self.view is None:
            return None
        return TreasuryFacts(
            self._behind(),
            self.paused(),
            self.view.height,
            self.view.treasury,
            self.ground.follower.state,
            self.ground.follower.final,
            self.book.deposits,
            self.book.sweepable(),
            self.library.decoded,
            self.moving.next_of_treasury(),
            self.able(),
        )

    def able(self) -> frozenset[int] | None:
        """Key epochs of which enough members are up to sign for the treasury, and did not just refuse to.

        Without the treasury's own epoch nothing is signed at all, so its members are asked again and again.
        """
        signer, keeper = self.ground.signer, self.keepers.get("treasury")
        if signer is None:
            return None
        resting = frozenset[int]() if keeper is None else keeper.reluctant.epochs()
        if self.view is not None:
            resting -= {self.view.treasury.epoch}
        up = {signer.index, *(member for member, seen in signer.peers.seen.items() if seen.down is None)}
        needed = {epoch.number: epoch.threshold for epoch in self.epochs}
        return frozenset(
            n
            for n, t in needed.items()
            if n not in resting and len(up & set(signer.tss.holders("treasury", n))) >= t
        )

    def certify_facts(self) -> CertifyFacts | None:
        """For certificates."""
        treasury = self.treasury_facts()
        if treasury is None or self.view is None:
            return None
        return CertifyFacts(self.ground.feed.chain, self.view, treasury)

    def _behind(self) -> str | None:
        """Why this node may not sign: it is behind bitcoind or the rollup's view, or the rollup lied.

        That bitcoind has nothing newer, the approval port asks at the moment of signing (`fresh`).
        """
        feed, view, follower = self.ground.feed, self.view, self.ground.follower
        if feed.held is not None:
            return str(feed.held)
        if view is None or view.hash != feed.chain.tip.hash or not feed.agrees:
            return "this node is still reading blocks: ask again in a moment"
        if follower.state.view.tip.work > feed.chain.tip.work:
            return "this node's bitcoind is behind the rollup's view of Bitcoin: is it still syncing?"
        if not follower.reached:
            return "the rollup has not been reached since this node started"
        return follower.lied

    def paused(self) -> str | None:
        """Why value does not move.

        The rollup saw a reorg of k or more; or our own bitcoind did, and the rollup (whose headers a sequencer
        chooses) has not said so yet; or bitcoind looks swapped; or the rollup is active under another record.
        """
        feed, rollup = self.ground.feed, self.ground.follower.state
        if rollup.paused is not None:
            return rollup.paused
        height, block = final_of(rollup.view, self.genesis.k)
        if not feed.chain.is_main(block):
            return f"Bitcoin block {height}, final for the rollup, is not on our bitcoind's chain"
        if rollup.activation is not None and rollup.activation.hash != self.activation.hash:
            return "the rollup is active under another activation record than this node: compare them"
        if (fault := self.moving.fault()) is not None:
            return fault
        return None if feed.held is None else str(feed.held)

    def final_height(self) -> int:
        """The newest Bitcoin height that is final on our own chain; the activation's while none is."""
        chain = self.ground.feed.chain
        block = final_tip(chain, self.genesis.k)
        at = None if block is None else chain.get(block)
        return self.activation.height - 1 if at is None else at.height

    def _where_in_lane(self, package: StoredPackage, stages: Stages) -> Whereabouts:
        if self.view is None:
            return Whereabouts()
        tip = OutPoint.decode(package.tip)
        return of_lane_batch(self.view, self.ground.feed.chain, self._anchored, package.sequence, tip, stages)

    def _where_in_treasury(self, package: StoredPackage, stages: Stages) -> Whereabouts:
        if self.view is None:
            return Whereabouts()
        tip = OutPoint.decode(package.tip)
        return of_treasury_batch(self.view, self.is_final, package.sequence, tip, stages)

    def is_final(self, block: BlockHash) -> bool:
        """Whether a block is final here: depth, work, and the lead over rivals."""
        return self.depths.settled(self.ground.feed.chain, block, "")

    def _anchored(self, block: BlockHash) -> bool:
        return self.depths.settled(self.ground.feed.chain, block, "anchor")

    def totals(self) -> Totals | None:
        """The audit's numbers; None until the view has reached the rollup's; TotalsFault for lies."""
        rollup = rollup_facts(self.ground.follower.state, self.genesis.k)
        if self.view is None or self.view.height < rollup.final_height:
            return None
        anchors = sum(1 for a in self.view.anchors if a.found.height <= rollup.final_height)
        treasury = treasury_facts(
            self.view.treasury,
            rollup.final_height,
            self.ground.follower.state.manifests,
            self.keys,
            anchors,
        )
        return totals(rollup, treasury)

    async def _may_finish(self, purpose: str, epoch: int) -> str | None:
        """Why a key's shares may not be wiped yet."""
        return self.moving.unfinished(purpose, epoch, await self.ground.store.deposits())

    async def _kept(self, package: StoredPackage) -> None:
        """A batch was signed: what a treasury batch contains is needed to sign on top of it."""
        if package.purpose == self.treasury.purpose:
            await self.library.add(package.payload)

    async def fresh(self) -> bool:
        """Whether bitcoind's newest block is the one our view ends with."""
        _, best = await self.ground.bitcoind.best()
        return self.view is not None and self.view.hash == best

    async def _post(self, tx: bytes) -> None:
        assert self.ground.rollup is not None, "certificates are due only where a rollup is followed"
        await self.ground.rollup.submit(tx)

    async def _alarm(self, level: str, text: str) -> None:
        if self.ground.tell is not None:
            await self.ground.tell(HeaderAlarm(level, "bridge", text))
            return
        await self.ground.anchors.alarm(int(self.ground.clock()), level, "bridge", text, {})
        self.ground.log.warning("alarm", level=level, text=text)


__all__ = ["Active", "TotalsFault"]
