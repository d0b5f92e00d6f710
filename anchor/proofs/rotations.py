"""Which anchor key counts in which blocks: the activation record's, then those that the lane's rotations name.

A lane's coins are followed from the activation record's outpoint by the same reader that nodes have. A coin is
spent once, so of all transactions that a key could sign as its rotation only one is on this path. The record that
it names must be signed by every operator of the new committee and by the mint key of the old one. DESIGN section 5.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from anchor.btc.amounts import Height
from anchor.btc.codec import CodecError
from anchor.btc.tx import Tx, TxError, TxIn, TxOut
from anchor.inscription.lane import (
    COMMIT_SEQUENCE,
    REVEAL_SEQUENCE,
    TRUC_VERSION,
    VOID_SEQUENCE,
    commit_output,
    tip_script,
    x_only,
)
from anchor.inscription.reader import ForeignSpend, LaneEvent, LaneState, RotationFound, apply_txs
from anchor.inscription.script import LeafError, leaf_script
from anchor.inscription.successor import Successor
from anchor.proofs.inclusion import HeaderFile, check_block, check_signed, transactions
from anchor.proofs.refused import ProofRefused
from anchor.proofs.rotation_file import RotationFormatError, RotationProof, RotationProofs, Step
from anchor.rollup.activation import Activation
from anchor.rollup.succession import KeyEpoch, SignedSuccession, SuccessionRefused

_SOMETHING = bytes(64)  # stands for a signature: a txid covers none, and consensus has checked them


@dataclass(frozen=True, slots=True)
class KeyPeriod:
    """Signatures under P = `key33` count in blocks from height `since` up to `until`, that block included.

    `until` is the height of the rotation that names the next key, None while none is known.
    """

    epoch: int
    key33: bytes
    since: int
    until: int | None = None


@dataclass(frozen=True, slots=True)
class LaneKeys:
    """All anchor keys of a lane, oldest first. `lane` is None when only the activation record was given."""

    lane: int | None
    periods: tuple[KeyPeriod, ...]

    def of(self, epoch: int) -> KeyPeriod | None:
        """The key of an epoch."""
        return next((period for period in self.periods if period.epoch == epoch), None)


def first_key(activation: Activation) -> LaneKeys:
    """What is known without rotations."""
    return LaneKeys(None, (KeyPeriod(activation.epoch, activation.anchor_key, activation.height),))


def follow(data: bytes, activation: Activation, headers: HeaderFile) -> LaneKeys:
    """Follow the bytes of a file of rotations from the activation record's lane. ProofRefused otherwise."""
    try:
        file = RotationProofs.decode(data)
    except RotationFormatError as error:
        raise ProofRefused(str(error)) from error
    if not file.network == activation.network == headers.network.name:
        raise ProofRefused("the rotations are of another network than the activation record")
    lane = next((lane for lane in activation.lanes if lane.number == file.lane), None)
    if lane is None:
        raise ProofRefused(f"lane {file.lane} of the rotations is not in the activation record")
    a = activation
    state = LaneState(lane.number, a.epoch, a.anchor_key, lane.outpoint, lane.value)
    epoch = KeyEpoch(a.epoch, a.hash, a.committee_hash, (), 0, a.treasury_key, a.anchor_key, a.mint_key)
    done, now = list[KeyPeriod](), first_key(a).periods[0]
    for proof in file.rotations:
        state, found = _rotate(state, proof)
        headers.depth(proof.header, proof.height)
        if proof.height < now.since:
            raise ProofRefused(f"the rotation in block {proof.height} is below the one before, {now.since}")
        epoch = _decided(proof.succession, found.successor, epoch, a)
        done.append(KeyPeriod(now.epoch, now.key33, now.since, proof.height))
        now = KeyPeriod(state.epoch, state.key33, proof.height)
    return LaneKeys(file.lane, (*done, now))


def _rotate(state: LaneState, proof: RotationProof) -> tuple[LaneState, RotationFound]:
    """Take the lane's steps and its rotation, whose place in a block and signature are checked."""
    for step in proof.steps:
        state, found = _read(state, _transactions(state, step))
        assert not isinstance(found, RotationFound), "a step recreates the tip under its own key"
    commit, reveal = transactions(proof)
    check_block(proof, reveal)
    after, found = _read(state, (commit.with_witness(0, (_SOMETHING,)), reveal))
    if not isinstance(found, RotationFound):
        raise ProofRefused(f"anchor {after.sequence} is no rotation")
    check_signed(state.key33, commit.outputs[0], reveal, after.key33)
    return after, found


def _read(state: LaneState, txs: Iterable[Tx]) -> tuple[LaneState, LaneEvent]:
    """Read one commit and its end as a node does, whatever their height."""
    after, found = apply_txs(state, txs, Height(0))
    if len(found) != 1 or isinstance(found[0], ForeignSpend):
        why = (
            found[0].reason if found and isinstance(found[0], ForeignSpend) else "they do not spend its coin"
        )
        raise ProofRefused(f"the lane's transactions after anchor {state.sequence}: {why}")
    return after, found[0]


def _transactions(state: LaneState, step: Step) -> tuple[Tx, Tx]:
    """Build a step's commit and reveal or void again; signatures and a void's leaf do not touch their txids."""
    try:
        script, sequence, witness = step.void, VOID_SEQUENCE, tuple[bytes, ...]((_SOMETHING,))
        if step.payload:
            leaf = leaf_script(step.payload, x_only(state.key33))
            script, control = commit_output(state.key33, leaf)
            sequence, witness = REVEAL_SEQUENCE, (_SOMETHING, leaf, control)
        commit = _spend(TxIn(state.tip, COMMIT_SEQUENCE, (_SOMETHING,)), TxOut(step.commit_value, script))
        back = TxOut(step.value, tip_script(state.key33))
        return commit, _spend(TxIn(commit.outpoint(0), sequence, witness), back)
    except (LeafError, TxError) as error:
        raise ProofRefused(f"the lane's transactions after anchor {state.sequence}: {error}") from error


def _spend(txin: TxIn, out: TxOut) -> Tx:
    return Tx(TRUC_VERSION, (txin,), (out,), 0)


def _decided(data: bytes, successor: Successor, before: KeyEpoch, activation: Activation) -> KeyEpoch:
    """Return the epoch that a rotation begins, when its record stands and names just these keys."""
    try:
        signed = SignedSuccession.decode(data)
        signed.verify(before)
    except (CodecError, SuccessionRefused) as error:
        raise ProofRefused(f"the record of epoch {successor.epoch}: {error}") from error
    s = signed.succession
    if (s.rollup_id, s.genesis_hash, s.network) != (
        activation.rollup_id,
        activation.genesis_hash,
        activation.network,
    ):
        raise ProofRefused(f"the record of epoch {s.epoch} is for another rollup")
    if Successor.of(s) != successor:
        raise ProofRefused(f"the rotation names other keys than the record of epoch {s.epoch}")
    keys = (s.treasury_key, s.anchor_key, s.mint_key)
    return KeyEpoch(s.epoch, s.hash, s.committee_hash, s.host_keys, s.threshold, *keys)
