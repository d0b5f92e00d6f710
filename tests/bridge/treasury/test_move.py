"""The treasury goes to the next key epoch's key: one batch, which everybody reads off the chain in the same way."""

from dataclasses import replace

import pytest

from anchor.btc.amounts import Sats
from anchor.btc.tx import TxOut
from bridge.deposit.address import treasury_script
from bridge.treasury.builder import (
    Mark,
    SignatureFault,
    assemble,
    build,
    messages,
    read_batch,
    signed_vsize,
)
from bridge.treasury.manifest import ManifestFault, MoveManifest, SweepManifest, decode
from bridge.treasury.moving import MOVE_VSIZE
from bridge.treasury.reader import BatchFound, ForeignSpend, StrangersCoin, TreasuryReader
from tests.anchor.btc.judge import core_accepts
from tests.bridge.keys import (
    ACTIVATION,
    BOTH,
    EVEN,
    KEYS,
    LATER,
    NEXT,
    PARAMS,
    SECOND,
    THIRD,
    TREASURY,
    payee,
    payout,
    payout_manifest,
    sweep_manifest,
    swept,
)
from tests.bridge.toy_chain import ToyChain, payment

READER = TreasuryReader.of(ACTIVATION)
START = READER.start()
MOVE = START.move_to(SECOND, Sats(1_000))


# Its bytes


def test_a_move_survives_its_bytes_and_no_byte_can_be_cut_or_added():
    data = MOVE.encode()
    assert decode(data) == MOVE == MoveManifest.decode(data)
    assert data[0] == 3
    for bad in (*(data[:at] for at in range(len(data))), data + b"\0"):
        with pytest.raises(ManifestFault):
            decode(bad)
    with pytest.raises(ManifestFault, match="expected"):
        SweepManifest.decode(data)


@pytest.mark.parametrize(
    "change",
    [
        {"successor_epoch": 1},
        {"successor_epoch": 3},
        {"epoch": 2},
        {"treasury_key": b"\x04" + NEXT.key33[1:]},
        {"treasury_key": b"\x02" + b"\xff" * 32},
        {"record": bytes(31)},
    ],
    ids=str,
)
def test_a_move_to_nowhere_is_refused(change):
    with pytest.raises(ManifestFault):
        replace(MOVE, **change)


# Its transaction


def test_a_move_has_one_input_under_the_old_key_and_the_treasury_under_the_new_one():
    batch = build(MOVE, BOTH)
    assert batch.prevouts == (TxOut(Sats(1_000_000), treasury_script(TREASURY)),)
    assert batch.tx.outputs[0] == TxOut(Sats(999_000), treasury_script(NEXT.key33))
    assert Mark.find(batch.tx.outputs[1].script) == Mark(1, 1, MOVE.hash)
    assert (len(batch.tx.outputs), batch.paths, batch.epochs) == (2, (None,), (1,))
    assert signed_vsize(batch.tx) == MOVE_VSIZE
    tx = assemble(batch, EVEN.sign(batch))
    assert core_accepts(tx, batch.prevouts)
    with pytest.raises(SignatureFault):
        assemble(batch, NEXT.sign(batch))
    assert read_batch(MOVE.encode(), BOTH, tx.txid) == MOVE


@pytest.mark.parametrize("keys", [KEYS, KEYS.then(LATER.key33)], ids=["unknown", "another"])
def test_a_move_to_a_key_that_is_unknown_or_another_s_cannot_be_built(keys):
    with pytest.raises(ManifestFault, match="epoch"):
        build(MOVE, keys)


def test_a_sweep_after_the_move_takes_old_and_new_addresses_each_under_its_own_key():
    old, new = swept("alice"), replace(swept("bob"), epoch=2)
    sweep = sweep_manifest(old, new, epoch=2)
    batch = build(sweep, BOTH)
    by_epoch = {d.outpoint: d.epoch for d in sweep.deposits}
    assert batch.epochs == (2, *(by_epoch[i.outpoint] for i in batch.tx.inputs[1:]))
    assert sorted(messages(batch, 1) + messages(batch, 2), key=str) == sorted(messages(batch), key=str)
    signed = {
        epoch: iter([key.sign_key_path(message, root) for message, root in messages(batch, epoch)])
        for epoch, key in ((1, EVEN), (2, NEXT))
    }
    in_order = [next(signed[epoch]) for epoch in batch.epochs]
    assert core_accepts(assemble(batch, in_order), batch.prevouts)
    for wrong in (in_order[:-1], [*in_order, in_order[-1]], in_order[::-1]):
        with pytest.raises(SignatureFault):
            assemble(batch, wrong)


def test_a_deposit_to_a_later_epoch_than_the_batch_is_no_manifest():
    with pytest.raises(ManifestFault, match="key epoch 2"):
        sweep_manifest(replace(swept("alice"), epoch=2))


# What blocks say


def world():
    chain = ToyChain()
    chain.coins[ACTIVATION.treasury] = TxOut(ACTIVATION.treasury_value, treasury_script(TREASURY))
    return chain, START


def mined(chain, state, tx, height, successors=(SECOND,)):
    assert chain.send(tx)
    return READER.apply_block(state, chain.mine(), height, successors)


