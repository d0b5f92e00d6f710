"""Members that cheat in a key generation are named, with proof that strangers can check."""

from dataclasses import replace

import pytest

from tests.tss.simnet import ENGINE, SEALER, Dkg
from tss.dkg import judge, participant, relay
from tss.dkg.faults import BadProof, BadSignature, MalformedMessage, ViewsDiffer, WrongSession
from tss.dkg.messages import R1, R2, Complaint, R1Set, R2Set
from tss.dkg.transcript import Transcript

CHEATER = 2


def bundle(dkg, roster, r1s, answers):
    return R2Set.decode(relay.bundle_r2(dkg.committee, roster, r1s, answers).encode())


def with_bad_box(dkg, r1s, answers, make_box):
    """Let the cheater seal something else to carol."""
    r2 = R2.decode(answers[CHEATER])
    sealed = list(r2.sealed)
    sealed[3 - 1] = make_box(
        r1s.of(3).encryption_key, participant.share_info(r1s.of(1).sid, CHEATER, 3, r1s.hash)
    )
    forged = replace(r2, sealed=tuple(sealed)).signed(dkg.identities[CHEATER - 1])
    dkg.second[CHEATER] = replace(dkg.second[CHEATER], r2=forged)
    answers[CHEATER] = forged.encode()


@pytest.mark.parametrize(
    "make_box",
    [
        lambda key, info: SEALER.seal(key, info, (5).to_bytes(32, "big")),
        lambda key, info: SEALER.seal(key, info, b"\xff" * 32),
        lambda key, info: SEALER.seal(key, info, bytes(32)),
        lambda key, info: SEALER.seal(key, info + b"x", (5).to_bytes(32, "big")),
        lambda key, info: bytes(80),
    ],
    ids=["another share", "no scalar", "zero", "sealed for elsewhere", "no ciphertext"],
)
def test_a_bad_share_convicts_its_sender_before_anyone(make_box):
    dkg = Dkg(3, 2)
    roster, r1s, answers = dkg.to_r2()
    with_bad_box(dkg, r1s, answers, make_box)
    r2s = bundle(dkg, roster, r1s, answers)
    answers3 = dkg.round3(r2s)
    assert 3 not in dkg.third, "whoever complains keeps no share"
    complaints = relay.certificate(dkg.committee, roster, bytes(32), answers3)
    assert [c.sender for c in complaints] == [3]
    transcript = Transcript(dkg.committee, roster, r1s, r2s)
    judgement = judge.judge(ENGINE, SEALER, transcript, Complaint.decode(complaints[0].encode()))
    assert judgement.culprits == (CHEATER,)
    assert "bob sealed to carol" in judgement.reason
    evidence = judgement.fault().evidence
    again = judge.judge(ENGINE, SEALER, Transcript.decode(evidence[1]), Complaint.decode(evidence[0]))
    assert again.culprits == (CHEATER,), "a stranger with the evidence alone judges the same"


def slander(dkg, seed=None, accused=(1,)):
    roster, r1s, answers = dkg.to_r2()
    r2s = bundle(dkg, roster, r1s, answers)
    made = seed or dkg.first[3].seed
    complaint = Complaint(roster.sid, 3, accused, r1s.hash, r2s.hash, made).signed(dkg.identities[2])
    return Transcript(dkg.committee, roster, r1s, r2s), complaint


def test_a_false_complaint_convicts_the_complainant():
    transcript, complaint = slander(Dkg(3, 2))
    judgement = judge.judge(ENGINE, SEALER, transcript, complaint)
    assert judgement.culprits == (3,)
    assert "alice, whose shares are good" in judgement.reason


def test_a_complaint_with_another_key_convicts_the_complainant():
    transcript, complaint = slander(Dkg(3, 2), seed=b"\x09" * 32)
    assert judge.judge(ENGINE, SEALER, transcript, complaint).culprits == (3,)


def test_a_complaint_nobody_signed_convicts_nobody():
    transcript, complaint = slander(Dkg(3, 2))
    with pytest.raises(BadSignature):
        judge.judge(ENGINE, SEALER, transcript, replace(complaint, sender=2))


