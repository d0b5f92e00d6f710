"""A lane's keys over several epochs, from the activation record and the file of rotations alone."""

import json
from dataclasses import replace

import pytest

from anchor.btc.block import merkle_branch
from anchor.btc.hashing import sha256d
from anchor.btc.header import Header
from anchor.btc.ids import OutPoint
from anchor.btc.network import REGTEST
from anchor.inscription.payload import Payload
from anchor.proofs.proof import verify
from anchor.proofs.refused import ProofRefused
from anchor.proofs.rotation_file import MAX_FILE, RotationFormatError, RotationProofs, Step
from anchor.rollup.succession import SignedSuccession
from tests.anchor.inscription.batches import a_range
from tests.anchor.inscription.core import grind
from tests.anchor.inscription.whole_key import ANCHOR, NEXT, STRANGER
from tests.anchor.proofs.moving import LANE_KEYS, THIRD, Moving, move_twice, sign
from tests.anchor.proofs.story import changed


@pytest.fixture(scope="module")
def it(tmp_path_factory) -> Moving:
    return move_twice(tmp_path_factory.mktemp("chain"))


@pytest.fixture(scope="module")
def file(it) -> RotationProofs:
    return it.rotations()


def check(it: Moving, sequence: int, rotations: bytes | None, **other):
    given = {"activation": it.activation, "network": REGTEST, "headers_raw": it.core.raw_headers} | other
    return verify(it.proof(sequence).encode(), rotations=rotations, **given)


def refused(it: Moving, sequence: int, rotations: bytes | None, reason: str, **other) -> None:
    """Whatever is wrong with a key's authority, what is under the root existed."""
    with pytest.raises(ProofRefused, match=reason) as caught:
        check(it, sequence, rotations, **other)
    assert caught.value.existed is not None
    assert str(caught.value).startswith("existed, not authorised: ")


def test_an_anchor_of_every_epoch_is_authorised_by_the_rotations_up_to_it(it, file):
    data = file.encode()
    for sequence, epoch, number, until in ((1, 1, 0, 3), (4, 2, 1, 6), (5, 2, 2, 6), (7, 3, 3, None)):
        said = check(it, sequence, data)
        assert (said.sequence, said.epoch, said.record) == (sequence, epoch, a_range(number))
        assert said.key == LANE_KEYS[epoch].key33[1:]
        assert said.succeeded == (None if until is None else it.height(until))
        assert said.height == it.height(sequence)


def test_the_rotations_up_to_an_anchor_are_enough(it, file):
    first = replace(file, rotations=file.rotations[:1]).encode()
    assert check(it, 4, first).epoch == 2
    refused(it, 7, first, r"key epoch 3, the keys known here end with 2: give --rotations")
    none = replace(file, rotations=()).encode()
    assert check(it, 1, none).succeeded is None
    refused(it, 4, none, "end with 1")


def test_without_rotations_only_the_activation_records_key_counts(it):
    assert check(it, 1, None).epoch == 1
    for sequence, epoch in ((4, 2), (7, 3)):
        refused(it, sequence, None, f"key epoch {epoch}, the keys known here end with 1: give --rotations")


def test_in_the_rotations_own_block_both_keys_count(tmp_path):
    """One block may hold the old key's last anchor, the rotation, and the new key's first anchor."""
    it = Moving.begin(tmp_path)
    with it.one_block():
        it.anchor(0)
        it.rotate()
        it.anchor(1)
    assert {it.height(sequence) for sequence in (1, 2, 3)} == {it.core.height}
    data = it.rotations().encode()
    assert [check(it, sequence, data).epoch for sequence in (1, 3)] == [1, 2]


def test_an_anchor_in_a_rotations_place_hands_nothing_on(it, file):
    found = it.found[0]
    anchor = replace(
        file.rotations[0],
        steps=(),
        commit=it.tx(found.commit).serialize_stripped(),
        reveal=it.tx(found.txid).serialize(),
        **in_block(it, found.height, found.txid),
    )
    refused(it, 4, replace(file, rotations=(anchor,)).encode(), "anchor 1 is no rotation")


def in_block(it: Moving, height: int, txid: bytes) -> dict:
    block = it.core.blocks[height]
    txids = [tx.txid for tx in block.txs]
    place = txids.index(txid)
    where = {"tx_index": place, "tx_branch": merkle_branch(txids, place)}
    coinbase = {"coinbase": block.txs[0].serialize_stripped(), "coinbase_branch": merkle_branch(txids, 0)}
    return where | coinbase | {"header": block.header.raw, "height": height}


def test_a_rotation_below_the_one_before_is_refused(it, file):
    """Headers do not show that blocks are valid: a miner's own header may claim the first rotation again."""
    first, second = file.rotations
    reveal, coinbase = it.tx(it.found[2].txid), it.core.blocks[it.height(3)].txs[0]
    last = Header.parse(it.core.raw_headers[-80:])
    root = sha256d(coinbase.txid + reveal.txid)
    header = grind(Header(0x20000000, last.hash, root, last.time + 1, last.bits, 0))
    place = {"header": header.raw, "height": it.core.height + 1, "tx_index": 1}
    late = replace(first, **place, tx_branch=(coinbase.txid,), coinbase_branch=(reveal.txid,))
    headers = {"headers_raw": it.core.raw_headers + header.raw}
    assert check(it, 1, replace(file, rotations=(late,)).encode(), **headers).succeeded == it.core.height + 1
    bad = replace(file, rotations=(late, second)).encode()
    refused(it, 7, bad, "is below the one before", **headers)


