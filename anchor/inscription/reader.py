"""Reads one lane from blocks: from the activation record alone every anchor is found again, over all key epochs.

State is immutable and small; a reorg is going back to the state kept under the fork's hash. Consensus has checked
the signatures of what is mined, so the reader checks shape: what the builder could not have made is a foreign
spend, and the lane halts until people have looked.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Self

from anchor.btc.amounts import Height, Sats
from anchor.btc.block import Block
from anchor.btc.codec import CodecError, Reader, Writer
from anchor.btc.ids import OUTPOINT_SIZE, OutPoint, Txid
from anchor.btc.script import is_p2tr
from anchor.btc.taproot import verify_control
from anchor.btc.tx import Tx, TxIn
from anchor.inscription.lane import (
    COMMIT_SEQUENCE,
    REVEAL_SEQUENCE,
    TRUC_VERSION,
    VOID_SEQUENCE,
    tip_script,
    x_only,
)
from anchor.inscription.payload import Payload
from anchor.inscription.script import LeafError, parse_leaf
from anchor.inscription.successor import Successor

FIRST_ROOT = bytes(32)  # the "previous root" of a lane's first anchor
_MAX_REASON = 300


@dataclass(frozen=True, slots=True)
class Pending:
    """A mined commit that nothing has spent yet."""

    outpoint: OutPoint
    value: Sats
    script: bytes
    height: Height


@dataclass(frozen=True, slots=True)
class LaneState:
    """Where a lane stands: the newest tip, the last sequence used and the last root anchored.

    `epoch` and `key33` are those of the key that holds the tip: after a rotation the successor's. While `pending`
    is set, the tip is spent by that commit. `halted` says why nothing after it counts.
    """

    lane: int
    epoch: int
    key33: bytes
    tip: OutPoint
    tip_value: Sats
    sequence: int = 0
    root: bytes = FIRST_ROOT
    pending: Pending | None = None
    halted: str | None = None

    def encode(self) -> bytes:
        """Return the state as bytes, to be kept under a block's hash."""
        out = Writer().u16(self.lane).u32(self.epoch).fixed(self.key33, 33).fixed(self.tip.encode())
        out.u64(self.tip_value).u32(self.sequence).fixed(self.root, 32).text(self.halted or "")
        if self.pending is None:
            return out.u8(0).done()
        out.u8(1).fixed(self.pending.outpoint.encode()).u64(self.pending.value)
        return out.var(self.pending.script).u32(self.pending.height).done()

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read what `encode` wrote. CodecError otherwise."""
        reader = Reader(data)
        lane, epoch, key = reader.u16(), reader.u32(), reader.fixed(33)
        tip, value = OutPoint.decode(reader.fixed(OUTPOINT_SIZE)), Sats(reader.u64())
        sequence, root, halted = reader.u32(), reader.fixed(32), reader.text(_MAX_REASON)
        pending = None
        if (flag := reader.u8()) == 1:
            outpoint, amount = OutPoint.decode(reader.fixed(OUTPOINT_SIZE)), Sats(reader.u64())
            pending = Pending(outpoint, amount, reader.var(34), Height(reader.u32()))
        elif flag:
            raise CodecError(f"{flag} is no yes or no")
        reader.end()
        return cls(lane, epoch, key, tip, value, sequence, root, pending, halted or None)


@dataclass(frozen=True, slots=True)
class AnchorFound:
    """A mined reveal: batch `payload.sequence` of the lane is anchored. `fee` is commit's and reveal's, in sat."""

    payload: Payload
    commit: Txid
    commit_value: Sats
    commit_height: Height
    txid: Txid
    height: Height
    fee: Sats


@dataclass(frozen=True, slots=True)
class RotationFound:
    """A mined rotation: from the next transaction on the lane is under the successor's key. `fee` as above."""

    lane: int
    sequence: int
    successor: Successor
    commit: Txid
    commit_height: Height
    txid: Txid
    height: Height
    fee: Sats
    payload: Payload


@dataclass(frozen=True, slots=True)
class VoidFound:
    """A mined void: sequence number `sequence` carries no anchor. The commit's value and scriptPubKey are kept."""

    lane: int
    sequence: int
    commit: Txid
    txid: Txid
    height: Height
    fee: Sats
    commit_value: Sats
    commit_script: bytes


@dataclass(frozen=True, slots=True)
class ForeignSpend:
    """A spend of the lane's coin that no builder of ours makes: the lane halts."""

    lane: int
    txid: Txid
    height: Height
    reason: str


LaneEvent = AnchorFound | RotationFound | VoidFound | ForeignSpend


class _Foreign(Exception):
    """Why a spend is not ours."""


def apply_block(state: LaneState, block: Block, height: Height) -> tuple[LaneState, tuple[LaneEvent, ...]]:
    """Read a block's transactions in order; return the new state and what was found."""
    return apply_txs(state, block.txs, height)


