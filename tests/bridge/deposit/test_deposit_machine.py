"""The deposit's machine: forward, back through reorgs, and every odd event ignored with a reason."""

from dataclasses import replace

import pytest

from anchor.btc.hashing import sha256
from anchor.rollup.statements import MintStatement
from bridge.deposit import events as ev
from bridge.deposit import states as st
from bridge.deposit.transitions import Context, step
from bridge.treasury import certificates
from bridge.treasury.machine import (
    Alarm,
    Ignored,
    InBatch,
    MachineFault,
    PostCertificate,
    RequestSignature,
    Step,
)
from tests.bridge.keys import ACTIVATION, PARAMS, coin, params_of

BLOCK, LATER = sha256(b"block"), sha256(b"later block")
CONTEXT = Context(7, ACTIVATION.genesis_hash, 1, coin("alice"), params_of("alice"), PARAMS, 1)
COIN = st.Coin(50_000, 200, BLOCK)
SWEEP = InBatch(4, sha256(b"sweep"), sha256(b"manifest"), 201, BLOCK, 1_000)
PAYLOAD = certificates.encode(
    MintStatement(
        7, ACTIVATION.genesis_hash, 1, coin("alice"), params_of("alice").recipient, 49_000, 1_000,
        SWEEP.txid, BLOCK, 201, SWEEP.manifest_hash,
    )
)  # fmt: skip
SIGNATURE = bytes(64)
MINT = certificates.decode(PAYLOAD).message

ISSUED, SEEN = st.Issued(), st.Seen(50_000)
CONFIRMED = st.Confirmed(COIN)
SWEEPING = st.Sweeping(COIN, 4, SWEEP.txid)
SWEPT = st.Swept(COIN, SWEEP)
MINTING = st.Minting(COIN, SWEEP, PAYLOAD)
POSTED = st.Minting(COIN, SWEEP, PAYLOAD, SIGNATURE)
CREDITED = st.Credited(COIN, SWEEP, MINT, 49_000)
RECLAIMABLE = st.Reclaimable(COIN)
RECLAIMED = st.Reclaimed(COIN, b"r" * 32, 240)
REJECTED = st.Rejected(COIN, "below the minimum of 10000 sat")
DEFICIT = st.Deficit(COIN, MINT, 49_000)
HEALING = st.Deficit(COIN, MINT, 49_000, SWEEP)
ASKING = st.Deficit(COIN, MINT, 49_000, SWEEP, PAYLOAD)
ALL = [
    ISSUED, SEEN, CONFIRMED, SWEEPING, SWEPT, MINTING, POSTED, CREDITED, RECLAIMABLE, RECLAIMED, REJECTED,
    DEFICIT, HEALING, ASKING,
]  # fmt: skip
EVENTS = [
    ev.PaymentSeen(50_000), ev.PaymentReplaced(), ev.PaymentMined(COIN), ev.PaymentUnmined(), ev.TipMoved(201),
    ev.Batched(4, SWEEP.txid), ev.BatchDropped(4), ev.SweepMined(SWEEP), ev.SweepUnmined(SWEEP.txid),
    ev.SweepFinal(BLOCK), ev.Signed(PAYLOAD, SIGNATURE), ev.SigningFailed(PAYLOAD, "two are down", retryable=True),
    ev.MintApplied(MINT, 49_000, 1), ev.ReclaimMined(b"r" * 32, 240), ev.ReclaimUnmined(b"r" * 32),
]  # fmt: skip


def after(state, *events):
    for event in events:
        answer = step(CONTEXT, state, event)
        assert isinstance(answer, Step), (state, event, answer)
        state = answer.state
    return state


def effects(state, event):
    answer = step(CONTEXT, state, event)
    assert isinstance(answer, Step)
    return answer.effects


def test_a_deposit_goes_from_issued_to_credited():
    state = after(
        ISSUED,
        ev.PaymentSeen(50_000),
        ev.PaymentMined(COIN),
        ev.Batched(4, SWEEP.txid),
        ev.SweepMined(SWEEP),
        ev.SweepFinal(BLOCK),
        ev.Signed(PAYLOAD, SIGNATURE),
        ev.MintApplied(MINT, 49_000, 1),
    )
    assert state == CREDITED
    assert st.name(state) == "CREDITED"


