"""Deposit addresses: shown only once t nodes have stored their parameters, and learned from any peer.

Parameters are self-verifying: whoever has them derives the same script, so nobody has to be believed. DESIGN
section 6, *Deposit address*.
"""

from collections.abc import Callable

from structlog.typing import FilteringBoundLogger

from anchor.bitcoind import Bitcoind
from anchor.btc.codec import Reader, Writer
from anchor.btc.ids import BlockHash, display
from anchor.rollup.activation import Activation
from bridge.deposit.address import PARAMS_SIZE, DepositFault, DepositOutput, DepositParams, output
from bridge.limits import RateLimit
from bridge.store import BridgeStore, Paid
from bridge.watch import ChainWatch
from tss.peers import Peers, Refuse

STORE, LIST = "bridge.params", "bridge.all-params"
MAX_ADDRESSES = 60_000  # what one node keeps; all of them fit one answer to a peer
ROOM = 1_000  # how many unpaid ones go when there is no room
PEER_RATE, PEER_BURST = 20.0, 500  # addresses a second that one member may send


class NotStored(Exception):
    """Too few nodes stored the parameters: the address must not be shown."""


class Registry:
    """The addresses this node knows."""

    def __init__(
        self,
        activation: Activation,
        threshold: int,
        store: BridgeStore,
        bitcoind: Bitcoind,
        watch: ChainWatch,
        peers: Peers | None,
        clock: Callable[[], float],
        log: FilteringBoundLogger,
    ) -> None:
        self.activation, self.threshold, self.store = activation, threshold, store
        self.bitcoind, self.watch, self.peers = bitcoind, watch, peers
        self.clock, self.log = clock, log
        self._known: set[bytes] | None = None
        self._from_peers = RateLimit(PEER_RATE, PEER_BURST, clock)

    async def issue(self, recipient: bytes, user_key: bytes) -> tuple[DepositParams, DepositOutput]:
        """Derive an address and have it stored by t nodes. DepositFault for bad keys, NotStored for too few."""
        params = DepositParams(recipient, user_key, self.activation.params.reclaim_delay)
        derived = output(params, self.activation.treasury_key)
        await self.learn(params)
        stored = 1
        if self.peers is not None:
            answers = await self.peers.gather(STORE, params.encode(), timeout=5)
            stored += sum(isinstance(answer, bytes) for answer in answers.values())
        if stored < self.threshold:
            raise NotStored(
                f"only {stored} of the {self.threshold} nodes needed have stored it: try again soon"
            )
        return params, derived

    async def learn(self, params: DepositParams, *, swept: bool = False) -> bool:
        """Keep parameters; True when they are new. DepositFault when they are not for this bridge.

        Of an address that a batch has `swept` there is always room: it holds coins that t members took in.
        """
        if params.delay != self.activation.params.reclaim_delay:
            due = self.activation.params.reclaim_delay
            raise DepositFault(f"the reclaim delay is {params.delay} blocks, this bridge's is {due}")
        script = output(params, self.activation.treasury_key).script_pubkey
        known = await self._scripts()
        if script in known:
            return False
        if not swept and len(known) >= MAX_ADDRESSES:
            await self._make_room(known)
        new = await self.store.add_params(script, params.encode(), int(self.clock()))
        known.add(script)
        self.watch.know(script)
        return new

    async def _scripts(self) -> set[bytes]:
        if self._known is None:
            self._known = set(await self.store.params())
        return self._known

    async def _make_room(self, known: set[bytes]) -> None:
        """Forget the oldest addresses that nobody paid: whoever pays one later posts its parameters again."""
        gone = await self.store.forget_unpaid(ROOM)
        known.difference_update(gone)
        self.watch.forget(gone)
        if not gone:
            raise DepositFault("this node keeps no more addresses: ask another one")
        self.log.warning("forgot unpaid addresses", count=len(gone))

    async def look_back(self, params: DepositParams) -> list[bytes]:
        """Find payments made before we knew the address, in bitcoind's set of unspent outputs."""
        script = output(params, self.activation.treasury_key).script_pubkey
        answer = await self.bitcoind.call("scantxoutset", "start", [f"raw({script.hex()})"])
        found = []
        for coin in answer["unspents"]:
            txid, vout = bytes.fromhex(coin["txid"])[::-1], int(coin["vout"])
            outpoint = txid + vout.to_bytes(4, "little")
            found.append(outpoint)
            height = int(coin["height"])
            at = await self._read_already(height)
            if at is None:
                continue  # the watch has still to read that block, and knows the address now
            paid = [Paid(outpoint, script, int(coin["amount"] * 100_000_000), bool(coin["coinbase"]))]
            self.watch.know_outpoint(outpoint)
            await self.store.connect_block(height, at, paid, [], self.watch.new_deposit, int(self.clock()))
            self.log.info("late deposit found", txid=display(txid), height=height)
        return found

    async def _read_already(self, height: int) -> BlockHash | None:
        """The block at a height, when bitcoind has it there and our view goes as far on the same chain."""
        block = await self.bitcoind.block_hash(height)
        view, at = self.watch.view, self.watch.headers.at_height(height)
        read = view is not None and self.watch.headers.is_main(view.hash) and height <= view.height
        return block if read and at is not None and at.hash == block else None

    async def catch_up(self) -> int:
        """Learn from all peers what was registered while we were away; returns how many were new."""
        if self.peers is None:
            return 0
        new = 0
        for member, answer in (await self.peers.gather(LIST, b"", timeout=5)).items():
            if not isinstance(answer, bytes):
                continue
            try:
                r = Reader(answer)
                listed = [DepositParams.decode(r.fixed(PARAMS_SIZE)) for _ in range(r.count(MAX_ADDRESSES))]
                r.end()
                new += await self._learn_many(listed)
            except ValueError as fault:
                self.log.warning("a peer's addresses are not sound", peer=member, reason=str(fault))
        return new

    async def _learn_many(self, listed: list[DepositParams]) -> int:
        known, due = await self._scripts(), self.activation.params.reclaim_delay
        fresh = {
            output(p, self.activation.treasury_key).script_pubkey: p.encode()
            for p in listed
            if p.delay == due
        }
        room = max(0, MAX_ADDRESSES - len(known))
        rows = [(script, raw) for script, raw in fresh.items() if script not in known][:room]
        await self.store.add_many_params(rows, int(self.clock()))
        for script, _ in rows:
            known.add(script)
            self.watch.know(script)
        return len(rows)

    def serve(self) -> None:
        """Answer peers."""
        if self.peers is not None:
            self.peers.handle(STORE, self._on_store)
            self.peers.handle(LIST, self._on_list)

    async def _on_store(self, member: int, body: bytes) -> bytes:
        if self._from_peers.wait(member):
            raise Refuse("too-many", "you send addresses faster than this node stores them: slow down")
        try:
            await self.learn(DepositParams.decode(body))
        except DepositFault as fault:
            raise Refuse("bad-params", str(fault)) from fault
        return b""

    async def _on_list(self, _member: int, _body: bytes) -> bytes:
        known = list((await self.store.params()).values())[-MAX_ADDRESSES:]
        out = Writer().count(len(known))
        for params in known:
            out.fixed(params, PARAMS_SIZE)
        return out.done()
