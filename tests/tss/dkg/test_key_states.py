"""Every pair of key states: allowed exactly where DESIGN's order of states says so."""

from itertools import product

import pytest

from tss.dkg.key_states import (
    IS_PAID_TO,
    MOVES,
    SIGNS,
    SIGNS_TESTS,
    KeyState,
    KeyStateFault,
    check_move,
    unserved,
)

ALLOWED = {
    ("proposed", "certified"),
    ("proposed", "failed"),
    ("failed", "certified"),  # a late certificate
    ("certified", "acked"),
    ("acked", "verified"),
    ("acked", "failed"),
    ("verified", "active"),
    ("verified", "retiring"),
    ("verified", "removed"),
    ("active", "retiring"),
    ("active", "removed"),
    ("retiring", "active"),
    ("retiring", "retired"),
    ("retiring", "removed"),
    ("acked", "abandoned"),
    ("verified", "abandoned"),
    ("active", "abandoned"),
    ("retiring", "abandoned"),
    ("abandoned", "acked"),
    ("abandoned", "verified"),
}


@pytest.mark.parametrize(("old", "new"), list(product(KeyState, KeyState)))
def test_a_key_moves_only_as_the_table_says(old, new):
    if old == new or (old.value, new.value) in ALLOWED:
        check_move("the anchor key", old.value, new.value)
        return
    with pytest.raises(KeyStateFault, match=f"the anchor key is {old.value} and cannot become {new.value}"):
        check_move("the anchor key", old.value, new.value)


def test_the_table_knows_every_state():
    assert set(MOVES) == set(KeyState)
    assert len(ALLOWED) == sum(len(moves) for moves in MOVES.values())


@pytest.mark.parametrize("unknown", ["", "Active", "lost", "acked "])
def test_a_state_that_is_none_reaches_nothing_and_is_never_reached(unknown):
    for state in KeyState:
        for pair in ((unknown, state.value), (state.value, unknown), (unknown, unknown)):
            with pytest.raises(KeyStateFault):
                check_move("the key", *pair)


def test_nothing_is_signed_before_verification_nor_paid_to_before_activation():
    before = {KeyState.PROPOSED, KeyState.CERTIFIED, KeyState.ACKED, KeyState.FAILED}
    assert not SIGNS & before
    assert {KeyState.ACKED} == SIGNS_TESTS - SIGNS
    assert {KeyState.ACTIVE} == IS_PAID_TO
    assert not SIGNS & {KeyState.RETIRED, KeyState.REMOVED, KeyState.ABANDONED}


def test_what_is_over_stays_over():
    assert MOVES[KeyState.RETIRED] == MOVES[KeyState.REMOVED] == frozenset()


@pytest.mark.parametrize(
    ("state", "move"),
    [
        ("", "tss dkg"),
        ("acked", "tss dkg"),
        ("lost", "tss repair"),
        ("removed", "ask one"),
        ("retired", "tss keys"),
    ],
)
def test_why_nothing_serves_names_the_move_that_helps(state, move):
    said = unserved("mint", 3, state)
    assert move in said
    assert ("tss dkg" in said) is (state in ("", "acked")), (
        "nobody makes a new key of one that is only lost here"
    )
