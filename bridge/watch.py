"""What this node's own Bitcoin chain says about lanes, treasury and deposits, block by block.

A view is a value, kept under its block's hash: a reorg is going back to the view of the fork and reading the new
branch. Views are never stored; a start reads all blocks since the activation once more (NOTES.md), so a lost
database loses no anchor, sweep or payout.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from anchor.bitcoind import Bitcoind
from anchor.btc.amounts import Height
from anchor.btc.block import Block, parse_block
from anchor.btc.ids import BlockHash
from anchor.headers.chain import HeaderAt, HeaderChain
from anchor.inscription.reader import (
    AnchorFound,
    LaneEvent,
    LaneState,
    RotationFound,
    VoidFound,
    apply_block,
)
from anchor.rollup.activation import Activation
from bridge.block_items import deposit_items, items_of
from bridge.reorg_store import ReorgStore
from bridge.store import BridgeStore, Paid
from bridge.treasury.reader import BatchAt, StrangersCoin, TreasuryReader, TreasuryState

KEEP = 300  # views below the tip; a deeper reorg reads everything again


@dataclass(frozen=True, slots=True)
class AnchorAt:
    """An anchor in its block."""

    found: AnchorFound
    block: BlockHash


@dataclass(frozen=True, slots=True)
class RotationAt:
    """A lane's rotation in its block."""

    found: RotationFound
    block: BlockHash


@dataclass(frozen=True, slots=True)
class ChainView:
    """Lanes and treasury after the block at `height`."""

    height: int
    hash: BlockHash
    lanes: tuple[LaneState, ...]
    treasury: TreasuryState
    anchors: tuple[AnchorAt, ...] = ()
    voids: tuple[VoidFound, ...] = ()
    strangers: tuple[StrangersCoin, ...] = ()
    rotations: tuple[RotationAt, ...] = ()

    def lane(self, number: int) -> LaneState | None:
        """The lane with this number."""
        return next((lane for lane in self.lanes if lane.lane == number), None)

    def block_of(self, batch: BatchAt) -> BlockHash:
        """The block that holds a batch."""
        return batch.block