def test_the_reader_follows_the_treasury_to_the_next_key_and_on_from_there():
    chain, state = world()
    state, found = mined(chain, state, build(MOVE, BOTH).tx, 200)
    assert found == (BatchFound(1, build(MOVE, BOTH).tx.txid, MOVE.hash, 200),)
    assert (state.epoch, state.tip_value, state.script) == (2, 999_000, treasury_script(NEXT.key33))
    assert state.batches[0].move == state.batches[0].content({}) == MOVE
    assert state.batches[0].block == chain.at(chain.height).header.hash
    assert [state.retires(epoch, PARAMS.reclaim_delay) for epoch in (0, 1, 2)] == [None, 240, None]
    head = {"epoch": 2, "sequence": 2, "tip": state.tip, "tip_value": state.tip_value}
    pay = payout_manifest(payout("bob"), previous=MOVE.hash, **head)
    state, (found,) = mined(chain, state, build(pay, BOTH).tx, 201)
    assert isinstance(found, BatchFound)
    third = state.move_to(THIRD, Sats(500))
    state, _ = mined(chain, state, build(third, BOTH.then(LATER.key33)).tx, 250, (SECOND, THIRD))
    assert (state.halted, state.epoch, state.sequence) == (None, 3, 3)
    assert [state.retires(epoch, 40) for epoch in (1, 2, 3)] == [240, 290, None]


def test_the_reader_stays_on_the_old_key_while_batches_of_it_go_on_after_the_rotation():
    chain, state = world()
    pay = payout_manifest(payout("bob"))
    state, _ = mined(chain, state, build(pay, KEYS).tx, 200)
    assert (state.halted, state.epoch, state.sequence) == (None, 1, 1)


GOOD = build(MOVE, BOTH).tx
LIES = {
    "another key": replace(
        GOOD, outputs=(TxOut(Sats(999_000), treasury_script(LATER.key33)), GOOD.outputs[1])
    ),
    "an output more": replace(GOOD, outputs=(*GOOD.outputs, TxOut(Sats(400), payee("thief")))),
    "another fee": replace(GOOD, outputs=(replace(GOOD.outputs[0], value=Sats(998_000)), GOOD.outputs[1])),
    "another record": build(replace(MOVE, record=bytes(32)), BOTH).tx,
    "another lock time": replace(GOOD, lock_time=7),
}


@pytest.mark.parametrize("tx", LIES.values(), ids=LIES)
def test_a_move_that_differs_in_anything_from_the_chain_s_own_halts_the_treasury(tx):
    chain, state = world()
    state, (found, *_) = mined(chain, state, tx, 200)
    assert isinstance(found, ForeignSpend)
    assert "not the move to key epoch 2" in state.halted
    again, _ = READER.apply_block(state, chain.mine(), 201, (SECOND, THIRD))
    assert again == state


def test_a_move_that_a_reorg_put_before_its_rotation_anchor_is_understood_when_the_anchor_comes():
    chain, state = world()
    state, (found,) = mined(chain, state, GOOD, 200, ())
    assert isinstance(found, ForeignSpend)
    assert "no rotation anchor names" in state.halted
    head = {"epoch": 2, "sequence": 2, "tip": GOOD.outpoint(0), "tip_value": Sats(999_000)}
    pay = build(payout_manifest(payout("bob"), previous=MOVE.hash, **head), BOTH).tx
    state, found = mined(chain, state, pay, 201, ())
    assert found == ()
    state, found = READER.apply_block(state, chain.mine(), 202, (SECOND,))
    assert [type(f) for f in found] == [BatchFound, BatchFound]
    assert (state.halted, state.unnamed, state.epoch, state.sequence) == (None, (), 2, 2)
    assert [(b.height, b.block) for b in state.batches] == [
        (200 + n, chain.at(chain.height - 2 + n).header.hash) for n in (0, 1)
    ]
    assert state.tip == pay.outpoint(0)


def test_two_moves_that_a_reorg_put_before_their_anchors_are_understood_one_after_the_other():
    chain, state = world()
    ahead, _ = mined(chain, state, GOOD, 200)
    third = build(ahead.move_to(THIRD, Sats(500)), BOTH.then(LATER.key33)).tx
    chain.undo()
    state, _ = mined(chain, state, GOOD, 200, ())
    state, _ = mined(chain, state, third, 201, ())
    state, _ = READER.apply_block(state, chain.mine(), 202, (SECOND,))
    assert (state.epoch, bool(state.halted)) == (2, True)
    state, _ = READER.apply_block(state, chain.mine(), 203, (SECOND, THIRD))
    assert (state.epoch, state.halted, state.sequence) == (3, None, 2)


def test_a_theft_with_the_shape_of_a_move_stays_a_theft_when_an_anchor_comes():
    chain, state = world()
    thief = replace(GOOD, outputs=(TxOut(Sats(999_000), payee("thief")), GOOD.outputs[1]))
    state, _ = mined(chain, state, thief, 200, ())
    state, (found,) = READER.apply_block(state, chain.mine(), 201, (SECOND,))
    assert isinstance(found, ForeignSpend)
    assert state.halted == found.reason
    assert state.unnamed == ()


def test_strangers_coins_are_reported_at_old_present_and_announced_scripts():
    chain, state = world()
    state, _ = mined(chain, state, GOOD, 200)
    scripts = [treasury_script(key.key33) for key in (EVEN, NEXT, LATER)]
    gift = payment(chain.outside_coin(9_000), *(TxOut(Sats(3_000), script) for script in scripts))
    after, found = mined(chain, state, gift, 201, (SECOND, THIRD))
    assert after == state
    assert found == tuple(StrangersCoin(gift.outpoint(n), Sats(3_000), 201) for n in range(3))