def test_a_complaint_about_other_messages_convicts_nobody():
    dkg = Dkg(3, 2)
    transcript, complaint = slander(dkg)
    other = replace(complaint, r2_hash=bytes(32)).signed(dkg.identities[2])
    with pytest.raises(ViewsDiffer):
        judge.judge(ENGINE, SEALER, transcript, other)


def two_faced(dkg):
    """Bob makes two R1 for one session; the relay shows the second to carol only."""
    roster = dkg.roster()
    answers = dkg.round1(roster)
    bob = dkg.identities[CHEATER - 1]
    second, r1 = participant.step1(
        ENGINE, SEALER, bob, dkg.committee, roster, dkg.offered[CHEATER], b"\x33" * 32
    )
    ours = relay.bundle_r1(dkg.committee, roster, answers)
    theirs = relay.bundle_r1(dkg.committee, roster, {**answers, CHEATER: r1.encode()})
    return roster, ours, theirs, second


def test_an_equivocating_r1_is_noticed_and_proved():
    dkg = Dkg(3, 2)
    roster, ours, theirs, second = two_faced(dkg)
    answers = {
        1: participant.step2(ENGINE, SEALER, dkg.first[1], ours)[1].encode(),
        2: participant.step2(ENGINE, SEALER, second, theirs)[1].encode(),
        3: participant.step2(ENGINE, SEALER, dkg.first[3], theirs)[1].encode(),
    }
    with pytest.raises(ViewsDiffer, match="bob and carol saw other R1"):
        relay.bundle_r2(dkg.committee, roster, ours, answers)
    (proof,) = judge.compare(dkg.committee, ours, theirs)
    assert proof.culprits == (CHEATER,)
    one, other = (R1.decode(message) for message in proof.evidence)
    assert judge.equivocation(dkg.committee, one, other).culprits == (CHEATER,)


def test_a_member_notices_alone_that_others_saw_other_r1():
    dkg = Dkg(3, 2)
    _, ours, theirs, second = two_faced(dkg)
    state, r2 = participant.step2(ENGINE, SEALER, dkg.first[1], ours)
    bob = participant.step2(ENGINE, SEALER, second, theirs)[1]
    carol = participant.step2(ENGINE, SEALER, dkg.first[3], theirs)[1]
    with pytest.raises(ViewsDiffer, match="bob and carol"):
        participant.step3(ENGINE, SEALER, state, R2Set((r2, bob, carol)))


def test_one_message_sent_twice_proves_nothing():
    dkg = Dkg(3, 2)
    r1s = dkg.to_r2()[1]
    assert judge.compare(dkg.committee, r1s, r1s) == ()


def test_a_relay_that_changes_our_own_r1_is_noticed():
    dkg = Dkg(3, 2)
    _, _, theirs, _ = two_faced(dkg)
    with pytest.raises(WrongSession, match="the R1 we sent"):
        participant.step2(ENGINE, SEALER, dkg.first[CHEATER], theirs)


def forged_r1(dkg, **changes):
    roster = dkg.roster()
    answers = dkg.round1(roster)
    r1 = replace(R1.decode(answers[CHEATER]), **changes).signed(dkg.identities[CHEATER - 1])
    answers[CHEATER] = r1.encode()
    return R1Set.decode(relay.bundle_r1(dkg.committee, roster, answers).encode())


@pytest.mark.parametrize("package", [b"", b"\x02" * 130, bytes(131)], ids=["empty", "no points", "too long"])
def test_a_bad_package_convicts_its_signer(package):
    dkg = Dkg(3, 2)
    r1s = forged_r1(dkg, package=package)
    with pytest.raises(BadProof, match="the R1 of bob") as caught:
        participant.step2(ENGINE, SEALER, dkg.first[1], r1s)
    assert caught.value.culprits == (CHEATER,)