class ChainWatch:
    """Follows the main chain of `headers` from the activation's height on."""

    def __init__(
        self,
        activation: Activation,
        headers: HeaderChain,
        bitcoind: Bitcoind,
        store: BridgeStore,
        *,
        new_deposit: dict[str, object],
        clock: Callable[[], float],
    ) -> None:
        self.activation, self.headers, self.bitcoind, self.store = activation, headers, bitcoind, store
        self.new_deposit, self.clock = new_deposit, clock
        self.items = ReorgStore(store.engine)
        self.reader = TreasuryReader.of(activation)
        self.view: ChainView | None = None
        self._views: dict[BlockHash, ChainView] = {}
        self._scripts: set[bytes] = set()
        self._outpoints: set[bytes] = set()

    async def start(self) -> None:
        """Forget what rows say about the chain; `advance` says it anew from the blocks."""
        await self.store.disconnect_above(self.activation.height - 1)
        self._scripts = set(await self.store.params())
        self._outpoints = {row.outpoint for row in await self.store.deposits()}
        self._views, self.view = {}, None

    def know(self, script: bytes) -> None:
        """Watch for payments to a deposit address, from the next block on."""
        self._scripts.add(script)

    def forget(self, scripts: Iterable[bytes]) -> None:
        """Watch for payments to these addresses no more."""
        self._scripts.difference_update(scripts)

    def know_outpoint(self, outpoint: bytes) -> None:
        """Watch for the spend of a deposit found in another way than by its block."""
        self._outpoints.add(outpoint)

    def sees(self, outpoint: bytes) -> bool:
        """Whether a deposit is watched for its spend."""
        return outpoint in self._outpoints

    async def advance(self) -> bool:
        """Follow the main chain to its tip; True when the view moved."""
        if self.view is None and not self._begin():
            return False
        moved = await self._step_back()
        while (above := self._next()) is not None:
            await self._connect(above)
            moved = True
        return moved

    def _begin(self) -> bool:
        below = self.headers.at_height(self.activation.height - 1)
        if below is None:
            return False  # our bitcoind has not come so far
        a = self.activation
        lanes = tuple(LaneState(x.number, a.epoch, a.anchor_key, x.outpoint, x.value) for x in a.lanes)
        self.view = ChainView(below.height, below.hash, lanes, self.reader.start())
        self._views = {below.hash: self.view}
        return True

    async def _step_back(self) -> bool:
        """Back to the view of the newest block that is still on the main chain."""
        assert self.view is not None
        if self.headers.is_main(self.view.hash):
            return False
        kept = [v for v in self._views.values() if self.headers.is_main(v.hash)]
        if not kept:  # deeper than the views go
            await self.start()
            assert self._begin(), "the chain was long enough before"
        else:
            self.view = max(kept, key=lambda v: v.height)
            self._views = {v.hash: v for v in kept}
        assert self.view is not None
        await self.store.disconnect_above(self.view.height)
        return True

    def _next(self) -> HeaderAt | None:
        assert self.view is not None
        return self.headers.at_height(self.view.height + 1)

    async def _connect(self, at: HeaderAt) -> None:
        assert self.view is not None
        block = parse_block(await self.bitcoind.raw_block(at.hash))
        paid, spent = self._ours(block)
        after = _after(self.reader, self.view, block, at)
        # First what the block holds: a reorg that comes after a crash finds it.
        await self.items.keep(at.height, at.hash, items_of(self.view, after, block, paid, spent))
        await self._connect_deposits(at, paid, spent)
        self.view = after
        self._views[at.hash] = self.view
        if len(self._views) > KEEP:
            self._views = {h: v for h, v in self._views.items() if v.height > at.height - KEEP}

    async def read_again(self, height: int) -> None:
        """Read the blocks from `height` to the view's once more, for deposits whose address was not known."""
        assert self.view is not None
        for at in self.headers.main(height, self.view.height - height + 1):
            block = parse_block(await self.bitcoind.raw_block(at.hash))
            paid, spent = self._ours(block)
            await self.items.keep(at.height, at.hash, list(deposit_items(self.view, block, paid, spent)))
            await self._connect_deposits(at, paid, spent)

    def _ours(self, block: Block) -> tuple[list[Paid], list[tuple[bytes, bytes]]]:
        """Payments to known addresses, and spends of known deposits as (outpoint, txid)."""
        paid, spent = list[Paid](), list[tuple[bytes, bytes]]()
        for tx in block.txs:
            spent += [
                (i.outpoint.encode(), bytes(tx.txid))
                for i in tx.inputs
                if i.outpoint.encode() in self._outpoints
            ]
            for vout, out in enumerate(tx.outputs):
                if out.script in self._scripts:
                    outpoint = tx.outpoint(vout).encode()
                    paid.append(Paid(outpoint, out.script, int(out.value), tx.is_coinbase))
                    self._outpoints.add(outpoint)
        return paid, spent

    async def _connect_deposits(
        self, at: HeaderAt, paid: list[Paid], spent: list[tuple[bytes, bytes]]
    ) -> None:
        if paid or spent:
            await self.store.connect_block(
                at.height, at.hash, paid, spent, self.new_deposit, int(self.clock())
            )


def _after(reader: TreasuryReader, view: ChainView, block: Block, at: HeaderAt) -> ChainView:
    lanes, events = [], list[LaneEvent]()
    for lane in view.lanes:
        state, found = apply_block(lane, block, Height(at.height))
        lanes.append(state)
        events += found
    rotations = view.rotations + tuple(RotationAt(e, at.hash) for e in events if isinstance(e, RotationFound))
    successors = [r.found.successor for r in rotations if r.found.lane == 0]
    treasury, treasury_events = reader.apply_block(view.treasury, block, at.height, successors)
    return replace(
        view,
        height=at.height,
        hash=at.hash,
        lanes=tuple(lanes),
        treasury=treasury,
        anchors=view.anchors + tuple(AnchorAt(e, at.hash) for e in events if isinstance(e, AnchorFound)),
        rotations=rotations,
        voids=view.voids + tuple(e for e in events if isinstance(e, VoidFound)),
        strangers=view.strangers + tuple(e for e in treasury_events if isinstance(e, StrangersCoin)),
    )
