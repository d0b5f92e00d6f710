"""Every way to cheat in a refresh or repair, and who is named for it."""

from dataclasses import replace

import pytest

from tests.tss.frost.groups import flipped
from tests.tss.rotation.session import Held, Session
from tests.tss.simnet import ENGINE, SEALER
from tss.dkg.faults import BadProof, BadSignature, MalformedMessage, Missing, ViewsDiffer, WrongSession
from tss.rotation import boxes, judge, refresh, relay, repair
from tss.rotation.messages import FIRST, R1, SECOND, Complaint, Deal, DealSet, R1Set
from tss.rotation.plan import Work

CHEATER = 2


def refreshing():
    held = Held.made(3, 2)
    return Session(held, held.plan())


def repairing():
    held = Held.made(5, 3)
    return Session(held, held.plan((1, 2, 4, 5), lost=4))


def with_box(session, r1s, answers, victim, make, number=FIRST, seen=None, *, knows=True):
    """The cheater seals something else to the victim, and signs it; unless it `knows`, it was somebody else."""
    deal = Deal.decode(answers[CHEATER])
    places = session.plan.receivers(CHEATER) if number == FIRST else (session.plan.receiver,)
    dealt = boxes.Round(session_roster(session, r1s), r1s, number, seen or r1s.hash, DealSet(()))
    sealed = list(deal.sealed)
    sealed[places.index(victim)] = make(dealt.key_of(CHEATER, victim), dealt.info(CHEATER, victim))
    lie = replace(deal, sealed=tuple(sealed)).signed(session.held.who(CHEATER))
    answers[CHEATER] = lie.encode()
    if knows and number == FIRST:
        session.second[CHEATER] = replace(session.second[CHEATER], deal=lie)
    elif knows:
        session.third[CHEATER] = replace(session.third[CHEATER], sigma=lie)


def session_roster(session, r1s):
    return next(iter(session.first.values())).roster


def garbage(_key, _info):
    return bytes(80)


def wrong(key, info):
    return SEALER.seal(key, info, b"\x01" * 32)


def zero(key, info):
    return SEALER.seal(key, info, bytes(32))


def beyond(key, info):
    return SEALER.seal(key, info, b"\xff" * 32)


LIES = [garbage, wrong, zero, beyond]


@pytest.mark.parametrize("lie", LIES)
def test_a_bad_refresh_share_ends_in_a_complaint_that_convicts_its_sender(lie):
    session = refreshing()
    roster, r1s, answers = session.to_deals()
    with_box(session, r1s, answers, 3, lie)
    deals = session.bundle(roster, FIRST, r1s.hash, answers)
    (complaint,) = session.end(roster, r1s, deals, None, session.assents(deals))
    assert (complaint.sender, complaint.accused) == (3, (CHEATER,))
    judgement = session.judged(roster, r1s, deals, None, complaint)
    assert judgement.culprits == (CHEATER,)
    assert "bob sealed to carol a refresh share" in judgement.reason
    assert judgement.fault().culprits == (CHEATER,)
    assert session.held.signed((1, 3)), "the old shares serve on"


@pytest.mark.parametrize("lie", LIES)
def test_a_bad_delta_convicts_its_sender_and_opens_nothing_else(lie):
    session = repairing()
    roster, r1s, answers = session.to_deals()
    with_box(session, r1s, answers, 5, lie)
    deals = session.bundle(roster, FIRST, r1s.hash, answers)
    (complaint,) = session.bundle(roster, SECOND, deals.hash, session.sums(deals))
    judgement = session.judged(roster, r1s, deals, None, complaint)
    assert judgement.culprits == (CHEATER,)
    assert "bob sealed to erin a delta" in judgement.reason
    dealt = boxes.Round(roster, r1s, FIRST, r1s.hash, deals)
    assert boxes.open_with(SEALER, dealt, 1, 5, complaint.seeds[0]) is None


