"""One true case of every kind of evidence, made by members that really cheat in the simulated committee."""

from dataclasses import replace
from functools import cache

from tests.tss.rotation.session import Held, Session
from tests.tss.simnet import ENGINE, SEALER, Dkg, SimCommittee, approve
from tss.dkg import participant, relay
from tss.dkg.messages import R1, R2, R3, Complaint, R2Set
from tss.dkg.transcript import Transcript, transcript_hash
from tss.evidence import collect
from tss.evidence.form import Evidence, Kind
from tss.frost.package import SigningPackage
from tss.rotation import boxes, link
from tss.rotation import messages as work
from tss.signing import faults, messages
from tss.signing.messages import SharesRequest

CHEATER = 2  # bob


def forged(dkg, roster, answers, **changes):
    """The cheater's R1 with changes, signed by it."""
    return replace(R1.decode(answers[CHEATER]), **changes).signed(dkg.identities[CHEATER - 1])


def bad_proof(**changes):
    dkg = Dkg(3, 2)
    roster = dkg.roster()
    r1 = forged(dkg, roster, dkg.round1(roster), **(changes or {"package": bytes(131)}))
    return collect.bad_proof(dkg.committee, roster, r1)


def bad_r2():
    dkg = Dkg(3, 2)
    roster, _r1s, answers = dkg.to_r2()
    r2 = R2.decode(answers[CHEATER])
    short = replace(r2, sealed=r2.sealed[:-1]).signed(dkg.identities[CHEATER - 1])
    return collect.bad_r2(dkg.committee, roster, short)


def complained(*, lying, seed=None):
    """Carol's complaint of bob, true or not, with its transcript."""
    dkg = Dkg(3, 2)
    roster, r1s, answers = dkg.to_r2()
    if not lying:
        r2 = R2.decode(answers[CHEATER])
        info = participant.share_info(roster.sid, CHEATER, 3, r1s.hash)
        box = SEALER.seal(r1s.of(3).encryption_key, info, (5).to_bytes(32, "big"))
        answers[CHEATER] = (
            replace(r2, sealed=(*r2.sealed[:2], box)).signed(dkg.identities[CHEATER - 1]).encode()
        )
    r2s = relay.bundle_r2(dkg.committee, roster, r1s, answers)
    made = Complaint(roster.sid, 3, (CHEATER,), r1s.hash, r2s.hash, seed or dkg.first[3].seed)
    return Transcript(dkg.committee, roster, r1s, r2s), made.signed(dkg.identities[2])


def bad_dkg_share():
    return collect.complaint(*complained(lying=False))[0]


def false_complaint(seed=None):
    return collect.complaint(*complained(lying=True, seed=seed))[1]


def equivocation():
    dkg = Dkg(3, 2)
    roster = dkg.roster()
    answers = dkg.round1(roster)
    one = R1.decode(answers[CHEATER])
    other = forged(dkg, roster, answers, salt=b"\x33" * 32)
    return collect.equivocation(dkg.committee, one, other)


def false_key(honest=False):
    dkg = Dkg(3, 2)
    roster, r1s, answers = dkg.to_r2()
    r2s = R2Set.decode(relay.bundle_r2(dkg.committee, roster, r1s, answers).encode())
    public = ENGINE.dkg_public(r1s.packages, 2)
    if not honest:
        other = Dkg(3, 2, attempt=9)
        public = ENGINE.dkg_public(other.to_r2()[1].packages, 2)
    t = transcript_hash(roster.sid, r1s.hash, r2s.hash, public.encode())
    r3 = R3(roster.sid, CHEATER, t).signed(dkg.identities[CHEATER - 1])
    return collect.false_key(dkg.committee, roster, r1s, r2s.hash, public.encode(), r3)


@cache
def keyed():
    dkg = Dkg(3, 2)
    return dkg, dkg.run()[0]


def signers():
    return SimCommittee.of(*keyed())


def order_of(committee, sender=CHEATER, payload=b"pay", taken=None, era=messages.NO_ERA):
    """A request that the cheater coordinates, with commitments of alice and its own."""
    taken = taken or {i: committee.signers[i].issue(sender, 3).commitments for i in (1, CHEATER)}
    packages = tuple(
        SigningPackage(message, {index: taken[index][i] for index in taken}, path)
        for i, (message, path) in enumerate(approve("test", payload).messages)
    )
    key = committee.signers[1].key.public.share_set
    request = SharesRequest(key, sender, "test", payload, packages, 3, era)
    return request.signed(committee.identities[sender - 1]), taken


def made(committee, kind, culprit, *found):
    public = committee.signers[1].key.public
    finding = faults.Finding(kind, culprit, "", found)
    evidence = collect.signing(ENGINE, committee.committee, public, finding)
    assert evidence is not None
    return evidence


def answered(committee, request, change=lambda shares: shares):
    one = committee.signers[CHEATER]
    honest = messages.Shares.decode(one.handle_shares(request.encode()))
    return replace(honest, shares=change(honest.shares)).signed(one.identity)


