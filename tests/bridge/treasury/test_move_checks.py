"""Who agrees to a move, who plans it, and how long the addresses of the key before are swept."""

from dataclasses import replace

import pytest

from anchor.btc.amounts import DUST_P2TR, Sats
from anchor.btc.tx import TxOut
from bridge.deposit.address import output, treasury_script
from bridge.treasury.builder import (
    build,
)
from bridge.treasury.checks import (
    Code,
    DepositFact,
    LockFact,
    NodeFacts,
    PayoutFacts,
    Refusal,
    SweepFacts,
    check_move,
    check_payout,
    check_sweep,
)
from bridge.treasury.manifest import SweepManifest
from bridge.treasury.moving import CALM_RATE, MOVE_VSIZE, is_due
from bridge.treasury.planner import SLACK, Situation, Sweepable, plan
from bridge.treasury.reader import TreasuryReader
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
    coin,
    params_of,
    payout,
    payout_manifest,
    sweep_manifest,
    swept,
)
from tests.bridge.toy_chain import ToyChain

READER = TreasuryReader.of(ACTIVATION)
START = READER.start()

# What signers check

FEE = Sats(5 * MOVE_VSIZE)
DUE = START.move_to(SECOND, FEE)
NODE = NodeFacts(
    unsynced=None,
    paused=None,
    tip_height=210,
    view_height=210,
    keys=BOTH,
    params=PARAMS,
    treasury=START,
    reserve=Sats(50_000),
    ancestors_known=True,
    own_min_rate=1,
    own_max_rate=50,
    successor=SECOND,
)


def moved(height=200):
    """The treasury after a move in the block at a height."""
    chain = ToyChain()
    chain.coins[ACTIVATION.treasury] = TxOut(ACTIVATION.treasury_value, treasury_script(TREASURY))
    assert chain.send(build(DUE, BOTH).tx)
    return READER.apply_block(START, chain.mine(), height, (SECOND,))[0]


def refused(code, check, *arguments):
    with pytest.raises(Refusal) as caught:
        check(*arguments)
    assert caught.value.code is code, caught.value
    return caught.value


def test_the_move_is_agreed_to_once_the_rotation_anchor_is_final():
    assert check_move(DUE, NODE) == build(DUE, BOTH)


NODES = {
    Code.UNSYNCED: {"unsynced": "behind"},
    Code.PAUSED: {"paused": "a reorg of 4 blocks"},
    Code.ROTATION_NOT_FINAL: {"successor": None},
    Code.WRONG_SUCCESSOR: {"successor": replace(SECOND, treasury_key=LATER.key33)},
    Code.TIP_MOVED: {"treasury": replace(START, tip=coin("elsewhere"))},
    Code.WRONG_EPOCH: {"treasury": replace(START, keys=BOTH)},
    Code.RESERVE_EMPTY: {"reserve": Sats(FEE + DUST_P2TR - 1)},
    Code.FEE_TOO_HIGH: {"own_max_rate": 4},
    Code.FEE_TOO_LOW: {"own_min_rate": 6},
    Code.HALTED: {"treasury": replace(START, halted="spent by a stranger")},
}


@pytest.mark.parametrize(("code", "change"), NODES.items(), ids=NODES)
def test_a_move_that_is_not_due_here_gets_no_share(code, change):
    refused(code, check_move, DUE, replace(NODE, **change))


@pytest.mark.parametrize(
    ("keys", "code", "retryable"),
    [(KEYS, Code.ROTATION_NOT_FINAL, True), (KEYS.then(LATER.key33), Code.WRONG_SUCCESSOR, False)],
    ids=["unknown", "another"],
)
def test_a_move_to_a_key_that_the_own_rollup_view_does_not_name_gets_no_share(keys, code, retryable):
    assert refused(code, check_move, DUE, replace(NODE, keys=keys)).retryable == retryable


