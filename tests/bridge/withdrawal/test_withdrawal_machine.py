"""The withdrawal's machine: from lock to settlement, back through reorgs, never a second payout."""

import pytest

from anchor.btc.hashing import sha256
from anchor.rollup.statements import SettleStatement
from bridge.treasury import certificates
from bridge.treasury.machine import Ignored, InBatch, MachineFault, PostCertificate, RequestSignature, Step
from bridge.withdrawal import events as ev
from bridge.withdrawal import states as st
from bridge.withdrawal.transitions import Context, step
from tests.bridge.keys import ACTIVATION, payee

BLOCK, LATER = sha256(b"block"), sha256(b"later block")
ID = sha256(b"withdrawal")
CONTEXT = Context(7, ACTIVATION.genesis_hash, 1, ID, payee("bob"), 30_000)
PAYOUT = InBatch(2, sha256(b"payout"), sha256(b"manifest"), 301, BLOCK, 800)
PAYLOAD = certificates.encode(
    SettleStatement(
        7, ACTIVATION.genesis_hash, 1, ID, payee("bob"), 29_200, 800, PAYOUT.txid, BLOCK, 301,
        PAYOUT.manifest_hash,
    )
)  # fmt: skip
SIGNATURE = bytes(64)

LOCKED = st.Locked()
BATCHED, BROADCAST = st.Batched(2, PAYOUT.txid), st.Broadcast(2, PAYOUT.txid)
CONFIRMED = st.Confirmed(PAYOUT)
SETTLING, POSTED = st.Settling(PAYOUT, PAYLOAD), st.Settling(PAYOUT, PAYLOAD, SIGNATURE)
SETTLED, LOST = st.Settled(b"s" * 32, PAYOUT), st.Settled(b"s" * 32, None)
ALL = [LOCKED, BATCHED, BROADCAST, CONFIRMED, SETTLING, POSTED, SETTLED, LOST]
EVENTS = [
    ev.Planned(2, PAYOUT.txid), ev.Sent(2, PAYOUT.txid), ev.BatchDropped(2), ev.PayoutMined(PAYOUT),
    ev.PayoutUnmined(PAYOUT.txid), ev.PayoutFinal(BLOCK), ev.Signed(PAYLOAD, SIGNATURE),
    ev.SigningFailed(PAYLOAD, "two are down", retryable=True), ev.SettleApplied(b"s" * 32),
    ev.SettleUndone(),
]  # fmt: skip


def after(state, *events):
    for event in events:
        answer = step(CONTEXT, state, event)
        assert isinstance(answer, Step), (state, event, answer)
        state = answer.state
    return state


def test_a_withdrawal_goes_from_locked_to_settled():
    state = after(
        LOCKED,
        ev.Planned(2, PAYOUT.txid),
        ev.Sent(2, PAYOUT.txid),
        ev.PayoutMined(PAYOUT),
        ev.PayoutFinal(BLOCK),
        ev.Signed(PAYLOAD, SIGNATURE),
        ev.SettleApplied(b"s" * 32),
    )
    assert state == SETTLED
    assert st.name(state) == "SETTLED"


def test_the_settlement_is_asked_for_only_once_the_payout_is_final():
    assert step(CONTEXT, BROADCAST, ev.PayoutMined(PAYOUT)).effects == ()
    assert step(CONTEXT, CONFIRMED, ev.PayoutFinal(BLOCK)).effects == (RequestSignature("mint", PAYLOAD),)
    posted = PostCertificate(PAYLOAD, SIGNATURE, PAYOUT.manifest_hash)
    assert step(CONTEXT, SETTLING, ev.Signed(PAYLOAD, SIGNATURE)).effects == (posted,)


def test_a_reorg_goes_back_to_the_same_signed_bytes_not_to_a_new_payout():
    for state in (CONFIRMED, SETTLING, POSTED):
        assert after(state, ev.PayoutUnmined(PAYOUT.txid)) == BROADCAST
    moved = InBatch(2, PAYOUT.txid, PAYOUT.manifest_hash, 303, LATER, 800)
    state = after(SETTLING, ev.PayoutUnmined(PAYOUT.txid), ev.PayoutMined(moved), ev.PayoutFinal(LATER))
    assert certificates.decode(state.payload).block_hash == LATER
    assert isinstance(step(CONTEXT, state, ev.Signed(PAYLOAD, SIGNATURE)), Ignored)


def test_a_batch_that_went_another_way_frees_the_withdrawal():
    assert after(BROADCAST, ev.BatchDropped(2)) == LOCKED
    assert after(BATCHED, ev.BatchDropped(2)) == LOCKED
    assert isinstance(step(CONTEXT, BROADCAST, ev.BatchDropped(1)), Ignored)


def test_content_signed_anew_replaces_the_batch_and_an_older_one_does_not():
    assert after(BROADCAST, ev.Planned(3, LATER)) == st.Batched(3, LATER)
    assert isinstance(step(CONTEXT, BROADCAST, ev.Planned(1, LATER)), Ignored)
    assert isinstance(step(CONTEXT, CONFIRMED, ev.Planned(3, LATER)), Ignored)


def test_the_chain_decides_what_is_paid_whatever_this_node_planned():
    for state in (LOCKED, BATCHED, BROADCAST):
        assert after(state, ev.PayoutMined(PAYOUT)) == CONFIRMED


def test_a_second_payout_on_the_chain_is_an_alarm():
    other = InBatch(3, LATER, PAYOUT.manifest_hash, 305, LATER, 800)
    for state in (CONFIRMED, SETTLING, SETTLED):
        answer = step(CONTEXT, state, ev.PayoutMined(other))
        assert answer.state == state
        assert answer.effects[0].page
        assert "twice" in answer.effects[0].text


def test_a_settled_payout_that_a_deep_reorg_took_is_said_aloud_until_it_is_back():
    answer = step(CONTEXT, SETTLED, ev.PayoutUnmined(PAYOUT.txid))
    assert answer.state == LOST
    assert answer.effects[0].page
    back = step(CONTEXT, LOST, ev.PayoutMined(PAYOUT))
    assert back.state == SETTLED
    assert not back.effects[0].page


def test_a_settlement_that_the_rollup_took_back_is_owed_again_and_asked_for_again():
    assert after(LOST, ev.SettleUndone()) == LOCKED
    answer = step(CONTEXT, SETTLED, ev.SettleUndone())
    assert answer.state == CONFIRMED
    assert "owed again" in answer.effects[0].text
    assert after(CONFIRMED, ev.PayoutFinal(BLOCK), ev.Signed(PAYLOAD, SIGNATURE)) == POSTED


def test_a_failed_signing_is_repeated_or_alarmed():
    again = step(CONTEXT, SETTLING, ev.SigningFailed(PAYLOAD, "two are down", retryable=True))
    assert again.effects == (RequestSignature("mint", PAYLOAD),)
    stuck = step(CONTEXT, SETTLING, ev.SigningFailed(PAYLOAD, "wrong-content", retryable=False))
    assert stuck.effects[0].page
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


@pytest.mark.parametrize(
    "row", [{}, {"state": "lost"}, {"state": "batched"}, {"state": "confirmed", "payout": 1}]
)
def test_a_row_of_another_version_is_refused_with_the_next_move(row):
    with pytest.raises(MachineFault, match="version"):
        st.decode(row)