def test_the_mint_is_asked_for_only_once_the_sweep_is_final_and_says_the_exact_amount():
    assert effects(CONFIRMED, ev.SweepMined(SWEEP)) == ()
    assert effects(SWEPT, ev.SweepFinal(BLOCK)) == (RequestSignature("mint", PAYLOAD),)
    assert effects(MINTING, ev.Signed(PAYLOAD, SIGNATURE)) == (
        PostCertificate(PAYLOAD, SIGNATURE, SWEEP.manifest_hash),
    )


def test_another_node_s_mint_is_taken_before_this_node_asked_for_one():
    assert after(SWEPT, ev.MintApplied(MINT, 49_000, 1)) == CREDITED


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"value": 9_999}, "minimum"),
        ({"value": 100_000_001}, "maximum"),
        ({"coinbase": True}, "coinbase"),
    ],
)
def test_a_payment_out_of_bounds_is_rejected_and_reclaimable_later(change, why):
    odd = st.Coin(**{"value": 50_000, "height": 200, "block_hash": BLOCK, **change})
    state = after(SEEN, ev.PaymentMined(odd))
    assert isinstance(state, st.Rejected)
    assert why in state.reason
    assert after(state, ev.TipMoved(239)) == st.Reclaimable(odd)


def test_a_payment_to_an_address_with_another_delay_is_rejected():
    odd = replace(CONTEXT, params=params_of("alice", 50))
    answer = step(odd, SEEN, ev.PaymentMined(COIN))
    assert "40 blocks" in answer.state.reason


def test_a_payment_nobody_swept_in_time_is_rejected_then_reclaimable_then_reclaimed():
    # block 200, delay 40: at tip 225 there are 14 blocks before block 240, at 226 the needed 13 + 1 are gone
    assert isinstance(step(CONTEXT, CONFIRMED, ev.TipMoved(225)), Ignored)
    late = after(CONFIRMED, ev.TipMoved(226))
    assert "too late" in late.reason
    assert after(late, ev.TipMoved(239), ev.ReclaimMined(b"r" * 32, 240)) == RECLAIMED
    assert after(late, ev.TipMoved(225)) == CONFIRMED  # a reorg gave it room again


def test_a_reorg_takes_each_step_back():
    assert after(CONFIRMED, ev.PaymentUnmined()) == SEEN
    assert after(SEEN, ev.PaymentReplaced()) == ISSUED
    assert after(SWEPT, ev.SweepUnmined(SWEEP.txid)) == SWEEPING
    assert after(MINTING, ev.SweepUnmined(SWEEP.txid), ev.PaymentUnmined()) == SEEN
    assert after(RECLAIMED, ev.ReclaimUnmined(b"r" * 32)) == CONFIRMED
    assert after(RECLAIMABLE, ev.TipMoved(210)) == CONFIRMED


def test_a_sweep_mined_in_another_block_is_certified_for_that_block():
    moved = InBatch(4, SWEEP.txid, SWEEP.manifest_hash, 203, LATER, 1_000)
    state = after(MINTING, ev.SweepUnmined(SWEEP.txid), ev.SweepMined(moved), ev.SweepFinal(LATER))
    assert state.payload != PAYLOAD
    assert certificates.decode(state.payload).block_hash == LATER
    assert isinstance(step(CONTEXT, state, ev.Signed(PAYLOAD, SIGNATURE)), Ignored)