@pytest.mark.parametrize(
    ("lie", "code"),
    [
        ({"treasury_key": LATER.key33}, Code.WRONG_SUCCESSOR),
        ({"record": bytes(32)}, Code.WRONG_SUCCESSOR),
        ({"epoch": 2, "successor_epoch": 3}, Code.WRONG_EPOCH),
        ({"fee": Sats(49_800)}, Code.FEE_TOO_HIGH),
        ({"sequence": 2}, Code.WRONG_SEQUENCE),
        ({"previous": bytes(32)}, Code.WRONG_PREVIOUS),
        ({"tip": coin("elsewhere")}, Code.TIP_MOVED),
        ({"tip_value": Sats(2_000_000)}, Code.TIP_VALUE),
    ],
    ids=str,
)
def test_a_lie_in_a_move_gets_no_share(lie, code):
    refused(code, check_move, replace(DUE, **lie), NODE)


def test_a_second_move_is_of_the_wrong_epoch():
    state = moved()
    again = replace(DUE, sequence=2, tip=state.tip, tip_value=state.tip_value, previous=state.previous)
    assert not refused(Code.WRONG_EPOCH, check_move, again, replace(NODE, treasury=state)).retryable
    ahead = sweep_manifest(ALICE, epoch=2)
    facts = SweepFacts(replace(NODE, successor=None), {ALICE.outpoint: FACT}, Sats(10**8))
    assert refused(Code.WRONG_EPOCH, check_sweep, ahead, facts).retryable, "this node has yet to see the move"
    further = state.move_to(THIRD, FEE)
    refused(Code.ROTATION_NOT_FINAL, check_move, further, replace(NODE, treasury=state))


ALICE = swept("alice")
FACT = DepositFact(
    ALICE.value, output(ALICE.params, TREASURY).script_pubkey, 205, coinbase=False, spent=False, minted=False
)


def test_no_sweep_and_no_payout_is_signed_while_the_move_is_due():
    sweep, pay = sweep_manifest(ALICE), payout_manifest(payout("bob"))
    facts = SweepFacts(NODE, {ALICE.outpoint: FACT}, Sats(10**8))
    assert refused(Code.MOVING, check_sweep, sweep, facts).retryable
    assert refused(Code.MOVING, check_payout, pay, PayoutFacts(NODE, {}, frozenset())).retryable
    before = replace(facts, node=replace(NODE, successor=None))
    assert check_sweep(sweep, before) == build(sweep, KEYS)


def test_batches_go_on_while_the_reserve_cannot_pay_the_move_and_fill_it_up():
    least = Sats(CALM_RATE * MOVE_VSIZE + DUST_P2TR)
    assert is_due(START, SECOND, least, PARAMS)
    assert not is_due(START, SECOND, least, PARAMS, 11), "its operator signs no such move"
    assert not is_due(START, SECOND, least, replace(PARAMS, min_fee_rate=11))
    assert is_due(START, SECOND, Sats(2 * MOVE_VSIZE + DUST_P2TR), replace(PARAMS, max_fee_rate=2))
    poor = Sats(least - 1)
    assert not is_due(START, SECOND, poor, PARAMS)
    facts = SweepFacts(replace(NODE, reserve=poor), {ALICE.outpoint: FACT}, Sats(10**8))
    assert check_sweep(sweep_manifest(ALICE), facts).manifest == sweep_manifest(ALICE)


def old_sweep(state, **changes):
    head = {
        "epoch": 2,
        "sequence": 2,
        "tip": state.tip,
        "tip_value": state.tip_value,
        "previous": state.previous,
    }
    return sweep_manifest(replace(ALICE, **changes), **head)


def test_a_deposit_to_an_old_address_is_swept_until_its_epoch_retires():
    state = moved()
    fact = replace(FACT, height=238)
    for tip, fine in ((239, True), (240, False)):
        node = replace(NODE, treasury=state, successor=None, tip_height=tip)
        facts = SweepFacts(node, {ALICE.outpoint: fact}, Sats(10**8))
        if fine:
            assert check_sweep(old_sweep(state), facts).epochs == (2, 1)
        else:
            assert not refused(Code.DEPOSIT_RETIRED, check_sweep, old_sweep(state), facts).retryable
            back = replace(facts, deposits={ALICE.outpoint: replace(fact, owed=True)})
            assert check_sweep(old_sweep(state), back), "what backs a credit is swept as long as it is there"


