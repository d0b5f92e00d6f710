"""The node: opens everything in an order that changes nothing before all is checked, then goes round.

One loop follows bitcoind and the rollup and lets `active.py` act. A round that fails is logged and repeated: what
was saved stays, what was not is derived again. This is the composition root: only here tss, anchor and bridge meet.
"""

import asyncio
import contextlib
import secrets
import time
from collections.abc import Callable
from pathlib import Path

import aiohttp
import structlog

from anchor.bitcoind import NodeError
from anchor.btc.codec import CodecError
from anchor.btc.ids import display
from anchor.feed import HeaderFeed, WrongNode
from anchor.follower import Follower, RollupLied
from anchor.header_alarms import HeaderAlarm, HeaderAlarms, stale_after
from anchor.header_source import SourceError
from anchor.headers.finality import Policy
from anchor.headers.rules import HeaderRefused
from anchor.rollup.activation import ActivationRefused, SignedActivation
from anchor.rollup.tx import Activate
from anchor.rollup_client import RollupClient, RollupError
from anchor.second_opinions import SecondOpinions
from anchor.second_source import open_source
from anchor.store import AnchorStore, headers
from anchor.stream import Stream
from bridge.active import Active
from bridge.ceremony import PROPOSE, PUBLISH, Ceremony, Consents
from bridge.decisions import PauseNews
from bridge.epochs import EpochNews, successions_of
from bridge.ground import Ground, Signer
from bridge.health import Check, checks_of
from bridge.moving import not_followed
from bridge.papers import REMEDIES, Papers, StartFault, bitcoind_of, check_ports, read_papers, readable
from bridge.params import proposed
from bridge.store import BridgeStore
from bridge.succession import SuccessionDesk
from migrations import upgrade
from migrations.database import open_database
from tss.files import FolderInUse, FolderLock
from tss.identity import HostIdentity, IdentityFault
from tss.node import KeyFault, TssNode
from tss.peers import Peers, Refuse

ACTIVATION, GENESIS = "activation", "genesis"  # documents of node.db


