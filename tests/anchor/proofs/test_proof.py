"""A proof convinces with headers and the activation record alone; nothing near it does."""

import json
import string
from dataclasses import replace

import pytest

from anchor.btc.hashing import sha256d
from anchor.btc.header import Header
from anchor.btc.ids import OutPoint
from anchor.btc.network import REGTEST, SIGNET
from anchor.btc.tx import Tx
from anchor.inscription.lane import tip_script
from anchor.proofs import tree
from anchor.proofs.manifest import leaves_of
from anchor.proofs.proof import verify
from anchor.proofs.proof_file import MAX_PROOF, AnchorProof, ProofFormatError
from anchor.proofs.proof_maker import make_proof
from anchor.proofs.records import record_hash
from anchor.proofs.refused import ProofRefused
from tests.anchor.inscription.batches import a_batch, a_range
from tests.anchor.inscription.whole_key import ANCHOR, ODD, STRANGER
from tests.anchor.proofs.story import Lie, changed, strangers_story, tell, told_by_hand, with_root


@pytest.fixture(scope="module")
def story(tmp_path_factory):
    return tell(tmp_path_factory.mktemp("chain"))


@pytest.fixture(scope="module")
def proof(story):
    return story.proof()


def check(story, data, **other):
    given = {"headers_raw": story.headers, "activation": story.activation, "network": REGTEST} | other
    return verify(data, given["headers_raw"], given["activation"], given["network"])


def refused(story, data, reason, *, existed=False, **other):
    with pytest.raises(ProofRefused, match=reason) as caught:
        check(story, data, **other)
    assert (caught.value.existed is not None) is existed
    return caught.value


def test_a_proof_says_what_was_anchored_under_whose_key_when_and_how_deep(story):
    for which in range(3):
        said = check(story, story.proof(which).encode())
        assert said.record == a_range(which)
        assert said.record_hash == record_hash(a_range(which).encode())
        assert (said.lane, said.sequence, said.epoch) == (0, 1, 1)
        assert said.key == ANCHOR.key33[1:]
        assert (said.txid, said.height, said.depth) == (story.reveal.txid, story.height, 3)
        assert (said.block_hash, said.block_time) == (story.block.header.hash, story.block.header.time)
        assert said.final


def test_a_proof_is_a_few_thousand_bytes_and_survives_decoding(story, proof):
    data = proof.encode()
    assert len(data) < 6_000
    assert AnchorProof.decode(data) == proof
    assert json.loads(data)["format"] == "holdfast anchor proof 1"


def test_any_changed_byte_of_the_file_is_refused(story, proof):
    """Every byte is replaced: digits and hex digits by another of their kind, the rest by a space and a bit."""
    data = proof.encode()
    for at, byte in enumerate(data):
        others = {byte ^ 1, 0x20, 0x30 + (byte + 1) % 10} - {byte}
        if chr(byte) in "0123456789abcdef":
            others.add(ord("f") if byte != ord("f") else ord("0"))
        if chr(byte) in string.ascii_lowercase:
            others.add(byte - 32)
        for other in others:
            with pytest.raises(ProofRefused):
                check(story, data[:at] + bytes([other]) + data[at + 1 :])


def test_any_missing_or_added_byte_is_refused(story, proof):
    data = proof.encode()
    for at in range(len(data)):
        for bad in (data[:at] + data[at + 1 :], data[:at] + data[at : at + 1] + data[at:]):
            with pytest.raises(ProofRefused):
                check(story, bad)


def test_the_same_proof_in_another_spelling_is_refused(story, proof):
    data = proof.encode()
    plain = json.loads(data)
    spellings = [
        json.dumps(plain).encode(),
        json.dumps(plain, indent=2, sort_keys=True).encode(),
        data.replace(b"\n", b"\r\n"),
        b"\xef\xbb\xbf" + data,
        data.replace(b'"regtest"', b'"\\u0072egtest"'),
        json.dumps(plain | {"note": "hello"}, indent=2, sort_keys=True).encode() + b"\n",
        data.replace(b'"index": 1,', b'"index": 1.0,'),
        data.replace(b'"index": 1,', b'"index": 1,\n  "index": 1,'),
    ]
    for spelling in spellings:
        assert spelling != data
        refused(story, spelling, "spelling|not a proof file")


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"[]", b"\xff", b"[" * 100_000, b"null", bytes(MAX_PROOF + 1), b"1" * 5000]
)
def test_bytes_that_are_no_proof_are_refused_in_words(story, data):
    refused(story, data, "proof")