def test_files_out_of_bounds_are_refused_in_words(file):
    step = file.rotations[0].steps[0]
    for payload, void in ((b"", b""), (step.payload, step.payload)):
        with pytest.raises(RotationFormatError, match="an anchor or a void"):
            replace(step, payload=payload, void=void)
    for value in (-1, 21_000_001 * 10**8):
        with pytest.raises(RotationFormatError, match="amounts"):
            replace(step, value=value)
    for change in ({"height": -1}, {"tx_index": -1}, {"header": bytes(79)}):
        with pytest.raises(RotationFormatError, match="80 bytes"):
            replace(file.rotations[0], **change)
    with pytest.raises(RotationFormatError, match="this program reads"):
        RotationProofs.decode(file.encode().replace(b"proofs 1", b"proofs 2"))
    with pytest.raises(RotationFormatError, match="at most"):
        RotationProofs.decode(bytes(MAX_FILE + 1))


def test_a_file_has_one_spelling_and_survives_decoding(file):
    data = file.encode()
    assert RotationProofs.decode(data) == file
    plain = json.loads(data)
    assert plain["format"] == "holdfast rotation proofs 1"
    for spelling in (
        json.dumps(plain).encode(),
        json.dumps(plain | {"note": 1}, indent=2, sort_keys=True).encode() + b"\n",
        data.replace(b"\n", b"\r\n"),
        data.replace(b'"lane": 0', b'"lane": 0.0'),
        data.replace(b'"regtest"', b'"\\u0072egtest"'),
        data[:-1],
        data.replace(b"proofs 1", b"proofs 2"),
        b"{}",
        b"",
        b"\xff",
        b"[" * 100_000,
        b"1" * 5000,
    ):
        assert spelling != data
        with pytest.raises(RotationFormatError):
            RotationProofs.decode(spelling)


def test_any_changed_missing_or_added_byte_is_refused(it, file):
    """Every 29th byte, so that each field is hit; what decodes says something else, and nothing else holds."""
    data = file.encode()
    for at in range(0, len(data), 29):
        byte = data[at]
        others = [bytes([byte ^ 1]), b"", data[at : at + 1] * 2]
        if chr(byte) in "0123456789abcdef":
            others.append(b"f" if byte != ord("f") else b"0")
        for other in others:
            bad = data[:at] + other + data[at + 1 :]
            with pytest.raises(ProofRefused):
                check(it, 7, bad)


def with_rotation(file: RotationProofs, which: int, **changes) -> bytes:
    rotations = list(file.rotations)
    rotations[which] = replace(rotations[which], **changes)
    return replace(file, rotations=tuple(rotations)).encode()


def test_steps_that_leave_out_add_or_alter_an_anchor_lead_to_no_rotation(it, file):
    steps = file.rotations[0].steps
    assert [bool(step.void) for step in steps] == [False, True]
    payload = Payload.decode(steps[0].payload)
    for bad in (
        steps[:1],
        steps[1:],
        steps[::-1],
        (*steps, steps[0]),
        (replace(steps[0], value=steps[0].value - 1), steps[1]),
        (replace(steps[0], commit_value=steps[0].commit_value - 1), steps[1]),
        (steps[0], replace(steps[1], void=steps[1].void[:-1] + b"\0")),
        (replace(steps[0], payload=replace(payload, root=bytes(32)).encode()), steps[1]),
        (replace(steps[0], payload=replace(payload, sequence=2).encode()), steps[1]),
        (replace(steps[0], payload=b"HFST"), steps[1]),
        (replace(steps[0], payload=b"H"), steps[1]),
    ):
        refused(it, 4, with_rotation(file, 0, steps=bad), "the lane's transactions after anchor")


def test_a_step_that_is_a_rotation_hands_nothing_on(it, file):
    """Its signature, block and record would go unchecked."""
    first, second = file.rotations
    found = it.found[2]
    commit, reveal = it.tx(found.commit), it.tx(found.txid)
    values = commit.outputs[0].value, reveal.outputs[0].value
    step = Step(*values, payload=found.payload.encode())
    kept = replace(second, steps=(*first.steps, step, *second.steps))
    refused(it, 7, replace(file, rotations=(kept,)).encode(), "without recreating the tip")


def test_rotations_left_out_doubled_or_reordered_are_refused(it, file):
    first, second = file.rotations
    for bad in ((second,), (second, first), (first, first), (first, second, second)):
        refused(it, 7, replace(file, rotations=bad).encode(), "transactions after anchor")


