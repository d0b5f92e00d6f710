"""Deposit addresses: shown only once t nodes have stored their parameters, and learned from any peer.

Parameters are self-verifying: whoever has them derives the same script, so nobody has to be believed. DESIGN
section 6, *Deposit address*. An address is of one key epoch: parameters and epoch make it, and travel together.
"""

import asyncio
from collections.abc import Callable, Sequence

from structlog.typing import FilteringBoundLogger

from anchor.bitcoind import Bitcoind
from anchor.btc.codec import CodecError, Reader, Writer
from anchor.btc.ids import BlockHash, display
from anchor.rollup.activation import Activation
from bridge.deposit.address import PARAMS_SIZE, DepositFault, DepositOutput, DepositParams, output
from bridge.limits import RateLimit
from bridge.moving import Moving
from bridge.store import BridgeStore, KnownAddress, Paid
from bridge.treasury.keys import UnknownEpoch
from bridge.watch import ChainWatch
from tss.peers import Peers, Refuse

STORE, LIST = "bridge.params", "bridge.all-params"
ADDRESS_SIZE = PARAMS_SIZE + 4
MAX_ADDRESSES = 59_000  # what one node keeps; all of them fit one answer to a peer
ROOM = 1_000  # how many unpaid ones go when there is no room
PEER_RATE, PEER_BURST = 20.0, 500  # addresses a second that one member may send
LIST_RATE, LIST_BURST = 0.1, 20  # times a second that one member may ask for all of them
AT_ONCE = 100  # addresses that are derived before others have their turn


class NotStored(Exception):
    """Too few nodes stored the parameters: the address must not be shown."""


