"""Being late costs nobody's standing: while enough members are merely late, one that voids is not taken again."""

from tss.signing import events, signer
from tss.signing.answers import read_event
from tss.signing.coordinator import Coordinator
from tss.signing.effects import AskCommitments, Done, OpenSession
from tss.signing.messages import read_answer


class Driven:
    """A machine whose questions are kept until they are answered by hand."""

    def __init__(self, committee):
        for member, one in committee.signers.items():
            committee.pools[1].add(one.issue(1, 3 if member == 2 else 12))
        self.committee, self.asked, self.opened = committee, {}, []
        self.machine = Coordinator(committee.task(order=(1, 2, 3, 4, 5)), committee.pools[1])
        self.take(self.machine.start())

    def take(self, effects):
        for effect in effects:
            if isinstance(effect, AskCommitments):
                self.asked[effect.member] = effect.message.signed(self.committee.identities[0])
            elif isinstance(effect, OpenSession):
                self.opened.append(effect)
        return effects

    def step(self, event):
        return self.take(self.machine.step(event))

    def offer(self, member):
        asked = self.asked.pop(member)
        given = self.committee.signers[member].handle_commit(asked.encode())
        return self.step(read_event(self.committee.committee, member, asked, given))

    def share(self, member, session):
        body = session.request.signed(self.committee.identities[0])
        given = self.committee.signers[member].handle_shares(body.encode())
        return self.step(read_event(self.committee.committee, member, body, given))


def test_one_that_voided_its_commitments_does_not_stand_in_for_one_that_is_late(five):
    driven = Driven(five)
    (first,) = driven.opened
    assert first.members == (1, 2, 3)
    driven.step(events.Silent(5, "is down"))
    driven.step(events.Late(2, first.session))
    five.signers[3].restart()
    body = first.request.signed(five.identities[0]).encode()
    refusal = read_answer(five.signers[3].handle_shares(body))
    assert refusal.code == signer.UNKNOWN_COMMITMENT
    driven.step(events.Refusal(refusal))
    driven.offer(3)
    assert len(driven.opened) == 1, "3 would stall a second session, and 2 is only late"
    driven.offer(2)
    (_, second) = driven.opened
    assert second.members == (1, 2, 4)
    ended = [effect for member in second.members for effect in driven.share(member, second)]
    assert isinstance(ended[-1], Done)
    assert dict(driven.machine.strikes) == {5: 1, 3: 1}