def test_a_helper_that_complained_makes_no_sigma_of_the_deltas_that_it_wiped():
    """Else a relay asks again with good deals, and gets a signed sigma that convicts an honest helper."""
    session = repairing()
    roster, r1s, answers = session.to_deals()
    good, second = session.bundle(roster, FIRST, r1s.hash, answers), session.second[5]
    with_box(session, r1s, answers, 5, wrong)
    bad = session.bundle(roster, FIRST, r1s.hash, answers)
    assert isinstance(repair.step3(ENGINE, SEALER, second, bad), Complaint)
    with pytest.raises(WrongSession, match="start a new attempt"):
        repair.step3(ENGINE, SEALER, second, good)
    with pytest.raises(WrongSession, match="start a new attempt"):
        repair.step2(ENGINE, SEALER, session.first[5], r1s)


@pytest.mark.parametrize("lie", LIES)
def test_a_bad_sigma_convicts_its_sender_and_the_lost_share_stays_secret(lie):
    session = repairing()
    roster, r1s, answers = session.to_deals()
    deals = session.bundle(roster, FIRST, r1s.hash, answers)
    sums = session.sums(deals)
    with_box(session, r1s, sums, 4, lie, SECOND, deals.hash)
    sigmas = session.bundle(roster, SECOND, deals.hash, sums)
    (complaint,) = session.end(roster, r1s, deals, sigmas, session.assents(deals, sigmas))
    assert (complaint.sender, complaint.round, complaint.accused) == (4, SECOND, (CHEATER,))
    judgement = session.judged(roster, r1s, deals, sigmas, complaint)
    assert judgement.culprits == (CHEATER,)
    assert "bob sealed to dave a sigma" in judgement.reason
    dealt = boxes.Round(roster, r1s, SECOND, deals.hash, sigmas)
    for honest in (1, 5):
        assert boxes.open_with(SEALER, dealt, honest, 4, complaint.seeds[0]) is None


def packages_of(session):
    threshold = session.held.public.threshold
    good = session.first[CHEATER].r1.package
    return [b"", good[:-1], good + good[:33], bytes(33 * (threshold - 1)), b"\x05" + good[1:]]


@pytest.mark.parametrize("kind", [refreshing, repairing])
def test_an_r1_without_valid_commitments_names_its_sender_with_proof(kind):
    session = kind()
    roster = session.roster()
    honest = session.round1(roster)
    bad = packages_of(session)
    if session.plan.work is Work.REPAIR:
        package = session.first[CHEATER].r1.package
        bad += [package[33:66] + package[33:], session.first[1].r1.package]
    for package in bad:
        r1 = replace(session.first[CHEATER].r1, package=package).signed(session.held.who(CHEATER))
        r1s = relay.bundle_r1(session.committee, roster, {**honest, CHEATER: r1.encode()})
        step = refresh.step2 if session.plan.work is Work.REFRESH else repair.step2
        with pytest.raises(BadProof, match="the R1 of bob") as caught:
            step(ENGINE, SEALER, session.first[1], r1s)
        assert caught.value.culprits == (CHEATER,)
        assert R1.decode(caught.value.evidence[0]) == r1


@pytest.mark.parametrize("kind", [refreshing, repairing])
def test_keys_that_cannot_be_sealed_to_or_are_missing_name_their_owner(kind):
    session = kind()
    roster = session.roster()
    honest = session.round1(roster)
    keys = session.first[CHEATER].r1.keys
    step = refresh.step2 if session.plan.work is Work.REFRESH else repair.step2
    for wrong_keys in ((bytes(32),) * len(keys), keys[:-1]):
        r1 = replace(session.first[CHEATER].r1, keys=wrong_keys).signed(session.held.who(CHEATER))
        r1s = relay.bundle_r1(session.committee, roster, {**honest, CHEATER: r1.encode()})
        with pytest.raises(BadProof) as caught:
            step(ENGINE, SEALER, session.first[1], r1s)
        assert caught.value.culprits == (CHEATER,)


def test_a_receiver_that_commits_to_something_is_named():
    session = repairing()
    roster = session.roster()
    honest = session.round1(roster)
    r1 = replace(session.first[4].r1, package=session.first[1].r1.package).signed(session.held.who(4))
    r1s = relay.bundle_r1(session.committee, roster, {**honest, 4: r1.encode()})
    with pytest.raises(BadProof) as caught:
        repair.step2(ENGINE, SEALER, session.first[1], r1s)
    assert caught.value.culprits == (4,)