def test_a_proof_of_another_version_is_refused(proof):
    with pytest.raises(ProofFormatError, match="this program reads"):
        AnchorProof.decode(proof.encode().replace(b"proof 1", b"proof 2"))


def test_a_strangers_leaf_under_the_same_internal_key_existed_but_is_not_authorised(story, tmp_path):
    """Issue 3, step 5: he pays, his leaf is under P, his signature is valid under his own key, and it is mined."""
    fake = strangers_story(tmp_path, story.batch)
    error = refused(fake, fake.proof().encode(), "leaf's key is not the anchor key", existed=True)
    assert str(error).startswith("existed, not authorised")
    assert (error.existed.txid, error.existed.depth) == (fake.reveal.txid, 2)


def test_a_witness_invented_for_a_strangers_mined_transaction_is_refused(story, tmp_path):
    """A txid does not cover the witness, so a file could carry any: the commit's output must commit to the leaf."""
    fake = strangers_story(tmp_path, story.batch)
    _, leaf, control = story.reveal.inputs[0].witness
    forged = fake.reveal.with_witness(0, (bytes(64), leaf, control))
    refused(fake, changed(fake.proof(), reveal=forged.serialize()), "does not commit to the leaf")


def test_a_copied_signature_on_a_strangers_commit_is_refused(story, tmp_path):
    """He commits to P's very leaf: he cannot spend it, but pretends with the signature of the true reveal."""
    fake = strangers_story(tmp_path, story.batch)
    proof = fake.proof()
    signature = story.reveal.inputs[0].witness[0]
    _, leaf, control = fake.reveal.inputs[0].witness
    forged = fake.reveal.with_witness(0, (signature, leaf, control))
    refused(fake, changed(proof, reveal=forged.serialize()), "leaf's key", existed=True)


def test_a_reveal_without_a_signature_of_p_existed_only(story, proof):
    signature, leaf, control = story.reveal.inputs[0].witness
    for bad in (bytes(64), signature[:-1], signature + b"\x01", b""):
        forged = story.reveal.with_witness(0, (bad, leaf, control))
        refused(story, changed(proof, reveal=forged.serialize()), "signature", existed=True)


def test_p_is_the_verifiers_input_and_no_other_key_counts(story, proof):
    for key in (ODD, STRANGER):
        other = replace(story.activation, anchor_key=key.key33)
        refused(story, proof.encode(), "leaf's key", existed=True, activation=other)


def test_a_signature_counts_only_after_activation_in_its_epoch_and_lane(story, proof):
    activation, data = story.activation, proof.encode()
    late = replace(activation, height=story.height + 1)
    refused(story, data, "before the key's activation", existed=True, activation=late)
    refused(story, data, "epoch", existed=True, activation=replace(activation, epoch=2))
    lanes = (replace(activation.lanes[0], number=5),)
    refused(story, data, "lane 0", existed=True, activation=replace(activation, lanes=lanes))
    assert check(story, data, activation=replace(activation, height=story.height)).height == story.height


def test_another_rollups_record_needs_that_rollups_activation_record(story):
    refused(story, story.proof(3).encode(), "rollup 2")
    assert check(story, story.proof(3).encode(), activation=replace(story.activation, rollup_id=2)).final


def test_depth_and_finality_follow_the_headers_given(story, proof):
    short = story.headers[: (story.height + 2) * 80]
    said = check(story, proof.encode(), headers_raw=short)
    assert (said.depth, said.final) == (2, False)
    refused(story, proof.encode(), "get newer ones", headers_raw=story.headers[: story.height * 80])
    refused(story, proof.encode(), "no whole number of headers", headers_raw=b"")


