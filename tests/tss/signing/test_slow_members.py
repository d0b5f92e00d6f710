"""Members that are slow, void or restart again and again cost others a bounded number of sessions."""

from dataclasses import replace
from random import Random

import pytest

from tests.tss.simnet import Net
from tss.signing import events
from tss.signing.answers import read_event
from tss.signing.coordinator import Coordinator
from tss.signing.effects import Done, Failed, Ignored, OpenSession
from tss.signing.messages import CommitRequest, Refusal, SharesRequest, read_answer

BEHAVIOURS = ("silent", "late", "void", "restart", "few", "lie", "forge", "elsewhere", "garbage", "moody")


def spoil(one, behaviour, random):
    """Let a member behave badly in every answer; `moody` chooses anew each time."""
    plain_shares, plain_offer = one.handle_shares, one.handle_commit

    def act():
        return random.choice(BEHAVIOURS[:-1]) if behaviour == "moody" else behaviour

    def shares(body):
        match act():
            case "silent":
                return None
            case "late":
                return plain_shares(body), 5.0
            case "void":
                one.state = type(one.state)(one.state.sequence)
                return plain_shares(body)
            case "restart":
                one.restart()
                return plain_shares(body)
            case "lie":
                made = read_answer(plain_shares(body))
                if isinstance(made, Refusal):
                    return made.encode()
                return replace(made, shares=made.shares[::-1]).signed(one.identity).encode()
            case "forge":
                made = plain_shares(body)
                return made[:60] + bytes([made[60] ^ 1]) + made[61:]
            case "elsewhere":
                made = read_answer(plain_shares(body))
                if isinstance(made, Refusal):
                    return made.encode()
                return replace(made, session=bytes(32)).signed(one.identity).encode()
            case "garbage":
                return b"garbage"
        return plain_shares(body)

    def offers(body):
        match act():
            case "silent":
                return None
            case "late":
                return plain_offer(body), 5.0
            case "restart":
                one.restart()
        return plain_offer(body)

    one.handle_shares, one.handle_commit = shares, offers


class Patient:
    """The simulated net, taught that an answer may come late or never."""

    def __init__(self, shell):
        self.shell = shell

    def call(self, member, body, *, commit):
        shell, net = self.shell, self.shell.net
        answered = []

        def deliver():
            one = shell.signers[member]
            answer = (one.handle_commit if commit else one.handle_shares)(body)
            if answer is None:
                return
            data, delay = answer if isinstance(answer, tuple) else (answer, 0.0)
            net.later(delay, lambda: net.send(lambda: back(data)))

        def back(data):
            answered.append(True)
            asked = (CommitRequest if commit else SharesRequest).decode(body)
            shell.feed(read_event(shell.machine._task.committee, member, asked, data))

        def expire():
            if not answered:
                shell.feed(events.Silent(member))

        net.send(deliver)
        net.later(shell.timeout, expire)


def sign(committee, net, bad, payload=b"pay"):
    order = (*bad, *(i for i in committee.signers if i not in bad))
    shell = committee.shell(net, committee.task(payload, coordinator=order[-1], order=order))
    shell._call = Patient(shell).call
    shell.start()
    net.run(lambda: shell.ended is not None)
    return shell


CASES = [(5, 3, behaviour, 0) for behaviour in BEHAVIOURS]
CASES += [(n, t, "moody", seed) for n, t in ((3, 2), (5, 3), (7, 4)) for seed in range(1, 5)]


@pytest.mark.parametrize(("n", "t", "behaviour", "seed"), CASES)
def test_n_minus_t_members_that_misbehave_again_and_again_cost_at_most_so_many_sessions(
    committee_of, n, t, behaviour, seed
):
    committee, net = committee_of(n, t), Net(seed, delay=0.2)
    random = Random(f"{seed} {behaviour} {n}")
    bad = random.sample(range(1, n + 1), n - t)
    for member in bad:
        spoil(committee.signers[member], behaviour, random)
    for number in range(3):
        shell = sign(committee, net, bad, b"pay %d" % number)
        assert isinstance(shell.ended, Done), shell.ended
        assert len(shell.opened) <= n - t + 1
        assert net.now < 60


def test_an_honest_committee_opens_one_session_and_nobody_gets_a_strike(committee_of):
    committee = committee_of(5, 3)
    for number in range(5):
        shell = committee.sign(b"pay %d" % number)
        assert len(shell.opened) == 1
        assert dict(shell.machine.strikes) == {}


def test_a_member_that_restarted_once_is_asked_again_where_it_is_needed(committee_of):
    committee = committee_of(3, 3)
    one = committee.signers[2]
    committee.sign(b"fills the pool")
    one.restart()
    shell = committee.sign(b"pay")
    assert isinstance(shell.ended, Done)
    assert dict(shell.machine.strikes) == {2: 1}


def started(committee):
    """A session of members 1, 2, 3 of 5, who have commitments for more in the pool."""
    for one in committee.signers.values():
        committee.pools[1].add(one.issue(1, 12))
    machine = Coordinator(committee.task(order=(1, 2, 3, 4, 5)), committee.pools[1])
    (opened,) = (effect for effect in machine.start() if isinstance(effect, OpenSession))
    assert opened.members == (1, 2, 3)
    return machine, opened


def answer(committee, machine, member, opened):
    body = opened.request.signed(committee.identities[0]).encode()
    data = committee.signers[member].handle_shares(body)
    return machine.step(read_event(committee.committee, member, opened.request, data))


def test_while_one_is_late_others_sign_in_its_place_and_it_has_no_strike(five):
    machine, first = started(five)
    answer(five, machine, 1, first)
    answer(five, machine, 2, first)
    (second,) = machine.step(events.Late(3, first.session))
    assert set(second.members) == {1, 2, 4}, "who waits for nothing is ready again"
    made = [effect for member in second.members for effect in answer(five, machine, member, second)]
    assert isinstance(made[-1], Done)
    assert not machine.strikes
    assert machine.stalled == {3}


def test_a_late_answer_still_ends_its_session(five):
    machine, first = started(five)
    answer(five, machine, 1, first)
    answer(five, machine, 2, first)
    machine.step(events.Late(3, first.session))
    (done,) = answer(five, machine, 3, first)
    assert isinstance(done, Done)
    assert done.session == first.session
    assert not machine.stalled


def test_the_late_are_waited_for_when_nobody_can_take_their_place(five):
    machine, first = started(five)
    machine.step(events.Silent(4, "is down"))
    machine.step(events.Silent(5, "is down"))
    for member in first.members:
        made = machine.step(events.Late(member, first.session))
        assert not any(isinstance(effect, OpenSession | Failed) for effect in made)
    made = [effect for member in first.members for effect in answer(five, machine, member, first)]
    assert isinstance(made[-1], Done)


def test_being_late_over_what_was_answered_or_never_asked_is_nothing(five):
    machine, first = started(five)
    answer(five, machine, 1, first)
    for member, session in ((1, first.session), (4, first.session), (2, bytes(32))):
        (ignored,) = machine.step(events.Late(member, session))
        assert isinstance(ignored, Ignored)
    assert [view.session for view in machine.sessions] == [first.session]


def test_each_member_spoils_one_session_by_being_late(five):
    machine, opened = started(five)
    for late in (3, 4):
        for member in (1, 2):
            answer(five, machine, member, opened)
        (opened,) = machine.step(events.Late(late, opened.session))
    assert opened.members == (1, 2, 5), "the third session of n - t + 1"
    made = [effect for member in opened.members for effect in answer(five, machine, member, opened)]
    assert isinstance(made[-1], Done)
