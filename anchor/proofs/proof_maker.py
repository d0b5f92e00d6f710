"""Makes the proof of one record from the batch and the block that holds its reveal."""

from collections.abc import Sequence

from anchor.btc.block import Block, merkle_branch
from anchor.btc.ids import Txid
from anchor.btc.network import Network
from anchor.btc.tx import Tx
from anchor.proofs import tree
from anchor.proofs.manifest import BatchManifest, leaves_of
from anchor.proofs.proof_file import AnchorProof
from anchor.proofs.records import Record


def make_proof(
    network: Network,
    manifest: BatchManifest,
    records: Sequence[Record],
    which: int,
    commit: Tx,
    block: Block,
    height: int,
    reveal: Txid,
) -> AnchorProof:
    """Return the proof that `records[which]` is anchored by transaction `reveal` of `block` at `height`.

    `commit` may be in the same block or an earlier one. Raises ValueError when the block does not hold the
    reveal, the reveal does not spend the commit, or there is no such record.
    """
    if not 0 <= which < len(records):
        raise ValueError(f"no record {which}: the batch has {len(records)}")
    txids = [tx.txid for tx in block.txs]
    if reveal not in txids:
        raise ValueError("the block does not hold the reveal: look it up at its height again")
    place = txids.index(reveal)
    tx, leaves = block.txs[place], leaves_of(manifest, records)
    if tx.inputs[0].outpoint.txid != commit.txid:
        raise ValueError("the reveal does not spend this commit")
    return AnchorProof(
        network=network.name,
        record=records[which].encode(),
        index=which + 1,
        count=len(leaves),
        branch=tree.branch(leaves, which + 1),
        manifest=manifest.encode(),
        manifest_branch=tree.branch(leaves, 0),
        commit=commit.serialize_stripped(),
        reveal=tx.serialize(),
        tx_index=place,
        tx_branch=merkle_branch(txids, place),
        coinbase=block.txs[0].serialize_stripped(),
        coinbase_branch=merkle_branch(txids, 0),
        header=block.header.raw,
        height=height,
    )