def test_a_minted_deposit_whose_sweep_a_deep_reorg_took_is_a_deficit_said_aloud_until_it_is_back():
    answer = step(CONTEXT, CREDITED, ev.SweepUnmined(SWEEP.txid))
    assert answer.state == DEFICIT
    (alarm,) = answer.effects
    assert isinstance(alarm, Alarm)
    assert alarm.page
    assert "49000 sat" in alarm.text
    assert after(DEFICIT, ev.SweepMined(SWEEP)) == HEALING
    assert after(HEALING, ev.SweepUnmined(SWEEP.txid)) == DEFICIT
    assert after(HEALING, ev.PaymentUnmined()) == DEFICIT
    elsewhere = st.Coin(50_000, COIN.height + 1, b"e" * 32)
    assert after(DEFICIT, ev.PaymentMined(elsewhere)) == st.Deficit(elsewhere, MINT, 49_000)
    assert after(ASKING, ev.PaymentMined(elsewhere)) == st.Deficit(elsewhere, MINT, 49_000, SWEEP, PAYLOAD)
    asking = step(CONTEXT, HEALING, ev.SweepFinal(BLOCK))
    assert asking.effects == (RequestSignature("mint", PAYLOAD),)
    assert isinstance(step(CONTEXT, asking.state, ev.MintApplied(b"o" * 32, 49_000, 1)), Ignored), (
        "the old mint"
    )
    posted = step(CONTEXT, asking.state, ev.Signed(PAYLOAD, SIGNATURE))
    assert posted.effects == (PostCertificate(PAYLOAD, SIGNATURE, SWEEP.manifest_hash),)
    assert after(posted.state, ev.MintApplied(MINT, 49_000, 1)) == CREDITED
    assert after(posted.state, ev.SweepUnmined(SWEEP.txid)) == DEFICIT
    assert after(CREDITED, ev.PaymentUnmined()) == DEFICIT


def test_a_credit_on_a_block_that_left_before_this_node_knew_of_it_asks_for_its_new_one():
    lost = st.Deficit(COIN, b"o" * 32, 49_000, SWEEP)
    for state in (SWEPT, MINTING, POSTED):
        assert after(state, ev.MintApplied(b"o" * 32, 49_000, 1)) == lost
    assert step(CONTEXT, lost, ev.SweepFinal(BLOCK)).effects == (RequestSignature("mint", PAYLOAD),)


def test_a_batch_that_went_another_way_frees_the_payment():
    assert after(SWEEPING, ev.BatchDropped(4)) == CONFIRMED
    assert after(SWEEPING, ev.Batched(5, LATER)) == st.Sweeping(COIN, 5, LATER)
    assert isinstance(step(CONTEXT, SWEEPING, ev.BatchDropped(3)), Ignored)


def test_the_chain_decides_even_against_this_node_s_judgement():
    for state in (REJECTED, RECLAIMABLE, SWEEPING):
        assert after(state, ev.SweepMined(SWEEP)) == SWEPT


def test_a_failed_signing_is_repeated_or_alarmed():
    assert effects(MINTING, ev.SigningFailed(PAYLOAD, "two are down", retryable=True)) == (
        RequestSignature("mint", PAYLOAD),
    )
    (alarm,) = effects(MINTING, ev.SigningFailed(PAYLOAD, "deposit-minted", retryable=False))
    assert alarm.page
    assert isinstance(step(CONTEXT, POSTED, ev.SigningFailed(PAYLOAD, "late", retryable=True)), Ignored)


@pytest.mark.parametrize("state", ALL, ids=st.name)
@pytest.mark.parametrize("event", EVENTS, ids=lambda e: type(e).__name__)
def test_every_event_has_an_answer_in_every_state_and_a_repeated_one_changes_nothing_more(state, event):
    answer = step(CONTEXT, state, event)
    if isinstance(answer, Ignored):
        assert answer.reason
        return
    assert st.decode(st.encode(answer.state)) == answer.state
    again = step(CONTEXT, answer.state, event)
    assert isinstance(again, Ignored) or again.state == answer.state


@pytest.mark.parametrize("state", ALL, ids=st.name)
def test_a_state_survives_storage_and_names_itself(state):
    row = st.encode(state)
    assert row["state"] == st.name(state).lower()
    assert st.decode(row) == state


@pytest.mark.parametrize("row", [{}, {"state": "lost"}, {"state": "seen"}, {"state": "seen", "value": "x"}])
def test_a_row_of_another_version_is_refused_with_the_next_move(row):
    with pytest.raises(MachineFault, match="version"):
        st.decode(row)