class Node:
    """An operator's or observer's node over one folder."""

    def __init__(self, folder: Path, papers: Papers, clock: Callable[[], float] = time.time) -> None:
        """Make the parts; `open` starts them."""
        self.folder, self.config, self.network = folder, papers.config, papers.network
        self.committee, self.genesis, self.identity = papers.committee, papers.genesis, papers.identity
        self.committees = papers.committees
        self.clock, self.started = clock, clock()
        self.log = structlog.get_logger("bridge.node").bind(node=self.config.node.name)
        self.bitcoind = bitcoind_of(self.config)
        url = self.config.rollup.url
        self.rollup = RollupClient(url, timeout=5) if url else None
        self.tss: TssNode | None = None
        self.peers: Peers | None = None
        self.ceremony: Ceremony | None = None
        self.active: Active | None = None
        self.trouble: dict[str, str] = {}
        self.stream = Stream(secrets.token_hex(4))
        self.successions: SuccessionDesk | None = None
        self._woken = asyncio.Event()
        self._rounds, self._in_round = 0, False
        self._round_over = asyncio.Condition()
        self._activating = asyncio.Lock()
        self._stack = contextlib.AsyncExitStack()

    @classmethod
    async def open(cls, folder: Path, passphrase: Callable[[], bytearray] | None = None) -> "Node":
        """Check everything, then open everything. StartFault says what is wrong; nothing was changed then.

        `passphrase` gives that of the host key, when it is under one.
        """
        with readable(folder):
            papers = read_papers(folder, passphrase)
        node = cls(folder, papers)
        try:
            with readable(folder):
                await node._open(papers)
        except BaseException:
            await node.close()
            raise
        return node

    async def _open(self, papers: Papers) -> None:
        self._stack.push_async_callback(self.bitcoind.close)
        if self.rollup is not None:
            self._stack.push_async_callback(self.rollup.close)
        try:
            self._stack.enter_context(FolderLock(self.folder).acquire())
            check_ports(self.config)
            info = await self.bitcoind.check(self.network)
            for name in ("node", "signer") if papers.identity else ("node",):
                if not upgrade.empty(self.folder / f"{name}.db"):
                    upgrade.check(name, self.folder / f"{name}.db")
            upgrade.ready("node", self.folder / "node.db")
        except upgrade.DatabaseDamaged as fault:
            more = f" or {REMEDIES['node.db']}" if "node.db" in str(fault) else ""
            raise StartFault(f"{fault}{more}") from fault
        except (FolderInUse, NodeError, upgrade.SchemaFault) as fault:
            raise StartFault(str(fault)) from fault
        self.log.info("bitcoind", version=info.version, height=info.blocks)
        await self._open_chains()
        self.consents = Consents(self.network, self.store, lambda: self.active is not None)
        signed = await self._stored_activation()
        if papers.identity is not None:
            await self._open_signer(papers.identity)
        if signed is not None:
            await self._follow(signed)

    async def _open_chains(self) -> None:
        engine = open_database(self.folder / "node.db")
        self._stack.push_async_callback(engine.dispose)
        self.anchors, self.store = AnchorStore(engine), BridgeStore(engine)
        known = await self.store.document(GENESIS)
        if known not in (None, self.genesis.hash):
            raise StartFault(
                "node.db is of another rollup or committee than genesis.json and committee.json: put those back "
                "that this folder ran with, or give the new ones a folder of their own"
            )
        (self.folder / "headers").mkdir(exist_ok=True)
        self.feed = HeaderFeed(
            self.bitcoind,
            self.network,
            self.folder / "headers",
            engine,
            headers,
            k=self.genesis.k,
            zmq_url=self.config.bitcoind.zmq or None,
            clock=self.clock,
        )
        self._stack.push_async_callback(self.feed.close)
        self.follower = Follower(self.genesis, self.anchors, self.log)
        try:
            await self.follower.load()
            await self.feed.open()
        except SourceError as fault:
            raise StartFault(str(fault)) from fault
        except (RollupLied, CodecError) as fault:
            raise StartFault(
                f"node.db holds a rollup block that does not follow ({fault}): {REMEDIES['node.db']}"
            ) from fault
        self.header_alarms = HeaderAlarms(
            self.feed,
            self.bitcoind,
            self._tell,
            stream=self.stream,
            stale_after=stale_after(self.network, self.config.headers.stale_minutes),
            clock=self.clock,
        )
        self.opinions = self._second_opinions()
        self._stack.push_async_callback(self.opinions.close)
        self.news, self.epoch_news = PauseNews(self.follower, self._tell), EpochNews(self._tell)
        if known is None:
            await self.store.save_document(GENESIS, self.genesis.hash)

    def _second_opinions(self) -> SecondOpinions:
        try:
            sources = [
                open_source(url, self.network, clock=self.clock)
                for url in dict.fromkeys(self.config.headers.second)
            ]
        except ValueError as fault:
            raise StartFault(f"[headers] second in config.toml: {fault}") from fault
        return SecondOpinions(sources, self.feed, self.header_alarms, clock=self.clock)

    async def _stored_activation(self) -> SignedActivation | None:
        stored = await self.store.document(ACTIVATION)
        try:
            return None if stored is None else SignedActivation.decode(stored)
        except CodecError as fault:
            raise StartFault(
                f"node.db holds a damaged activation record ({fault}): {REMEDIES['node.db']}"
            ) from fault

    async def _open_signer(self, identity: HostIdentity) -> None:
        self.peers = Peers(self.committee.committee, identity.index, identity.tls, identity, self.clock)
        self._stack.push_async_callback(self.peers.close)
        try:
            with readable(self.folder, "signer.db"):
                self.tss = await TssNode.open(self.folder, self.committee, identity, self.peers)
        except (upgrade.SchemaFault, IdentityFault, FolderInUse, KeyFault) as fault:
            raise StartFault(str(fault)) from fault
        self._stack.push_async_callback(self.tss.close)
        self.tss.use_retirement(not_followed)
        self.ceremony = Ceremony(
            self.network,
            self.genesis,
            proposed(self.network.name),
            self.bitcoind,
            self.feed.chain,
            self.tss,
            self.peers,
            self.consents.objects,
        )
        self.peers.handle(PROPOSE, self.ceremony.on_propose)
        self.peers.handle(PUBLISH, self._on_activated)
        self.successions = await successions_of(self, self.tss, self.peers)
        listen = self.config.peer
        await self.peers.start(listen.host, listen.port)
        await self.tss.start()

    async def close(self) -> None:
        """Stop everything, last opened first."""
        if self.active is not None:
            await self.active.close()
        await self._stack.aclose()

    # The round

    def wake(self) -> None:
        """Look now instead of at the next poll."""
        self._woken.set()

    async def look_again(self) -> None:
        """Wait until a whole round that begins now is over; two seconds at most."""
        ahead = self._rounds + (2 if self._in_round else 1)
        self.wake()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(2), self._round_over:
                await self._round_over.wait_for(lambda: self._rounds >= ahead)

    async def run(self, stop: asyncio.Event) -> None:
        """Go round until `stop` is set."""
        looking = asyncio.create_task(self.opinions.run())
        try:
            await self._rounds_until(stop)
        finally:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)

    async def _rounds_until(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            self._woken.clear()
            self._in_round = True
            await self._round()
            self._in_round, self._rounds = False, self._rounds + 1
            async with self._round_over:
                self._round_over.notify_all()
            waits = [
                asyncio.ensure_future(wait)
                for wait in (stop.wait(), self._woken.wait(), self.feed.wait(self.config.policy.poll))
            ]
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)

    async def _round(self) -> None:
        await self._try("bitcoind", self._sync_headers())
        if self.rollup is not None:
            await self._try("rollup", self.follower.advance(self.rollup))
            await self._try("activation", self._adopt())
            await self._try("pauses", self.news.look())
            if self.successions is not None:
                await self._try("succession", self.successions.bring())
        if self.active is not None:
            await self._try("bridge", self.active.tick())
            await self._try("epochs", self.epoch_news.look(self.active))

    async def _try(self, what: str, work: "asyncio.Future[object] | object") -> None:
        """One part of a round; its failure is said once and waits for the next round."""
        try:
            await work  # type: ignore[misc]  # a coroutine of any result
        except asyncio.CancelledError:
            raise
        except (NodeError, SourceError, HeaderRefused, RollupError, RollupLied) as fault:
            self._say(what, str(fault))
        except (aiohttp.ClientError, TimeoutError, OSError) as fault:
            self._say(what, f"{type(fault).__name__}: {fault}")
        except Exception as bug:
            self.log.exception("round failed", part=what)
            self._say(what, f"unexpected: {type(bug).__name__}: {bug}")
        else:
            self.trouble.pop(what, None)

    def _say(self, what: str, text: str) -> None:
        if self.trouble.get(what) != text:
            self.log.warning("trouble", part=what, reason=text)
        self.trouble[what] = text

    async def _sync_headers(self) -> None:
        try:
            await self.feed.sync()
        except WrongNode as fault:
            tip = display(fault.reorg.new_tip.hash)
            words = f"`holdfast node confirm-tip --dir … {tip}`, or `refuse-tip`"
            raise SourceError(f"{fault} ({words})") from fault
        finally:
            await self.header_alarms.look()

    async def _tell(self, alarm: HeaderAlarm) -> None:
        """Keep an alarm, log it, tell it to whoever listens."""
        now = int(self.clock())
        await self.anchors.alarm(now, alarm.level, alarm.kind, alarm.text, alarm.data)
        self.log.warning("alarm", level=alarm.level, kind=alarm.kind, text=alarm.text, **alarm.data)
        told = {"level": alarm.level, "kind": alarm.kind, "text": alarm.text, "data": alarm.data, "time": now}
        self.stream.tell("alarm", told)
        if alarm.kind == "reorg":
            self.stream.tell("reorg", alarm.data | {"level": alarm.level})

    def depths(self) -> Policy:
        """How deep this node waits, by use and value."""
        wanted = self.config.headers
        uses = {"anchor": wanted.anchor_depth, "deposit": wanted.deposit_depth, "payout": wanted.payout_depth}
        return Policy(self.genesis.k, uses, wanted.depth_by_value)

    # Activation

    async def _adopt(self) -> None:
        """Take the record from the rollup when no peer brought it; bring it there when it is missing."""
        there = self.follower.state.activation
        if self.active is None and there is not None:
            await self.activate(there)
        elif self.active is not None and there is None and self.follower.lied is None:
            assert self.rollup is not None
            with contextlib.suppress(RollupError):  # somebody else's copy may be under way
                await self.rollup.submit(Activate(self.active.signed).encode())

    async def activate(self, signed: SignedActivation) -> None:
        """Store a complete record and act on it; ActivationRefused or ValueError when it is not ours."""
        async with self._activating:  # a peer and the rollup may bring it at the same time
            await self._activate(signed)

    async def _activate(self, signed: SignedActivation) -> None:
        record = signed.activation
        signed.verify(self.genesis.host_keys)
        if (record.genesis_hash, record.committee_hash) != (self.genesis.hash, self.genesis.committee_hash):
            raise ActivationRefused("the record is for another rollup or committee")
        if self.active is not None:
            if self.active.activation.hash != record.hash:
                raise ActivationRefused("this bridge is active under another record")
            return
        await self.store.save_document(ACTIVATION, signed.encode())
        await self._follow(signed)
        self.log.info("active", record=record.hash.hex())

    async def _follow(self, signed: SignedActivation) -> None:
        signer = None
        if self.tss is not None and self.peers is not None and self.identity is not None:
            signer = Signer(self.tss, self.peers, self.identity.index)
        ground = Ground(
            self.bitcoind,
            self.feed,
            self.follower,
            self.rollup,
            self.anchors,
            self.store,
            self.config.policy,
            self.committee.committee.threshold,
            self.committee.committee.epoch,
            self.committee.committee.hash,
            signer,
            self.clock,
            self.wake,
            self.look_again,
            self.log,
            self.depths(),
            self.stream,
            self._tell,
            self.successions,
        )
        active = Active(ground, signed)
        await active.start()
        self.active = active
        self.wake()

    async def _on_activated(self, _member: int, body: bytes) -> bytes:
        try:
            await self.activate(SignedActivation.decode(body))
        except ValueError as fault:
            raise Refuse("bad-activation", str(fault)) from fault
        return b""

    # Health

    def health(self) -> list[Check]:
        """What works and what does not, in sentences."""
        return checks_of(self)