class Registry:
    """The addresses this node knows."""

    def __init__(
        self,
        activation: Activation,
        moving: Moving,
        threshold: int,
        store: BridgeStore,
        bitcoind: Bitcoind,
        watch: ChainWatch,
        peers: Peers | None,
        clock: Callable[[], float],
        log: FilteringBoundLogger,
    ) -> None:
        self.activation, self.moving, self.threshold, self.store = activation, moving, threshold, store
        self.bitcoind, self.watch, self.peers = bitcoind, watch, peers
        self.clock, self.log = clock, log
        self._known: set[bytes] | None = None
        self._listed = activation.epoch  # the latest epoch known when the others were last asked for theirs
        self._from_peers = RateLimit(PEER_RATE, PEER_BURST, clock)
        self._asked_by = RateLimit(LIST_RATE, LIST_BURST, clock)

    async def issue(self, recipient: bytes, user_key: bytes) -> tuple[DepositParams, DepositOutput, int]:
        """Derive an address of the present key epoch, the third of what is returned, and have t nodes store it.

        DepositFault for bad keys, NotStored for too few, or while we have still to read which epoch is present.
        """
        if self._still_reads():
            raise NotStored("this node is still reading blocks and may miss a change of keys: try again soon")
        params = DepositParams(recipient, user_key, self.activation.params.reclaim_delay)
        epoch = self.moving.address_epoch
        derived = output(params, self.moving.keys.key(epoch))
        await self.learn(params, epoch)
        stored = 1 + await self._tell(params, epoch)
        if stored < self.threshold:
            raise NotStored(
                f"only {stored} of the {self.threshold} nodes needed have stored it: try again soon"
            )
        return params, derived, epoch

    def _still_reads(self) -> bool:
        view, headers = self.watch.view, self.watch.headers
        return view is None or not headers.is_main(view.hash) or headers.tip.height - view.height > 1

    async def take(self, params: DepositParams) -> None:
        """Keep parameters for every epoch that is not retired, and tell the others. DepositFault as in `learn`."""
        await self.learn(params)
        for epoch in self.moving.live():
            await self._tell(params, epoch)

    async def _tell(self, params: DepositParams, epoch: int) -> int:
        """Have the others store an address; how many did."""
        if self.peers is None:
            return 0
        asked = Writer().fixed(params.encode(), PARAMS_SIZE).u32(epoch).done()
        answers = await self.peers.gather(STORE, asked, timeout=5)
        return sum(isinstance(answer, bytes) for answer in answers.values())

    def addresses(self, params: DepositParams) -> dict[int, DepositOutput]:
        """What parameters derive to in every key epoch whose addresses are swept, oldest first."""
        keys = self.moving.keys
        return {epoch: output(params, keys.key(epoch)) for epoch in self.moving.live()}

    async def learn(self, params: DepositParams, epoch: int | None = None, *, swept: bool = False) -> bool:
        """Keep parameters for one key epoch, or for all that are not retired; True when there is news.

        DepositFault when they are not for this bridge. Of an address that a batch has `swept` there is always
        room: it holds coins that t members took in.
        """
        due = self.activation.params.reclaim_delay
        if params.delay != due:
            raise DepositFault(f"the reclaim delay is {params.delay} blocks, this bridge's is {due}")
        try:
            numbers = self.moving.live() if epoch is None else (epoch,)
            found = {n: output(params, self.moving.keys.key(n)).script_pubkey for n in numbers}
        except UnknownEpoch as fault:
            raise DepositFault(
                f"{fault}: ask again when this node's copy of the rollup is in step"
            ) from fault
        if epoch is not None and not swept and epoch not in self.moving.live():
            raise DepositFault(
                f"key epoch {epoch} is retired since height {self.moving.retires(epoch)}: derive a new address"
            )
        return any([await self._keep(n, script, params, swept=swept) for n, script in found.items()])

    async def _keep(self, epoch: int, script: bytes, params: DepositParams, *, swept: bool) -> bool:
        known = await self._scripts()
        if script in known:
            return False
        if not swept and len(known) >= MAX_ADDRESSES:
            await self._make_room(known)
        new = await self.store.add_params(script, KnownAddress(params.encode(), epoch), int(self.clock()))
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
        """Find payments made before we knew the addresses, in bitcoind's set of unspent outputs."""
        scripts = {derived.script_pubkey.hex() for derived in self.addresses(params).values()}
        answer = await self.bitcoind.call(
            "scantxoutset", "start", [f"raw({script})" for script in sorted(scripts)]
        )
        found = []
        for coin in answer["unspents"]:
            txid, vout = bytes.fromhex(coin["txid"])[::-1], int(coin["vout"])
            outpoint = txid + vout.to_bytes(4, "little")
            found.append(outpoint)
            height = int(coin["height"])
            at = await self._read_already(height)
            if at is None:
                continue  # the watch has still to read that block, and knows the address now
            script = bytes.fromhex(coin["scriptPubKey"])
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
        new, self._listed = 0, self.moving.keys.latest
        answers = await self.peers.gather(LIST, b"", timeout=5)
        told = {member: answer for member, answer in answers.items() if isinstance(answer, bytes)}
        for left, (member, answer) in zip(range(len(told), 0, -1), told.items(), strict=True):
            try:
                new += await self._learn_many(_read_list(answer), left)
            except ValueError as fault:
                self.log.warning("a peer's addresses are not sound", peer=member, reason=str(fault))
        return new

    async def follow_epochs(self) -> None:
        """Ask the others again once a later key epoch is known: of its addresses nothing could be made before."""
        if self.moving.keys.latest > self._listed:
            await self.catch_up()

    async def _learn_many(self, listed: Sequence[KnownAddress], left: int) -> int:
        """Keep what is news of a peer's list; `left` peers, this one too, share the room that there is.

        A list may be long and each address costs a key's derivation, so what is known is passed over, and the rest
        is done bit by bit: the node answers others meanwhile. DepositFault for parameters of no address.
        """
        known, due, keys = (
            await self._scripts(),
            self.activation.params.reclaim_delay,
            self.moving.keys.by_epoch(),
        )
        there = set((await self.store.params()).values())
        # Of a later epoch nothing can be made: it is asked for again once we know that.
        fresh = [made for made in dict.fromkeys(listed) if made not in there and made.epoch in keys]
        room, rows = max(0, MAX_ADDRESSES - len(known)) // left, dict[bytes, KnownAddress]()
        for at in range(0, len(fresh), AT_ONCE):
            if len(rows) >= room:
                break
            await asyncio.sleep(0)
            for made in fresh[at : at + AT_ONCE]:
                params = DepositParams.decode(made.params)
                if params.delay == due and len(rows) < room:
                    rows[output(params, keys[made.epoch]).script_pubkey] = made
        new = [(script, made) for script, made in rows.items() if script not in known]
        await self.store.add_many_params(new, int(self.clock()))
        for script, _ in new:
            known.add(script)
            self.watch.know(script)
        return len(new)

    def serve(self) -> None:
        """Answer peers."""
        if self.peers is not None:
            self.peers.handle(STORE, self._on_store)
            self.peers.handle(LIST, self._on_list)

    async def _on_store(self, member: int, body: bytes) -> bytes:
        if self._from_peers.wait(member):
            raise Refuse("too-many", "you send addresses faster than this node stores them: slow down")
        try:
            r = Reader(body)
            asked = _read_address(r)
            r.end()
            await self.learn(*asked)
        except (CodecError, DepositFault) as fault:
            raise Refuse("bad-params", str(fault)) from fault
        return b""

    async def _on_list(self, member: int, _body: bytes) -> bytes:
        if self._asked_by.wait(member):
            raise Refuse("too-many", "you ask for all addresses more often than a node starts: slow down")
        known = list((await self.store.params()).values())[-MAX_ADDRESSES:]
        out = Writer().count(len(known))
        for params, epoch in known:
            out.fixed(params, PARAMS_SIZE).u32(epoch)
        return out.done()


def _read_address(r: Reader) -> tuple[DepositParams, int]:
    return DepositParams.decode(r.fixed(PARAMS_SIZE)), r.u32()


def _read_list(answer: bytes) -> list[KnownAddress]:
    """What a peer listed, nothing derived yet. CodecError for bytes that are no list."""
    r = Reader(answer)
    listed = [KnownAddress(r.fixed(PARAMS_SIZE), r.u32()) for _ in range(r.count(MAX_ADDRESSES))]
    r.end()
    return listed