def slander(session, number, accused=(1,), seeds=None):
    roster, r1s, answers = session.to_deals()
    deals = session.bundle(roster, FIRST, r1s.hash, answers)
    sigmas = None
    if number == SECOND:
        sigmas = session.bundle(roster, SECOND, deals.hash, session.sums(deals))
    sender = session.plan.members[-1] if number == FIRST else session.plan.receiver
    who = session.held.who(sender)
    salt = r1s.of(sender).salt
    seeds = seeds or tuple(boxes.seed_for(who, roster.sid, salt, dealer) for dealer in accused)
    seen = (deals if sigmas is None else sigmas).hash
    complaint = Complaint(roster.sid, sender, number, seen, accused, seeds).signed(who)
    return (roster, r1s, deals, sigmas), complaint


@pytest.mark.parametrize(("kind", "number"), [(refreshing, FIRST), (repairing, FIRST), (repairing, SECOND)])
def test_a_false_complaint_convicts_the_complainant(kind, number):
    session = kind()
    said, complaint = slander(session, number)
    judgement = session.judged(*said, complaint)
    assert judgement.culprits == (complaint.sender,)
    assert "alice" in judgement.reason


@pytest.mark.parametrize(("kind", "number"), [(refreshing, FIRST), (repairing, FIRST), (repairing, SECOND)])
def test_a_complaint_with_another_key_convicts_the_complainant(kind, number):
    session = kind()
    said, complaint = slander(session, number, seeds=(b"\x09" * 32,))
    assert session.judged(*said, complaint).culprits == (complaint.sender,)


def test_a_complaint_about_somebody_who_dealt_it_nothing_convicts_the_complainant():
    session = repairing()
    said, complaint = slander(session, FIRST, accused=(5,))
    assert complaint.sender == 5
    assert session.judged(*said, complaint).culprits == (5,)


def test_a_complaint_nobody_signed_or_about_other_messages_convicts_nobody():
    session = refreshing()
    said, complaint = slander(session, FIRST)
    with pytest.raises(BadSignature):
        session.judged(*said, replace(complaint, sender=2))
    who = session.held.who(complaint.sender)
    with pytest.raises(ViewsDiffer):
        session.judged(*said, replace(complaint, seen=bytes(32)).signed(who))
    with pytest.raises(WrongSession, match="another session"):
        session.judged(*said, replace(complaint, sid=bytes(32)).signed(who))
    with pytest.raises(WrongSession, match="not dealt"):
        session.judged(*said, replace(complaint, round=SECOND).signed(who))


@pytest.mark.parametrize("kind", [refreshing, repairing])
def test_an_equivocating_r1_is_noticed_by_all_and_proved(kind):
    session = kind()
    roster = session.roster()
    honest = session.round1(roster)
    _, other = session.begin(roster, CHEATER, salt=b"\x33" * 32)
    ours = relay.bundle_r1(session.committee, roster, honest)
    theirs = relay.bundle_r1(session.committee, roster, {**honest, CHEATER: other.encode()})
    victim = session.plan.dealers[-1]
    step = refresh.step2 if session.plan.work is Work.REFRESH else repair.step2

    def dealt(member, r1s):
        made = step(ENGINE, SEALER, session.first[member], r1s)
        return made.deal if session.plan.work is Work.REPAIR else made[1]

    answers = {m: dealt(m, ours).encode() for m in session.plan.dealers if m != victim}
    answers[victim] = dealt(victim, theirs).encode()
    with pytest.raises(ViewsDiffer) as caught:
        relay.bundle_deals(session.committee, roster, FIRST, ours.hash, answers)
    assert caught.value.culprits == (victim,)
    deals = DealSet(tuple(Deal.decode(answers[m]) for m in session.plan.dealers))
    with pytest.raises(ViewsDiffer, match="prove who equivocated"):
        deals.check_deals(session.committee, roster, FIRST, ours.hash)
    proof = judge.equivocation(session.committee, ours.of(CHEATER), theirs.of(CHEATER))
    assert proof.culprits == (CHEATER,)
    assert judge.equivocation(session.committee, ours.of(1), ours.of(1)) is None
    assert judge.equivocation(session.committee, ours.of(1), ours.of(CHEATER)) is None


