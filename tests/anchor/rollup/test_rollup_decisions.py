"""A deep reorg stops value and says what it touched; t operators, and nobody else, let it move again."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from anchor.btc.codec import CodecError
from anchor.rollup.bitcoin_view import ViewReorg
from anchor.rollup.decisions import LIFE, Decision, DecisionRefused, SignedDecision, combine
from anchor.rollup.refusals import TxRefused
from anchor.rollup.state import RollupState
from anchor.rollup.transitions import _undo as undo
from anchor.rollup.transitions import apply_tx, check_block
from anchor.rollup.tx import Decide
from tests.anchor.rollup.rollup_world import ALICE, BOB, GEN, HOSTS, MALLORY, K, World, conserved, nothing


def paused() -> World:
    """A deposit was minted, a withdrawal settled; then a reorg took the blocks that both stood on."""
    w = World().funded()
    lock = w.lock(ALICE, 30_000)
    w.block(lock)
    w.mine(K)
    w.block(w.settle(lock))
    assert w.rejected == []
    w.reorg(len(w.bitcoin) - 1, len(w.bitcoin) + 1)
    w.block()
    assert w.state.pause is not None
    return w


def replayed(w: World) -> RollupState:
    state = RollupState.at_genesis(w.genesis)
    for block in w.blocks:
        state = check_block(w.genesis, state, block)
    return state


def test_a_pause_names_exactly_the_mints_and_settlements_that_stood_on_lost_blocks() -> None:
    w = World().funded()
    lock = w.lock(ALICE, 30_000)
    w.block(lock)
    w.mine(K)
    early, late = (
        w.mint(BOB, 20_000, "early", block_hash=w.bitcoin[1].hash, height=1),
        w.mint(BOB, 20_000, "late"),
    )
    w.block(early, late, w.settle(lock))
    w.reorg(len(w.bitcoin) - 2, len(w.bitcoin))
    w.block()
    pause = w.state.pause
    assert pause is not None
    touched = {o for o, m in w.state.minted.items() if m.statement.height >= 2}
    assert early.statement.outpoint not in touched
    assert (pause.mints, pause.settles) == (tuple(sorted(touched)), (lock.txid(GEN.hash),))
    assert (pause.fork_height, pause.since, pause.until) == (1, w.state.height, w.state.height)
    assert f"disconnected {pause.depth} blocks, 2 mints and 1 settlements" in str(w.state.paused)
    assert replayed(w).root() == w.state.root()


def test_a_settlement_whose_payout_left_the_view_is_open_again_and_owed() -> None:
    w = paused()
    [(identity, withdrawal)] = w.state.withdrawals.items()
    assert (withdrawal.settled, w.state.escrow) == (None, 30_000)
    assert w.state.pause is not None
    assert w.state.pause.settles == (identity,)
    assert conserved(w.state, 1_000_000, 0)


def test_after_the_decision_the_payout_settles_once_more_and_value_moves() -> None:
    w = paused()
    [withdrawal] = w.state.withdrawals.values()
    w.block(w.decide(), w.settle(withdrawal.lock), w.mint(BOB, 20_000, "after"))
    assert w.rejected == []
    assert (w.state.paused, w.state.escrow, w.state.account(BOB.x).balance) == (None, 0, 20_000)
    assert conserved(w.state, 1_020_000, 30_000)
    [decided] = w.state.decisions
    assert (decided.height, decided.operators) == (w.state.height, (0, 1))
    assert decided.decision.reason == "looked at everything"
    assert replayed(w).root() == w.state.root()


def test_a_credit_on_a_lost_block_is_not_given_twice_and_learns_where_it_stands_now() -> None:
    w = paused()
    w.block(w.decide())
    [(outpoint, before)] = w.state.minted.items()
    for other in (w.mint(BOB, 1_000_000), w.mint(ALICE, 999_999)):
        with pytest.raises(TxRefused, match="credited to another key or amount"):
            apply_tx(w.state, other, GEN)
    again, supply = w.mint(ALICE, 1_000_000), w.state.supply
    w.block(again)
    assert (w.rejected, w.state.supply, w.state.account(ALICE.x).balance) == ([], supply, 970_000)
    assert before.statement.block_hash != w.state.minted[outpoint].statement.block_hash == w.bitcoin[-K].hash
    with pytest.raises(TxRefused, match="nothing is left to do"):
        apply_tx(w.state, w.mint(ALICE, 1_000_000), GEN)


def test_a_further_reorg_makes_it_another_pause_and_the_old_decision_void() -> None:
    w = paused()
    before, name = w.decide(), w.state.pause
    w.reorg(K, K + 1, salt=55)
    w.block()
    assert name is not None
    assert w.state.pause is not None
    assert (w.state.pause.since, w.state.pause.until) == (name.since, w.state.height)
    assert set(w.state.pause.mints) == set(name.mints)
    with pytest.raises(TxRefused, match="wrong_pause"):
        apply_tx(w.state, before, GEN)
    apply_tx(w.state, w.decide(), GEN)


def test_a_shallow_reorg_while_paused_leaves_the_decision_alone() -> None:
    w = paused()
    decision = w.decide()
    w.reorg(1, 2, salt=56)
    w.block(decision)
    assert w.rejected == []
    assert w.state.paused is None


FALSE: dict[str, tuple[str, Callable[[World], Decide]]] = {
    "another rollup's number": ("wrong_rollup", lambda w: w.decide(rollup_id=8)),
    "another rollup's genesis": ("wrong_rollup", lambda w: w.decide(genesis_hash=nothing("genesis"))),
    "another committee": ("wrong_committee", lambda w: w.decide(committee_hash=nothing("committee"))),
    "another pause": ("wrong_pause", lambda w: w.decide(pause=nothing("pause"))),
    "nobody": ("too_few_signatures", lambda w: w.decide(hosts=())),
    "one of two": ("too_few_signatures", lambda w: w.decide(hosts=(2,))),
    "a block of the branch that lost": (
        "not_final",
        lambda w: w.decide(block=w.state.reorgs[0].old_tip, height=w.state.reorgs[0].old_height),
    ),
    "a block that is not deep enough": (
        "not_final",
        lambda w: w.decide(block=w.bitcoin[-1].hash, height=len(w.bitcoin) - 1),
    ),
    "a false height": ("not_final", lambda w: w.decide(height=1)),
    "an operator that is none": ("no_operator", lambda w: with_signature(w, 3)),
    "a stranger in an operator's place": ("bad_signature", lambda w: with_signature(w, 1)),
}


def with_signature(w: World, operator: int) -> Decide:
    decision = w.decision()
    signatures = (0, HOSTS[0].sign(decision.hash)), (operator, MALLORY.sign(decision.hash))
    return Decide(SignedDecision(decision, signatures))


@pytest.mark.parametrize("case", FALSE)
def test_a_decision_that_does_not_count_is_refused_by_name_and_value_stays(case: str) -> None:
    code, make = FALSE[case]
    w = paused()
    with pytest.raises(TxRefused) as caught:
        apply_tx(w.state, make(w), GEN)
    assert (caught.value.code, caught.value.retryable) == (code, False)
    assert w.state.pause is not None


def test_a_decision_is_not_used_twice_nor_for_a_later_pause() -> None:
    w = paused()
    used = w.decide()
    w.block(used)
    with pytest.raises(TxRefused, match="not_paused"):
        apply_tx(w.state, used, GEN)
    w.reorg(K, K + 1, salt=57)
    w.block()
    with pytest.raises(TxRefused, match="wrong_pause"):
        apply_tx(w.state, used, GEN)


def test_a_decision_grows_old() -> None:
    w = paused()
    decision = w.decide()
    w.mine(LIFE + 1)
    w.block()
    apply_tx(w.state, decision, GEN)
    w.mine(2)
    w.block()
    with pytest.raises(TxRefused, match="expired"):
        apply_tx(w.state, decision, GEN)


def test_signatures_of_copies_are_joined_and_false_or_foreign_ones_named() -> None:
    w = paused()
    mine, other = w.decide(hosts=(1,)).signed, w.decide(hosts=(0, 1)).signed
    assert combine([mine, other, mine], GEN) == other
    with pytest.raises(DecisionRefused, match="different decisions"):
        combine([mine, w.decide(reason="something else").signed], GEN)
    with pytest.raises(DecisionRefused, match="operator 2 did not sign"):
        combine([mine, mine.signed(1, MALLORY.sign(nothing("x")))], GEN)


@pytest.mark.parametrize("reason", ["", "two\nlines", "x" * 201, "naïve", "\x1b[31m"])
def test_a_reason_is_one_plain_line(reason: str) -> None:
    with pytest.raises(CodecError, match="one line"):
        replace(paused().decision(), reason=reason)


def test_signatures_out_of_order_and_unknown_kinds_of_decision_are_not_read() -> None:
    signed = paused().decide().signed
    with pytest.raises(CodecError, match="sorted by operator"):
        SignedDecision.decode(replace(signed, signatures=signed.signatures[::-1]).encode())
    with pytest.raises(CodecError, match="kind of decision 2"):
        Decision.decode(b"\x02" + signed.decision.encode()[1:])


def test_while_the_view_is_on_its_way_to_a_heavier_branch_value_waits() -> None:
    w = World().funded()
    w.mine(2)
    w.block()
    w.reorg(K + 1, K + 3)
    lock = w.lock(ALICE, 20_000)
    w.block(lock, w.transfer(ALICE, BOB, 5), bundle=w.bundle(limit=2))
    [(_, refusal)] = w.rejected
    assert (refusal.code, refusal.retryable, w.state.paused is not None) == ("paused", True, True)
    assert w.state.account(BOB.x).balance == 5
    w.block(bundle=b"")
    assert (w.state.paused, w.state.pause) == (None, None), "no header came, nothing is known to be lost"
    assert replayed(w).root() == w.state.root()


def test_fewer_than_k_blocks_pause_too_when_they_take_what_counted_as_final() -> None:
    """Where a shorter branch can have more work; on regtest it cannot, so the step is tried by itself."""
    w = World().funded()
    [(outpoint, minted)] = w.state.minted.items()
    tip = w.state.view.tip
    at = w.state.view.get(minted.statement.block_hash)
    assert at is not None
    shallow = ViewReorg(
        w.state.height, at.height - 1, tip.hash, tip.height, tip.hash, tip.height, tip.hash, K - 1
    )
    untouched = w.state.copy()
    undo(untouched, shallow, frozenset({tip.hash}), K)
    assert untouched.pause is None
    undo(w.state, shallow, frozenset({at.hash}), K)
    assert w.state.pause is not None
    assert (w.state.pause.mints, w.state.pause.depth) == ((outpoint,), K - 1)
