"""Refresh and repair over a network that delays, reorders, duplicates and loses messages."""

from dataclasses import dataclass, field

import pytest

from tests.tss.rotation.session import Held, Session
from tests.tss.simnet import ENGINE, SEALER, Net
from tss.dkg.faults import Missing
from tss.rotation import refresh, relay, repair
from tss.rotation.messages import FIRST, SECOND, DealSet, R1Set
from tss.rotation.plan import Roster

TIMEOUT = 5.0


@dataclass
class Member:
    """A member's shell: answers each round once, and a repeated question with the stored answer."""

    session: Session
    index: int
    answered: dict[str, bytes] = field(default_factory=dict)

    def answer(self, step, body):
        if step not in self.answered:
            made = getattr(self, step)(body)
            if made is None:
                return None
            self.answered[step] = made
        return self.answered[step]

    def offer(self, _body):
        session = self.session
        who, nonce = session.held.who(self.index), session.salt("nonce", self.index)
        entry = refresh.offer(who, session.committee, session.plan, nonce)
        session.offered[self.index] = entry
        return entry.encode()

    def r1(self, body):
        state, r1 = self.session.begin(Roster.decode(body), self.index)
        self.session.first[self.index] = state
        return r1.encode()

    def deal(self, body):
        session, state = self.session, self.session.first.get(self.index)
        if state is None:
            return None
        if session.repairing:
            session.second[self.index] = second = repair.step2(ENGINE, SEALER, state, R1Set.decode(body))
            return b"-" if second.deal is None else second.deal.encode()
        session.second[self.index], deal = refresh.step2(ENGINE, SEALER, state, R1Set.decode(body))
        return deal.encode()

    def sum(self, body):
        if self.index == self.session.plan.receiver:
            return b"-"
        state = self.session.second.get(self.index)
        if state is None:
            return None
        self.session.third[self.index] = made = repair.step3(ENGINE, SEALER, state, DealSet.decode(body))
        return made.sigma.encode()

    def assent(self, bodies):
        session, state = self.session, self.session.second.get(self.index)
        deals, sigmas = bodies
        if state is None:
            return None
        if not session.repairing:
            done = refresh.step3(ENGINE, SEALER, state, deals)
        elif self.index == session.plan.receiver:
            done = repair.receive(ENGINE, SEALER, state, deals, sigmas)
        elif self.index in session.third:
            done = repair.assent(ENGINE, session.third[self.index], sigmas)
        else:
            return None
        session.done[self.index] = done
        return done.assent.encode()


@dataclass
class Relay:
    """The driving member: one round at a time, until all answered or the time is up."""

    net: Net
    session: Session
    lost: set[int] = field(default_factory=set)

    def __post_init__(self):
        self.members = {index: Member(self.session, index) for index in self.session.plan.members}

    def round(self, step, body=b""):
        answers, over = {}, []
        for index in self.members:
            self.net.send(lambda index=index: self._deliver(index, step, body, answers))
        self.net.later(TIMEOUT, lambda: over.append(True))
        self.net.run(lambda: bool(over) or len(answers) == len(self.members))
        self.lost = set(self.members) - set(answers)
        return dict(answers)

    def _deliver(self, index, step, body, answers):
        answer = self.members[index].answer(step, body)
        if answer is not None:
            self.net.send(lambda: answers.__setitem__(index, answer))

    def run(self):
        session, committee = self.session, self.session.committee
        roster = relay.roster(committee, session.plan, self.round("offer"))
        r1s = relay.bundle_r1(committee, roster, self.round("r1", roster.encode()))
        answers = self.round("deal", r1s.encode())
        deals, sigmas = session.bundle(roster, FIRST, r1s.hash, answers), None
        if session.repairing:
            sigmas = session.bundle(roster, SECOND, deals.hash, self.round("sum", deals.encode()))
        return session.end(roster, r1s, deals, sigmas, self.round("assent", (deals, sigmas)))


@pytest.fixture(scope="module", params=[(3, 2), (5, 3)])
def held(request):
    return Held.made(*request.param)


def plan(held, kind, attempt):
    if kind == "refresh":
        return held.plan(attempt=attempt)
    members = tuple(held.keys)[: held.public.threshold + 1]
    return held.plan(members, attempt=attempt, lost=members[0])


@pytest.mark.parametrize("kind", ["refresh", "repair"])
@pytest.mark.parametrize("seed", range(4))
def test_delay_reordering_and_duplicates_change_nothing(held, kind, seed):
    session = Session(held, plan(held, kind, 1))
    link = Relay(Net(seed, duplicate=0.5, delay=2.0), session).run()
    public = link.check(ENGINE, held.committee, held.public)
    assert public.group_key == held.public.group_key
    assert len(session.done) == len(session.plan.members)


@pytest.mark.parametrize("kind", ["refresh", "repair"])
@pytest.mark.parametrize("seed", range(5))
def test_loss_fails_the_attempt_naming_who_was_missing_and_a_later_one_succeeds(held, kind, seed):
    net = Net(seed, drop=0.06, duplicate=0.2, delay=1.0)
    for attempt in range(1, 80):
        driver = Relay(net, Session(held, plan(held, kind, attempt)))
        fault = None
        try:
            link = driver.run()
        except Missing as missing:
            fault = missing
        if fault is None:
            assert link.check(ENGINE, held.committee, held.public).group_key == held.public.group_key
            assert held.signed(tuple(held.keys)[: held.public.threshold]), "the old shares are untouched"
            return
        # The receiver of a repair deals nothing, so that its silence is no matter in those rounds.
        assert fault.culprits
        assert set(fault.culprits) <= driver.lost
    pytest.fail("no attempt came through")


@pytest.mark.parametrize(("n", "t"), [(9, 6), (15, 11)])
def test_larger_committees_refresh_remove_as_many_as_they_can_and_repair(n, t, monkeypatch):
    from tests.tss import simnet

    monkeypatch.setattr(simnet, "NAMES", tuple(f"member-{i}" for i in range(1, n + 1)))
    held = Held.made(n, t).refreshed()
    held = held.refreshed(tuple(range(n - t + 1, n + 1)))
    members = tuple(held.keys)
    assert len(members) == t
    assert held.signed(members)
    whole = Held.made(n, t)
    session = Session(whole, whole.plan(tuple(range(1, t + 2)), lost=t + 1))
    session.run()
    assert session.done[t + 1].key.export_secret() == whole.keys[t + 1].export_secret()
