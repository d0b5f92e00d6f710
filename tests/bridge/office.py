"""Real committee nodes in one event loop: real TLS, real keys, a real bitcoind; only the rollup is small.

Nodes go round when the test says so and read a clock that the test turns, so who leads and who is late is chosen.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

import bridge.store  # noqa: F401 its tables join the schema
from anchor.bitcoind import Bitcoind as Client
from anchor.btc.address import address_of
from anchor.btc.amounts import Height, Sats
from anchor.btc.ids import OutPoint, Txid, XOnlyKey, display, from_display
from anchor.btc.network import REGTEST
from anchor.btc.tx import Tx
from anchor.feed import HeaderFeed
from anchor.follower import Follower
from anchor.header_alarms import HeaderAlarm, HeaderAlarms
from anchor.headers import bundle as bundles
from anchor.headers.chain import HeaderChain
from anchor.headers.finality import Policy
from anchor.rollup.activation import SignedActivation
from anchor.rollup.block import CertifiedBlock
from anchor.rollup.genesis import Genesis, Validator
from anchor.rollup.state import RollupState
from anchor.rollup.transitions import Rejected, make_block
from anchor.rollup.tx import Activate, Lock
from anchor.store import AnchorStore, headers, metadata
from bridge.active import Active
from bridge.ceremony import PROPOSE, PURPOSES, Ceremony
from bridge.config import PolicySection
from bridge.deposit.address import DepositParams, output
from bridge.ground import Ground, Signer
from bridge.params import REGTEST as PARAMS
from bridge.store import BridgeStore
from migrations.database import open_database
from regtest.bitcoind import Bitcoind
from tests.anchor.rollup.rollup_world import VALIDATORS, Whole, certified
from tests.bridge.desks import desk_of
from tests.tss.shells import Seat, make_identities, signed_committee
from tss.dkg.committee import SignedCommittee

POLICY = PolicySection(leader_timeout=10.0)
ALICE = Whole.named("alice")
GENESIS_COINS = Decimal("0.02")


class SmallRollup:
    """Certified blocks, one at a time when told, from the committee's own transactions and users' locks."""

    def __init__(self, genesis: Genesis, bitcoin: HeaderChain) -> None:
        self.genesis, self.bitcoin = genesis, bitcoin
        self.state = RollupState.at_genesis(genesis)
        self.chain: list[CertifiedBlock] = []
        self.waiting: list[bytes] = []
        self.rejected: list[Rejected] = []
        self.submitted: list[bytes] = []

    async def blocks(self, after: int, limit: int) -> Sequence[CertifiedBlock]:
        return self.chain[after : after + limit]

    async def submit(self, tx: bytes) -> None:
        self.submitted.append(tx)
        if tx not in self.waiting:
            self.waiting.append(tx)

    def block(self, *, headers: bool = True) -> None:
        """The next block; without `headers` the rollup stays blind to what Bitcoin did."""
        raws, self.waiting = self.waiting, []
        bundle = bundles.make(self.state.view, self.bitcoin, 2000) if headers else None
        data = b"" if bundle is None else bundle.encode()
        block, self.state, refused = make_block(self.genesis, self.state, raws, data, self.state.time + 1)
        self.rejected += refused
        self.chain.append(certified(self.genesis, block))

    def lock(self, amount: int, script: bytes, **changes: Any) -> bytes:
        """Have Alice lock coins for a withdrawal; its id."""
        tx = Lock(
            ALICE.x,
            self.state.account(ALICE.x).nonce,
            Sats(amount),
            script,
            changes.get("max_fee", Sats(2_000)),
            changes.get("expiry", Height(1_000_000)),
        )
        tx = tx.signed(ALICE.sign(tx.txid(self.genesis.hash)))
        self.waiting.append(tx.encode())
        return tx.txid(self.genesis.hash)


@dataclass
class OfficeNode:
    """One operator's node without its loop: `round` is one turn of it."""

    seat: Seat
    office: "Office"
    active: Active | None = None
    engine: AsyncEngine | None = None

    async def open(self) -> None:
        """Open database, headers and the copy of the rollup over the member's folder."""
        self.lock = asyncio.Lock()
        self.engine = open_database(self.seat.folder / "node.db")
        async with self.engine.begin() as db:
            await db.run_sync(metadata.create_all)
        self.anchors, self.store = AnchorStore(self.engine), BridgeStore(self.engine)
        self.client = Client(self.office.bitcoind.rpc_url, cookie=self.office.bitcoind.cookie)
        folder = self.seat.folder / "headers"
        folder.mkdir(exist_ok=True)
        self.feed = HeaderFeed(
            self.client, REGTEST, folder, self.engine, headers, k=PARAMS.k, clock=self.office.time
        )
        await self.feed.open()
        self.told: list[HeaderAlarm] = []
        self.alarms = HeaderAlarms(self.feed, self.client, self._tell, clock=self.office.time)
        await self.feed.sync()
        self.follower = Follower(self.office.genesis, self.anchors, structlog.get_logger("tests"))
        await self.follower.load()
        node, peers = self.seat.node, self.seat.peers
        assert node is not None
        assert peers is not None
        self.ceremony = Ceremony(
            REGTEST,
            self.office.genesis,
            PARAMS,
            self.client,
            self.feed.chain,
            node,
            peers,
            self.office.objects,
        )
        peers.handle(PROPOSE, self.ceremony.on_propose)
        self.successions = await desk_of(self)

    async def follow(self, signed: SignedActivation, *, sign: bool = True) -> Active:
        """What `Node` does once the record is known; an observer's does not `sign`."""
        node, peers = self.seat.node, self.seat.peers
        assert node is not None
        assert peers is not None
        ground = Ground(
            self.client,
            self.feed,
            self.follower,
            self.office.rollup,  # speaks what the client speaks
            self.anchors,
            self.store,
            POLICY,
            self.seat.committee.committee.threshold,
            self.seat.committee.committee.epoch,
            self.seat.committee.committee.hash,
            Signer(node, peers, peers.index) if sign else None,
            self.office.time,
            lambda: None,
            self.look_again,
            structlog.get_logger("tests"),
            self.office.depths,
            successions=self.successions,
        )
        self.active = Active(ground, signed)
        await self.active.start()
        return self.active

    async def _tell(self, alarm: HeaderAlarm) -> None:
        self.told.append(alarm)

    async def round(self) -> None:
        """One turn of the node's loop."""
        async with self.lock:
            try:
                await self.feed.sync()
            finally:
                await self.alarms.look()
            await self.follower.advance(self.office.rollup)
            await self.successions.bring()
            if self.active is not None:
                await self.active.tick()

    async def look_again(self) -> None:
        """A whole turn that begins now."""
        await self.round()

    async def down(self) -> None:
        """Stop at once; what is not stored is lost."""
        if self.active is not None:
            await self.active.close()
        self.active = None
        await self.seat.down()
        if self.engine is not None:
            await self.feed.close()
            await self.client.close()
            await self.engine.dispose()
        self.engine = None

    async def up(self) -> None:
        """Start again over the same folder."""
        await self.seat.up()
        await self.open()
        await self.follow(self.office.signed)


