"""The machines end where the chains are, from whatever they believed before."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as some

from anchor.btc.ids import OutPoint, Txid
from anchor.rollup.activation import Params
from bridge.deposit import states as dst
from bridge.deposit.address import DepositParams
from bridge.deposit.transitions import Context, statement
from bridge.params import REGTEST
from bridge.reconcile import DepositFacts, WithdrawalFacts, advance_deposit, advance_withdrawal
from bridge.treasury import certificates
from bridge.treasury.machine import Alarm, InBatch, RequestSignature
from bridge.withdrawal import states as wst
from bridge.withdrawal import transitions as withdrawal

KEY = bytes.fromhex("79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798")
RULES: Params = REGTEST
CONTEXT = Context(
    7, b"g" * 32, 1, OutPoint(Txid(b"t" * 32), 0), DepositParams(KEY, KEY, RULES.reclaim_delay), RULES, 1
)
NEXT = replace(CONTEXT, epoch=2)
COIN = dst.Coin(1_000_000, 100, b"\x01" * 32)
OTHER_COIN = dst.Coin(1_000_000, 101, b"\x02" * 32)
SWEEP = InBatch(1, b"s" * 32, b"m" * 32, 102, b"\x03" * 32, 1_000)
OTHER_SWEEP = InBatch(1, b"z" * 32, b"n" * 32, 103, b"\x04" * 32, 1_000)


def told(sweep: InBatch, context: Context = CONTEXT) -> tuple[bytes, int, int]:
    """The rollup's mint that stands on this sweep."""
    made = statement(context, COIN, sweep)
    return made.message, made.amount, made.epoch


MINTED = told(SWEEP)

WITHDRAWAL = withdrawal.Context(7, b"g" * 32, 1, b"w" * 32, b"\x51\x20" + KEY, 50_000)

coins = some.sampled_from([None, COIN, OTHER_COIN])
sweeps = some.sampled_from([None, SWEEP, OTHER_SWEEP])


@some.composite
def deposit_facts(draw: some.DrawFn) -> DepositFacts:
    coin = draw(coins)
    sweep = draw(sweeps) if coin is not None else None
    deep = sweep is not None and draw(some.booleans())
    return DepositFacts(
        tip=draw(some.integers(103, 120)),
        coin=coin,
        batched=draw(some.sampled_from([None, (1, b"s" * 32)])),
        sweep=sweep,
        sweep_final=deep,
        minted=told(sweep) if sweep and deep and draw(some.booleans()) else None,
    )


def settled(state: dst.State, facts: DepositFacts) -> dst.State:
    """The state after as many rounds as it takes."""
    for _ in range(4):
        state, _ = advance_deposit(CONTEXT, state, facts)
    return state


def test_a_new_deposit_goes_all_the_way_in_one_round():
    facts = DepositFacts(110, COIN, None, SWEEP, sweep_final=True)
    state, effects = advance_deposit(CONTEXT, dst.Issued(), facts)
    assert isinstance(state, dst.Minting)
    assert [type(e) for e in effects] == [RequestSignature]


def test_a_minted_deposit_whose_sweep_left_the_chain_is_a_deficit_said_aloud():
    facts = DepositFacts(110, COIN, None, SWEEP, sweep_final=True, minted=MINTED)
    credited = settled(dst.Issued(), facts)
    assert isinstance(credited, dst.Credited)
    lost, effects = advance_deposit(CONTEXT, credited, replace(facts, sweep=None, sweep_final=False))
    assert isinstance(lost, dst.Deficit)
    assert any(isinstance(e, Alarm) and e.page for e in effects)


def test_a_credit_heals_once_and_for_all_though_the_payment_itself_came_in_another_block():
    facts = DepositFacts(110, COIN, None, SWEEP, sweep_final=True, minted=MINTED)
    credited = settled(dst.Issued(), facts)
    lost = settled(credited, replace(facts, coin=None, sweep=None, sweep_final=False))
    assert isinstance(lost, dst.Deficit)
    again = replace(facts, coin=OTHER_COIN, sweep=OTHER_SWEEP, minted=told(OTHER_SWEEP))
    healed, effects = advance_deposit(CONTEXT, lost, again)
    assert healed == dst.Credited(OTHER_COIN, OTHER_SWEEP, *told(OTHER_SWEEP)[:2])
    assert [type(e) for e in effects] == [RequestSignature, Alarm]
    assert advance_deposit(CONTEXT, healed, again) == (healed, ()), "said once, not every second"


@given(deposit_facts(), some.sampled_from([SWEEP, OTHER_SWEEP]), some.lists(deposit_facts(), max_size=3))
def test_while_the_chains_stand_still_nothing_more_is_said_of_what_is_credited(last, now_on, between):
    facts = DepositFacts(110, COIN, None, SWEEP, sweep_final=True, minted=MINTED)
    state = settled(dst.Issued(), facts)
    for each in between:
        state, _ = advance_deposit(CONTEXT, state, replace(each, minted=MINTED))
    last = replace(last, minted=told(now_on))
    state = settled(state, last)
    assert advance_deposit(CONTEXT, state, last) == (state, ())


