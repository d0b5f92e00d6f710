"""Commit, reveals and void of one batch, from the batch and P alone: every signer builds the same bytes.

The commit spends the tip by key path into one P2TR output (internal key P, one leaf). Each reveal spends that by
script path and recreates the tip, under the next epoch's key when the batch is a rotation; a rung of the ladder is
one reveal, its rate that of the whole package. No change and no coin selection, so two attempts for one tip
conflict by consensus. DESIGN section 5.
"""

import itertools
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from anchor.btc.amounts import DUST_P2TR, Sats
from anchor.btc.curve import schnorr_verify
from anchor.btc.ids import OutPoint
from anchor.btc.taproot import leaf_hash, output_key, sighash, verify_control
from anchor.btc.tx import Tx, TxIn, TxOut
from anchor.inscription.batch import COMMIT_VSIZE, LADDER, MIN_COMMIT_FEE, AnchorBatch, RotationBatch
from anchor.inscription.lane import (
    COMMIT_SEQUENCE,
    REVEAL_SEQUENCE,
    TRUC_MAX_CHILD,
    TRUC_VERSION,
    VOID_SEQUENCE,
    commit_output,
    tip_key,
    tip_script,
    x_only,
)
from anchor.inscription.payload import Payload
from anchor.inscription.script import leaf_script

ROTATION_VSIZE = 177  # a rotation's reveal, signed
LEAST_TO_ROTATE = Sats(MIN_COMMIT_FEE + ROTATION_VSIZE + DUST_P2TR)  # a coin below it can name no next key
KEPT_TO_ROTATE = Sats(
    16 * (COMMIT_VSIZE + ROTATION_VSIZE) + DUST_P2TR
)  # what anchors leave in it, at any fee
_NO_SIGNATURE = bytes(64)  # SIGHASH_DEFAULT: 64 bytes, always


class BuildError(ValueError):
    """A batch for which no transactions exist."""


class BadSignature(ValueError):
    """A signature that does not fit its transaction. `index` is its place: 0 the commit, then the rungs."""

    def __init__(self, index: int) -> None:
        super().__init__(f"signature {index} of the package is not valid: ask for a new session")
        self.index = index


@dataclass(frozen=True, slots=True)
class Package:
    """One commit and its alternative reveals, unsigned.

    `rates[i]` is the sat/vB of the package with `reveals[i]`. `messages` are the sighashes to sign, in the
    order commit, rungs; kind "key" signs under Q(P) without scripts, "internal" under P itself.
    """

    commit: Tx
    reveals: tuple[Tx, ...]
    rates: tuple[int, ...]
    messages: tuple[tuple[bytes, str], ...]
    payload: Payload
    leaf: bytes
    control: bytes
    key33: bytes
    tip: TxOut

    @property
    def committed(self) -> TxOut:
        """The commit's only output."""
        return self.commit.outputs[0]

    @property
    def next_script(self) -> bytes:
        """The scriptPubKey of the tip that a reveal leaves: another than the tip's in a rotation."""
        successor = self.payload.successor
        return self.tip.script if successor is None else tip_script(successor.anchor_key)


@dataclass(frozen=True, slots=True)
class SignedPackage:
    """The same transactions with verified signatures: what every member keeps before anything is submitted."""

    commit: Tx
    reveals: tuple[Tx, ...]
    rates: tuple[int, ...]


def reveal_fee(rate: int, commit_fee: int, reveal_vsize: int) -> Sats:
    """Return what a reveal pays so that the package pays `rate` sat/vB, and the reveal alone no less."""
    return Sats(max(rate * reveal_vsize, rate * (COMMIT_VSIZE + reveal_vsize) - commit_fee))


