"""Every kind of evidence convicts who did it, and only by the culprit's own words."""

from dataclasses import replace

import pytest

from tests.tss.evidence.cases import (
    CHEATER,
    TRUE_CASES,
    answered,
    bad_proof,
    bad_signature_share,
    bad_work,
    complained,
    false_complaint,
    false_key,
    false_work,
    held,
    made,
    order_of,
    signers,
    true_case,
    two_packages,
    work_complained,
)
from tests.tss.evidence.judging import judged
from tests.tss.simnet import ENGINE, SEALER, Dkg, make_committee
from tss.dkg.messages import R3, Ack, Complaint
from tss.evidence import collect
from tss.evidence.form import Evidence, Kind
from tss.evidence.judge import RULES, judge
from tss.evidence.key_faults import Accusation, Equivocation
from tss.evidence.signing_faults import BadSignatureShare, ReplayedCommitment, ShownOrder, TwoPackages
from tss.evidence.work_faults import BadWork, FalseWork, WorkAccusation
from tss.rotation.link import transcript_hash
from tss.rotation.messages import R1Set
from tss.signing import faults


@pytest.mark.parametrize("kind", Kind)
def test_every_kind_convicts_who_did_it_before_a_stranger(kind):
    judgement = judged(true_case(kind))
    assert judgement.proven, judgement.reason
    assert judgement.reason.startswith(("bob ", "carol "))
    assert judgement.proves
    assert "stolen host key" in judgement.open


def test_there_is_a_case_and_a_rule_for_every_kind():
    assert set(TRUE_CASES) == set(RULES) == set(Kind)


@pytest.mark.parametrize("kind", Kind)
def test_evidence_is_about_its_own_committee_only(kind):
    evidence = true_case(kind)
    assert judged(evidence, evidence.committee).proven
    other, _ = make_committee(3, 2, "others")
    refused = judged(evidence, other)
    assert not refused.proven
    assert other.words in refused.reason
    assert not judged(replace(evidence, committee=other)).proven, "nor under a committee that never signed it"


@pytest.mark.parametrize("kind", Kind)
def test_nobody_else_is_convicted_by_it(kind):
    evidence = true_case(kind)
    for member in range(1, evidence.committee.size + 1):
        if member != evidence.culprit:
            assert not judged(replace(evidence, culprit=member)).proven


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("claimed", Kind)
def test_a_fault_of_one_kind_convicts_of_no_other(kind, claimed):
    if kind != claimed:
        assert not judged(replace(true_case(kind), kind=claimed)).proven


@pytest.mark.parametrize("key", [bytes(32), b"\x01" + bytes(31)], ids=["zero", "small order"])
def test_a_key_that_nothing_can_be_sealed_to_convicts(key):
    assert "nothing can be sealed" in judged(bad_proof(encryption_key=key)).reason


def test_a_good_r1_convicts_nobody():
    dkg = Dkg(3, 2)
    roster = dkg.roster()
    from tss.dkg.messages import R1

    for index, answer in dkg.round1(roster).items():
        judgement = judged(collect.bad_proof(dkg.committee, roster, R1.decode(answer)))
        assert (judgement.proven, judgement.reason) == (False, "the R1 in it is good"), index


def test_an_r1_of_another_committee_of_the_same_host_convicts_nobody():
    """A host key may sit in two committees: n, t and index differ, so a good R1 there looks bad here."""
    large, small = Dkg(5, 3), Dkg(3, 2)
    roster = large.roster()
    from tss.dkg.messages import R1

    r1 = R1.decode(large.round1(roster)[1])
    assert small.committee.member(1).host_key == large.committee.member(1).host_key
    assert not judged(collect.bad_proof(small.committee, roster, r1)).proven
    assert not judged(collect.bad_proof(small.committee, small.roster(), r1)).proven


def test_of_a_complaint_one_reading_convicts_and_it_is_the_true_one():
    for lying, guilty in ((False, Kind.BAD_DKG_SHARE), (True, Kind.FALSE_COMPLAINT)):
        pieces = collect.complaint(*complained(lying=lying))
        assert [piece.kind for piece in pieces if judged(piece).proven] == [guilty]
    assert "a key that is not the one in its own R1" in judged(false_complaint(b"\x09" * 32)).reason


