"""Key generation driven over a simulated network: each round until all answered or its time is up."""

from dataclasses import dataclass, field

from tests.tss.simnet import ENGINE, SEALER, Dkg
from tests.tss.simwire import Net
from tss.dkg import participant, relay
from tss.dkg.messages import R1Set, R2Set, Roster
from tss.dkg.transcript import Certificate

TIMEOUT = 5.0


@dataclass
class DkgMember:
    """A member's shell: answers each round once, and a repeated question with the stored answer."""

    dkg: Dkg
    index: int
    answered: dict[str, bytes] = field(default_factory=dict)

    def answer(self, step: str, body: bytes) -> bytes | None:
        if step not in self.answered:
            made = self._make(step, body)
            if made is None:
                return None
            self.answered[step] = made
        return self.answered[step]

    def _make(self, step: str, body: bytes) -> bytes | None:
        dkg, who = self.dkg, self.dkg.identities[self.index - 1]
        if step == "offer":
            nonce = dkg.salt("nonce", self.index)
            entry = participant.offer(who, dkg.committee, dkg.purpose, 0, dkg.attempt, nonce)
            dkg.offered[self.index] = entry
            return entry.encode()
        if step == "r1":
            roster, entry = Roster.decode(body), dkg.offered[self.index]
            salt = dkg.salt("r1", self.index)
            state, r1 = participant.step1(ENGINE, SEALER, who, dkg.committee, roster, entry, salt)
            dkg.first[self.index] = state
            return r1.encode()
        if step == "r2" and self.index in dkg.first:
            first = dkg.first[self.index]
            dkg.second[self.index], r2 = participant.step2(ENGINE, SEALER, first, R1Set.decode(body))
            return r2.encode()
        if step == "r3" and self.index in dkg.second:
            done = participant.step3(ENGINE, SEALER, dkg.second[self.index], R2Set.decode(body))
            assert isinstance(done, tuple), "nobody cheats here"
            dkg.third[self.index] = done[0]
            return done[1].encode()
        return None


@dataclass
class DkgOverNet:
    """The driving member, the first one: `lost` holds who did not answer the last round in time."""

    net: Net
    dkg: Dkg
    lost: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.members = {who.index: DkgMember(self.dkg, who.index) for who in self.dkg.identities}

    def round(self, step: str, body: bytes = b"") -> dict[int, bytes]:
        answers: dict[int, bytes] = {}
        driver, over = self.dkg.identities[0], []
        for index, member in self.members.items():
            self.net.exchange(
                driver,
                self.dkg.identities[index - 1],
                body,
                lambda asked, member=member: member.answer(step, asked),
                lambda answer, index=index: answers.__setitem__(index, answer),
                TIMEOUT,
            )
        self.net.later(TIMEOUT, lambda: over.append(True))
        self.net.run(lambda: bool(over) or len(answers) == len(self.members))
        self.lost = set(self.members) - set(answers)
        return dict(answers)

    def run(self) -> Certificate:
        """Missing, which names `lost`, when somebody did not answer in time."""
        dkg, committee = self.dkg, self.dkg.committee
        roster = relay.roster(committee, dkg.purpose, 0, dkg.attempt, self.round("offer"))
        r1s = relay.bundle_r1(committee, roster, self.round("r1", roster.encode()))
        r2s = relay.bundle_r2(committee, roster, r1s, self.round("r2", r1s.encode()))
        answers = self.round("r3", r2s.encode())
        made = relay.certificate(committee, roster, dkg.third[1].r3.transcript, answers)
        assert isinstance(made, Certificate)
        return made