def build(batch: AnchorBatch | RotationBatch, anchor_key33: bytes, rollup_ids: Collection[int]) -> Package:
    """Return the package of `batch` under P = `anchor_key33`; `rollup_ids` are the rollups of its lane.

    Rungs that the lane's coin cannot pay are left out. Raises BuildError for a rollup that is not of this
    lane, for a rotation to the same key, and for a coin that cannot pay the lowest rung.
    """
    _check(batch, anchor_key33, rollup_ids)
    payload = batch.payload()
    leaf = leaf_script(payload.encode(), x_only(anchor_key33))
    script, control = commit_output(anchor_key33, leaf)
    tip = TxOut(batch.tip_value, tip_script(anchor_key33))
    value = batch.tip_value - batch.commit_fee
    if value < DUST_P2TR:
        raise BuildError(
            f"lane {batch.lane} holds {batch.tip_value} sat, too little to commit: it is used up"
        )
    commit = _spend(batch.tip, COMMIT_SEQUENCE, TxOut(Sats(value), script))
    left = tip_script(_next_key(batch, anchor_key33))
    reveals, rates = _rungs(commit, left, _reveal_vsize(commit, left, leaf, control), batch)
    messages = [(sighash(commit, 0, [tip]), "key")]
    hash32 = leaf_hash(leaf)
    messages += [(sighash(tx, 0, [commit.outputs[0]], leaf=hash32), "internal") for tx in reveals]
    package = Package(commit, reveals, rates, tuple(messages), payload, leaf, control, anchor_key33, tip)
    assert_sound(package)
    return package


def _check(batch: AnchorBatch | RotationBatch, key33: bytes, rollup_ids: Collection[int]) -> None:
    if isinstance(batch, RotationBatch):
        named = {batch.rollup_id}
    else:
        named = {record.rollup_id for record in batch.decoded()}
    if strangers := named - set(rollup_ids):
        raise BuildError(f"rollups {sorted(strangers)} are not anchored on lane {batch.lane}")
    if isinstance(batch, RotationBatch) and x_only(batch.successor.anchor_key) == x_only(key33):
        raise BuildError(f"lane {batch.lane} is under that key already: a rotation names a new one")


def _next_key(batch: AnchorBatch | RotationBatch, key33: bytes) -> bytes:
    return batch.successor.anchor_key if isinstance(batch, RotationBatch) else key33


def _spend(outpoint: OutPoint, sequence: int, out: TxOut) -> Tx:
    return Tx(TRUC_VERSION, (TxIn(outpoint, sequence),), (out,), 0)


def _reveal_vsize(commit: Tx, tip: bytes, leaf: bytes, control: bytes) -> int:
    """Measure the reveal as it will be once signed: unsigned sizes cost others dear (research, section 1)."""
    bare = _spend(commit.outpoint(0), REVEAL_SEQUENCE, TxOut(DUST_P2TR, tip))
    return bare.with_witness(0, (_NO_SIGNATURE, leaf, control)).vsize


def _rungs(
    commit: Tx, tip: bytes, vsize: int, batch: AnchorBatch | RotationBatch
) -> tuple[tuple[Tx, ...], tuple[int, ...]]:
    value = commit.outputs[0].value
    fees = [(rate, reveal_fee(rate, batch.commit_fee, vsize)) for rate in LADDER]
    # Any member may send any rung, and nobody can add to a lane's coin: it must always reach the next key.
    least = DUST_P2TR if isinstance(batch, RotationBatch) else KEPT_TO_ROTATE
    payable = [(rate, fee) for rate, fee in fees if value - fee >= least]
    if not payable:
        raise BuildError(
            f"lane {batch.lane} holds {batch.tip_value} sat, too little to reveal and keep {least}: it is used up"
        )
    outpoint = commit.outpoint(0)
    txs = [_spend(outpoint, REVEAL_SEQUENCE, TxOut(Sats(value - fee), tip)) for _, fee in payable]
    return tuple(txs), tuple(rate for rate, _ in payable)