def test_a_credit_stays_a_deficit_until_the_rollup_knows_the_block_of_its_new_sweep():
    facts = DepositFacts(110, COIN, None, SWEEP, sweep_final=True, minted=MINTED)
    credited = settled(dst.Issued(), facts)
    asking, effects = advance_deposit(CONTEXT, credited, replace(facts, sweep=OTHER_SWEEP))
    assert isinstance(asking, dst.Deficit)
    assert [type(e) for e in effects] == [Alarm, RequestSignature]
    assert settled(asking, replace(facts, sweep=OTHER_SWEEP)) == asking
    healed, _ = advance_deposit(CONTEXT, asking, replace(facts, sweep=OTHER_SWEEP, minted=told(OTHER_SWEEP)))
    assert isinstance(healed, dst.Credited)
    assert healed.amount == MINTED[1]


def test_a_withdrawal_whose_settlement_was_taken_back_is_owed_again_or_asks_anew():
    paid = WithdrawalFacts(None, SWEEP, payout_final=True, settled=b"m" * 32)
    state, _ = advance_withdrawal(WITHDRAWAL, wst.Locked(), paid)
    assert isinstance(state, wst.Settled)
    gone, _ = advance_withdrawal(WITHDRAWAL, state, WithdrawalFacts())
    assert gone == wst.Locked()
    moved, effects = advance_withdrawal(
        WITHDRAWAL, state, WithdrawalFacts(None, OTHER_SWEEP, payout_final=True)
    )
    assert isinstance(moved, wst.Settling)
    assert isinstance(effects[-1], RequestSignature)


def test_a_payment_that_left_its_block_waits_again():
    confirmed = settled(dst.Issued(), DepositFacts(100, COIN))
    assert settled(confirmed, DepositFacts(100, None)) == dst.Seen(COIN.value)


def test_a_batch_that_is_nowhere_lets_the_deposit_go_for_the_next():
    sweeping = settled(dst.Issued(), DepositFacts(105, COIN, (1, b"s" * 32)))
    assert isinstance(sweeping, dst.Sweeping)
    assert isinstance(settled(sweeping, DepositFacts(105, COIN)), dst.Confirmed)


@given(some.lists(deposit_facts(), max_size=6), deposit_facts())
def test_whatever_was_believed_before_the_same_facts_end_in_the_same_place(
    before: list[DepositFacts], last: DepositFacts
):
    state: dst.State = dst.Issued()
    minted = False
    for facts in before:
        state = settled(state, facts)
        minted = minted or isinstance(state, dst.Credited | dst.Deficit)
    if minted:
        last = replace(last, minted=told(last.sweep) if last.sweep and last.sweep_final else None)
    state = settled(state, last)
    fresh = settled(dst.Issued(), last)
    if minted:  # a mint is never forgotten
        assert isinstance(state, dst.Credited | dst.Deficit)
        if last.sweep is None:
            assert isinstance(state, dst.Deficit)
        elif last.sweep_final:
            assert isinstance(state, dst.Credited)
    elif last.coin is None:
        assert isinstance(state, dst.Issued | dst.Seen)
    elif isinstance(state, dst.Minting) and not last.sweep_final:
        assert state.sweep == last.sweep  # it may ask; signers and rollup look at finality themselves
    else:
        assert state == fresh


def test_a_withdrawal_is_sent_paid_settled_and_back_after_a_reorg():
    context = WITHDRAWAL
    paid = replace_payout(SWEEP)
    state, _ = advance_withdrawal(context, wst.Locked(), WithdrawalFacts(sent=(1, paid.txid)))
    assert isinstance(state, wst.Broadcast)
    state, effects = advance_withdrawal(context, state, WithdrawalFacts(payout=paid, payout_final=True))
    assert isinstance(state, wst.Settling)
    assert isinstance(effects[0], RequestSignature)
    state, _ = advance_withdrawal(context, state, WithdrawalFacts())
    assert isinstance(state, wst.Locked | wst.Broadcast)
    facts = WithdrawalFacts(payout=paid, payout_final=True, settled=b"r" * 32)
    state, _ = advance_withdrawal(context, state, facts)
    assert isinstance(state, wst.Settled)


def replace_payout(sweep: InBatch) -> InBatch:
    return InBatch(sweep.sequence, b"p" * 32, sweep.manifest_hash, sweep.height, sweep.block_hash, 1_000)


