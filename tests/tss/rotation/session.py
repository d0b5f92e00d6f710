"""Refreshes and repairs in memory, round by round, everything as bytes; tests reach in between the rounds."""

from dataclasses import dataclass, field

from tests.tss.simnet import ENGINE, SEALER, Dkg
from tss.frost.engine import KeyShare
from tss.frost.hashing import tagged_hash
from tss.frost.package import SigningPackage
from tss.frost.path import INTERNAL
from tss.rotation import judge, refresh, relay, repair
from tss.rotation.chain import Chain
from tss.rotation.link import Certificate, Link, Transcript
from tss.rotation.messages import FIRST, SECOND, Complaint, DealSet, R1Set
from tss.rotation.plan import Entry, Plan, Roster, Work


@dataclass
class Held:
    """A committee with a key: the chain that all hold, and every member's share of the present generation."""

    dkg: Dkg
    chain: Chain
    keys: dict[int, KeyShare]

    @classmethod
    def made(cls, n=3, t=2, **options):
        dkg = Dkg(n, t, **options)
        keys, recovery = dkg.run()
        return cls(dkg, Chain(recovery), keys)

    @property
    def committee(self):
        return self.dkg.committee

    @property
    def public(self):
        return next(iter(self.keys.values())).public

    def who(self, member):
        return self.dkg.identities[member - 1]

    def plan(self, members=None, *, attempt=1, lost=0):
        holders = members or tuple(self.keys)
        work = Work.REPAIR if lost else Work.REFRESH
        key = self.chain.base.transcript.roster.sid
        return Plan(
            work, self.committee.hash, key, self.public.share_set, attempt, tuple(sorted(holders)), lost
        )

    def refreshed(self, members=None, attempt=1):
        """Run a refresh honestly; the committee afterwards."""
        session = Session(self, self.plan(members, attempt=attempt))
        link = session.run()
        keys = {member: done.key for member, done in session.done.items()}
        return Held(self.dkg, self.chain.with_link(link), keys)

    def signed(self, signers, message=b"m" * 32):
        return sign({member: self.keys[member] for member in signers}, self.public, message)


def sign(keys, public, message=b"m" * 32):
    """One signature by these shares under this group, as a coordinator makes it."""
    nonces = {member: ENGINE.commit(key, 1)[0] for member, key in keys.items()}
    package = SigningPackage(
        message, {member: commitment for member, (_, commitment) in nonces.items()}, INTERNAL
    )
    session = ENGINE.session(public, package)
    shares = {member: ENGINE.sign(keys[member], nonces[member][0], package) for member in keys}
    return session.aggregate(shares)


@dataclass
class Session:
    """One attempt at a plan."""

    held: Held
    plan: Plan
    offered: dict[int, Entry] = field(default_factory=dict)
    first: dict = field(default_factory=dict)
    second: dict = field(default_factory=dict)
    third: dict = field(default_factory=dict)
    done: dict = field(default_factory=dict)

    @property
    def committee(self):
        return self.held.committee

    @property
    def repairing(self):
        return self.plan.work is Work.REPAIR

    def salt(self, what, member):
        return tagged_hash("test/salt", what.encode(), bytes([member, self.plan.attempt]))

    def roster(self):
        for member in self.plan.members:
            who = self.held.who(member)
            self.offered[member] = refresh.offer(who, self.committee, self.plan, self.salt("nonce", member))
        entries = {member: entry.encode() for member, entry in self.offered.items()}
        return Roster.decode(relay.roster(self.committee, self.plan, entries).encode())

    def begin(self, roster, member, salt=None):
        who, salt = self.held.who(member), salt or self.salt("r1", member)
        common = (ENGINE, SEALER, who, self.committee, roster, self.offered[member])
        if not self.repairing:
            return refresh.step1(*common, self.held.keys[member], salt)
        key = None if member == self.plan.receiver else self.held.keys[member]
        return repair.step1(*common, self.held.public, key, salt)

    def round1(self, roster):
        answers = {}
        for member in self.plan.members:
            self.first[member], r1 = self.begin(roster, member)
            answers[member] = r1.encode()
        return answers

    def round2(self, r1s):
        answers = {}
        for member, state in self.first.items():
            if self.repairing:
                self.second[member] = repair.step2(ENGINE, SEALER, state, r1s)
                deal = self.second[member].deal
            else:
                self.second[member], deal = refresh.step2(ENGINE, SEALER, state, r1s)
            answers[member] = b"" if deal is None else deal.encode()
        return answers

    def sums(self, deals):
        """A repair's second deal."""
        answers = {}
        for member in self.plan.dealers:
            made = repair.step3(ENGINE, SEALER, self.second[member], deals)
            if isinstance(made, Complaint):
                answers[member] = made.encode()
            else:
                self.third[member] = made
                answers[member] = made.sigma.encode()
        return answers

    def assents(self, deals, sigmas=None):
        answers = {}
        for member, state in self.second.items():
            if not self.repairing:
                made = refresh.step3(ENGINE, SEALER, state, deals)
            elif member == self.plan.receiver:
                made = repair.receive(ENGINE, SEALER, state, deals, sigmas)
            else:
                made = repair.assent(ENGINE, self.third[member], sigmas)
            if isinstance(made, Complaint):
                answers[member] = made.encode()
            else:
                self.done[member] = made
                answers[member] = made.assent.encode()
        return answers

    def to_deals(self):
        roster = self.roster()
        r1s = R1Set.decode(relay.bundle_r1(self.committee, roster, self.round1(roster)).encode())
        return roster, r1s, self.round2(r1s)

    def bundle(self, roster, number, seen, answers):
        made = relay.bundle_deals(self.committee, roster, number, seen, answers)
        return made if isinstance(made, tuple) else DealSet.decode(made.encode())

    def end(self, roster, r1s, deals, sigmas, answers):
        transcript = Transcript(roster, r1s, deals, sigmas)
        public = transcript.check(ENGINE, self.committee, self.held.public)
        made = relay.certificate(self.committee, roster, transcript.hash(public), answers)
        if isinstance(made, tuple):
            return made
        return Link.decode(Link(transcript, Certificate.decode(made.encode())).encode())

    def run(self):
        """Run honestly to the end; the certified link."""
        roster, r1s, answers = self.to_deals()
        deals = self.bundle(roster, FIRST, r1s.hash, answers)
        sigmas = None
        if self.repairing:
            sigmas = self.bundle(roster, SECOND, deals.hash, self.sums(deals))
        link = self.end(roster, r1s, deals, sigmas, self.assents(deals, sigmas))
        assert isinstance(link, Link), "nobody cheats here"
        link.check(ENGINE, self.committee, self.held.public)
        return link

    def judged(self, roster, r1s, deals, sigmas, complaint):
        complaint = Complaint.decode(complaint.encode())
        return judge.judge(ENGINE, SEALER, self.committee, roster, r1s, deals, sigmas, complaint)
