"""Signing with members that are fine, away, slow, or behind a bad network."""

from dataclasses import replace
from itertools import combinations

import coincurve
import pytest

from tests.tss.simnet import ENGINE, PATHS, Net, approve
from tss.frost.engine import verify
from tss.signing import events
from tss.signing.answers import read_event
from tss.signing.approval import Refused
from tss.signing.effects import Done, Failed, Ignored


def assert_signed(committee, shell, payload=b"pay"):
    assert isinstance(shell.ended, Done), shell.ended
    public = committee.signers[1].key.public
    wanted = approve("test", payload).messages
    assert len(shell.ended.signatures) == len(wanted)
    for (message, path), signature in zip(wanted, shell.ended.signatures, strict=True):
        x_only, _ = public.output_key(path)
        assert verify(x_only, message, signature)
        assert coincurve.PublicKeyXOnly(x_only).verify(signature, message), "an independent library agrees"


@pytest.mark.parametrize(("n", "t"), [(3, 2), (5, 3)])
def test_every_path_is_signed_and_each_signature_verifies_independently(committee_of, n, t):
    committee = committee_of(n, t)
    assert_signed(committee, committee.sign())
    assert len(PATHS) == 3


@pytest.mark.parametrize(("n", "t"), [(3, 2), (5, 3)])
def test_every_set_of_absent_members_up_to_n_minus_t_is_survived(committee_of, n, t):
    for count in range(1, n - t + 1):
        for away in combinations(range(1, n + 1), count):
            committee = committee_of(n, t)
            for index in away:
                committee.signers[index].up = False
            payload = bytes(away)
            coordinator = next(i for i in range(1, n + 1) if i not in away)
            shell = committee.sign(payload, coordinator=coordinator)
            assert_signed(committee, shell, payload)
            assert not set(shell.opened[-1].members) & set(away)


@pytest.mark.parametrize(("n", "t"), [(3, 2), (5, 3)])
def test_one_absence_too_many_is_explained(committee_of, n, t):
    for away in combinations(range(1, n + 1), n - t + 1):
        committee = committee_of(n, t)
        for index in away:
            committee.signers[index].up = False
        ended = committee.sign().ended
        assert isinstance(ended, Failed)
        assert ended.retryable
        assert f"only {t - 1} of the {t} signers needed answered" in ended.reason
        for index in away:
            assert f"{committee.committee.name_of(index)} is down" in ended.reason


def test_the_sentence_names_who_is_down_and_who_refused(five):
    five.signers[2].up = False
    five.signers[3].approve = lambda purpose, payload: Refused("its fee is above our limit", retryable=False)
    five.signers[4].up = False
    ended = five.sign().ended
    assert ended.reason == (
        "only 2 of the 3 signers needed answered: bob is down, "
        "carol refused (its fee is above our limit), dave is down"
    )
    assert ended.retryable


def test_refusals_for_good_by_too_many_are_not_worth_a_retry(five):
    for index in (2, 3, 4):
        five.signers[index].approve = lambda purpose, payload: Refused("unknown withdrawal", retryable=False)
    ended = five.sign().ended
    assert (ended.code, ended.retryable) == ("refused", False)


def test_refusals_that_may_pass_are_worth_a_retry(five):
    for index in (2, 3, 4):
        five.signers[index].approve = lambda purpose, payload: Refused("not deep enough", retryable=True)
    assert five.sign().ended.retryable


def test_a_second_request_goes_in_one_round_trip(five):
    assert five.sign(b"one").asked >= 3
    second = five.sign(b"two")
    assert_signed(five, second, b"two")
    assert second.asked == 0, "the pool still held commitments"
    assert len(second.opened) == 1


def test_all_n_sign_when_all_are_wanted(five):
    shell = five.sign(quorum=5)
    assert_signed(five, shell)
    assert shell.opened[0].members == (1, 2, 3, 4, 5)


def test_all_n_cannot_sign_when_one_is_away(five):
    five.signers[4].up = False
    assert "only 4 of the 5 signers needed answered: dave is down" in five.sign(quorum=5).ended.reason


def test_a_member_killed_in_mid_session_is_replaced(five):
    net = Net()
    shell = five.shell(net, five.task())
    shell.start()
    net.run(lambda: bool(shell.opened))
    victim = next(member for member in shell.opened[0].members if member != 1)
    five.signers[victim].up = False
    (view,) = shell.machine.sessions
    assert victim in view.pending, "operators see whom the session waits for"
    net.run(lambda: shell.ended is not None)
    assert_signed(five, shell)
    assert len(shell.opened) == 2
    assert victim not in shell.opened[1].members


