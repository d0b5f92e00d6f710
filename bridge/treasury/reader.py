"""The treasury as blocks tell it: one coin, spent by one batch after another, from key to key.

A reader needs no database and no peer, only the activation record, blocks, and what lane 0's rotation anchors in
them name. States are values: a reorg is going back to the state kept under the fork's hash. Coins that strangers
send to a script of the treasury are reported and never become the tip, so nothing of ours spends or counts them.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

from anchor.btc.amounts import Sats
from anchor.btc.block import Block
from anchor.btc.ids import BlockHash, OutPoint, Txid
from anchor.btc.tx import Tx
from anchor.inscription.successor import Successor
from anchor.rollup.activation import Activation
from bridge.treasury.builder import VERSION, Mark, build
from bridge.treasury.keys import TreasuryKeys, script_under
from bridge.treasury.manifest import Manifest, ManifestFault, MoveManifest


@dataclass(frozen=True, slots=True)
class BatchAt:
    """A batch in a block: `value` is the treasury's after it, satoshis; `inputs` the deposits it spent, if any.

    `move` is the manifest of a move to the next epoch's key: it follows from the chain, so nobody has to carry it.
    """

    sequence: int
    txid: Txid
    manifest_hash: bytes
    height: int
    value: Sats
    inputs: tuple[OutPoint, ...]
    block: BlockHash
    move: MoveManifest | None = None

    def content(self, known: Mapping[bytes, Manifest]) -> Manifest | None:
        """The batch's manifest: its own, or the one among those `known` by hash."""
        return self.move or known.get(self.manifest_hash)


@dataclass(frozen=True, slots=True)
class BatchFound:
    """A block holds the next batch."""

    sequence: int
    txid: Txid
    manifest_hash: bytes
    height: int


@dataclass(frozen=True, slots=True)
class ForeignSpend:
    """The treasury's coin was spent by something that is no batch of ours: everything stops."""

    txid: Txid
    height: int
    reason: str


@dataclass(frozen=True, slots=True)
class StrangersCoin:
    """Somebody paid a script of the treasury directly: quarantined."""

    outpoint: OutPoint
    value: Sats
    height: int


Found = BatchFound | ForeignSpend | StrangersCoin


@dataclass(frozen=True, slots=True)
class Spend:
    """A transaction in a block."""

    tx: Tx
    height: int
    block: BlockHash


@dataclass(frozen=True, slots=True)
class TreasuryState:
    """The treasury after a block.

    `tip` with `tip_value` is its coin; `sequence` and `previous` are the last batch's number and manifest hash (0
    and the activation record's hash at genesis). `keys` are those the coin has been under, the last of them now.
    `halted` says why nothing is followed any more. `unnamed` are a spend to a key that no rotation anchor names yet
    and what followed it: a reorg deeper than k can put a move before the anchor that it follows from. `moves` are
    those among `batches` that took the coin to another key: few, where batches are many and asked about often.
    """

    tip: OutPoint
    tip_value: Sats
    sequence: int
    previous: bytes
    genesis_value: Sats
    keys: TreasuryKeys
    batches: tuple[BatchAt, ...] = ()
    halted: str | None = None
    unnamed: tuple[Spend, ...] = ()
    moves: tuple[BatchAt, ...] = ()

    @property
    def epoch(self) -> int:
        """The key epoch whose key the tip is under."""
        return self.keys.latest

    @property
    def script(self) -> bytes:
        """The tip's script."""
        return script_under(self.keys.key(self.epoch))

    def at(self, height: int) -> tuple[Sats, tuple[BatchAt, ...]]:
        """Return the treasury's value after the block at `height`, and the batches up to there."""
        known = tuple(b for b in self.batches if b.height <= height)
        return (known[-1].value if known else self.genesis_value), known

    @property
    def tip_height(self) -> int | None:
        """Height of the block that made the tip; None for the genesis coin."""
        return self.batches[-1].height if self.batches else None

    def move_to(self, successor: Successor, fee: Sats) -> MoveManifest:
        """Return the move of the tip to the next epoch's key. ManifestFault for a successor of another epoch."""
        head = (self.epoch, self.sequence + 1, self.tip, self.tip_value, self.previous, fee)
        return MoveManifest(*head, successor.epoch, successor.treasury_key, successor.record)

    def left(self, epoch: int) -> BatchAt | None:
        """The move that took the treasury from a key epoch's key; None while it is there, or never was."""
        if epoch >= self.epoch:
            return None
        return next((b for b in self.moves if b.move is not None and b.move.epoch == epoch), None)

    def retires(self, epoch: int, reclaim_delay: int) -> int | None:
        """Return the height up to which payments to a key epoch's addresses are swept; None while it has no end.

        That is the reclaim delay after the block of the move: whoever paid before it knew no newer address.
        """
        move = self.left(epoch)
        return None if move is None else move.height + reclaim_delay