@pytest.mark.parametrize(
    "change",
    [
        lambda body: replace(body, r1_digests=body.r1_digests[::-1]),
        lambda body: replace(body, r2_digests=(bytes(32), *body.r2_digests[1:])),
        lambda body: replace(body, r1_digests=body.r1_digests[:-1]),
        lambda body: replace(body, accused_r1=body.complainants_r1),
        lambda body: replace(body, complainants_r1=body.accused_r1),
        lambda body: replace(body, complaint=replace(body.complaint, accused=(1,))),
        lambda body: replace(body, complaint=replace(body.complaint, seed=bytes(32))),
        lambda body: replace(body, accused_r2=replace(body.accused_r2, sealed=body.accused_r2.sealed[::-1])),
    ],
)
def test_an_accusation_with_any_part_exchanged_convicts_nobody(change):
    for kind in (Kind.BAD_DKG_SHARE, Kind.FALSE_COMPLAINT):
        evidence = true_case(kind)
        body = change(Accusation.decode(evidence.body))
        for claimed, culprit in ((Kind.BAD_DKG_SHARE, CHEATER), (Kind.FALSE_COMPLAINT, 3)):
            assert not judged(Evidence(claimed, culprit, evidence.committee, body.encode())).proven


def test_a_complaint_about_an_equivocated_r2_convicts_neither_side():
    """The accused showed the complainant another R2 than us: then who complained did not lie."""
    transcript, complaint = complained(lying=True)
    other = replace(complaint, r2_hash=bytes(32)).signed(Dkg(3, 2).identities[2])
    assert not any(judged(piece).proven for piece in collect.complaint(transcript, other))


def test_two_offers_to_one_attempt_are_no_fault():
    dkg, again = Dkg(3, 2), Dkg(3, 2, seed="sim")
    one = dkg.roster().entries[1]
    other = replace(one, nonce=b"\x44" * 32).signed(again.identities[1])
    body = Equivocation(*sorted((one.encode(), other.encode())))
    judgement = judged(Evidence(Kind.EQUIVOCATION, 2, dkg.committee, body.encode()))
    assert not judgement.proven
    assert "no fault" in judgement.reason


def test_whoever_signs_both_a_good_and_a_bad_end_of_round_3_is_convicted():
    transcript, complaint = complained(lying=False)
    carol = Dkg(3, 2).identities[2]
    r3 = R3(complaint.sid, 3, bytes(32)).signed(carol)
    judgement = judged(collect.equivocation(transcript.committee, r3, complaint))
    assert judgement.proven
    assert "both that its shares are good and that one is bad" in judgement.reason


def test_two_acks_for_different_keys_convict_and_equal_ones_do_not():
    dkg = Dkg(3, 2)
    bob = dkg.identities[1]
    one, other = (Ack(bytes(32), 2, bytes([i]) * 32).signed(bob) for i in (1, 2))
    assert judged(collect.equivocation(dkg.committee, one, other)).proven
    assert not judged(collect.equivocation(dkg.committee, one, one)).proven
    elsewhere = replace(other, sid=b"\x07" * 32).signed(bob)
    assert not judged(collect.equivocation(dkg.committee, one, elsewhere)).proven
    assert not judged(
        collect.equivocation(dkg.committee, one, R3(bytes(32), 2, bytes(32)).signed(bob))
    ).proven


def test_a_true_certificate_convicts_nobody():
    judgement = judged(false_key(honest=True))
    assert not judgement.proven
    assert judgement.reason == "the certified key is the one that the R1 make"


@pytest.mark.parametrize(
    "change",
    [
        lambda shares: shares[:-1],
        lambda shares: (*shares[1:], shares[0]),
        lambda shares: (*shares[:-1], b"\xff" * 32),
    ],
    ids=["too few", "swapped", "no scalar"],
)
def test_every_bad_signature_share_convicts(change):
    assert judged(bad_signature_share(change)).proven


def test_good_shares_convict_nobody_whatever_package_is_shown():
    committee = signers()
    request, _ = order_of(committee, sender=1)
    answer = answered(committee, request)
    public = committee.signers[1].key.public
    for place in range(3):
        body = BadSignatureShare(public, ShownOrder.of(request.order, place), answer)
        evidence = Evidence(Kind.BAD_SIGNATURE_SHARE, CHEATER, committee.committee, body.encode())
        assert not judged(evidence).proven
        moved = replace(body, order=replace(body.order, place=(place + 1) % 3))
        assert not judged(replace(evidence, body=moved.encode())).proven


def test_shares_of_another_share_set_convict_nobody():
    """After a refresh the public shares differ: what was signed under the old ones is judged under these."""
    committee = signers()
    request, _ = order_of(committee, sender=1)
    answer = answered(committee, request)
    dkg = Dkg(3, 2, attempt=5)
    other = dkg.run()[0][1].public
    body = BadSignatureShare(other, ShownOrder.of(request.order, 0), answer)
    assert not judged(Evidence(Kind.BAD_SIGNATURE_SHARE, CHEATER, committee.committee, body.encode())).proven


def test_orders_from_before_and_after_a_restart_convict_nobody():
    """A member offers an old commitment again: its coordinator, restarted, is not to blame."""
    assert judged(two_packages()).proven
    refused = judged(two_packages(second_era=b"\x05" * 16))
    assert not refused.proven
    assert "restart" in refused.reason


