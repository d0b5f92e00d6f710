"""Key generation over a network that delays, reorders, duplicates and loses messages."""

from dataclasses import dataclass, field

import pytest

from tests.tss.simnet import ENGINE, SEALER, Dkg, Net
from tss.dkg import participant, relay
from tss.dkg.faults import Missing
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
class Relay:
    """The driving member: one round at a time, until all answered or the time is up."""

    net: Net
    dkg: Dkg
    lost: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.members = {who.index: DkgMember(self.dkg, who.index) for who in self.dkg.identities}

    def round(self, step: str, body: bytes = b"") -> dict[int, bytes]:
        answers: dict[int, bytes] = {}
        over: list[bool] = []
        for index in self.members:
            self.net.send(lambda index=index: self._deliver(index, step, body, answers))
        self.net.later(TIMEOUT, lambda: over.append(True))
        self.net.run(lambda: bool(over) or len(answers) == len(self.members))
        self.lost = set(self.members) - set(answers)
        return dict(answers)

    def _deliver(self, index: int, step: str, body: bytes, answers: dict[int, bytes]) -> None:
        answer = self.members[index].answer(step, body)
        if answer is not None:
            self.net.send(lambda: answers.__setitem__(index, answer))

    def run(self) -> Certificate:
        dkg, committee = self.dkg, self.dkg.committee
        roster = relay.roster(committee, dkg.purpose, 0, dkg.attempt, self.round("offer"))
        r1s = relay.bundle_r1(committee, roster, self.round("r1", roster.encode()))
        r2s = relay.bundle_r2(committee, roster, r1s, self.round("r2", r1s.encode()))
        answers = self.round("r3", r2s.encode())
        made = relay.certificate(committee, roster, dkg.third[1].r3.transcript, answers)
        assert isinstance(made, Certificate)
        return made


def assert_one_key(dkg, certificate):
    recoveries = [participant.finalize(state, certificate) for state in dkg.third.values()]
    assert len(recoveries) == dkg.n
    assert len({recovery.check(ENGINE).group_key for recovery in recoveries}) == 1


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("n", "t"), [(3, 2), (5, 3)])
def test_delay_reordering_and_duplicates_change_nothing(n, t, seed):
    dkg = Dkg(n, t)
    certificate = Relay(Net(seed, duplicate=0.5, delay=2.0), dkg).run()
    assert_one_key(dkg, certificate)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(("n", "t"), [(3, 2), (5, 3)])
def test_loss_fails_the_attempt_naming_who_was_missing_and_a_later_one_succeeds(n, t, seed):
    net = Net(seed, drop=0.08, duplicate=0.2, delay=1.0)
    for attempt in range(1, 80):
        dkg = Dkg(n, t, attempt=attempt)
        driver = Relay(net, dkg)
        fault = None
        try:
            certificate = driver.run()
        except Missing as missing:
            fault = missing
        if fault is None:
            assert_one_key(dkg, certificate)
            return
        assert set(fault.culprits) == driver.lost
    pytest.fail("no attempt came through")
