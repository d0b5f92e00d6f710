"""Checks an anchor proof alone: a file of headers and the activation record are all the verifier trusts.

The path: record → tree → payload → leaf → commit output → mined reveal → block → header chain, and the reveal's
signature under P. Without that signature anyone could make a look-alike: pay to an output whose internal key is P
with a leaf of his own. What such a file shows is that the bytes existed, not that the committee anchored them.
"""

from dataclasses import dataclass

from anchor.btc.amounts import Height
from anchor.btc.block import BlockError, merkle_root_from
from anchor.btc.codec import CodecError
from anchor.btc.curve import schnorr_verify
from anchor.btc.header import HEADER_SIZE, Header, work_of
from anchor.btc.ids import BlockHash, Txid, XOnlyKey
from anchor.btc.network import Network
from anchor.btc.script import is_p2tr
from anchor.btc.taproot import leaf_hash, sighash, verify_control
from anchor.btc.tx import Tx, TxError, TxOut
from anchor.headers.rules import HeaderRefused
from anchor.headers.verify import check_length, verify_headers
from anchor.inscription.lane import REVEAL_SEQUENCE, TRUC_VERSION, tip_script
from anchor.inscription.payload import MANY_ROLLUPS, Payload
from anchor.inscription.script import LeafError, parse_leaf
from anchor.proofs import tree
from anchor.proofs.manifest import BatchManifest, RollupEnd
from anchor.proofs.proof_file import AnchorProof, ProofFormatError
from anchor.proofs.records import Record, decode_record, record_hash
from anchor.rollup.activation import Activation


@dataclass(frozen=True, slots=True)
class Existed:
    """What holds whoever signed: the payload's root was committed to in this block. Hashes in internal order."""

    root: bytes
    txid: Txid
    height: Height
    block_hash: BlockHash
    block_time: int
    depth: int


