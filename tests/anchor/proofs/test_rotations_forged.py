"""What strangers, early keys and an old quorum can write into blocks, and what a verifier makes of it."""

from dataclasses import dataclass, replace

import pytest

from anchor.btc.amounts import Sats
from anchor.btc.ids import OutPoint
from anchor.btc.network import REGTEST
from anchor.btc.taproot import leaf_hash, sighash
from anchor.btc.tx import Tx, TxIn, TxOut
from anchor.inscription.batch import AnchorBatch, RotationBatch
from anchor.inscription.lane import commit_output, tip_script
from anchor.inscription.script import leaf_script
from anchor.inscription.successor import Successor
from anchor.proofs.proof import verify
from anchor.proofs.proof_file import AnchorProof
from anchor.proofs.proof_maker import make_proof
from anchor.proofs.refused import ProofRefused
from anchor.proofs.rotation_file import RotationProof
from anchor.proofs.rotation_maker import make_rotation
from tests.anchor.inscription.batches import a_batch, a_range
from tests.anchor.inscription.whole_key import ANCHOR, NEXT, STRANGER, WholeKey
from tests.anchor.proofs.moving import THIRD, Moving, other_coin, sign

VALUE = Sats(10**8)


@dataclass(frozen=True)
class Forged:
    """Commit and reveal that a stranger's coin pays for, in a block at `height`."""

    batch: AnchorBatch | RotationBatch
    commit: Tx
    reveal: Tx
    height: int


class Quarrel(Moving):
    """A lane, and coins of a stranger to pay for look-alikes with."""

    coins: list[OutPoint]

    def forge(
        self,
        batch: AnchorBatch | RotationBatch,
        key: WholeKey,
        signer: WholeKey,
        leaf_key: WholeKey | None = None,
    ) -> Forged:
        """Write a batch into a block under internal key `key`, its reveal signed by `signer`."""
        coin = self.coins.pop()
        funding = self.tx(coin.txid).outputs[coin.vout]
        leaf = leaf_script(batch.payload().encode(), (leaf_key or key).key33[1:])
        script, control = commit_output(key.key33, leaf)
        commit = Tx(3, (TxIn(coin, 0xFFFFFFFD),), (TxOut(Sats(funding.value - 111), script),))
        commit = commit.with_witness(0, (STRANGER.sign(sighash(commit, 0, [funding]), "key"),))
        after = batch.successor.anchor_key if isinstance(batch, RotationBatch) else key.key33
        reveal = Tx(
            3, (TxIn(commit.outpoint(0), 0xFFFFFFFD),), (TxOut(Sats(funding.value - 600), tip_script(after)),)
        )
        message = sighash(reveal, 0, [commit.outputs[0]], leaf=leaf_hash(leaf))
        reveal = reveal.with_witness(0, (signer.sign(message, "internal"), leaf, control))
        self.read(commit, reveal)
        return Forged(batch, commit, reveal, self.core.height)

    def proof_of(self, forged: Forged) -> bytes:
        """The proof of the forged batch's range."""
        batch = forged.batch
        assert isinstance(batch, AnchorBatch)
        block = self.core.blocks[forged.height]
        place = (forged.commit, block, forged.height, forged.reveal.txid)
        proof: AnchorProof = make_proof(REGTEST, batch.manifest(), batch.decoded(), 0, *place)
        return proof.encode()

    def check(self, proof: bytes, rotations: bytes | None):
        return verify(proof, self.core.raw_headers, self.activation, REGTEST, rotations=rotations)

    def refused(self, proof: bytes, rotations: bytes | None, reason: str) -> None:
        with pytest.raises(ProofRefused, match=reason) as caught:
            self.check(proof, rotations)
        assert caught.value.existed is not None

    def swapped(self, forged: Forged, record: bytes | None = None) -> bytes:
        """The file of rotations with the forged one instead of the lane's first."""
        file = self.rotations()
        first = file.rotations[0]
        found = replace(self.found[1], txid=forged.reveal.txid, height=forged.height)
        block = self.core.blocks[forged.height]
        lie = make_rotation(first.steps, self.successions[2], forged.commit, block, found)
        return replace(file, rotations=(_with(lie, record), *file.rotations[1:])).encode()