def bad_signature_share(change=lambda shares: (bytes(31) + b"\x05", *shares[1:])):
    committee = signers()
    request, _ = order_of(committee, sender=1)
    answer = answered(committee, request, change)
    return made(committee, faults.Kind.BAD_SHARE, CHEATER, request.order, answer)


def two_packages(second_era=messages.NO_ERA):
    committee = signers()
    one, taken = order_of(committee)
    other, _ = order_of(committee, payload=b"another", taken=taken, era=second_era)
    return made(committee, faults.Kind.NONCE_REUSE, CHEATER, one.order, other.order)


def replayed_commitment():
    committee = signers()
    one = committee.signers[CHEATER].issue(1, 2)
    again = replace(one, sequence=one.sequence + 7).signed(committee.identities[CHEATER - 1])
    return made(committee, faults.Kind.REPLAYED_COMMITMENT, CHEATER, one, again)


def bad_commitment():
    committee = signers()
    one = committee.signers[CHEATER].issue(1, 2)
    bad = replace(one, commitments=(one.commitments[0], b"\x02" + b"\xff" * 65))
    return made(committee, faults.Kind.BAD_COMMITMENT, CHEATER, bad.signed(committee.identities[CHEATER - 1]))


@cache
def held():
    return Held.made(3, 2)


def bad_work(change=None):
    """Bob's R1 of a refresh with commitments that are no points, unless another change is asked for."""
    session = Session(held(), held().plan())
    roster = session.roster()
    answers = session.round1(roster)
    r1 = work.R1.decode(answers[CHEATER])
    r1 = (change or (lambda one: replace(one, package=b"\x02" + b"\xff" * 32)))(r1)
    return collect.bad_work(
        session.committee, session.held.public, roster, r1.signed(session.held.who(CHEATER))
    )


def work_complained(*, lying):
    """Carol's complaint of bob's refresh share, true or not, with all that was dealt."""
    session = Session(held(), held().plan())
    roster, r1s, answers = session.to_deals()
    dealt = boxes.Round(roster, r1s, work.FIRST, r1s.hash, work.DealSet(()))
    if not lying:
        deal = work.Deal.decode(answers[CHEATER])
        box = SEALER.seal(dealt.key_of(CHEATER, 3), dealt.info(CHEATER, 3), b"\x01" * 32)
        places = session.plan.receivers(CHEATER)
        sealed = tuple(box if to == 3 else old for to, old in zip(places, deal.sealed, strict=True))
        answers[CHEATER] = replace(deal, sealed=sealed).signed(session.held.who(CHEATER)).encode()
    deals = session.bundle(roster, work.FIRST, r1s.hash, answers)
    carol = session.held.who(3)
    seed = boxes.seed_for(carol, roster.sid, r1s.of(3).salt, CHEATER)
    made = work.Complaint(roster.sid, 3, work.FIRST, deals.hash, (CHEATER,), (seed,)).signed(carol)
    return collect.work_complaint(session.committee, roster, r1s, deals, None, made)


def bad_work_share():
    return work_complained(lying=False)[0]


def false_work_complaint():
    return work_complained(lying=True)[1]


def false_work(*, lost=0, honest=False, change=None):
    """Bob's assent to another group than the refresh, or the repair of the lost member's share, made."""
    session = Session(held(), held().plan(lost=lost))
    roster, r1s, answers = session.to_deals()
    deals = session.bundle(roster, work.FIRST, r1s.hash, answers)
    sigmas = session.bundle(roster, work.SECOND, deals.hash, session.sums(deals)) if lost else None
    transcript = link.Transcript(roster, r1s, deals, sigmas)
    public = transcript.check(ENGINE, session.committee, held().public)
    if not honest:
        public = Dkg(3, 2, attempt=9).run()[0][1].public
    t = link.transcript_hash(roster.sid, r1s.hash, transcript.dealt, public.encode())
    assent = work.Assent(roster.sid, CHEATER, t).signed(held().who(CHEATER))
    shown = [held().public, roster, r1s, transcript.dealt, public.encode(), assent]
    return collect.false_work(session.committee, *(change or list)(shown))


def false_refresh():
    return false_work()


def false_repair():
    return false_work(lost=3)


TRUE_CASES = {
    Kind.BAD_PROOF: bad_proof,
    Kind.BAD_R2: bad_r2,
    Kind.BAD_DKG_SHARE: bad_dkg_share,
    Kind.FALSE_COMPLAINT: false_complaint,
    Kind.EQUIVOCATION: equivocation,
    Kind.FALSE_KEY: false_key,
    Kind.BAD_SIGNATURE_SHARE: bad_signature_share,
    Kind.TWO_PACKAGES: two_packages,
    Kind.REPLAYED_COMMITMENT: replayed_commitment,
    Kind.BAD_COMMITMENT: bad_commitment,
    Kind.BAD_WORK: bad_work,
    Kind.BAD_WORK_SHARE: bad_work_share,
    Kind.FALSE_WORK_COMPLAINT: false_work_complaint,
    Kind.FALSE_REFRESH: false_refresh,
    Kind.FALSE_REPAIR: false_repair,
}


@cache
def true_case(kind: Kind) -> Evidence:
    return TRUE_CASES[kind]()