def test_two_deals_of_one_member_are_proof_and_deals_of_two_rounds_are_not():
    session = repairing()
    roster, r1s, answers = session.to_deals()
    honest = Deal.decode(answers[CHEATER])
    with_box(session, r1s, answers, 5, wrong)
    other = Deal.decode(answers[CHEATER])
    assert judge.equivocation(session.committee, honest, other).culprits == (CHEATER,)
    later = replace(other, round=SECOND).signed(session.held.who(CHEATER))
    assert judge.equivocation(session.committee, honest, later) is None
    assert roster.sid == honest.sid


def test_a_relay_that_changes_what_we_sent_is_noticed_in_every_round():
    session = refreshing()
    roster, r1s, answers = session.to_deals()
    second = session.begin(roster, CHEATER, salt=b"\x33" * 32)[1]
    mixed = R1Set(tuple(second if r1.sender == CHEATER else r1 for r1 in r1s.messages))
    with pytest.raises(WrongSession, match="the R1 we sent"):
        refresh.step2(ENGINE, SEALER, session.first[CHEATER], mixed)
    with_box(session, r1s, answers, 3, wrong, knows=False)
    deals = session.bundle(roster, FIRST, r1s.hash, answers)
    with pytest.raises(WrongSession, match="the shares we sent"):
        refresh.step3(ENGINE, SEALER, session.second[CHEATER], deals)


def test_a_relay_that_changes_deltas_or_sigmas_is_noticed_by_their_sender():
    session = repairing()
    roster, r1s, answers = session.to_deals()
    honest = session.bundle(roster, FIRST, r1s.hash, dict(answers))
    sums = session.sums(honest)
    with_box(session, r1s, answers, 5, wrong, knows=False)
    deals = session.bundle(roster, FIRST, r1s.hash, answers)
    with pytest.raises(WrongSession, match="the deltas we sent"):
        repair.step3(ENGINE, SEALER, session.second[CHEATER], deals)
    with_box(session, r1s, sums, 4, wrong, SECOND, honest.hash, knows=False)
    sigmas = session.bundle(roster, SECOND, honest.hash, sums)
    with pytest.raises(WrongSession, match="the sigma we sent"):
        repair.assent(ENGINE, session.third[CHEATER], sigmas)


@pytest.mark.parametrize("kind", [refreshing, repairing])
def test_silence_garbage_borrowed_names_and_replays_name_who_handed_them_over(kind):
    session, other = kind(), kind()
    other.plan = replace(other.plan, attempt=2)
    stale = other.round1(other.roster())[CHEATER]
    roster = session.roster()
    honest = session.round1(roster)
    for answer, fault in (
        (b"", Missing),
        (b"\xff" * 40, MalformedMessage),
        (honest[1], MalformedMessage),
        (flipped(honest[CHEATER], len(honest[CHEATER]) - 1), BadSignature),
        (stale, WrongSession),
    ):
        with pytest.raises(fault) as caught:
            relay.bundle_r1(session.committee, roster, {**honest, CHEATER: answer})
        assert caught.value.culprits == (CHEATER,)
    with pytest.raises(Missing, match="bob did not send its R1"):
        relay.bundle_r1(session.committee, roster, {m: a for m, a in honest.items() if m != CHEATER})


def test_a_roster_without_our_own_nonce_is_a_replay():
    session = refreshing()
    roster = session.roster()
    offered = session.offered[1]
    session.offered[1] = refresh.offer(session.held.who(1), session.committee, session.plan, bytes(32))
    with pytest.raises(WrongSession, match="replay"):
        session.begin(roster, 1)
    session.offered[1] = offered
    assert session.begin(roster, 1)


def test_an_assent_to_another_transcript_is_named():
    session = refreshing()
    roster, r1s, answers = session.to_deals()
    deals = session.bundle(roster, FIRST, r1s.hash, answers)
    assents = session.assents(deals)
    lie = replace(session.done[CHEATER].assent, transcript=bytes(32)).signed(session.held.who(CHEATER))
    with pytest.raises(ViewsDiffer) as caught:
        session.end(roster, r1s, deals, None, {**assents, CHEATER: lie.encode()})
    assert caught.value.culprits == (CHEATER,)