def _with(proof: RotationProof, record: bytes | None) -> RotationProof:
    return proof if record is None else replace(proof, succession=record)


def record_for(it: Quarrel, key: WholeKey):
    """A record of epoch 2 for another anchor key, signed by all: the old mint key and operators of their choice."""
    return sign(replace(it.successions[2].succession, anchor_key=key.key33))


@pytest.fixture(scope="module")
def it(tmp_path_factory) -> Quarrel:
    """Anchor 1, rotation 2, anchor 3 of epoch 2; two blocks follow."""
    made = Quarrel.begin(tmp_path_factory.mktemp("chain"))
    made.coins = [other_coin(made) for _ in range(8)]
    made.anchor(0)
    made.early = made.forge(a_batch(a_range(0), epoch=2, sequence=3), NEXT, NEXT)
    made.before = made.forge(a_batch(a_range(7), sequence=2), ANCHOR, ANCHOR)
    made.rotate()
    made.anchor(1)
    made.core.mine()
    made.core.mine()
    return made


@pytest.fixture(scope="module")
def rotations(it) -> bytes:
    return it.rotations().encode()


def test_the_old_keys_signature_after_its_rotation_anchors_nothing(it, rotations):
    """An old quorum that was left out cannot date things back: its anchors are in later blocks."""
    late = it.forge(a_batch(a_range(5), sequence=2), ANCHOR, ANCHOR)
    it.refused(it.proof_of(late), rotations, f"the key was succeeded at block {it.height(2)}")
    assert it.check(it.proof_of(late), None).succeeded is None, (
        "who gives no rotations is told nothing of them"
    )
    assert it.check(it.proof_of(it.before), rotations).succeeded == it.height(2)


def test_the_next_keys_signature_before_its_rotation_anchors_nothing(it, rotations):
    """Key generation is over long before the lane is handed on."""
    it.refused(it.proof_of(it.early), rotations, f"before the key's activation at {it.height(2)}")


def test_a_strangers_anchor_of_a_later_epoch_is_not_authorised(it, rotations):
    lie = it.forge(a_batch(a_range(5), epoch=2, sequence=4), NEXT, STRANGER, STRANGER)
    it.refused(it.proof_of(lie), rotations, "leaf's key is not the anchor key of epoch 2")
    lie = it.forge(a_batch(a_range(5), epoch=1, sequence=4), NEXT, NEXT)
    it.refused(it.proof_of(lie), rotations, "leaf's key is not the anchor key of epoch 1")


def a_rotation_to(it: Quarrel, key: WholeKey) -> RotationBatch:
    successor = Successor.of(record_for(it, key).succession)
    return RotationBatch(
        0, 2, 1, OutPoint(it.state.tip.txid, 0), VALUE, it.found[0].payload.root, successor, 1
    )


def test_a_strangers_rotation_hands_nothing_on(it):
    lie = it.forge(a_rotation_to(it, STRANGER), ANCHOR, STRANGER, STRANGER)
    record = record_for(it, STRANGER).encode()
    it.refused(
        it.proof(3).encode(), it.swapped(lie, record), "transactions after anchor 1: they do not spend its"
    )


def test_of_two_rotations_that_one_key_signed_only_that_of_the_lanes_own_coin_counts(it):
    """An old quorum holds anchor and mint key for good; the lane's coin it spent when it handed the lane on."""
    lie = it.forge(a_rotation_to(it, THIRD), ANCHOR, ANCHOR)
    for record in (record_for(it, THIRD).encode(), it.successions[2].encode()):
        it.refused(it.proof(3).encode(), it.swapped(lie, record), "they do not spend its coin")


def test_a_true_rotation_to_keys_of_no_record_hands_nothing_on(it, rotations):
    """A stolen anchor key alone: the rotation is the lane's own, and the mint key signed no such record."""
    other = record_for(it, THIRD)
    lie = replace(other, mint_signature=STRANGER.sign(other.succession.message, "internal"))
    file = it.rotations()
    for record, reason in ((lie, "did not sign its succession"), (other, "other keys than the record")):
        bad = replace(file.rotations[0], succession=record.encode())
        it.refused(it.proof(3).encode(), replace(file, rotations=(bad,)).encode(), reason)
    assert it.check(it.proof(3).encode(), rotations).epoch == 2