def test_a_rotation_must_be_in_a_block_of_the_headers(it, file):
    first, second = file.rotations
    refused(it, 4, with_rotation(file, 0, height=first.height + 1), "another block")
    refused(it, 4, with_rotation(file, 0, header=second.header, height=second.height), "not in the block")
    refused(it, 4, with_rotation(file, 0, tx_index=first.tx_index ^ 1), "not in the block")
    refused(it, 4, with_rotation(file, 0, coinbase=first.commit), "no coinbase|not in the block")
    short = it.core.raw_headers[: (it.height(4) + 1) * 80]
    refused(it, 4, file.encode(), "get newer ones", headers_raw=short)
    assert check(it, 4, replace(file, rotations=(first,)).encode(), headers_raw=short).depth == 1
    start = it.height(4)
    later = {"headers_raw": it.core.raw_headers[start * 80 :], "start_height": start}
    refused(it, 4, file.encode(), "before the first header", **later)


def test_the_old_keys_signature_without_the_leaf_hands_nothing_on(it, file):
    first = file.rotations[0]
    reveal = it.tx(it.found[2].txid)
    _, leaf, control = reveal.inputs[0].witness
    for bad in (bytes(64), STRANGER.sign(bytes(32), "internal"), NEXT.sign(bytes(32), "internal")):
        forged = reveal.with_witness(0, (bad, leaf, control)).serialize()
        refused(it, 4, with_rotation(file, 0, reveal=forged), "signature is not the anchor key's")
    bare = reveal.with_witness(0, (bytes(64),)).serialize()
    refused(it, 4, with_rotation(file, 0, reveal=bare), "the lane's transactions")
    assert first.reveal == reveal.serialize()


def test_a_rotation_needs_the_record_that_it_names_with_every_signature(it, file):
    signed = it.successions[2]
    record = signed.succession
    late = replace(signed, mint_signature=bytes(64))
    few = replace(signed, signatures=signed.signatures[:-1])
    swapped = replace(signed, signatures=signed.signatures[::-1])
    own = replace(signed, mint_signature=STRANGER.sign(record.message, "internal"))
    cases = [
        (late, "the mint key of epoch 1 did not sign"),
        (own, "the mint key of epoch 1 did not sign"),
        (few, "2 signatures for 3 operators"),
        (swapped, "operator 1 .* did not sign"),
        (sign(replace(record, threshold=3)), "other keys than the record"),
        (sign(replace(record, anchor_key=THIRD.key33)), "other keys than the record"),
        (sign(replace(record, previous=bytes(32))), "follows another record"),
        (sign(replace(record, rollup_id=2)), "another rollup"),
        (sign(replace(record, genesis_hash=bytes(32))), "another rollup"),
        (it.successions[3], "epoch 2 is next, the succession is for 3"),
    ]
    for lie, reason in cases:
        refused(it, 4, with_rotation(file, 0, succession=lie.encode()), reason)
    for bad in (b"", b"\0", signed.encode() + b"\0"):
        refused(it, 4, with_rotation(file, 0, succession=bad), "the record of epoch 2")
    assert SignedSuccession.decode(file.rotations[0].succession) == signed


def test_rotations_of_another_lane_network_or_activation_authorise_nothing(it, file):
    data = file.encode()
    refused(it, 4, replace(file, lane=5).encode(), "lane 5 of the rotations is not in")
    refused(it, 4, replace(file, network="signet").encode(), "another network")
    lane = it.activation.lanes[0]
    second = replace(lane, number=1, outpoint=OutPoint(lane.outpoint.txid, 1))
    two = replace(it.activation, lanes=(lane, second))
    refused(it, 1, replace(file, lane=1).encode(), "the lane's transactions", activation=two)
    none = replace(file, lane=1, rotations=()).encode()
    refused(it, 1, none, "rotations are of lane 1, the anchor of 0: export its own", activation=two)
    other = replace(it.activation, anchor_key=STRANGER.key33)
    refused(it, 4, data, "the lane's transactions", activation=other)
    refused(it, 4, data, "follows another record", activation=replace(it.activation, mint_key=NEXT.key33))
    coin = replace(it.activation.lanes[0], outpoint=it.state.tip)
    refused(it, 4, data, "the lane's transactions", activation=replace(it.activation, lanes=(coin,)))


def test_a_changed_proof_of_a_later_epoch_is_refused_too(it, file):
    proof = it.proof(7)
    for other in (it.proof(4), it.proof(1)):
        for name in ("commit", "reveal", "record", "manifest", "header", "height"):
            with pytest.raises(ProofRefused):
                verify(
                    changed(proof, **{name: getattr(other, name)}),
                    it.core.raw_headers,
                    it.activation,
                    REGTEST,
                    rotations=file.encode(),
                )


def test_an_anchors_own_rotation_is_no_record(it):
    """The file of a rotation's block cannot pose as the proof of a range: it counts no leaves."""
    found = it.found[2]
    reveal, commit = it.tx(found.txid).serialize(), it.tx(found.commit).serialize_stripped()
    proof = changed(it.proof(1), reveal=reveal, commit=commit)
    with pytest.raises(ProofRefused):
        verify(proof, it.core.raw_headers, it.activation, REGTEST)


def test_keys_of_the_story_differ():
    assert len({key.key33[1:] for key in (ANCHOR, NEXT, THIRD)}) == 3
