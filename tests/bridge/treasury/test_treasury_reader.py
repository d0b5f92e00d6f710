"""The reader: batches from blocks alone, foreign spends halted, strangers' coins left alone."""

from dataclasses import replace

import pytest

from anchor.btc.amounts import Sats
from anchor.btc.script import op_return
from anchor.btc.tx import TxIn, TxOut
from bridge.deposit.address import output, treasury_script
from bridge.treasury.builder import Mark, build
from bridge.treasury.reader import BatchFound, ForeignSpend, StrangersCoin, TreasuryReader
from tests.bridge.keys import (
    ACTIVATION,
    KEYS,
    TREASURY,
    params_of,
    payee,
    payout,
    payout_manifest,
    sweep_manifest,
    swept,
)
from tests.bridge.toy_chain import ToyChain, payment

READER = TreasuryReader.of(ACTIVATION)
OWN = treasury_script(TREASURY)


def world():
    chain = ToyChain()
    chain.coins[ACTIVATION.treasury] = TxOut(ACTIVATION.treasury_value, OWN)
    return chain, READER.start()


def deposit(chain, name, value=50_000):
    tx = payment(
        chain.outside_coin(value), TxOut(Sats(value), output(params_of(name), TREASURY).script_pubkey)
    )
    assert chain.send(tx)
    return replace(swept(name, value), outpoint=tx.outpoint(0))


def follow(state, manifest):
    """The next manifest on `state`."""
    head = {"tip": state.tip, "tip_value": state.tip_value, "previous": state.previous}
    return replace(manifest, sequence=state.sequence + 1, **head)


def test_two_batches_are_followed_and_the_value_is_known_at_every_height():
    chain, state = world()
    item = deposit(chain, "alice")
    state, found = READER.apply_block(state, chain.mine(), 100, ())
    assert found == ()
    sweep = follow(state, sweep_manifest(item))
    chain.send(build(sweep, KEYS).tx)
    state, found = READER.apply_block(state, chain.mine(), 101, ())
    txid = build(sweep, KEYS).tx.txid
    assert found == (BatchFound(1, txid, sweep.hash, 101),)
    assert (state.tip_value, state.previous, state.tip_height) == (1_049_000, sweep.hash, 101)
    pay = follow(state, payout_manifest(payout("bob")))
    chain.send(build(pay, KEYS).tx)
    state, found = READER.apply_block(state, chain.mine(), 102, ())
    assert [type(f) for f in found] == [BatchFound]
    assert [state.at(h)[0] for h in (99, 100, 101, 102, 500)] == [
        1_000_000,
        1_000_000,
        1_049_000,
        1_018_800,
        1_018_800,
    ]
    assert state.batches[0].inputs == (item.outpoint,)


def test_a_reorg_is_going_back_to_the_state_that_was_kept():
    chain, state = world()
    item = deposit(chain, "alice")
    kept, _ = READER.apply_block(state, chain.mine(), 100, ())
    chain.send(build(follow(kept, sweep_manifest(item)), KEYS).tx)
    READER.apply_block(kept, chain.mine(), 101, ())
    chain.undo()
    again, found = READER.apply_block(kept, chain.mine(leave_out=frozenset(chain.mempool)), 101, ())
    assert (again, found) == (kept, ())


def test_a_second_reader_on_another_version_of_the_batch_sees_that_one():
    chain, state = world()
    first = follow(state, payout_manifest(payout("bob")))
    second = replace(first, fee=Sats(2_000))
    chain.send(build(first, KEYS).tx)
    chain.send(build(second, KEYS).tx)
    state, (found,) = READER.apply_block(state, chain.mine(), 100, ())
    assert found.manifest_hash == second.hash


def test_strangers_coins_are_reported_and_never_become_the_tip():
    chain, state = world()
    gift = payment(chain.outside_coin(9_000), TxOut(Sats(4_000), OWN), TxOut(Sats(5_000), OWN))
    chain.send(gift)
    after, found = READER.apply_block(state, chain.mine(), 100, ())
    assert after == state
    assert found == tuple(StrangersCoin(gift.outpoint(n), v, 100) for n, v in ((0, 4_000), (1, 5_000)))


def test_a_payout_to_the_treasury_s_own_script_is_a_stranger_s_coin_too():
    chain, state = world()
    circle = follow(state, payout_manifest(replace(payout("bob"), script=OWN)))
    chain.send(build(circle, KEYS).tx)
    state, found = READER.apply_block(state, chain.mine(), 100, ())
    assert [type(f) for f in found] == [BatchFound, StrangersCoin]
    assert state.tip.vout == 0


def test_the_genesis_coin_is_no_stranger_s():
    chain = ToyChain()
    tx = payment(chain.outside_coin(1_000_000), TxOut(Sats(1_000_000), OWN))
    reader = TreasuryReader.of(replace(ACTIVATION, treasury=tx.outpoint(0)))
    chain.send(tx)
    assert reader.apply_block(reader.start(), chain.mine(), 100, ()) == (reader.start(), ())


def mark(**changes):
    return TxOut(Sats(0), op_return(replace(Mark(1, 1, bytes(32)), **changes).encode()))


HONEST = build(payout_manifest(payout("bob")), KEYS).tx


@pytest.mark.parametrize(
    ("tx", "why"),
    [
        (replace(HONEST, outputs=HONEST.outputs[:1]), "no mark"),
        (replace(HONEST, outputs=(HONEST.outputs[0], TxOut(Sats(5), payee("thief")))), "no mark"),
        (replace(HONEST, outputs=(HONEST.outputs[0], mark(epoch=2))), "epoch 2"),
        (replace(HONEST, outputs=(HONEST.outputs[0], mark(sequence=2))), "batch 2"),
        (replace(HONEST, outputs=(TxOut(Sats(5), payee("thief")), mark())), "no rotation anchor names"),
        (replace(HONEST, version=2), "input 0 to output 0"),
    ],
    ids=["bare", "thief", "epoch", "sequence", "moved", "version"],
)
def test_a_spend_that_is_no_batch_halts_the_treasury_for_good(tx, why):
    chain, state = world()
    chain.send(tx)
    state, found = READER.apply_block(state, chain.mine(), 100, ())
    assert isinstance(found[0], ForeignSpend)
    assert why in found[0].reason
    assert state.halted == found[0].reason
    after, _ = READER.apply_block(state, chain.mine(), 101, ())
    assert after == state


def test_the_tip_must_be_input_0():
    chain, state = world()
    other = chain.outside_coin(5_000)
    chain.send(replace(HONEST, inputs=(TxIn(other, 0), *HONEST.inputs)))
    _, found = READER.apply_block(state, chain.mine(), 100, ())
    assert isinstance(found[0], ForeignSpend)