def test_a_deposit_named_with_the_wrong_epoch_gets_no_share():
    state = moved()
    node = replace(NODE, treasury=state, successor=None)
    facts = SweepFacts(node, {ALICE.outpoint: FACT}, Sats(10**8))
    refused(Code.DEPOSIT_SCRIPT, check_sweep, old_sweep(state, epoch=2), facts)
    refused(Code.UNBUILDABLE, check_sweep, old_sweep(state, epoch=0), facts)


@pytest.mark.parametrize("key", [EVEN, NEXT], ids=["old", "next"])
def test_a_withdrawal_to_a_script_of_any_epoch_s_treasury_is_refused(key):
    bob = replace(payout("bob"), script=treasury_script(key.key33))
    lock = LockFact(bob.script, bob.amount, Sats(1_000), expiry=500, final=True, settled=False)
    facts = PayoutFacts(replace(NODE, successor=None), {bob.withdrawal: lock}, frozenset())
    refused(Code.WITHDRAWAL_TO_US, check_payout, payout_manifest(bob), facts)


# What the leader plans

NOW = Situation(tip_height=210, view_height=210, reserve=Sats(50_000), room=Sats(10**9), successor=SECOND)


def sweepable(height=205, **changes):
    return replace(Sweepable(coin("d"), Sats(50_000), params_of("d"), height, 1), **changes)


def planned(state=START, deposits=(), situation=NOW, rate=5):
    return plan(state, deposits, (), PARAMS, rate, situation)


def test_the_move_is_planned_before_everything_else_and_every_signer_agrees():
    assert planned(deposits=[sweepable()]) == DUE
    assert check_move(planned(rate=0), NODE).manifest.fee == MOVE_VSIZE
    assert check_move(planned(rate=500), replace(NODE, own_max_rate=100)).manifest.fee <= 100 * MOVE_VSIZE


def test_the_move_s_fee_leaves_dust_in_the_reserve():
    poor = replace(NOW, reserve=Sats(13 * MOVE_VSIZE + DUST_P2TR + 5))
    assert planned(situation=poor, rate=50).fee == 13 * MOVE_VSIZE
    high = replace(poor, own_min_rate=14)
    assert isinstance(planned(situation=high, deposits=[sweepable()]), SweepManifest)
    too_poor = replace(NOW, reserve=Sats(CALM_RATE * MOVE_VSIZE + DUST_P2TR - 1))
    assert isinstance(planned(situation=too_poor, deposits=[sweepable()]), SweepManifest)


def test_no_move_is_planned_twice_nor_past_an_epoch():
    assert planned(state=moved()) is None
    assert planned(situation=replace(NOW, successor=THIRD)) is None


def test_old_deposits_are_planned_until_the_retirement_less_some_slack():
    state = moved(200)
    last = 240 - SLACK - 1
    for tip, due in ((last, True), (last + 1, False)):
        situation = replace(NOW, successor=None, tip_height=tip)
        found = planned(state, [sweepable(tip - 2)], situation)
        assert (found is not None) == due
    gone = replace(NOW, successor=None, tip_height=300)
    owed = [sweepable(298, owed=True)]
    assert planned(state, owed, gone) is None
    assert planned(state, owed, replace(gone, able=frozenset({1, 2}))).deposits[0].epoch == 1


def test_deposits_wait_whose_committee_is_not_there_or_whose_key_the_treasury_does_not_have_yet():
    state = moved(200)
    old, new = sweepable(), sweepable(outpoint=coin("e"), epoch=2)
    situation = replace(NOW, successor=None)
    assert [d.epoch for d in planned(state, [old, new], situation).deposits] in ([1, 2], [2, 1])
    alone = planned(state, [old, new], replace(situation, able=frozenset({2})))
    assert [d.epoch for d in alone.deposits] == [2]
    assert planned(START, [new], situation) is None
