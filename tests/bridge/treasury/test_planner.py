"""The planner: every plan passes the signers' checks, nothing starves, nothing unpayable is planned."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from anchor.btc.amounts import DUST_P2TR, FeeRate, Sats
from bridge.treasury.builder import MAX_VSIZE, build, signed_vsize
from bridge.treasury.manifest import PayoutManifest, SweepManifest
from bridge.treasury.planner import Payable, Situation, Sweepable, plan
from bridge.treasury.reader import TreasuryReader
from tests.bridge.keys import ACTIVATION, KEYS, PARAMS, coin, params_of, payee, sha256

START = replace(TreasuryReader.of(ACTIVATION).start(), tip_value=Sats(10**9))
NOW = Situation(tip_height=210, view_height=210, reserve=Sats(10**6), room=Sats(10**9))
RATE = FeeRate(5)
ALICE = params_of("alice")


def deposit(n=0, value=50_000, height=205, params=ALICE):
    return Sweepable(coin(f"deposit {n}"), Sats(value), params, height, 1)


def withdrawal(n=0, amount=30_000, max_fee=800, expiry=500, script=None):
    identity = sha256(b"withdrawal %d" % n)
    return Payable(identity, script or payee("bob"), Sats(amount), Sats(max_fee), expiry)


def planned(deposits=(), withdrawals=(), state=START, params=PARAMS, rate=RATE, **changes):
    return plan(state, deposits, withdrawals, params, rate, replace(NOW, **changes))


def test_nothing_to_do_is_no_batch():
    assert planned() is None
    assert planned([deposit()], [withdrawal()], replace(START, halted="foreign")) is None


def test_a_sweep_follows_the_tip_and_pays_the_rate():
    manifest = planned([deposit(1), deposit(2)])
    assert isinstance(manifest, SweepManifest)
    assert (manifest.sequence, manifest.tip, manifest.previous) == (1, START.tip, START.previous)
    assert manifest.fee == 5 * signed_vsize(build(manifest, KEYS).tx)
    assert [d.fee_share for d in manifest.deposits] == [1_000, 1_000]


def test_neither_kind_starves_the_other():
    kinds = [planned([deposit()], [withdrawal()], replace(START, sequence=n)) for n in range(4)]
    assert [type(k) for k in kinds] == [SweepManifest, PayoutManifest] * 2
    assert isinstance(planned([], [withdrawal()]), PayoutManifest)
    assert isinstance(planned([deposit()], [], replace(START, sequence=1)), SweepManifest)


@pytest.mark.parametrize(
    "bad",
    [
        deposit(value=9_999),
        deposit(value=100_000_001),
        deposit(height=182),
        deposit(params=params_of("alice", 41)),
    ],
    ids=["small", "large", "late", "delay"],
)
def test_a_deposit_that_signers_would_refuse_is_left_out(bad):
    good = deposit(9)
    assert planned([bad]) is None
    assert [d.outpoint for d in planned([bad, good]).deposits] == [good.outpoint]


@pytest.mark.parametrize(
    "bad",
    [
        withdrawal(amount=4_999),
        withdrawal(max_fee=799),
        withdrawal(expiry=212),
        withdrawal(script=b"\x6a\x00"),
    ],
    ids=["small", "fee", "expiring", "script"],
)
def test_a_withdrawal_that_signers_would_refuse_waits(bad):
    good = withdrawal(9)
    assert planned([], [bad]) is None
    assert [p.withdrawal for p in planned([], [bad, good]).payouts] == [good.withdrawal]


def test_the_supply_cap_s_room_is_given_to_the_oldest():
    manifest = planned([deposit(1, 60_000), deposit(2, 60_000), deposit(3, 20_000)], room=Sats(80_000))
    assert {d.value for d in manifest.deposits} == {60_000, 20_000}


def test_a_batch_is_cut_to_ten_thousand_vbytes_oldest_first():
    deposits = [deposit(n) for n in range(300)]
    manifest = planned(deposits)
    assert signed_vsize(build(manifest, KEYS).tx) <= MAX_VSIZE
    assert {d.outpoint for d in manifest.deposits} == {d.outpoint for d in deposits[: len(manifest.deposits)]}
    assert len(manifest.deposits) > 160
    payouts = planned([], [withdrawal(n) for n in range(500)])
    assert signed_vsize(build(payouts, KEYS).tx) <= MAX_VSIZE


def test_rates_are_clamped_at_both_ends():
    vsize = signed_vsize(build(planned([deposit()]), KEYS).tx)
    assert planned([deposit()], rate=FeeRate(0)).fee == vsize * PARAMS.min_fee_rate
    assert planned([deposit()], rate=FeeRate(10**6)).fee == vsize * PARAMS.max_fee_rate


def test_a_poor_reserve_lowers_the_rate_and_then_stops_the_batch():
    vsize = 225
    assert planned([deposit()], reserve=Sats(3 * vsize - 1_000 + DUST_P2TR)).fee == 3 * vsize
    assert planned([deposit()], [], reserve=Sats(0)).fee == 2 * vsize  # the fee share alone, less dust
    assert planned([], [withdrawal()], reserve=Sats(0)).fee == 2 * 210
    poor = replace(PARAMS, deposit_fee=0)
    assert planned([deposit()], params=poor, reserve=Sats(vsize + DUST_P2TR - 1)) is None


def test_what_backs_a_credit_is_swept_again_however_late_and_pays_its_own_fee():
    back = replace(deposit(value=10**6, height=100), owed=True)
    manifest = planned([back], reserve=Sats(0), room=Sats(0), rate=FeeRate(20))
    assert isinstance(manifest, SweepManifest)
    assert manifest.fee == 20 * signed_vsize(build(manifest, KEYS).tx)
    assert planned([replace(back, owed=False)], rate=FeeRate(20)) is None, "too late for one without a credit"


def test_the_fee_cap_takes_fewer_items_rather_than_too_low_a_rate():
    capped = replace(PARAMS, batch_fee_cap=1_000)
    manifest = planned([deposit(n) for n in range(100)], params=capped, rate=FeeRate(50))
    assert manifest.fee <= 1_000
    assert 1 < len(manifest.deposits) < 20


def test_a_payout_that_would_leave_dust_waits():
    poor = replace(START, tip_value=Sats(30_000))
    assert planned([], [withdrawal()], poor) is None


@settings(max_examples=60, deadline=None)
@given(
    values=some.lists(some.integers(1_000, 200_000), max_size=12),
    amounts=some.lists(some.integers(1_000, 200_000), max_size=12),
    rate=some.integers(0, 200),
    reserve=some.integers(0, 40_000),
    sequence=some.integers(0, 5),
)
def test_whatever_is_planned_can_be_built_within_fee_bounds_and_reserve(
    values, amounts, rate, reserve, sequence
):
    manifest = planned(
        [deposit(n, v) for n, v in enumerate(values)],
        [withdrawal(n, a) for n, a in enumerate(amounts)],
        replace(START, sequence=sequence),
        rate=FeeRate(rate),
        reserve=Sats(reserve),
    )
    if manifest is None:
        return
    vsize = signed_vsize(build(manifest, KEYS).tx)
    assert PARAMS.min_fee_rate * vsize <= manifest.fee <= PARAMS.max_fee_rate * vsize
    assert manifest.fee <= min(PARAMS.batch_fee_cap, reserve + manifest.shares - DUST_P2TR)


def test_everything_that_is_owed_can_leave_however_small_the_reserve():
    """The treasury holds 150,000 sat for one withdrawal and a reserve below the fee cap."""
    due = withdrawal(amount=150_000)
    for reserve in (1_000, 5_000, 20_000, PARAMS.batch_fee_cap * 2):
        manifest = planned(
            [], [due], replace(START, tip_value=Sats(150_000 + reserve)), reserve=Sats(reserve)
        )
        assert isinstance(manifest, PayoutManifest), reserve
        assert manifest.treasury_value >= DUST_P2TR
        assert [p.withdrawal for p in manifest.payouts] == [due.withdrawal]