def test_a_credit_whose_payment_a_deep_reorg_took_before_it_was_written_down_is_a_deficit() -> None:
    seen, facts = dst.Seen(COIN.value), DepositFacts(tip=110, coin=None, minted=MINTED)
    state, effects = advance_deposit(CONTEXT, seen, facts)
    assert isinstance(state, dst.Deficit)
    assert (state.amount, state.sweep) == (MINTED[1], None)
    (alarm,) = effects
    assert isinstance(alarm, Alarm)
    assert "have no sweep on the chain" in alarm.text
    assert advance_deposit(CONTEXT, state, facts) == (state, ())
    again, _ = advance_deposit(
        CONTEXT, state, DepositFacts(tip=115, coin=COIN, sweep=SWEEP, sweep_final=True)
    )
    assert isinstance(again, dst.Deficit)
    assert again.payload, "once swept for good the rollup is told on which block the credit stands"


def test_a_mint_that_waits_is_asked_for_anew_under_the_next_mint_key():
    facts = DepositFacts(110, COIN, None, SWEEP, sweep_final=True)
    waiting, _ = advance_deposit(CONTEXT, dst.Issued(), facts)
    assert isinstance(waiting, dst.Minting)
    posted = dst.Minting(COIN, SWEEP, waiting.payload, bytes(64))
    for state in (waiting, posted):
        anew, effects = advance_deposit(NEXT, state, facts)
        assert isinstance(anew, dst.Minting)
        assert certificates.decode(anew.payload) == statement(NEXT, COIN, SWEEP)
        assert anew.signature == b""
        assert effects == (RequestSignature("mint", anew.payload),)
        assert advance_deposit(NEXT, anew, facts) == (anew, ())


@pytest.mark.parametrize("context", [CONTEXT, NEXT], ids=["before", "after"])
def test_a_credit_stays_a_credit_whichever_mint_key_certified_it_and_whenever_this_node_hears_of_it(context):
    facts = DepositFacts(110, COIN, None, SWEEP, sweep_final=True)
    waiting, _ = advance_deposit(CONTEXT, dst.Issued(), facts)
    credited = replace(facts, minted=told(SWEEP))
    for state in (dst.Issued(), waiting, advance_deposit(NEXT, waiting, facts)[0]):
        found, _ = advance_deposit(context, state, credited)
        assert isinstance(found, dst.Credited)
        assert advance_deposit(NEXT, found, credited) == (found, ())


def test_a_deficit_that_began_before_a_succession_heals_under_the_next_mint_key():
    facts = DepositFacts(110, COIN, None, OTHER_SWEEP, sweep_final=True, minted=MINTED)
    asking, _ = advance_deposit(CONTEXT, dst.Deficit(COIN, MINTED[0], MINTED[1]), facts)
    anew, effects = advance_deposit(NEXT, asking, facts)
    assert isinstance(anew, dst.Deficit)
    assert certificates.decode(anew.payload).epoch == 2
    assert effects == (RequestSignature("mint", anew.payload),)
    for said in (
        told(OTHER_SWEEP),
        told(OTHER_SWEEP, NEXT),
    ):  # before the succession somebody was quicker, or not
        healed, _ = advance_deposit(NEXT, anew, replace(facts, minted=said))
        assert isinstance(healed, dst.Credited)


def test_a_settlement_that_waits_is_asked_for_anew_under_the_next_mint_key():
    facts, later = WithdrawalFacts(payout=SWEEP, payout_final=True), replace(WITHDRAWAL, epoch=2)
    waiting, _ = advance_withdrawal(WITHDRAWAL, wst.Locked(), facts)
    assert isinstance(waiting, wst.Settling)
    for state in (waiting, wst.Settling(SWEEP, waiting.payload, bytes(64))):
        anew, effects = advance_withdrawal(later, state, facts)
        assert isinstance(anew, wst.Settling)
        assert (certificates.decode(anew.payload).epoch, anew.signature) == (2, b"")
        assert effects == (RequestSignature("mint", anew.payload),)
        assert advance_withdrawal(later, anew, facts) == (anew, ())
        settled, _ = advance_withdrawal(later, anew, replace(facts, settled=b"r" * 32))
        assert settled == wst.Settled(b"r" * 32, SWEEP)


def test_a_payment_to_an_address_whose_epoch_retired_is_rejected_until_a_reorg_moves_the_height():
    retired, facts = replace(NEXT, retires=110), DepositFacts(109, COIN)
    confirmed, _ = advance_deposit(retired, dst.Issued(), facts)
    assert confirmed == dst.Confirmed(COIN)
    rejected, _ = advance_deposit(retired, confirmed, replace(facts, tip=110))
    assert isinstance(rejected, dst.Rejected)
    assert rejected.reason == (
        "its address is of key epoch 1, retired at height 110: take it back after the delay"
    )
    for turned in (replace(retired, retires=112), replace(retired, retires=None)):
        assert advance_deposit(turned, rejected, replace(facts, tip=110))[0] == confirmed
    swept, _ = advance_deposit(retired, rejected, replace(facts, tip=111, sweep=SWEEP))
    assert swept == dst.Swept(COIN, SWEEP), "the chain decides"
    over = COIN.height + RULES.reclaim_delay
    assert advance_deposit(retired, rejected, replace(facts, tip=over))[0] == dst.Reclaimable(COIN)
