"""Commit, reveals and void: judged by Core's script engine, sized as the research says."""

from dataclasses import replace

import pytest
from btclib.script.sig_hash import taproot as btclib_taproot
from btclib.tx.tx import Tx as BtclibTx
from btclib.tx.tx_out import TxOut as BtclibTxOut
from hypothesis import given, settings
from hypothesis import strategies as st

from anchor.btc.amounts import DUST_P2TR, Sats
from anchor.btc.taproot import leaf_hash
from anchor.btc.tx import Tx, TxOut
from anchor.inscription.batch import COMMIT_VSIZE, LADDER, MAX_RECORDS
from anchor.inscription.builder import (
    KEPT_TO_ROTATE,
    LEAST_TO_ROTATE,
    BadSignature,
    BuildError,
    assemble,
    assemble_void,
    assert_sound,
    build,
    build_void,
)
from anchor.inscription.lane import TRUC_MAX_CHILD, commit_output, tip_script
from anchor.inscription.script import leaf_script
from tests.anchor.inscription.batches import TIP, a_batch, a_range, a_rotation, a_successor
from tests.anchor.inscription.core import core_accepts
from tests.anchor.inscription.whole_key import ANCHOR, NEXT, ODD, STRANGER

PACKAGE = build(a_batch(), ANCHOR.key33, [1])


def test_both_parities_of_the_group_key_are_tested():
    assert {ANCHOR.key33[0], ODD.key33[0]} == {2, 3}


@pytest.mark.parametrize("key", [ANCHOR, ODD])
def test_core_accepts_commit_every_rung_and_the_void(key):
    package = build(a_batch(), key.key33, [1])
    signed = key.sign_package(package)
    assert core_accepts(signed.commit, [package.tip])
    assert len(signed.reveals) == len(LADDER)
    for reveal in signed.reveals:
        assert core_accepts(reveal, [package.committed])
    void = key.sign_void(build_void(package, 5))
    assert core_accepts(void, [package.committed])


def test_core_refuses_every_transaction_with_one_changed_bit_in_its_signature():
    signed = ANCHOR.sign_package(PACKAGE)
    for tx, prevout in [(signed.commit, PACKAGE.tip), (signed.reveals[3], PACKAGE.committed)]:
        stack = tx.inputs[0].witness
        bad = bytes([stack[0][0] ^ 1]) + stack[0][1:]
        assert not core_accepts(tx.with_witness(0, (bad, *stack[1:])), [prevout])


def _btclib_sighash(tx: Tx, prevout: TxOut, leaf: bytes | None) -> bytes:
    theirs = BtclibTx.parse(tx.serialize())
    out = BtclibTxOut(prevout.value, prevout.script)
    extension = leaf + b"\0" + b"\xff" * 4 if leaf else b""
    return btclib_taproot(theirs, 0, [out], 0, 1 if leaf else 0, b"", extension)


def test_btclib_computes_the_same_sighashes():
    messages = [message for message, _ in PACKAGE.messages]
    assert messages[0] == _btclib_sighash(PACKAGE.commit, PACKAGE.tip, None)
    for tx, message in zip(PACKAGE.reveals, messages[1:], strict=True):
        assert message == _btclib_sighash(tx, PACKAGE.committed, leaf_hash(PACKAGE.leaf))
    void = build_void(PACKAGE, 2)
    assert void.message == _btclib_sighash(void.tx, PACKAGE.committed, None)


def test_a_root_only_anchor_costs_111_and_143_virtual_bytes():
    signed = ANCHOR.sign_package(PACKAGE)
    assert (signed.commit.weight, signed.commit.vsize) == (444, 111)
    assert {tx.vsize for tx in signed.reveals} == {143}
    assert ANCHOR.sign_void(build_void(PACKAGE, 1)).vsize == 111


def test_each_rung_pays_its_rate_for_the_whole_package():
    fees = [1_000_000 - tx.outputs[0].value for tx in PACKAGE.reveals]
    assert PACKAGE.rates == LADDER
    assert fees == [max(rate * 254, 111 + rate * 143) for rate in LADDER]


def test_messages_are_the_commit_under_q_then_the_reveals_under_p():
    assert [kind for _, kind in PACKAGE.messages] == ["key"] + ["internal"] * 8
    assert len({message for message, _ in PACKAGE.messages}) == 9


def test_the_same_batch_gives_the_same_package_and_another_record_another():
    assert build(a_batch(), ANCHOR.key33, [1]) == PACKAGE
    assert build(a_batch(a_range(1)), ANCHOR.key33, [1]).commit.txid != PACKAGE.commit.txid


def test_two_batches_on_one_tip_conflict():
    other = build(a_batch(a_range(1)), ANCHOR.key33, [1])
    assert other.commit.inputs[0].outpoint == PACKAGE.commit.inputs[0].outpoint == TIP


