"""Makes the file of a lane's rotations from what a node's reader found and the blocks that hold the rotations."""

from collections.abc import Iterable

from anchor.btc.amounts import Sats
from anchor.btc.block import Block, merkle_branch
from anchor.btc.tx import Tx
from anchor.inscription.reader import AnchorFound, RotationFound, VoidFound
from anchor.proofs.rotation_file import RotationProof, Step
from anchor.rollup.succession import SignedSuccession

Found = AnchorFound | RotationFound | VoidFound


def sequence_of(found: Found) -> int:
    """The place of an anchor, rotation or void in its lane."""
    return found.payload.sequence if isinstance(found, AnchorFound) else found.sequence


def steps_between(found: Iterable[Found], value: Sats) -> list[tuple[RotationFound, tuple[Step, ...]]]:
    """Return a lane's rotations, each with the steps since the one before; `value` is the first coin's.

    `found` is everything that a reader found in the lane, in order.
    """
    rotations, steps = list[tuple[RotationFound, tuple[Step, ...]]](), list[Step]()
    for one in found:
        value = Sats(value - one.fee)
        match one:
            case RotationFound():
                rotations.append((one, tuple(steps)))
                steps = []
            case AnchorFound():
                steps.append(Step(one.commit_value, value, payload=one.payload.encode()))
            case VoidFound():
                steps.append(Step(one.commit_value, value, void=one.commit_script))
    return rotations


def make_rotation(
    steps: tuple[Step, ...], succession: SignedSuccession, commit: Tx, block: Block, found: RotationFound
) -> RotationProof:
    """Return the proof of a rotation that `block` holds; `commit` may be in the same block or an earlier one.

    Raises ValueError when the block does not hold the reveal or the reveal does not spend the commit.
    """
    txids = [tx.txid for tx in block.txs]
    if found.txid not in txids:
        raise ValueError("the block does not hold the rotation: look it up at its height again")
    place = txids.index(found.txid)
    reveal = block.txs[place]
    if reveal.inputs[0].outpoint.txid != commit.txid:
        raise ValueError("the rotation does not spend this commit")
    return RotationProof(
        steps=steps,
        succession=succession.encode(),
        commit=commit.serialize_stripped(),
        reveal=reveal.serialize(),
        tx_index=place,
        tx_branch=merkle_branch(txids, place),
        coinbase=block.txs[0].serialize_stripped(),
        coinbase_branch=merkle_branch(txids, 0),
        header=block.header.raw,
        height=found.height,
    )