def apply_txs(state: LaneState, txs: Iterable[Tx], height: Height) -> tuple[LaneState, tuple[LaneEvent, ...]]:
    """Read transactions of the block at `height`, in block order."""
    found: list[LaneEvent] = []
    for tx in txs:
        state, event = apply_tx(state, tx, height)
        if event is not None:
            found.append(event)
    return state, tuple(found)


def apply_tx(state: LaneState, tx: Tx, height: Height) -> tuple[LaneState, LaneEvent | None]:
    """Read one transaction. It changes nothing unless it spends the lane's coin."""
    watched = state.pending.outpoint if state.pending else state.tip
    if state.halted is not None or all(txin.outpoint != watched for txin in tx.inputs):
        return state, None
    try:
        if state.pending is None:
            return _read_commit(state, tx, height), None
        return _read_end(state, state.pending, tx, height)
    except _Foreign as reason:
        event = ForeignSpend(state.lane, tx.txid, height, str(reason)[:_MAX_REASON])
        return replace(state, halted=event.reason), event


def _only_input(tx: Tx, sequence: int) -> TxIn:
    if len(tx.inputs) != 1 or len(tx.outputs) != 1 or tx.version != TRUC_VERSION or tx.lock_time:
        raise _Foreign("a lane's transactions are version 3, with one input, one output and no lock time")
    if tx.inputs[0].sequence != sequence or tx.inputs[0].script_sig:
        raise _Foreign(f"nSequence is {tx.inputs[0].sequence:#010x}, not {sequence:#010x}")
    return tx.inputs[0]


def _read_commit(state: LaneState, tx: Tx, height: Height) -> LaneState:
    _key_path(_only_input(tx, COMMIT_SEQUENCE))
    out = tx.outputs[0]
    if not is_p2tr(out.script) or out.script == tip_script(state.key33):
        raise _Foreign("the tip is spent into something that is no commit")
    return replace(state, pending=Pending(tx.outpoint(0), out.value, out.script, height))


def _key_path(txin: TxIn) -> None:
    if len(txin.witness) != 1 or len(txin.witness[0]) != 64:
        raise _Foreign("a key-path spend of ours has one signature of 64 bytes and nothing else")


def _read_end(
    state: LaneState, pending: Pending, tx: Tx, height: Height
) -> tuple[LaneState, AnchorFound | RotationFound | VoidFound]:
    void = len(tx.inputs[0].witness) == 1
    txin = _only_input(tx, VOID_SEQUENCE if void else REVEAL_SEQUENCE)
    sequence, fee = state.sequence + 1, Sats(state.tip_value - tx.outputs[0].value)
    moved = replace(state, tip=tx.outpoint(0), tip_value=tx.outputs[0].value, sequence=sequence, pending=None)
    commit = pending.outpoint.txid
    if void:
        _key_path(txin)
        _recreates(tx, state.key33)
        was = pending.value, pending.script
        return moved, VoidFound(state.lane, sequence, commit, tx.txid, height, fee, *was)
    payload = _payload_of(state, pending, txin)
    if (successor := payload.successor) is None:
        _recreates(tx, state.key33)
        found = AnchorFound(payload, commit, pending.value, pending.height, tx.txid, height, fee)
        return replace(moved, root=payload.root), found
    _recreates(tx, successor.anchor_key)
    if payload.root != state.root:
        raise _Foreign("a rotation carries the root of the lane's last anchor, this another")
    if x_only(successor.anchor_key) == x_only(state.key33):
        raise _Foreign("a rotation names a new key, this the lane's own")
    turned = replace(moved, epoch=successor.epoch, key33=successor.anchor_key)
    place = state.lane, sequence, successor, commit, pending.height
    return turned, RotationFound(*place, tx.txid, height, fee, payload)


def _recreates(tx: Tx, key33: bytes) -> None:
    if tx.outputs[0].script != tip_script(key33):
        raise _Foreign("the commit is spent without recreating the tip")


def _payload_of(state: LaneState, pending: Pending, txin: TxIn) -> Payload:
    if len(txin.witness) != 3 or len(txin.witness[0]) != 64:
        raise _Foreign("a reveal's witness is a signature of 64 bytes, the leaf and its control block")
    _, leaf, control = txin.witness
    key = x_only(state.key33)
    if control[1:] != key or not verify_control(pending.script[2:], control, leaf):
        raise _Foreign("the reveal's control block is not that of P and one leaf")
    try:
        data, leaf_key = parse_leaf(leaf)
        payload = Payload.decode(data)
    except (LeafError, CodecError) as error:
        raise _Foreign(f"the leaf is unreadable: {error}") from error
    if leaf_key != key:
        raise _Foreign("the leaf's key is not P")
    place = (payload.lane, payload.sequence, payload.epoch)
    if place != (state.lane, state.sequence + 1, state.epoch):
        raise _Foreign(f"lane, sequence, epoch are {place}: out of order")
    return payload