def test_the_largest_batch_still_fits_a_truc_child():
    package = build(a_batch(*(a_range(n) for n in range(MAX_RECORDS))), ANCHOR.key33, [1])
    assert {tx.vsize for tx in ANCHOR.sign_package(package).reveals} == {143}
    assert TRUC_MAX_CHILD > 143


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 60_000), st.integers(111, 14_208))
def test_a_poor_lane_gets_fewer_rungs_or_a_clear_error_and_keeps_what_a_rotation_takes(value, fee):
    batch = a_batch(tip_value=value, commit_fee=fee)
    if value - fee < KEPT_TO_ROTATE + 143:
        with pytest.raises(BuildError, match="it is used up"):
            build(batch, ANCHOR.key33, [1])
        return
    package = build(batch, ANCHOR.key33, [1])
    assert package.rates == LADDER[: len(package.rates)]
    assert all(tx.outputs[0].value >= KEPT_TO_ROTATE for tx in package.reveals)


def test_what_an_anchor_leaves_pays_a_rotation_at_16_sat_a_vbyte():
    rotation = build(a_rotation(tip_value=KEPT_TO_ROTATE), ANCHOR.key33, {1})
    assert rotation.rates == (1, 2, 4, 8, 16)
    assert rotation.reveals[-1].outputs[0].value == DUST_P2TR


def test_a_record_of_a_rollup_that_is_not_on_this_lane_is_refused():
    with pytest.raises(BuildError, match=r"\[2\]"):
        build(a_batch(a_range(0, 1), a_range(0, 2)), ANCHOR.key33, [1])


@pytest.mark.parametrize("place", [0, 1, 8])
def test_a_wrong_signature_is_named_by_its_place(place):
    signatures = [ANCHOR.sign(message, kind) for message, kind in PACKAGE.messages]
    signatures[place] = STRANGER.sign(*PACKAGE.messages[place])
    with pytest.raises(BadSignature) as caught:
        assemble(PACKAGE, signatures)
    assert caught.value.index == place


def test_a_commit_signed_under_p_or_a_reveal_signed_under_q_is_refused():
    signatures = [ANCHOR.sign(message, "internal") for message, _ in PACKAGE.messages]
    with pytest.raises(BadSignature):
        assemble(PACKAGE, signatures)
    signatures = [ANCHOR.sign(message, "key") for message, _ in PACKAGE.messages]
    with pytest.raises(BadSignature) as caught:
        assemble(PACKAGE, signatures)
    assert caught.value.index == 1


def test_too_few_signatures_are_refused():
    with pytest.raises(BuildError, match="9 signatures"):
        assemble(PACKAGE, [])


def test_a_void_has_no_txid_of_a_reveal_even_at_equal_value():
    void = build_void(PACKAGE, 4).tx
    for reveal in PACKAGE.reveals:
        twin = replace(reveal, outputs=void.outputs)
        assert twin.txid != void.txid
    assert void.inputs[0].sequence == 0xFFFFFFFC


def test_a_void_needs_its_own_signature_and_money():
    void = build_void(PACKAGE, 4)
    with pytest.raises(BadSignature):
        assemble_void(void, ANCHOR.sign(void.message, "key"))
    for rate in (0, 100_000):
        with pytest.raises(BuildError):
            build_void(PACKAGE, rate)


def _commit(**changes):
    return replace(PACKAGE, commit=replace(PACKAGE.commit, **changes))


def _first_reveal(**changes):
    return replace(PACKAGE, reveals=(replace(PACKAGE.reveals[0], **changes), *PACKAGE.reveals[1:]))


_OUT = PACKAGE.reveals[0].outputs[0]
_SPENDING_TIP = replace(PACKAGE.reveals[0].inputs[0], outpoint=TIP)
_VOID_NUMBER = replace(PACKAGE.reveals[0].inputs[0], sequence=0xFFFFFFFC)


@pytest.mark.parametrize(
    ("broken", "sentence"),
    [
        (_commit(outputs=PACKAGE.commit.outputs * 2), "a commit has one input"),
        (_commit(outputs=(TxOut(10_000, b"\x51"),)), "111 vB"),
        (_commit(outputs=(TxOut(10_000, tip_script(ANCHOR.key33)),)), "commits to the leaf"),
        (_commit(outputs=(replace(PACKAGE.committed, value=329),)), "no dust"),
        (replace(PACKAGE, tip=PACKAGE.committed), "pays a fee"),
        (replace(PACKAGE, reveals=()), "at least one reveal"),
        (replace(PACKAGE, reveals=PACKAGE.reveals[::-1]), "each rung pays more"),
        (_first_reveal(version=2), "both are TRUC"),
        (_first_reveal(outputs=(_OUT, _OUT)), "one input and one output"),
        (_first_reveal(inputs=(_SPENDING_TIP,)), "spends the commit"),
        (_first_reveal(inputs=(_VOID_NUMBER,)), "by its sequence"),
        (_first_reveal(outputs=(replace(_OUT, script=tip_script(STRANGER.key33)),)), "recreates the tip"),
        (replace(PACKAGE, rates=(2, *PACKAGE.rates[1:])), "pays its rate"),
        (replace(PACKAGE, messages=PACKAGE.messages[:-1]), "one message"),
    ],
)
def test_the_builders_assertion_fires(broken, sentence):
    with pytest.raises(AssertionError, match=sentence):
        assert_sound(broken)