def test_a_proof_copied_from_another_member_convicts_its_signer():
    dkg = Dkg(3, 2)
    roster = dkg.roster()
    alices = R1.decode(dkg.round1(roster)[1]).package
    with pytest.raises(BadProof) as caught:
        participant.check_packages(ENGINE, dkg.committee, forged_r1(dkg, package=alices))
    assert caught.value.culprits == (CHEATER,)
    assert R1.decode(caught.value.evidence[0]).check(dkg.committee).sender == CHEATER


def test_a_key_that_nothing_can_be_sealed_to_convicts_its_signer():
    dkg = Dkg(3, 2)
    r1s = forged_r1(dkg, encryption_key=bytes(32))
    with pytest.raises(BadProof, match="bob's R1") as caught:
        participant.step2(ENGINE, SEALER, dkg.first[1], r1s)
    assert caught.value.culprits == (CHEATER,)


@pytest.mark.parametrize("garbage", [b"", b"\x04", b"garbage", bytes(300), b"\x04" * 9000])
def test_garbage_is_blamed_on_the_connection_it_came_by(garbage):
    dkg = Dkg(3, 2)
    roster = dkg.roster()
    answers = {**dkg.round1(roster), CHEATER: garbage}
    with pytest.raises(MalformedMessage, match="bob sent no valid R1") as caught:
        relay.bundle_r1(dkg.committee, roster, answers)
    assert caught.value.culprits == (CHEATER,)


def test_speaking_in_the_name_of_another_is_blamed_on_the_speaker():
    dkg = Dkg(3, 2)
    roster = dkg.roster()
    answers = dkg.round1(roster)
    answers[CHEATER] = answers[1]
    with pytest.raises(MalformedMessage, match="in the name of") as caught:
        relay.bundle_r1(dkg.committee, roster, answers)
    assert caught.value.culprits == (CHEATER,)


def test_a_message_without_its_signature_is_blamed_on_the_connection():
    dkg = Dkg(3, 2)
    roster = dkg.roster()
    answers = dkg.round1(roster)
    answers[CHEATER] = answers[CHEATER][:-1] + bytes([answers[CHEATER][-1] ^ 1])
    with pytest.raises(BadSignature) as caught:
        relay.bundle_r1(dkg.committee, roster, answers)
    assert caught.value.culprits == (CHEATER,)


def test_a_replayed_r1_of_another_attempt_is_named():
    old, new = Dkg(3, 2, attempt=1), Dkg(3, 2, attempt=2)
    replayed = old.round1(old.roster())[CHEATER]
    roster = new.roster()
    answers = {**new.round1(roster), CHEATER: replayed}
    with pytest.raises(WrongSession, match="bob") as caught:
        relay.bundle_r1(new.committee, roster, answers)
    assert caught.value.culprits == (CHEATER,)


def test_a_complaint_about_another_session_convicts_nobody():
    dkg = Dkg(3, 2)
    transcript, complaint = slander(dkg)
    other = replace(complaint, sid=bytes(32)).signed(dkg.identities[2])
    with pytest.raises(WrongSession, match="another session"):
        judge.judge(ENGINE, SEALER, transcript, other)


def test_a_relay_that_mixes_sessions_is_noticed_by_every_member():
    old, new = Dkg(3, 2, attempt=1), Dkg(3, 2, attempt=2)
    _, stale, _ = old.to_r2()
    roster = new.roster()
    fresh = relay.bundle_r1(new.committee, roster, new.round1(roster))
    mixed = R1Set((fresh.of(1), stale.of(2), fresh.of(3)))
    with pytest.raises(WrongSession, match="a message of bob is from another session"):
        participant.step2(ENGINE, SEALER, new.first[1], mixed)


def test_an_r2_that_we_did_not_send_is_noticed():
    dkg = Dkg(3, 2)
    roster, r1s, answers = dkg.to_r2()
    honest = dkg.second[CHEATER]
    with_bad_box(dkg, r1s, answers, lambda key, info: bytes(80))
    r2s = bundle(dkg, roster, r1s, answers)
    with pytest.raises(WrongSession, match="the R2 we sent"):
        participant.step3(ENGINE, SEALER, honest, r2s)