class Office:
    """Nodes, their bitcoind, their rollup and their clock."""

    def __init__(self, bitcoind: Bitcoind, seats: list[Seat], committee: SignedCommittee) -> None:
        self.bitcoind, self.committee = bitcoind, committee
        self.now = 2_000_000_000.0  # headers of the day after tomorrow would be deferred
        self.withheld: set[bytes] = set()
        self.depths: Policy | None = None  # of every node that follows from now on
        self.nodes = [OfficeNode(seat, self) for seat in seats]
        c = committee.committee
        validators = tuple(Validator(XOnlyKey(v.x), 1) for v in VALIDATORS)
        keys = tuple(member.host_key for member in c.members)
        self.genesis = Genesis(
            7, "office", "regtest", c.hash, keys, c.threshold, validators, 0, REGTEST.genesis, 3, 500
        )
        self.signed: SignedActivation

    def time(self) -> float:
        return self.now

    async def objects(self, digest: bytes) -> str | None:
        """What operators say about a record whose consent is withheld."""
        return f"the operator must consent first: {digest.hex()}" if digest in self.withheld else None

    @property
    def activation(self) -> Any:
        return self.signed.activation

    # Bitcoin

    def wallet(self) -> Any:
        return self.bitcoind.rpc("miner")

    def mine(self, count: int = 1, only: list[str] | None = None) -> list[str]:
        """Blocks with all that waits, or with `only` these raw transactions."""
        address = self.wallet().getnewaddress()
        if only is not None:
            return [self.bitcoind.rpc().generateblock(address, only)["hash"]]
        return list(self.bitcoind.rpc().generatetoaddress(count, address))

    def pay(self, script: bytes, btc: str) -> OutPoint:
        """The wallet's payment to a script, not mined."""
        txid = self.wallet().sendtoaddress(address_of(script, REGTEST), Decimal(btc))
        tx = Tx.parse(bytes.fromhex(self.wallet().gettransaction(txid)["hex"]))
        assert tx.txid == Txid(from_display(txid))
        return next(tx.outpoint(n) for n, out in enumerate(tx.outputs) if out.script == script)

    def reorg(self, depth: int, count: int | None = None, only: list[str] | None = None) -> None:
        """Undo the newest blocks and mine `count` (one more by default) others, empty unless `only` says what."""
        rpc = self.bitcoind.rpc
        height = rpc().getblockcount()
        gone = rpc().getblockhash(height - depth + 1)
        rpc().invalidateblock(gone)
        for n in range(count or depth + 1):
            self.mine(only=(only or []) if n == 0 else [])

    def mempool(self) -> list[str]:
        return list(self.bitcoind.rpc().getrawmempool())

    # Both chains

    async def round(self, *which: int) -> None:
        """One turn of every node that runs, or of those named (from 0)."""
        for i, node in enumerate(self.nodes):
            if node.active is not None and (not which or i in which):
                await node.round()

    async def until(
        self, condition: Callable[[], Any], what: str, *which: int, turns: int = 2000, passing: float = 0
    ) -> None:
        """Turns until something holds; sessions run between them, and so many seconds pass at each."""
        for _ in range(turns):
            if condition():
                return
            self.now += passing
            await self.round(*which)
            await asyncio.sleep(0.01)  # a session's messages travel
        raise AssertionError(f"{turns} turns in vain for {what}")

    async def blocks(self, count: int = 2, *, headers: bool = True) -> None:
        """So many rollup blocks, seen by all."""
        await self.nodes[0].feed.sync()
        for _ in range(count):
            self.rollup.block(headers=headers)
        await self.round()

    async def deposit(self, name: str = "alice", btc: str = "0.01") -> OutPoint:
        """A payment to an address that all nodes know, mined."""
        return await self.deposit_from(0, name, btc)

    async def deposit_from(self, node: int, name: str = "alice", btc: str = "0.01") -> OutPoint:
        """The same, with the address asked of one node."""
        user = Whole.named(f"{name} on bitcoin")
        recipient = ALICE.x if name == "alice" else Whole.named(name).x
        active = self.nodes[node].active
        assert active is not None
        _, derived, _ = await active.registry.issue(recipient, user.x)
        outpoint = self.pay(derived.script_pubkey, btc)
        self.mine()
        return outpoint

    async def swept(self) -> None:
        """The next treasury batch is signed, in every store, in the mempool, and mined."""
        sequence, tip = self.views()[0].treasury.sequence + 1, self.views()[0].treasury.tip
        await self.until(lambda: self.spender(tip), "a batch in the mempool")
        self.mine()
        await self.until(
            lambda: all(v.treasury.sequence == sequence for v in self.views()), "the batch's block"
        )

    def spender(self, outpoint: OutPoint) -> str | None:
        """The mempool's transaction that spends a coin."""
        asked = [{"txid": display(outpoint.txid), "vout": outpoint.vout}]
        [found] = self.bitcoind.rpc().gettxspendingprevout(asked)
        return found.get("spendingtxid")

    async def credited(self, outpoint: OutPoint) -> None:
        """The deposit's sweep becomes final and the rollup mints it."""
        self.mine(PARAMS.k - 1)
        for _ in range(20):
            await self.blocks(1)
            if outpoint in self.rollup.state.minted:
                return
            await asyncio.sleep(0.05)
        raise AssertionError("no mint")

    def views(self) -> list[Any]:
        return [n.active.view for n in self.nodes if n.active is not None and n.active.view is not None]

    def script_of(self, params: DepositParams) -> bytes:
        return output(params, self.activation.treasury_key).script_pubkey


