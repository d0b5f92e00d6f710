"""Everything that runs once the activation record is known: chain watch, books, desks, certificates.

One `tick` brings it all to where both chains are. It holds no truth of its own: `facts` below are read anew from
the node's header chain, its copy of the rollup, and the two stores.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from structlog.typing import FilteringBoundLogger

from anchor.bitcoind import Bitcoind
from anchor.btc.ids import BlockHash, OutPoint
from anchor.feed import HeaderFeed
from anchor.follower import Follower
from anchor.header_alarms import HeaderAlarm
from anchor.headers.finality import Policy, final_tip
from anchor.inscriber import LaneFacts
from anchor.inscription.payload import Payload
from anchor.inscription.reader import FIRST_ROOT
from anchor.proofs.coverage import Coverage, cover
from anchor.rollup.activation import SignedActivation
from anchor.rollup.bitcoin_view import final_of
from anchor.rollup.succession import Epochs
from anchor.rollup_client import RollupClient
from anchor.store import AnchorStore, StoredPackage
from anchor.stream import Stream
from bridge import keeper
from bridge.approvals import Approvals
from bridge.book import Book, Page
from bridge.certifier import Certifier, CertifyFacts
from bridge.config import PolicySection
from bridge.deposit import states as dst
from bridge.journal import Journal
from bridge.keeper import Keeper
from bridge.lane import LaneOnChain
from bridge.ledger.totals import Totals, TotalsFault, rollup_facts, totals, treasury_facts
from bridge.library import Library
from bridge.outgoing import Whereabouts
from bridge.registry import Registry
from bridge.reorgs import Now, ReorgBook
from bridge.store import BridgeStore
from bridge.succession import SuccessionDesk
from bridge.treasurer import TreasuryDesk, TreasuryFacts
from bridge.treasury.keys import TreasuryKeys
from bridge.treasury.manifest import SweepManifest
from bridge.watch import ChainView, ChainWatch
from bridge.whereabouts import Stages, of_lane_batch, of_treasury_batch
from tss.node import TssNode
from tss.peers import Peers


@dataclass(frozen=True, slots=True)
class Signer:
    """What an operator has and an observer has not."""

    tss: TssNode
    peers: Peers
    index: int
    members: int


@dataclass(frozen=True, slots=True)
class Ground:
    """What is there before the activation and stays."""

    bitcoind: Bitcoind
    feed: HeaderFeed
    follower: Follower
    rollup: RollupClient | None
    anchors: AnchorStore
    store: BridgeStore
    policy: PolicySection
    threshold: int
    signer: Signer | None
    clock: Callable[[], float]
    wake: Callable[[], None]
    look_again: Callable[[], Awaitable[None]]
    log: FilteringBoundLogger
    depths: Policy | None = None  # None: k for every use
    stream: Stream | None = None
    tell: Callable[[HeaderAlarm], Awaitable[None]] | None = None  # None: alarms are kept and logged only
    successions: SuccessionDesk | None = None


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
        self.registry = Registry(
            self.activation, g.threshold, g.store, g.bitcoind, self.watch, peers, g.clock, g.log
        )
        self.book = Book(self.genesis, self.activation, g.store, self._alarm, g.clock, self.depths)
        self.lanes = LaneOnChain(
            self.genesis,
            self.activation,
            g.bitcoind,
            self.lane_facts,
            lambda: Epochs.of(self.genesis, self.activation),
            max_fee_rate=g.policy.max_fee_rate,
            where=self._where_in_lane,
        )
        self.treasury = TreasuryDesk(
            self.activation,
            g.bitcoind,
            self.treasury_facts,
            self._where_in_treasury,
            min_fee_rate=g.policy.min_fee_rate,
            max_fee_rate=g.policy.max_fee_rate,
        )
        self.keepers: dict[str, Keeper] = {}
        self.certifier: Certifier | None = None
        self.library = Library(g.store)
        self._learnt: set[bytes] = set()
        self.journal = Journal(g.store, self.library, self.is_final)
        self.reorgs = ReorgBook(
            g.feed, self.watch.items, g.bitcoind, self.is_final, self.genesis.k, g.stream, g.clock
        )
        self._coverage: Coverage | None = None
        self._covered: list[Payload] = []

    def _make_keepers(self, signer: Signer) -> None:
        g = self.ground
        self.keepers = {
            desk.purpose: Keeper(
                desk,
                g.anchors,
                signer.tss,
                signer.peers,
                index=signer.index,
                members=signer.members,
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
            self.activation.epoch,
            self.certify_facts,
            self._post,
            self.book.signed,
            signer.tss,
            index=signer.index,
            members=signer.members,
            clock=g.clock,
            timeout=g.policy.leader_timeout,
            supply_cap=self.activation.params.supply_cap,
            depths=self.depths,
            log=g.log,
        )
        parts = self.lanes, self.treasury, self.certifier, g.successions, g.anchors
        signer.tss.use_approval(Approvals(*parts, self.fresh, g.look_again, g.clock))
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
        await self._learn_missing(view)
        await self._learn_deposits(view)
        waiting = await self.ground.anchors.packages("treasury", tip=view.treasury.tip.encode(), signed=True)
        page = Page(
            self.ground.feed.chain,
            view,
            self.ground.follower.state,
            self.ground.follower.final,
            self.library.decoded,
            tuple(waiting),
        )
        await self.book.advance(page)
        await self.reorgs.tick(Now(view, self.book.deposits, self.book.withdrawals, self.library.decoded))
        found = self.totals()
        deficit = self.journal.books.deficit if found is None else found.deficit
        await self.journal.write(view, self.ground.follower.state, self.ground.follower.final, deficit)
        for each in self.keepers.values():
            await each.tick()
        if self.certifier is not None:
            await self.certifier.tick(self.book.wanted())

    async def _learn_missing(self, view: ChainView) -> None:
        """Manifests of batches on the chain that we lack: agreed to here, or signed while we were away."""
        coin = self.activation.treasury
        for batch in view.treasury.batches:
            if batch.content(self.library.decoded) is None:
                for package in await self.ground.anchors.packages("treasury", tip=coin.encode()):
                    await self.library.add(package.payload)
                keeper_ = self.keepers.get("treasury")
                if batch.manifest_hash not in self.library.decoded and keeper_ is not None:
                    await keeper_.fetch(coin)
            coin = OutPoint(batch.txid, 0)

    async def _learn_deposits(self, view: ChainView) -> None:
        """Deposits that a sweep names and we have not seen: paid before we knew the address, or we observe.

        A deposit is swept before its reclaim delay is over, so only so many blocks are read again.
        """
        first: list[int] = []
        for batch in view.treasury.batches:
            manifest = self.library.decoded.get(batch.manifest_hash)
            if batch.txid in self._learnt or manifest is None:
                continue
            self._learnt.add(batch.txid)
            swept = manifest.deposits if isinstance(manifest, SweepManifest) else ()
            for deposit in swept:
                await self.registry.learn(deposit.params, swept=True)
            if not all(self.watch.sees(d.outpoint.encode()) for d in swept):
                first.append(max(self.activation.height, batch.height - self.activation.params.reclaim_delay))
        if first:
            await self.watch.read_again(min(first))

    # What this node knows, as the desks and interfaces need it

    @property
    def view(self) -> ChainView | None:
        """Lanes and treasury at our chain's tip; None until bitcoind has come so far."""
        return self.watch.view

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
        return LaneFacts(lane, self.coverage(), self.ground.follower.ranges, self.ground.follower.evidence)

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
            TreasuryKeys.of(self.activation),
            anchors,
        )
        return totals(rollup, treasury)

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


__all__ = ["Active", "Ground", "Signer", "TotalsFault"]