@dataclass(frozen=True, slots=True)
class TreasuryReader:
    """Follows one treasury: where it begins, and under which key."""

    keys: TreasuryKeys
    genesis: OutPoint
    genesis_value: Sats
    first_previous: bytes

    @classmethod
    def of(cls, activation: Activation) -> Self:
        """Make the reader of an activation record."""
        a = activation
        return cls(TreasuryKeys.of(a), a.treasury, a.treasury_value, a.hash)

    def start(self) -> TreasuryState:
        """Return the state before the first batch."""
        value = self.genesis_value
        return TreasuryState(self.genesis, value, 0, self.first_previous, value, self.keys)

    def apply_block(
        self, state: TreasuryState, block: Block, height: int, successors: Sequence[Successor]
    ) -> tuple[TreasuryState, tuple[Found, ...]]:
        """Return the state after `block` at `height` and what was found in it, in block order.

        `successors` are those that lane 0's rotation anchors name on this chain, up to this block.
        """
        found: list[Found] = []
        if state.unnamed and _next(state, successors) is not None:
            state = _resumed(state, successors, found)
        scripts = state.keys.scripts | {script_under(s.treasury_key) for s in successors}
        for tx in block.txs:
            spent = [i.outpoint for i in tx.inputs]
            own = False
            if state.unnamed and state.unnamed[-1].tx.outpoint(0) in spent:
                later = Spend(tx, height, block.header.hash)
                state, own = replace(state, unnamed=(*state.unnamed, later)), True
            elif state.halted is None and state.tip in spent:
                state, event = _spend(state, Spend(tx, height, block.header.hash), successors)
                found.append(event)
                own = isinstance(event, BatchFound)
            found += self._strangers(tx, height, 1 if own else 0, scripts)
        return state, tuple(found)

    def _strangers(self, tx: Tx, height: int, first: int, scripts: Iterable[bytes]) -> list[StrangersCoin]:
        return [
            StrangersCoin(tx.outpoint(vout), out.value, height)
            for vout, out in enumerate(tx.outputs)
            if vout >= first and out.script in scripts and tx.outpoint(vout) != self.genesis
        ]


def _next(state: TreasuryState, successors: Sequence[Successor]) -> Successor | None:
    return next((s for s in successors if s.epoch == state.epoch + 1), None)


def _resumed(state: TreasuryState, successors: Sequence[Successor], found: list[Found]) -> TreasuryState:
    """Follow, now that its key is named, the spend that could not be judged, and those after it."""
    waiting, state = state.unnamed, replace(state, halted=None, unnamed=())
    for spend in waiting:
        if state.unnamed:
            state = replace(state, unnamed=(*state.unnamed, spend))
        elif state.halted is None:
            state, event = _spend(state, spend, successors)
            found.append(event)
    return state


def _spend(
    state: TreasuryState, spend: Spend, successors: Sequence[Successor]
) -> tuple[TreasuryState, BatchFound | ForeignSpend]:
    tx = spend.tx
    mark = Mark.find(tx.outputs[1].script) if len(tx.outputs) > 1 else None
    if mark is None:
        return _halt(state, spend, "it carries no mark of a batch")
    if (mark.epoch, mark.sequence) != (state.epoch, state.sequence + 1):
        return _halt(state, spend, f"its mark says epoch {mark.epoch}, batch {mark.sequence}")
    if tx.version != VERSION or tx.inputs[0].outpoint != state.tip:
        return _halt(state, spend, "it does not carry the treasury from input 0 to output 0")
    move, keys = None, state.keys
    if tx.outputs[0].script != state.script:
        successor = _next(state, successors)
        if successor is None:
            state, event = _halt(state, spend, "it pays a key that no rotation anchor names")
            return replace(state, unnamed=(spend,)), event
        keys = keys.then(successor.treasury_key)
        move = _move(state, tx, successor, keys)
        if move is None:
            return _halt(state, spend, f"it is not the move to key epoch {successor.epoch}")
    value = tx.outputs[0].value
    inputs = tuple(i.outpoint for i in tx.inputs[1:])
    batch = BatchAt(
        mark.sequence, tx.txid, mark.manifest_hash, spend.height, value, inputs, spend.block, move
    )
    following = replace(
        state,
        tip=tx.outpoint(0),
        tip_value=value,
        sequence=mark.sequence,
        previous=mark.manifest_hash,
        keys=keys,
        batches=(*state.batches, batch),
        moves=state.moves if move is None else (*state.moves, batch),
    )
    return following, BatchFound(mark.sequence, tx.txid, mark.manifest_hash, spend.height)


def _move(state: TreasuryState, tx: Tx, successor: Successor, keys: TreasuryKeys) -> MoveManifest | None:
    """The manifest of a move, made from the chain alone; None unless it builds this very transaction."""
    fee = Sats(state.tip_value - sum(out.value for out in tx.outputs))
    try:
        manifest = state.move_to(successor, fee)
        same = build(manifest, keys).tx.txid == tx.txid  # mark, manifest hash and all
    except ManifestFault:
        return None
    return manifest if same else None


def _halt(state: TreasuryState, spend: Spend, why: str) -> tuple[TreasuryState, ForeignSpend]:
    reason = f"the treasury's coin was spent by a transaction that is no batch: {why}"
    return replace(state, halted=reason), ForeignSpend(spend.tx.txid, spend.height, reason)