def test_a_late_answer_of_a_silent_member_still_counts(five):
    net = Net()
    shell = five.shell(net, five.task())
    shell.start()
    net.run(lambda: bool(shell.opened))
    net.timers.clear()
    first = shell.opened[0]
    body = first.request.signed(five.identities[0]).encode()
    silent = first.members[-1]
    shell.feed(events.Silent(silent, "did not answer in 2 s"))
    for member in first.members:
        assert shell.ended is None
        answer = five.signers[member].handle_shares(body)
        shell.feed(read_event(five.committee, member, first.request, answer))
    assert_signed(five, shell)
    assert shell.ended.session == first.session


def test_a_restarted_member_is_asked_for_new_commitments(three):
    three.signers[3].up = False
    three.sign(b"one")
    three.signers[2].restart()
    shell = three.sign(b"two")
    assert_signed(three, shell, b"two")
    assert [refuse.code for refuse in three.signers[2].refusals] == ["unknown-commitment"]
    assert shell.blames == [], "a restart is no fault"


def test_one_void_commitment_voids_all_that_the_pool_holds_of_that_boot(three):
    three.signers[3].up = False
    three.sign(b"one", spare=12)
    three.signers[2].restart()
    shell = three.sign(b"two", spare=12)
    assert_signed(three, shell, b"two")
    assert len(three.signers[2].refusals) == 1, "no second try with commitments of the old boot"


def test_a_pool_told_of_a_restart_asks_at_once(three):
    three.signers[3].up = False
    three.sign(b"one")
    three.signers[2].restart()
    three.pools[1].saw_boot(2, three.signers[2].context.boot_id)
    assert_signed(three, three.sign(b"two"), b"two")
    assert three.signers[2].refusals == []


def test_two_coordinators_at_once_are_safe(five):
    net = Net(seed=4)
    shells = [five.shell(net, five.task(b"same", coordinator=index)) for index in (1, 2, 3)]
    for shell in shells:
        shell.start()
    net.run(lambda: all(shell.ended is not None for shell in shells))
    for shell in shells:
        assert_signed(five, shell, b"same")


def test_two_requests_of_one_coordinator_share_the_pool_without_clash(five):
    five.sign(b"warm")
    net = Net(seed=5)
    shells = [five.shell(net, five.task(payload)) for payload in (b"a", b"b", b"c")]
    for shell in shells:
        shell.start()
    net.run(lambda: all(shell.ended is not None for shell in shells))
    for shell, payload in zip(shells, (b"a", b"b", b"c"), strict=True):
        assert_signed(five, shell, payload)
        assert shell.blames == []
    assert all(refuse.evidence is None for one in five.signers.values() for refuse in one.refusals)


@pytest.mark.parametrize("seed", range(12))
def test_a_network_that_reorders_and_duplicates_changes_nothing(committee_of, seed):
    committee = committee_of(*((5, 3) if seed % 2 else (3, 2)))
    shell = committee.sign(net=Net(seed, duplicate=0.4, delay=1.5))
    assert_signed(committee, shell)
    assert shell.blames == [], "nobody is blamed for the network"


@pytest.mark.parametrize("seed", range(25))
def test_a_network_that_loses_messages_costs_retries_never_blame(committee_of, seed):
    committee = committee_of(*((5, 3) if seed % 2 else (3, 2)))
    net = Net(seed, drop=0.15, duplicate=0.2, delay=1.0)
    for attempt in range(20):
        shell = committee.sign(bytes([seed]), net=net, coordinator=attempt % committee.committee.size + 1)
        assert shell.blames == []
        if isinstance(shell.ended, Done):
            assert_signed(committee, shell, bytes([seed]))
            return
        assert shell.ended.retryable
    pytest.fail("a lossy network never let a request through")


def test_no_more_sessions_than_roast_allows(five):
    five.sign(b"warm")
    for index in (2, 3):
        five.signers[index].up = False
    shell = five.sign(b"next", order=(2, 3, 4, 5, 1))
    assert_signed(five, shell, b"next")
    assert len(shell.opened) <= 5 - 3 + 1


def test_events_after_the_end_are_ignored(three):
    shell = three.sign()
    assert shell.machine.ended
    (effect,) = shell.machine.step(events.Silent(2))
    assert isinstance(effect, Ignored)


def test_the_machine_refuses_a_quorum_below_the_threshold(five):
    with pytest.raises(AssertionError):
        replace(five.task(), quorum=2)
    assert ENGINE is five.task().engine


def test_no_session_opens_without_a_member_that_must_sign(five):
    for number in range(6):  # warm pools, of the others only at first
        five.sign(bytes([number]), coordinator=1, order=(2, 3, 4, 5, 1))
    shell = five.sign(b"rehearsed", coordinator=1, order=(2, 3, 4, 5, 1), must=frozenset({1}))
    assert_signed(five, shell, b"rehearsed")
    assert all(1 in session.members for session in shell.opened)


def test_when_the_one_that_must_sign_is_down_the_request_fails_at_once(five):
    five.signers[5].up = False
    ended = five.sign(b"rehearsed", coordinator=1, must=frozenset({5})).ended
    assert isinstance(ended, Failed)
