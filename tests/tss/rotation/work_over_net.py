"""Refreshes and repairs driven over a simulated network: each round until all answered or its time is up."""

from dataclasses import dataclass, field

from tests.tss.rotation.session import Session
from tests.tss.simnet import ENGINE, SEALER
from tests.tss.simwire import Net
from tss.rotation import refresh, relay, repair
from tss.rotation.messages import FIRST, SECOND, DealSet, R1Set
from tss.rotation.plan import Roster
from tss.rotation_topics import deals_body, read_deals

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
        deals, sigmas = read_deals(bodies[32:])
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
class WorkOverNet:
    """The driving member, the first one: `lost` holds who did not answer the last round in time."""

    net: Net
    session: Session
    lost: set[int] = field(default_factory=set)

    def __post_init__(self):
        self.members = {index: Member(self.session, index) for index in self.session.plan.members}

    def round(self, step, body=b""):
        answers, over, held = {}, [], self.session.held
        driver = held.who(self.session.plan.members[0])
        for index, member in self.members.items():
            self.net.exchange(
                driver,
                held.who(index),
                body,
                lambda asked, member=member: member.answer(step, asked),
                lambda answer, index=index: answers.__setitem__(index, answer),
                TIMEOUT,
            )
        self.net.later(TIMEOUT, lambda: over.append(True))
        self.net.run(lambda: bool(over) or len(answers) == len(self.members))
        self.lost = set(self.members) - set(answers)
        return dict(answers)

    def run(self):
        session, committee = self.session, self.session.committee
        roster = relay.roster(committee, session.plan, self.round("offer"))
        r1s = relay.bundle_r1(committee, roster, self.round("r1", roster.encode()))
        answers = self.round("deal", r1s.encode())
        deals, sigmas = session.bundle(roster, FIRST, r1s.hash, answers), None
        if session.repairing:
            sigmas = session.bundle(roster, SECOND, deals.hash, self.round("sum", deals.encode()))
        return session.end(
            roster, r1s, deals, sigmas, self.round("assent", deals_body(roster.sid, deals, sigmas))
        )
