"""The treasury as blocks tell it: one coin, spent by one batch after another.

A reader needs no database and no peer, only the activation record and blocks. States are values: a reorg is going
back to the state kept under the fork's hash. Coins that strangers send to the treasury's script are reported and
never become the tip, so nothing of ours spends or counts them.
"""

from dataclasses import dataclass, replace
from typing import Self

from anchor.btc.amounts import Sats
from anchor.btc.block import Block
from anchor.btc.ids import OutPoint, Txid
from anchor.btc.tx import Tx
from anchor.rollup.activation import Activation
from bridge.deposit.address import treasury_script
from bridge.treasury.builder import VERSION, Mark


@dataclass(frozen=True, slots=True)
class BatchAt:
    """A batch in a block: `value` is the treasury's after it, satoshis; `inputs` the deposits it spent, if any."""

    sequence: int
    txid: Txid
    manifest_hash: bytes
    height: int
    value: Sats
    inputs: tuple[OutPoint, ...]


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
    """Somebody paid the treasury's script directly: quarantined."""

    outpoint: OutPoint
    value: Sats
    height: int


Found = BatchFound | ForeignSpend | StrangersCoin


@dataclass(frozen=True, slots=True)
class TreasuryState:
    """The treasury after a block.

    `tip` with `tip_value` is its coin; `sequence` and `previous` are the last batch's number and manifest hash (0
    and the activation record's hash at genesis); `halted` says why nothing is followed any more.
    """

    tip: OutPoint
    tip_value: Sats
    sequence: int
    previous: bytes
    genesis_value: Sats
    batches: tuple[BatchAt, ...] = ()
    halted: str | None = None

    def at(self, height: int) -> tuple[Sats, tuple[BatchAt, ...]]:
        """Return the treasury's value after the block at `height`, and the batches up to there."""
        known = tuple(b for b in self.batches if b.height <= height)
        return (known[-1].value if known else self.genesis_value), known

    @property
    def tip_height(self) -> int | None:
        """Height of the block that made the tip; None for the genesis coin."""
        return self.batches[-1].height if self.batches else None


@dataclass(frozen=True, slots=True)
class TreasuryReader:
    """Follows one treasury: its script, its key epoch and where it begins."""

    script: bytes
    epoch: int
    genesis: OutPoint
    genesis_value: Sats
    first_previous: bytes

    @classmethod
    def of(cls, activation: Activation) -> Self:
        """Make the reader of an activation record."""
        return cls(
            treasury_script(activation.treasury_key),
            activation.epoch,
            activation.treasury,
            activation.treasury_value,
            activation.hash,
        )

    def start(self) -> TreasuryState:
        """Return the state before the first batch."""
        return TreasuryState(self.genesis, self.genesis_value, 0, self.first_previous, self.genesis_value)

    def apply_block(
        self, state: TreasuryState, block: Block, height: int
    ) -> tuple[TreasuryState, tuple[Found, ...]]:
        """Return the state after `block` at `height` and what was found in it, in block order."""
        found: list[Found] = []
        for tx in block.txs:
            if state.halted is None and any(i.outpoint == state.tip for i in tx.inputs):
                state, event = self._spend(state, tx, height)
                found.append(event)
            own = isinstance(found[-1], BatchFound) and found[-1].txid == tx.txid if found else False
            found += self._strangers(tx, height, 1 if own else 0)
        return state, tuple(found)

    def _spend(
        self, state: TreasuryState, tx: Tx, height: int
    ) -> tuple[TreasuryState, BatchFound | ForeignSpend]:
        mark = Mark.find(tx.outputs[1].script) if len(tx.outputs) > 1 else None
        if mark is None:
            return _halt(state, tx, height, "it carries no mark of a batch")
        if (mark.epoch, mark.sequence) != (self.epoch, state.sequence + 1):
            return _halt(state, tx, height, f"its mark says epoch {mark.epoch}, batch {mark.sequence}")
        if tx.version != VERSION or tx.inputs[0].outpoint != state.tip or tx.outputs[0].script != self.script:
            return _halt(state, tx, height, "it does not carry the treasury from input 0 to output 0")
        value = tx.outputs[0].value
        inputs = tuple(i.outpoint for i in tx.inputs[1:])
        batch = BatchAt(mark.sequence, tx.txid, mark.manifest_hash, height, value, inputs)
        following = replace(
            state,
            tip=tx.outpoint(0),
            tip_value=value,
            sequence=mark.sequence,
            previous=mark.manifest_hash,
            batches=(*state.batches, batch),
        )
        return following, BatchFound(mark.sequence, tx.txid, mark.manifest_hash, height)

    def _strangers(self, tx: Tx, height: int, first: int) -> list[StrangersCoin]:
        return [
            StrangersCoin(tx.outpoint(vout), out.value, height)
            for vout, out in enumerate(tx.outputs)
            if vout >= first and out.script == self.script and tx.outpoint(vout) != self.genesis
        ]


def _halt(state: TreasuryState, tx: Tx, height: int, why: str) -> tuple[TreasuryState, ForeignSpend]:
    reason = f"the treasury's coin was spent by a transaction that is no batch: {why}"
    return replace(state, halted=reason), ForeignSpend(tx.txid, height, reason)