def test_one_order_and_unsigned_orders_convict_nobody():
    committee = signers()
    one, taken = order_of(committee)
    other, _ = order_of(committee, payload=b"another", taken=taken)
    unsigned = replace(other, signature=bytes(64))
    for second in (one, unsigned):
        body = TwoPackages(1, ShownOrder.of(one.order, 0), ShownOrder.of(second.order, 0))
        assert not judged(Evidence(Kind.TWO_PACKAGES, CHEATER, committee.committee, body.encode())).proven
    public, nothing = committee.signers[1].key.public, faults.Finding(faults.Kind.NONCE_REUSE, 2, "", ())
    assert collect.signing(ENGINE, committee.committee, public, nothing) is None


def test_good_and_unrelated_offers_convict_nobody():
    committee = signers()
    one, other = (committee.signers[CHEATER].issue(1, 2) for _ in range(2))
    for pair in ((one, other), (one, one)):
        body = ReplayedCommitment(*sorted(pair, key=lambda offer: offer.encode()))
        evidence = Evidence(Kind.REPLAYED_COMMITMENT, CHEATER, committee.committee, body.encode())
        assert not judged(evidence).proven
    public = committee.signers[1].key.public
    finding = faults.Finding(faults.Kind.BAD_COMMITMENT, CHEATER, "", (one,))
    assert collect.signing(ENGINE, committee.committee, public, finding) is None
    with pytest.raises(AssertionError):
        made(committee, faults.Kind.BAD_COMMITMENT, CHEATER, one)


def test_a_good_r1_of_a_refresh_and_one_for_other_shares_convict_nobody():
    assert judged(bad_work(lambda r1: r1)).reason == "the R1 in it is good"
    assert judged(bad_work(lambda r1: replace(r1, keys=r1.keys[:-1]))).proven
    evidence = true_case(Kind.BAD_WORK)
    body = BadWork.decode(evidence.body)
    moved = replace(body, before=Dkg(3, 2, attempt=5).run()[0][1].public)
    assert "other shares" in judged(replace(evidence, body=moved.encode())).reason


def test_of_a_complaint_in_a_refresh_one_reading_convicts_and_it_is_the_true_one():
    for lying, guilty in ((False, Kind.BAD_WORK_SHARE), (True, Kind.FALSE_WORK_COMPLAINT)):
        pieces = work_complained(lying=lying)
        assert [piece.kind for piece in pieces if judged(piece).proven] == [guilty]


@pytest.mark.parametrize("lost", [0, 3], ids=["refresh", "repair"])
def test_who_assented_to_what_was_made_or_to_something_else_is_not_convicted_of_a_false_group(lost):
    assert (
        judged(false_work(lost=lost, honest=True)).reason == "the certified group is the one that the R1 make"
    )
    other = Dkg(3, 2, attempt=5).run()[0][1].public

    def shown(place, value):
        return lambda parts: [value if at == place else part for at, part in enumerate(parts)]

    for place, value, why in (
        (0, other, "the plan starts from other shares than these"),
        (3, bytes(64), "the signature is over something else"),
        (4, other.encode(), "the signature is over something else"),
    ):
        assert judged(false_work(lost=lost, change=shown(place, value))).reason == why


def test_a_certificate_over_r1_that_do_not_hold_convicts_who_signed_it():
    evidence = true_case(Kind.FALSE_REFRESH)
    body, bob = FalseWork.decode(evidence.body), held().who(CHEATER)
    bad = replace(body.r1s.messages[1], package=b"\x02" + b"\xff" * 32).signed(bob)
    r1s = R1Set((body.r1s.messages[0], bad, body.r1s.messages[2]))
    t = transcript_hash(body.roster.sid, r1s.hash, body.dealt, body.public)
    signed = replace(body, r1s=r1s, assent=replace(body.assent, transcript=t).signed(bob))
    judgement = judged(replace(evidence, body=signed.encode()))
    assert judgement.proven
    assert "a refresh whose R1 do not hold" in judgement.reason


def test_two_deals_of_one_round_convict_and_those_of_two_rounds_do_not():
    body = WorkAccusation.decode(true_case(Kind.FALSE_WORK_COMPLAINT).body)
    committee = true_case(Kind.FALSE_WORK_COMPLAINT).committee
    deal, bob = body.deals.messages[1], held().who(2)
    other = replace(deal, sealed=deal.sealed[::-1]).signed(bob)
    assert judged(collect.equivocation(committee, deal, other)).proven
    later = replace(deal, round=3).signed(bob)
    assert not judged(collect.equivocation(committee, deal, later)).proven


def test_unsigned_words_convict_nobody():
    complaint = complained(lying=False)
    forged = replace(complaint[1], signature=bytes(64))
    assert isinstance(forged, Complaint)
    assert not any(judged(piece).proven for piece in collect.complaint(complaint[0], forged))
    assert judge(ENGINE, SEALER, true_case(Kind.EQUIVOCATION)).proven