@dataclass(frozen=True, slots=True)
class Verified:
    """What was anchored, under whose key, when and how deep.

    `key` is P; `block_time` in Unix seconds as the miner wrote it; `depth` = confirmations in the headers given;
    `final` tells whether depth and work reach the activation record's k.
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


class ProofRefused(ValueError):
    """A file that does not prove an anchor; `existed` is what it shows all the same, if anything."""

    def __init__(self, reason: str, existed: Existed | None = None) -> None:
        super().__init__(f"existed, not authorised: {reason}" if existed else reason)
        self.reason, self.existed = reason, existed


def verify(
    data: bytes, headers_raw: bytes, activation: Activation, network: Network, *, start_height: int = 0
) -> Verified:
    """Check the bytes of a proof file against headers and the activation record.

    `headers_raw` are 80-byte headers without framing, the first at `start_height` (0: the genesis; a later first
    header is taken on trust). The record's signatures are the caller's to check (`SignedActivation.verify`).
    Raises ProofRefused.
    """
    try:
        proof = AnchorProof.decode(data)
    except ProofFormatError as error:
        raise ProofRefused(str(error)) from error
    if not proof.network == network.name == activation.network:
        names = f"{proof.network[:20]!r}, {network.name}, {activation.network}"
        raise ProofRefused(f"proof, verifier and activation record are of different networks: {names}")
    root, record, manifest = _tree(proof)
    commit, reveal = _transactions(proof)
    payload, leaf_key = _payload(commit, reveal)
    if payload.root != root:
        raise ProofRefused("the record is not under the root that Bitcoin carries")
    _block(proof, reveal)
    existed = _headers(proof, headers_raw, network, start_height, payload, reveal.txid)
    try:
        _agree(payload, manifest, record)
        _authorised(activation, payload, leaf_key, existed.height)
        _signed(activation, commit.outputs[reveal.inputs[0].outpoint.vout], reveal)
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
        final=_final(proof, headers_raw, start_height, activation.params.k),
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


def _transactions(proof: AnchorProof) -> tuple[Tx, Tx]:
    try:
        commit, reveal = Tx.parse(proof.commit), Tx.parse(proof.reveal)
    except TxError as error:
        raise ProofRefused(f"commit or reveal: {error}") from error
    if proof.commit != commit.serialize_stripped():
        raise ProofRefused("the commit is written without witness")
    spent = reveal.inputs[0].outpoint
    if spent.txid != commit.txid or spent.vout >= len(commit.outputs):
        raise ProofRefused("the reveal does not spend the commit")
    return commit, reveal


def _payload(commit: Tx, reveal: Tx) -> tuple[Payload, XOnlyKey]:
    """Read the payload that the commit's output commits to: this holds whatever the witness's signature is."""
    stack, out = reveal.inputs[0].witness, commit.outputs[reveal.inputs[0].outpoint.vout]
    if len(stack) != 3 or not is_p2tr(out.script):
        raise ProofRefused("the reveal is no script spend of a Taproot output")
    _, leaf, control = stack
    if len(control) != 33 or not verify_control(out.script[2:], control, leaf):
        raise ProofRefused("the commit's output does not commit to the leaf")
    try:
        data, key = parse_leaf(leaf)
        return Payload.decode(data), key
    except (LeafError, CodecError) as error:
        raise ProofRefused(f"the leaf: {error}") from error


def _block(proof: AnchorProof, reveal: Tx) -> None:
    try:
        coinbase = Tx.parse(proof.coinbase)
        roots = {
            merkle_root_from(reveal.txid, proof.tx_index, proof.tx_branch),
            merkle_root_from(coinbase.txid, 0, proof.coinbase_branch),
        }
    except (TxError, BlockError) as error:
        raise ProofRefused(f"the block: {error}") from error
    stripped = coinbase.serialize_stripped()
    if not coinbase.is_coinbase or proof.coinbase != stripped or len(stripped) == 64:
        raise ProofRefused("transaction 0 is no coinbase written without witness")
    if len(proof.tx_branch) != len(proof.coinbase_branch) or len(reveal.serialize_stripped()) == 64:
        raise ProofRefused("the reveal is not at the depth of the block's transactions")
    if roots != {Header.parse(proof.header).merkle_root}:
        raise ProofRefused("the reveal is not in the block")


def _headers(
    proof: AnchorProof, raw: bytes, network: Network, start: int, payload: Payload, txid: Txid
) -> Existed:
    try:
        check_length(raw)
    except HeaderRefused as error:
        raise ProofRefused(f"the headers file is not valid: {error}") from error
    place = (proof.height - start) * HEADER_SIZE
    if not 0 <= place < len(raw):
        last = start + len(raw) // HEADER_SIZE - 1
        raise ProofRefused(f"block {proof.height} is not among the headers {start} to {last}: get newer ones")
    if raw[place : place + HEADER_SIZE] != proof.header:
        raise ProofRefused(f"the headers have another block {proof.height}: reorged, or another chain")
    try:
        known = verify_headers(network, raw, start)
    except HeaderRefused as error:
        raise ProofRefused(f"the headers file is not valid: {error}") from error
    header = Header.parse(proof.header)
    depth = known.height - proof.height + 1
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


def _authorised(activation: Activation, payload: Payload, leaf_key: XOnlyKey, height: int) -> None:
    if leaf_key != activation.anchor_x:
        raise ProofRefused("the leaf's key is not the anchor key of the activation record")
    if height < activation.height:
        raise ProofRefused(f"block {height} is before the key's activation at {activation.height}")
    if payload.epoch != activation.epoch:
        raise ProofRefused(f"the payload is of key epoch {payload.epoch}, the key of {activation.epoch}")
    if payload.lane not in {lane.number for lane in activation.lanes}:
        raise ProofRefused(f"lane {payload.lane} is not in the activation record")


def _signed(activation: Activation, committed: TxOut, reveal: Tx) -> None:
    signature, leaf, control = reveal.inputs[0].witness
    if control[1:] != activation.anchor_x:
        raise ProofRefused("the commit's internal key is not the anchor key")
    shape = (reveal.version, len(reveal.inputs), len(reveal.outputs), reveal.inputs[0].sequence)
    recreated = reveal.outputs[0].script == tip_script(activation.anchor_key)
    if shape != (TRUC_VERSION, 1, 1, REVEAL_SEQUENCE) or not recreated:
        raise ProofRefused(
            "the reveal is not one of this lane: it does not recreate the tip and nothing else"
        )
    message = sighash(reveal, 0, [committed], leaf=leaf_hash(leaf))
    if not schnorr_verify(activation.anchor_x, message, signature):
        raise ProofRefused("the reveal's signature is not the anchor key's")


def _final(proof: AnchorProof, raw: bytes, start: int, k: int) -> bool:
    place = (proof.height - start) * HEADER_SIZE
    above = [Header.parse(raw[at : at + HEADER_SIZE]).bits for at in range(place, len(raw), HEADER_SIZE)]
    return len(above) >= k and sum(map(work_of, above)) >= k * work_of(above[0])