def assert_sound(package: Package) -> None:
    """Hold a package to what it must be, whoever built it: our own bug stops here, before a signature."""
    commit, committed = package.commit, package.committed
    assert len(commit.inputs) == len(commit.outputs) == 1, "a commit has one input and one output"
    assert commit.with_witness(0, (_NO_SIGNATURE,)).vsize == COMMIT_VSIZE, "a commit has 111 vB"
    assert verify_control(committed.script[2:], package.control, package.leaf), (
        "the commit commits to the leaf"
    )
    assert committed.value >= DUST_P2TR, "a commit is no dust"
    assert package.tip.value > committed.value, "a commit pays a fee"
    assert package.reveals, "a package has at least one reveal"
    rotates = package.payload.successor is not None
    assert package.tip.script == tip_script(package.key33), "the tip is under the key that signs"
    assert rotates == (package.next_script != package.tip.script), "only a rotation changes the key"
    fees = [committed.value - tx.outputs[0].value for tx in package.reveals]
    assert all(low < high for low, high in itertools.pairwise(fees)), "each rung pays more"
    for tx, rate, fee in zip(package.reveals, package.rates, fees, strict=True):
        vsize = tx.with_witness(0, (_NO_SIGNATURE, package.leaf, package.control)).vsize
        assert tx.version == commit.version == TRUC_VERSION, "both are TRUC"
        assert len(tx.inputs) == len(tx.outputs) == 1, "a reveal has one input and one output"
        assert tx.inputs[0].outpoint == commit.outpoint(0), "a reveal spends the commit"
        assert tx.inputs[0].sequence == REVEAL_SEQUENCE, "a reveal is told from a void by its sequence"
        assert tx.outputs[0].script == package.next_script, "a reveal recreates the tip, under the right key"
        assert tx.outputs[0].value >= DUST_P2TR, "a tip is no dust"
        assert vsize <= TRUC_MAX_CHILD, "a reveal fits a TRUC child"
        assert fee >= rate * vsize, "a rung pays its rate"
    assert len(package.messages) == 1 + len(package.reveals), "one message for each transaction"


def assemble(package: Package, signatures: Sequence[bytes]) -> SignedPackage:
    """Put signatures (64 bytes each, order of `messages`) into the transactions, each verified first.

    Raises BadSignature naming the first that is wrong, BuildError when their number is.
    """
    if len(signatures) != len(package.messages):
        raise BuildError(f"{len(package.messages)} signatures wanted, {len(signatures)} given")
    keys = {"key": tip_key(package.key33), "internal": x_only(package.key33)}
    for index, ((message, kind), signature) in enumerate(zip(package.messages, signatures, strict=True)):
        if not schnorr_verify(keys[kind], message, signature):
            raise BadSignature(index)
    commit = package.commit.with_witness(0, (signatures[0],))
    reveals = tuple(
        tx.with_witness(0, (signature, package.leaf, package.control))
        for tx, signature in zip(package.reveals, signatures[1:], strict=True)
    )
    return SignedPackage(commit, reveals, package.rates)


@dataclass(frozen=True, slots=True)
class Void:
    """The way out of a stuck commit: its key path back to the tip. `root` tweaks the key that signs `message`."""

    tx: Tx
    message: bytes
    root: bytes
    key33: bytes


def build_void(package: Package, rate: int) -> Void:
    """Return the void of a package's commit at `rate` sat/vB (commit included); it uses up the sequence number.

    Raises BuildError when the coin cannot pay.
    """
    committed = package.committed
    paid = package.tip.value - committed.value
    fee = reveal_fee(rate, paid, COMMIT_VSIZE)  # a void weighs what a commit weighs
    if rate < 1 or committed.value - fee < DUST_P2TR:
        raise BuildError(f"the commit's {committed.value} sat cannot pay a void at {rate} sat/vB")
    out = TxOut(Sats(committed.value - fee), package.tip.script)
    tx = _spend(package.commit.outpoint(0), VOID_SEQUENCE, out)
    root = leaf_hash(package.leaf)
    assert tx.with_witness(0, (_NO_SIGNATURE,)).vsize == COMMIT_VSIZE, "a void has 111 vB"
    return Void(tx, sighash(tx, 0, [committed]), root, package.key33)


def assemble_void(void: Void, signature: bytes) -> Tx:
    """Put the verified signature into the void. BadSignature otherwise."""
    key, _ = output_key(x_only(void.key33), void.root)
    if not schnorr_verify(key, void.message, signature):
        raise BadSignature(0)
    return void.tx.with_witness(0, (signature,))