def test_a_headers_file_may_start_at_a_trusted_height(story, proof):
    start = story.height - 5
    said = verify(proof.encode(), story.headers[start * 80 :], story.activation, REGTEST, start_height=start)
    assert said.depth == 3


def test_headers_that_are_not_valid_prove_nothing(story, proof):
    wrong = bytearray(story.headers)
    wrong[80 * 5 + 70] ^= 1
    refused(story, proof.encode(), "headers file is not valid", headers_raw=bytes(wrong))
    refused(story, proof.encode(), "headers file is not valid", headers_raw=story.headers + b"\0")


def test_headers_of_another_branch_refuse_the_proof(story, proof):
    wrong = bytearray(story.headers)
    wrong[80 * story.height + 4] ^= 1
    refused(story, proof.encode(), "reorged", headers_raw=bytes(wrong))


def test_networks_must_agree(story, proof):
    refused(story, proof.encode(), "different networks", network=SIGNET)
    refused(story, changed(proof, network="signet"), "different networks")
    refused(
        story, proof.encode(), "different networks", activation=replace(story.activation, network="signet")
    )


def test_the_manifest_cannot_pose_as_a_record_nor_a_record_as_the_manifest(story, proof):
    refused(story, changed(proof, index=0), "leaf 0")
    refused(story, changed(proof, record=proof.manifest), "record or tree")
    refused(story, changed(proof, manifest=proof.record), "record or tree")


def test_another_record_or_manifest_is_not_under_the_root(story, proof):
    refused(story, changed(proof, record=a_range(7).encode()), "not leaves of one tree")
    other = replace(story.batch.manifest(), sequence=2)
    refused(story, changed(proof, manifest=other.encode()), "not leaves of one tree")


def test_a_true_tree_of_another_batch_is_not_under_bitcoins_root(story, proof):
    batch = replace(story.batch, sequence=9)
    other = make_proof(
        REGTEST,
        batch.manifest(),
        batch.decoded(),
        0,
        story.commit,
        story.block,
        story.height,
        story.reveal.txid,
    )
    refused(story, other.encode(), "root that Bitcoin carries")


def test_the_coinbase_pins_the_depth_of_the_reveal(story, proof):
    for bad in (proof.coinbase_branch[:-1], (*proof.coinbase_branch, bytes(32))):
        refused(story, changed(proof, coinbase_branch=bad), "depth|not in the block")
    refused(story, changed(proof, coinbase=proof.commit), "no coinbase|not in the block")
    whole = story.block.txs[0].serialize()
    refused(story, changed(proof, coinbase=whole), "coinbase written without witness")


def test_an_inner_node_cannot_pose_as_the_reveal(story, proof):
    """Drop the reveal's own level: what is left would be a proof one level up."""
    refused(
        story, changed(proof, tx_branch=proof.tx_branch[1:], tx_index=proof.tx_index >> 1), "depth|not in"
    )


def test_commit_and_reveal_must_belong_together(story, proof):
    lone = Tx(
        3, (replace(story.commit.inputs[0], outpoint=OutPoint(story.reveal.txid, 9)),), story.commit.outputs
    )
    refused(story, changed(proof, commit=lone.serialize_stripped()), "does not spend the commit")
    refused(story, changed(proof, commit=story.commit.serialize()), "without witness")
    refused(story, changed(proof, commit=b"\1\2"), "commit or reveal")
    bare = story.reveal.serialize_stripped()
    refused(story, changed(proof, reveal=bare), "no script spend")


BATCH = a_batch(a_range(0), a_range(1))
PAYLOAD = BATCH.payload()


