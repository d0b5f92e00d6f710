"""Members that cheat while signing are blamed with evidence, and the rest still sign."""

from dataclasses import replace

import pytest

from tests.tss.evidence.judging import proven
from tests.tss.simnet import Net
from tss.signing import events, messages
from tss.signing.effects import Blame, Done, Failed, Ignored
from tss.signing.faults import Finding, Kind
from tss.signing.pool import Added, Late, Pool

CHEATER = 2


def convicts(committee, finding):
    return proven(committee.committee, committee.signers[1].key.public, finding)


def spoil(committee, change):
    one = committee.signers[CHEATER]
    one.mangle_shares = lambda made: change(made).signed(one.identity).encode()


@pytest.mark.parametrize(
    "change",
    [
        lambda made: replace(made, shares=(bytes(31) + b"\x05", *made.shares[1:])),
        lambda made: replace(made, shares=(*made.shares[:-1], b"\xff" * 32)),
        lambda made: replace(made, shares=made.shares[:-1]),
        lambda made: replace(made, shares=(*made.shares[1:], made.shares[0])),
    ],
    ids=["another number", "no scalar", "too few", "swapped"],
)
def test_a_bad_share_is_blamed_and_the_others_sign(five, change):
    spoil(five, change)
    shell = five.sign(order=(CHEATER,))
    assert isinstance(shell.ended, Done)
    (blame,) = shell.blames
    assert blame.member == CHEATER
    assert blame.evidence.kind is Kind.BAD_SHARE
    assert convicts(five, blame.evidence)
    assert CHEATER not in shell.opened[-1].members


def test_honest_shares_convict_nobody(five):
    shell = five.sign()
    request = shell.opened[0].request
    member = request.members[0]
    shares = tuple(five.signers[member].rows[p.commitments[member]].share for p in request.packages)
    following = five.signers[member].issue(1, 0)
    answer = messages.Shares(request.key, member, request.session, shares, following)
    answer = answer.signed(five.identities[member - 1])
    honest = Finding(Kind.BAD_SHARE, member, "slander", (request.order, answer))
    assert not convicts(five, honest)
    assert not convicts(five, replace(honest, culprit=CHEATER + 2))


def test_a_forged_package_cannot_convict_an_honest_member(five):
    shell = five.sign()
    request = shell.opened[0].request
    member = request.members[0]
    shares = tuple(five.signers[member].rows[p.commitments[member]].share for p in request.packages)
    answer = messages.Shares(request.key, member, request.session, shares, five.signers[member].issue(1, 0))
    answer = answer.signed(five.identities[member - 1])
    forged = replace(request, packages=request.packages[::-1])
    slander = Finding(Kind.BAD_SHARE, member, "slander", (forged.order, answer))
    assert not convicts(five, slander), "the member signed the session id of other packages"


def test_as_many_cheaters_as_can_be_are_all_named(five):
    for index in (2, 3):
        one = five.signers[index]
        one.mangle_shares = lambda made, one=one: (
            replace(made, shares=(b"\1" * 32,) * 3).signed(one.identity).encode()
        )
    shell = five.sign(order=(2, 3))
    assert isinstance(shell.ended, Done)
    assert sorted(blame.member for blame in shell.blames) == [2, 3]
    assert len(shell.opened) <= 3


def test_too_many_cheaters_fail_with_their_names(three):
    for index in (2, 3):
        one = three.signers[index]
        one.mangle_shares = lambda made, one=one: (
            replace(made, shares=(b"\1" * 32,) * 3).signed(one.identity).encode()
        )
    ended = three.sign().ended
    assert isinstance(ended, Failed)
    assert ended.reason.endswith("bob sent a bad share, carol sent a bad share")
    assert not ended.retryable


def test_replayed_commitments_are_blamed(five):
    one = five.signers[CHEATER]
    first = []

    def replay(made):
        first.append(made)
        again = replace(made, commitments=first[0].commitments, sequence=made.sequence)
        return again.signed(one.identity).encode()

    one.mangle_offer = replay
    five.sign(b"one", spare=0)
    five.pools[1].void(CHEATER)
    shell = five.sign(b"two", quorum=5)
    (blame,) = shell.blames
    assert blame.member == CHEATER
    assert blame.evidence.kind is Kind.REPLAYED_COMMITMENT
    assert convicts(five, blame.evidence)
    assert shell.ended.reason == (
        "only 4 of the 5 signers needed answered: bob offered a commitment a second time"
    )


