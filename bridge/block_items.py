"""What one block holds of ours: anchors, treasury batches, deposits and what spent them."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from anchor.btc.block import Block
from anchor.btc.ids import Txid, display
from bridge.ledger.touched import Item, outpoint_key
from bridge.store import Paid

if TYPE_CHECKING:
    from bridge.watch import ChainView


def items_of(
    before: "ChainView",
    after: "ChainView",
    block: Block,
    paid: Sequence[Paid],
    spent: Sequence[tuple[bytes, bytes]],
) -> list[Item]:
    """Return what a block adds to a view, and the deposits it pays and spends: (outpoint, txid)."""
    return [*_lane_items(before, after), *_batches(before, after), *deposit_items(after, block, paid, spent)]


def deposit_items(
    view: "ChainView", block: Block, paid: Sequence[Paid], spent: Sequence[tuple[bytes, bytes]]
) -> Iterator[Item]:
    """Yield deposits that a block holds and those that their owners took back in it."""
    inputs = {bytes(tx.txid): [str(i.outpoint) for i in tx.inputs] for tx in block.txs if not tx.is_coinbase}
    for payment in paid:
        txid = payment.outpoint[:32]
        more = {
            "inputs": inputs.get(txid, [])
        }  # whether these can still be spent tells whether it can come back
        yield Item("deposit", outpoint_key(payment.outpoint), Txid(txid), payment.value, more)
    batches = {bytes(batch.txid) for batch in view.treasury.batches}
    for outpoint, by in spent:
        if by not in batches:
            yield Item("reclaim", outpoint_key(outpoint), Txid(by))


def _lane_items(before: "ChainView", after: "ChainView") -> Iterator[Item]:
    for anchor in after.anchors[len(before.anchors) :]:
        payload = anchor.found.payload
        more = {"root": payload.root.hex(), "commit": display(anchor.found.commit)}
        yield Item("anchor", f"{payload.lane}:{payload.sequence}", anchor.found.txid, more=more)
    for rotation in after.rotations[len(before.rotations) :]:
        was = rotation.found
        more = {"record": was.successor.record.hex(), "commit": display(was.commit)}
        yield Item("rotation", f"{was.lane}:{was.sequence}", was.txid, more=more)
    for void in after.voids[len(before.voids) :]:
        yield Item("void", f"{void.lane}:{void.sequence}", void.txid)
    for lane in after.lanes:
        if lane.pending is not None and lane.pending.height == after.height:
            yield Item("commit", f"{lane.lane}:{lane.sequence + 1}", lane.pending.outpoint.txid)


def _batches(before: "ChainView", after: "ChainView") -> Iterator[Item]:
    for batch in after.treasury.batches[len(before.treasury.batches) :]:
        more = {"manifest": batch.manifest_hash.hex(), "inputs": [str(o) for o in batch.inputs]}
        yield Item("batch", str(batch.sequence), batch.txid, more=more)