@pytest.mark.parametrize(
    ("lie", "reason"),
    [
        (Lie(PAYLOAD.encode(), internal=STRANGER.key33), "internal key"),
        (Lie(PAYLOAD.encode(), signer=STRANGER), "signature"),
        (Lie(PAYLOAD.encode(), to=tip_script(STRANGER.key33)), "recreate the tip"),
        (Lie(PAYLOAD.encode(), sequence=0xFFFFFFFC), "recreate the tip"),
        (Lie(replace(PAYLOAD, lane=1).encode()), "different lanes"),
        (Lie(replace(PAYLOAD, sequence=2).encode()), "different lanes"),
        (Lie(replace(PAYLOAD, count=4).encode()), "different lanes"),
        (Lie(replace(PAYLOAD, rollup_id=2).encode()), "another rollup"),
    ],
)
def test_what_the_builder_never_makes_existed_only(tmp_path, lie, reason):
    if lie.signer is STRANGER:  # nobody could mine it: the witness is exchanged afterwards
        story = told_by_hand(tmp_path, BATCH, replace(lie, signer=ANCHOR))
        _, leaf, control = story.reveal.inputs[0].witness
        forged = story.reveal.with_witness(0, (STRANGER.sign(bytes(32), "internal"), leaf, control))
        refused(story, changed(story.proof(), reveal=forged.serialize()), reason, existed=True)
        return
    story = told_by_hand(tmp_path, BATCH, lie)
    refused(story, story.proof().encode(), reason, existed=True)


def test_the_hand_that_tells_lies_can_tell_the_truth(tmp_path):
    story = told_by_hand(tmp_path, BATCH, Lie(PAYLOAD.encode()))
    assert check(story, story.proof().encode()).record == a_range(0)


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        (replace(BATCH.manifest().rollups[0], last=9), "ends this rollup before"),
        (replace(BATCH.manifest().rollups[0], rollup_id=2), "ends this rollup before"),
        (replace(BATCH.manifest().rollups[0], last=10), "another state root"),
    ],
)
def test_a_manifest_that_contradicts_its_record_is_refused(tmp_path, end, reason):
    manifest = replace(BATCH.manifest(), rollups=(end,))
    payload = replace(PAYLOAD, root=tree.root(leaves_of(manifest, BATCH.decoded())))
    story = told_by_hand(tmp_path, BATCH, Lie(payload.encode()))
    where = (story.commit, story.block, story.height, story.reveal.txid)
    proof = make_proof(REGTEST, manifest, BATCH.decoded(), 0, *where)
    refused(story, proof.encode(), reason, existed=True)


def test_a_reveal_at_another_depth_than_the_coinbase_is_refused(story, proof):
    """What a 64-byte transaction posing as an inner node would look like (CVE-2017-12842)."""
    coinbase, side = story.block.txs[0].txid, bytes([9]) * 32
    left = sha256d(coinbase + side)
    header, headers = with_root(story, sha256d(left + story.reveal.txid))
    forged = changed(
        proof,
        header=header,
        height=len(headers) // 80 - 1,
        tx_index=1,
        tx_branch=(left,),
        coinbase_branch=(side, story.reveal.txid),
    )
    refused(story, forged, "depth", headers_raw=headers)


def test_transaction_zero_must_be_a_coinbase(story, proof):
    header, headers = with_root(story, sha256d(story.commit.txid + story.reveal.txid))
    forged = changed(
        proof,
        header=header,
        height=len(headers) // 80 - 1,
        tx_index=1,
        tx_branch=(story.commit.txid,),
        coinbase=proof.commit,
        coinbase_branch=(story.reveal.txid,),
    )
    refused(story, forged, "no coinbase", headers_raw=headers)


def test_negative_numbers_and_short_headers_are_refused(proof):
    for bad in ({"index": -1}, {"height": -1}, {"tx_index": -1}, {"count": -1}, {"header": bytes(79)}):
        with pytest.raises(ProofFormatError):
            AnchorProof.decode(changed(proof, **bad))


def test_a_proof_is_made_only_from_what_belongs_together(story):
    batch = story.batch
    common = (REGTEST, batch.manifest(), batch.decoded())
    with pytest.raises(ValueError, match="no record 4"):
        make_proof(*common, 4, story.commit, story.block, story.height, story.reveal.txid)
    with pytest.raises(ValueError, match="does not hold the reveal"):
        make_proof(*common, 0, story.commit, story.block, story.height, bytes(32))
    with pytest.raises(ValueError, match="does not spend this commit"):
        make_proof(*common, 0, story.reveal, story.block, story.height, story.reveal.txid)


def test_the_block_of_the_story_is_in_its_headers(story):
    assert Header.parse(story.headers[story.height * 80 :][:80]).hash == story.block.header.hash