def test_one_number_for_two_offers_is_blamed(three):
    one = three.signers[CHEATER]
    pool = Pool()
    offer = one.issue(1, 2)
    other = replace(one.issue(1, 2), sequence=offer.sequence).signed(one.identity)
    assert pool.add(offer) == Added(2, restarted=False)
    evidence = pool.add(other)
    assert convicts(three, evidence)


def test_one_commitment_twice_in_an_offer_is_blamed(three):
    one = three.signers[CHEATER]
    offer = one.issue(1, 1)
    doubled = replace(offer, commitments=offer.commitments * 2).signed(one.identity)
    assert convicts(three, Pool().add(doubled))


def test_an_honest_offer_repeated_by_the_network_is_merely_late(three):
    pool = Pool()
    offer = three.signers[CHEATER].issue(1, 2)
    pool.add(offer)
    assert isinstance(pool.add(offer), Late)
    assert pool.count(CHEATER) == 2
    once = Finding(Kind.REPLAYED_COMMITMENT, CHEATER, "slander", (offer, offer))
    assert not convicts(three, once)


def test_commitments_of_an_ended_boot_are_dropped_and_not_taken_back(three):
    one, pool = three.signers[CHEATER], Pool()
    old = one.issue(1, 2)
    pool.add(old)
    one.restart()
    assert pool.add(one.issue(1, 1)) == Added(1, restarted=True)
    assert isinstance(pool.add(old), Late)
    assert pool.count(CHEATER) == 1


def test_commitments_that_are_no_points_are_blamed(five):
    one = five.signers[CHEATER]

    def no_points(made):
        return (
            replace(made, commitments=(b"\x02" + b"\xff" * 65,) * 1 + made.commitments[1:])
            .signed(one.identity)
            .encode()
        )

    one.mangle_offer = no_points
    shell = five.sign(order=(CHEATER,), quorum=4)
    (blame,) = shell.blames
    assert blame.member == CHEATER
    assert blame.evidence.kind is Kind.BAD_COMMITMENT
    assert convicts(five, blame.evidence)
    assert isinstance(shell.ended, Done)
    good = Finding(Kind.BAD_COMMITMENT, 3, "slander", (five.signers[3].issue(1, 2),))
    assert not convicts(five, good)


@pytest.mark.parametrize("garbage", [b"", b"\x23", b"garbage" * 9, bytes(5000)])
def test_garbage_puts_its_sender_out_without_evidence(five, garbage):
    five.signers[CHEATER].mangle_shares = lambda made: garbage
    five.signers[3].mangle_offer = lambda made: garbage
    shell = five.sign(order=(CHEATER, 3))
    assert isinstance(shell.ended, Done)
    assert {blame.member for blame in shell.blames} == {CHEATER, 3}
    assert all(blame.evidence is None for blame in shell.blames)


def test_answers_in_the_name_of_others_change_nothing(three):
    net = Net()
    shell = three.shell(net, three.task())
    shell.start()
    offer = three.signers[2].issue(1, 4)
    (effect,) = shell.machine.step(events.Ready(replace(offer, sender=3)))
    assert isinstance(effect, Ignored)
    (effect,) = shell.machine.step(events.Ready(replace(offer, signature=bytes(64))))
    assert isinstance(effect, Ignored)


def test_a_member_that_keeps_voiding_its_commitments_is_left_out(five):
    one = five.signers[CHEATER]
    plain = one.handle_shares

    def voiding(body):
        one.restart()
        return plain(body)

    one.handle_shares = voiding
    shell = five.sign(order=(CHEATER,))
    assert isinstance(shell.ended, Done)
    assert len(one.refusals) <= 3
    assert shell.blames == []


def test_a_member_that_sends_too_few_commitments_is_left_out(five):
    one = five.signers[CHEATER]
    one.mangle_offer = lambda made: (
        replace(made, commitments=made.commitments[:1]).signed(one.identity).encode()
    )
    shell = five.sign(order=(CHEATER,), quorum=4)
    assert isinstance(shell.ended, Done)
    assert CHEATER not in shell.opened[-1].members


def test_a_second_different_share_is_blamed(three):
    net = Net()
    shell = three.shell(net, three.task())
    three.signers[3].up = False
    shell.start()
    net.run(lambda: bool(shell.opened))
    one = three.signers[CHEATER]
    body = shell.opened[0].request.signed(three.identities[0]).encode()
    made = messages.Shares.decode(one.handle_shares(body))
    shell.machine.step(events.Shares(made))
    other = replace(made, shares=(b"\1" * 32,) * 3).signed(one.identity)
    effects = shell.machine.step(events.Shares(other))
    assert any(isinstance(effect, Blame) and effect.member == CHEATER for effect in effects)
