"""What a member joins, which of two refreshes counts, and a key's last states."""

from dataclasses import replace
from itertools import product

import pytest

from tests.tss.rotation.session import Held
from tss.dkg.committee import Committee
from tss.dkg.faults import CommitteeFault
from tss.rotation import rules, succession
from tss.rotation.plan import Work
from tss.rotation.rules import Behind, NoConsent, NotJoined, Proven, Standing


@pytest.fixture(scope="module")
def held():
    return Held.made(5, 3)


def joined(held, plan, relay=1, state="verified", **standing):
    given = {"public": held.public, "attempt": 0} | standing
    rules.check_plan(held.committee, plan, Standing(**given), state, relay)


def test_a_refresh_of_all_who_hold_shares_needs_no_consent(held):
    for state in ("verified", "active", "retiring"):
        joined(held, held.plan(), state=state)


@pytest.mark.parametrize("state", ["acked", "retired", "failed", "certified"])
def test_a_key_that_does_not_serve_is_not_refreshed(held, state):
    with pytest.raises(NotJoined, match=state):
        joined(held, held.plan(), state=state)


def test_removing_members_needs_the_operators_consent_to_exactly_those(held):
    plan = held.plan((1, 2, 4))
    for consents in ((), ((3,),), ((3, 4, 5),), ((1, 2),)):
        with pytest.raises(NoConsent, match="--without carol --without erin --consent"):
            joined(held, plan, consents=frozenset(map(frozenset, consents)))
    joined(held, plan, consents=frozenset({frozenset({3, 5})}))


def test_too_few_strangers_old_shares_and_old_attempts_are_not_joined(held):
    with pytest.raises(NotJoined, match="too few"):
        joined(held, held.plan((1, 2)), consents=frozenset({frozenset({3, 4, 5})}))
    with pytest.raises(NotJoined, match="holds no share"):
        joined(held, held.plan((1, 2, 3, 9)))
    with pytest.raises(NotJoined, match="is not new"):
        joined(held, held.plan(attempt=4), attempt=4)
    joined(held, held.plan(attempt=5), attempt=4)
    with pytest.raises(Behind):
        joined(held, held.refreshed().plan())
    with pytest.raises(NotJoined, match="another committee file"):
        joined(held, replace(held.plan(), committee_hash=bytes(32)))


def test_only_the_member_itself_may_ask_for_its_share(held):
    plan = held.plan((1, 2, 3, 4), lost=4)
    assert plan.work is Work.REPAIR
    joined(held, plan, relay=4)
    with pytest.raises(NotJoined, match="only dave itself"):
        joined(held, plan, relay=1)
    with pytest.raises(NotJoined, match="too few"):
        joined(held, held.plan((1, 2, 4), lost=4), relay=4)


def test_among_proven_refreshes_of_one_share_set_the_highest_attempt_counts():
    assert rules.counts([]) is None
    one, two, three = Proven(1, b"z"), Proven(2, b"a"), Proven(2, b"b")
    assert rules.counts([one, two]) == two
    assert rules.counts([three, two, one]) == three


def test_helpers_are_the_first_t_who_are_up():
    assert rules.choose_helpers((1, 2, 3, 4, 5), 3, 3, [5, 3, 9, 5, 1, 2]) == (1, 2, 5)
    assert rules.choose_helpers((1, 2, 3), 3, 2, [1]) == (1,)


STATES = ("acked", "verified", "active", "retiring", "retired", "failed")
ALLOWED = {
    ("acked", "verified"),
    ("acked", "failed"),
    ("verified", "active"),
    ("verified", "retiring"),
    ("active", "retiring"),
    ("retiring", "active"),
    ("retiring", "retired"),
}


@pytest.mark.parametrize(("state", "wanted"), list(product(STATES, STATES)))
def test_key_states_move_only_as_the_table_says(state, wanted):
    if (state, wanted) in ALLOWED:
        succession.check_move("treasury", 1, state, wanted)
    else:
        with pytest.raises(succession.NotRetired, match=f"the treasury key of epoch 1 is {state}"):
            succession.check_move("treasury", 1, state, wanted)


def test_the_next_committee_file_names_the_last_and_keeps_a_quorum_of_it(held):
    old = held.committee
    fresh = Held.made(5, 3, seed="others").committee.members
    later = replace(old, epoch=old.epoch + 1, previous=old.hash)
    succession.check_successor(old, later)
    named = [replace(member, name=f"new-{i}", peer_url=f"https://h:{i}") for i, member in enumerate(fresh, 1)]
    succession.check_successor(old, replace(later, members=(*named[:2], *old.members[2:])))
    cases = (
        (replace(later, previous=b""), "does not succeed ours"),
        (replace(later, previous=bytes(32)), "does not succeed ours"),
        (replace(later, epoch=old.epoch + 2), f"epoch {old.epoch + 1}"),
        (replace(later, name="other"), "this one is other"),
        (replace(later, chain="signet"), "on signet"),
        (replace(later, members=(*named[:3], *old.members[3:])), "only 2 of the old members stay"),
    )
    for wrong, words in cases:
        assert isinstance(wrong, Committee)
        with pytest.raises(CommitteeFault, match=words):
            succession.check_successor(old, wrong)


def test_the_longer_proved_chain_counts_and_among_equals_the_higher_attempt_where_they_part():
    one, other, third = Proven(3, b"a"), Proven(4, b"b"), Proven(9, b"c")
    assert rules.rank([]) < rules.rank([one]) < rules.rank([other]) < rules.rank([one, third])
    assert rules.rank([one, third]) < rules.rank([other, one])
    assert rules.rank([Proven(3, b"a")]) < rules.rank([Proven(3, b"b")])