def test_the_assertion_about_dust_tips_fires():
    last = PACKAGE.reveals[-1]
    poor = replace(last, outputs=(replace(last.outputs[0], value=329),))
    with pytest.raises(AssertionError, match="a tip is no dust"):
        assert_sound(replace(PACKAGE, reveals=(*PACKAGE.reveals[:-1], poor)))


def test_the_assertion_about_the_truc_child_fires():
    leaf = leaf_script(bytes(4000), ANCHOR.key33[1:])
    script, control = commit_output(ANCHOR.key33, leaf)
    commit = replace(PACKAGE.commit, outputs=(TxOut(PACKAGE.committed.value, script),))
    inputs = (replace(PACKAGE.reveals[0].inputs[0], outpoint=commit.outpoint(0)),)
    reveals = tuple(replace(tx, inputs=inputs) for tx in PACKAGE.reveals)
    with pytest.raises(AssertionError, match="fits a TRUC child"):
        assert_sound(replace(PACKAGE, commit=commit, reveals=reveals, leaf=leaf, control=control))


def test_the_commit_is_measured_signed():
    assert PACKAGE.commit.vsize < COMMIT_VSIZE


ROTATION = build(a_rotation(), ANCHOR.key33, [1])


@pytest.mark.parametrize(("key", "after"), [(ANCHOR, NEXT), (ODD, NEXT), (NEXT, ODD)])
def test_core_accepts_a_rotation_signed_by_the_old_key_and_what_the_new_key_spends_after(key, after):
    package = build(a_rotation(successor=a_successor(anchor=after.key33)), key.key33, [1])
    signed = key.sign_package(package)
    assert core_accepts(signed.commit, [package.tip])
    for reveal in signed.reveals:
        assert core_accepts(reveal, [package.committed])
        assert reveal.outputs[0].script == tip_script(after.key33)
    tip = signed.reveals[0]
    batch = a_batch(
        epoch=2, sequence=2, tip=tip.outpoint(0), tip_value=tip.outputs[0].value, previous_root=bytes(32)
    )
    following = build(batch, after.key33, [1])
    assert core_accepts(after.sign_package(following).commit, [tip.outputs[0]])


def test_a_rotation_costs_111_and_177_virtual_bytes_and_climbs_the_same_ladder():
    signed = ANCHOR.sign_package(ROTATION)
    assert signed.commit.vsize == 111
    assert {tx.vsize for tx in signed.reveals} == {177}
    fees = [1_000_000 - tx.outputs[0].value for tx in ROTATION.reveals]
    assert ROTATION.rates == LADDER
    assert fees == [rate * (111 + 177) for rate in LADDER]


def test_the_void_of_a_rotation_leads_back_to_the_old_tip():
    void = ANCHOR.sign_void(build_void(ROTATION, 5))
    assert core_accepts(void, [ROTATION.committed])
    assert void.outputs[0].script == tip_script(ANCHOR.key33)


def test_a_rotation_to_its_own_key_or_of_another_rollup_is_not_built():
    other = bytes([ANCHOR.key33[0] ^ 1]) + ANCHOR.key33[1:]
    for same in (ANCHOR.key33, other):
        with pytest.raises(BuildError, match="names a new one"):
            build(a_rotation(successor=a_successor(anchor=same)), ANCHOR.key33, [1])
    with pytest.raises(BuildError, match=r"\[2\]"):
        build(a_rotation(rollup_id=2), ANCHOR.key33, [1])


@pytest.mark.parametrize(
    ("broken", "sentence"),
    [
        (replace(ROTATION, reveals=(replace(ROTATION.reveals[0], outputs=(_OUT,)),)), "under the right key"),
        (replace(ROTATION, payload=PACKAGE.payload), "under the right key"),
        (replace(ROTATION, key33=NEXT.key33), "the key that signs"),
        (replace(PACKAGE, key33=NEXT.key33), "the key that signs"),
        (
            replace(PACKAGE, payload=a_rotation(successor=a_successor(anchor=ANCHOR.key33)).payload()),
            "only a rotation changes the key",
        ),
    ],
)
def test_the_builders_assertions_about_keys_fire(broken, sentence):
    with pytest.raises(AssertionError, match=sentence):
        assert_sound(broken)


def test_the_least_that_a_lane_must_hold_to_name_its_next_key_is_exact():
    key = ANCHOR.key33
    package = build(a_rotation(tip_value=LEAST_TO_ROTATE), key, {1})
    assert package.rates == (1,)
    with pytest.raises(BuildError, match="too little"):
        build(a_rotation(tip_value=Sats(LEAST_TO_ROTATE - 1)), key, {1})
