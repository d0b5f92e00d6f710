"""Checks an anchor proof alone: a file of headers and the activation record are all the verifier trusts.

The path: record → tree → payload → leaf → commit output → mined reveal → block → header chain, and the reveal's
signature under P. Without that signature anyone could make a look-alike: pay to an output whose internal key is P
with a leaf of his own. What such a file shows is that the bytes existed, not that the committee anchored them.
"""

from dataclasses import dataclass

from anchor.btc.amounts import Height
from anchor.btc.codec import CodecError
from anchor.btc.header import Header
from anchor.btc.ids import BlockHash, Txid, XOnlyKey
from anchor.btc.network import Network
from anchor.inscription.lane import x_only
from anchor.inscription.payload import MANY_ROLLUPS, Payload
from anchor.proofs import tree
from anchor.proofs.inclusion import HeaderFile, check_block, check_signed, read_payload, transactions
from anchor.proofs.manifest import BatchManifest, RollupEnd
from anchor.proofs.proof_file import AnchorProof, ProofFormatError
from anchor.proofs.records import Record, decode_record, record_hash
from anchor.proofs.refused import Existed, ProofRefused
from anchor.proofs.rotations import KeyPeriod, LaneKeys, first_key, follow
from anchor.rollup.activation import Activation


@dataclass(frozen=True, slots=True)
class Verified:
    """What was anchored, under whose key, when and how deep.

    `key` is P; `block_time` in Unix seconds as the miner wrote it; `depth` = confirmations in the headers given;
    `final` tells whether depth and work reach the activation record's k. `succeeded` is the height of the rotation
    that ended the key's time, None when none was given; `newest_epoch` the last one of which a key was given.
    """

    record: Record
    record_hash: bytes
    lane: int
    sequence: int
    epoch: int
    key: XOnlyKey
    txid: Txid
    height: Height
    block_hash: BlockHash
    block_time: int
    depth: int
    final: bool
    succeeded: int | None
    newest_epoch: int


def verify(
    data: bytes,
    headers_raw: bytes,
    activation: Activation,
    network: Network,
    *,
    start_height: int = 0,
    rotations: bytes | None = None,
) -> Verified:
    """Check the bytes of a proof file against headers, the activation record, and the lane's rotations.

    `headers_raw` are 80-byte headers without framing, the first at `start_height` (0: the genesis; a later first
    header is taken on trust). The record's signatures are the caller's to check (`SignedActivation.verify`).
    `rotations` are the bytes of a file of rotations; without them the activation record's key alone is known, and
    not when it was succeeded. Raises ProofRefused.
    """
    try:
        proof = AnchorProof.decode(data)
    except ProofFormatError as error:
        raise ProofRefused(str(error)) from error
    if not proof.network == network.name == activation.network:
        names = f"{proof.network[:20]!r}, {network.name}, {activation.network}"
        raise ProofRefused(f"proof, verifier and activation record are of different networks: {names}")
    root, record, manifest = _tree(proof)
    commit, reveal = transactions(proof)
    payload, leaf_key = read_payload(commit, reveal)
    if payload.root != root:
        raise ProofRefused("the record is not under the root that Bitcoin carries")
    check_block(proof, reveal)
    headers = HeaderFile(headers_raw, network, start_height)
    existed = _existed(proof, headers, payload, reveal.txid)
    try:
        _agree(payload, manifest, record)
        keys = first_key(activation) if rotations is None else follow(rotations, activation, headers)
        period = _authorised(activation, keys, payload, leaf_key, existed.height)
        committed = commit.outputs[reveal.inputs[0].outpoint.vout]
        check_signed(period.key33, committed, reveal, period.key33)
    except ProofRefused as refused:
        raise ProofRefused(refused.reason, existed) from refused
    if record.rollup_id != activation.rollup_id:
        raise ProofRefused(f"the record is of rollup {record.rollup_id}, the activation record of another")
    return Verified(
        record=record,
        record_hash=record_hash(proof.record),
        lane=payload.lane,
        sequence=payload.sequence,
        epoch=payload.epoch,
        key=leaf_key,
        txid=existed.txid,
        height=existed.height,
        block_hash=existed.block_hash,
        block_time=existed.block_time,
        depth=existed.depth,
        final=headers.final(proof.height, activation.params.k),
        succeeded=period.until,
        newest_epoch=keys.periods[-1].epoch,
    )


def _tree(proof: AnchorProof) -> tuple[bytes, Record, BatchManifest]:
    try:
        record, manifest = decode_record(proof.record), BatchManifest.decode(proof.manifest)
        if proof.index == 0:
            raise ProofRefused("leaf 0 is the manifest, not a record")
        leaf = tree.leaf(record.rollup_id, record_hash(proof.record))
        root = tree.root_from(leaf, proof.index, proof.count, proof.branch)
        other = tree.root_from(manifest.leaf(), 0, proof.count, proof.manifest_branch)
    except (CodecError, tree.TreeError) as error:
        raise ProofRefused(f"record or tree: {error}") from error
    if root != other or manifest.count != proof.count:
        raise ProofRefused("record and manifest are not leaves of one tree")
    return root, record, manifest


def _existed(proof: AnchorProof, headers: HeaderFile, payload: Payload, txid: Txid) -> Existed:
    depth, header = headers.depth(proof.header, proof.height), Header.parse(proof.header)
    return Existed(payload.root, txid, Height(proof.height), header.hash, header.time, depth)


def _agree(payload: Payload, manifest: BatchManifest, record: Record) -> None:
    if (payload.lane, payload.sequence, payload.count) != (manifest.lane, manifest.sequence, manifest.count):
        raise ProofRefused("payload and manifest name different lanes, sequences or counts")
    if payload.rollup_id not in (MANY_ROLLUPS, record.rollup_id):
        raise ProofRefused("the payload names another rollup than the record")
    ends = [end for end in manifest.rollups if end.rollup_id == record.rollup_id]
    if not ends or record.last > ends[0].last:
        raise ProofRefused("the manifest ends this rollup before the record does")
    if record.last == ends[0].last and ends[0] != RollupEnd(
        record.rollup_id, record.last, record.state_after
    ):
        raise ProofRefused("the manifest has another state root at the record's end")


def _authorised(
    activation: Activation, keys: LaneKeys, payload: Payload, leaf_key: XOnlyKey, height: int
) -> KeyPeriod:
    """Return the period of the key that the payload names, when it is the leaf's and counts at this height."""
    if payload.lane not in {lane.number for lane in activation.lanes}:
        raise ProofRefused(f"lane {payload.lane} is not in the activation record")
    if keys.lane not in (None, payload.lane):
        raise ProofRefused(
            f"the rotations are of lane {keys.lane}, the anchor of {payload.lane}: export its own"
        )
    period = keys.of(payload.epoch)
    if period is None:
        raise ProofRefused(
            f"the payload is of key epoch {payload.epoch}, the keys known here end with {keys.periods[-1].epoch}: "
            "give --rotations, or a newer file of them"
        )
    if leaf_key != x_only(period.key33):
        raise ProofRefused(f"the leaf's key is not the anchor key of epoch {period.epoch}")
    if height < period.since:
        raise ProofRefused(f"block {height} is before the key's activation at {period.since}")
    if period.until is not None and height > period.until:
        raise ProofRefused(f"the key was succeeded at block {period.until}, the anchor is in block {height}")
    return period