@contextlib.asynccontextmanager
async def office(
    folder: Path, bitcoind: Bitcoind, count: int = 3, threshold: int = 2, *, active: bool = True
) -> AsyncIterator[Office]:
    """A committee with all keys and funded genesis coins; with `active` under a record that all signed."""
    identities = make_identities(folder, count)
    committee = signed_committee(identities, threshold)
    seats = [Seat(folder / one.name, one, committee) for one in identities]
    it = Office(bitcoind, seats, committee)
    wallet = it.wallet()
    wallet.generatetoaddress(101, wallet.getnewaddress())
    try:
        for seat in seats:
            await seat.up()
        for seat in seats:
            await seat.peers.until_heard(range(1, count + 1), 10)
        for purpose in PURPOSES:
            await seats[0].node.dkg(purpose)
        async with asyncio.timeout(60):
            while not all(s.node.public(p) for s in seats for p in PURPOSES):  # noqa: ASYNC110 keys have no event
                await asyncio.sleep(0.02)
        for node in it.nodes:
            await node.open()
        it.rollup = SmallRollup(it.genesis, it.nodes[0].feed.chain)
        if active:
            await activate(it)
        yield it
    finally:
        for node in it.nodes:
            if node.seat.node is not None:
                await node.down()


async def fund(it: Office) -> tuple[OutPoint, OutPoint]:
    """The genesis coins, in a block that every node has seen."""
    where = it.nodes[0].ceremony.addresses()
    coins = []
    for address in (where.treasury, where.lane):
        txid = it.wallet().sendtoaddress(address, GENESIS_COINS)
        details = it.wallet().gettransaction(txid, True, True)["decoded"]["vout"]
        vout = next(o["n"] for o in details if o["scriptPubKey"].get("address") == address)
        coins.append(OutPoint(Txid(from_display(txid)), vout))
    it.mine()
    for node in it.nodes:
        await node.feed.sync()
    return coins[0], coins[1]


async def activate(it: Office) -> None:
    """The ceremony, then every node follows, and the rollup has the record."""
    treasury, lane = await fund(it)
    it.signed = await it.nodes[0].ceremony.propose(treasury, [lane])
    await it.rollup.submit(Activate(it.signed).encode())
    for node in it.nodes:
        await node.follow(it.signed)
    await it.blocks(2)
    assert it.rollup.state.activation is not None, it.rollup.rejected
