"""A nonce can never be used twice: every way in which a coordinator might try is refused."""

from dataclasses import replace

import pytest

from tests.tss.evidence.judging import proven
from tests.tss.simnet import ENGINE, approve
from tss.frost.errors import NonceSpent
from tss.frost.hashing import tagged_hash
from tss.frost.package import SigningPackage
from tss.frost.path import INTERNAL, KEY_ONLY, key_with_root
from tss.signing import messages, signer
from tss.signing.approval import Approved, Refused
from tss.signing.messages import SharesRequest

ME = 2
COORDINATOR = 1


@pytest.fixture
def session(three):
    """A request of alice's to bob, not yet sent."""
    one = three.signers[ME]
    taken = {index: three.signers[index].issue(COORDINATOR, 3).commitments for index in (1, ME)}
    return one, build(three, taken)


def build(committee, taken, payload=b"pay", order=(0, 1, 2), sender=COORDINATOR):
    wanted = approve("test", payload).messages
    packages = tuple(
        SigningPackage(message, {index: taken[index][order[i]] for index in taken}, path)
        for i, (message, path) in enumerate(wanted)
    )
    key = committee.signers[1].key.public.share_set
    request = SharesRequest(key, sender, "test", payload, packages, 3)
    return request.signed(committee.identities[sender - 1])


def send(one, request):
    return messages.read_answer(one.handle_shares(request.encode()))


def commitments_of(request):
    return {i: tuple(p.commitments[i] for p in request.packages) for i in request.members}


def test_the_same_packages_again_give_the_stored_shares(session):
    one, request = session
    first = send(one, request)
    again = send(one, request)
    assert first.shares == again.shares
    assert len(one.rows) == 3
    assert isinstance(one.decide(request), signer.Replay)


def test_the_stored_shares_survive_a_restart(session):
    one, request = session
    first = send(one, request)
    one.restart()
    assert send(one, request).shares == first.shares


def test_a_spent_commitment_in_another_package_is_refused_and_kept_as_evidence(three, session):
    one, request = session
    send(one, request)
    second = build(three, commitments_of(request), payload=b"another")
    refused = one.decide(second)
    assert isinstance(refused, signer.Refuse)
    assert (refused.code, refused.retryable) == ("nonce-reuse", False)
    assert refused.evidence.culprit == COORDINATOR
    public = one.key.public
    assert proven(three.committee, public, refused.evidence), "any stranger convicts alice"
    half = replace(refused.evidence, messages=refused.evidence.messages[:1])
    assert not proven(three.committee, public, half), "one request alone proves nothing"


def test_the_same_message_under_another_path_is_nonce_reuse(three, session):
    one, request = session
    send(one, request)
    moved = tuple(
        SigningPackage(p.message, p.commitments, KEY_ONLY if p.path == INTERNAL else INTERNAL)
        for p in request.packages
    )
    second = replace(request, packages=moved).signed(three.identities[0])
    assert one.decide(second).code == "nonce-reuse"


def test_spent_commitments_in_another_order_are_nonce_reuse(three, session):
    one, request = session
    send(one, request)
    assert one.decide(build(three, commitments_of(request), order=(1, 0, 2))).code == "nonce-reuse"


def test_one_commitment_twice_in_one_session_is_refused_with_evidence(three, session):
    one, request = session
    refused = one.decide(build(three, commitments_of(request), order=(0, 0, 1)))
    assert refused.code == "nonce-reuse"
    assert proven(three.committee, one.key.public, refused.evidence)


def test_other_peoples_commitments_changed_make_another_package(three, session):
    one, request = session
    send(one, request)
    taken = commitments_of(request)
    taken[1] = three.signers[1].issue(COORDINATOR, 3).commitments
    assert one.decide(build(three, taken)).code == "nonce-reuse"


def test_commitments_of_an_earlier_boot_are_void(session):
    one, request = session
    one.restart()
    refused = one.decide(request)
    assert (refused.code, refused.retryable) == (signer.UNKNOWN_COMMITMENT, True)


def test_commitments_that_were_never_issued_are_refused(three, session):
    one, request = session
    taken = commitments_of(request)
    taken[ME] = tuple(commitment for _, commitment in ENGINE.commit(one.key, 3))
    assert one.decide(build(three, taken)).code == signer.UNKNOWN_COMMITMENT


def test_commitments_given_to_another_coordinator_are_refused(three, session):
    one, request = session
    assert one.decide(build(three, commitments_of(request), sender=3)).code == "foreign-commitment"


def test_some_spent_and_some_fresh_is_refused(three, session):
    one, request = session
    decision = one.decide(request)
    row = signer.NonceRow(decision.plan[0].commitment, decision.plan[0].package.hash, b"s" * 32)
    one.rows[row.commitment] = row
    assert one.decide(request).code == "partly-spent"


def test_a_release_leaves_no_nonce_behind(session):
    one, request = session
    decision = one.decide(request)
    assert isinstance(decision, signer.Release)
    assert decision.state.outstanding(COORDINATOR) == 0
    assert one.state.outstanding(COORDINATOR) == 3, "the old state is untouched until the shell replaces it"


def test_the_engine_refuses_a_second_use_even_if_the_shell_forgot(session):
    one, request = session
    decision = one.decide(request)
    step = decision.plan[0]
    ENGINE.sign(one.key, step.handle, step.package)
    with pytest.raises(NonceSpent):
        ENGINE.sign(one.key, step.handle, step.package)


def test_a_refusal_of_the_port_is_passed_on_at_share_release(session):
    one, request = session
    one.approve = lambda purpose, payload: Refused("paused by the operator", retryable=True)
    refused = one.decide(request)
    assert (refused.code, refused.reason, refused.retryable) == ("refused", "paused by the operator", True)


def test_stored_shares_are_not_sent_again_once_the_port_refuses(session):
    one, request = session
    send(one, request)
    one.approve = lambda purpose, payload: Refused("paused", retryable=True)
    assert one.decide(request).code == "refused"


@pytest.mark.parametrize(
    "changed",
    [
        lambda m: m[:2],
        lambda m: (*m, m[0]),
        lambda m: (m[1], m[0], m[2]),
        lambda m: ((m[0][0], key_with_root(b"q" * 32)), *m[1:]),
        lambda m: ((tagged_hash("test/other"), m[0][1]), *m[1:]),
    ],
    ids=["fewer", "more", "order", "path", "message"],
)
def test_only_exactly_what_the_port_approved_is_signed(session, changed):
    one, request = session
    one.approve = lambda purpose, payload: Approved(changed(approve(purpose, payload).messages))
    assert one.decide(request).code == "messages-differ"
    assert one.rows == {}


def test_a_request_nobody_signed_is_refused(session):
    one, request = session
    assert one.decide(replace(request, signature=bytes(64))).code == "signature"
    assert one.decide(replace(request, want=4)).code == "signature"


def test_a_request_for_another_key_is_refused(three, session):
    one, request = session
    other = replace(request, key=b"\x02" * 33).signed(three.identities[0])
    assert one.decide(other).code == "wrong-key"


def test_a_request_that_names_another_key_epoch_is_refused(three, session):
    one, request = session
    other = replace(request, epoch=7).signed(three.identities[COORDINATOR - 1])
    assert other.request != request.request
    assert one.decide(other).code == "wrong-epoch"


def test_a_session_of_too_few_signers_is_refused(three, session):
    one, request = session
    alone = {ME: commitments_of(request)[ME]}
    assert one.decide(build(three, alone)).code == "signers"


def test_a_session_without_us_is_refused(three, session):
    one, request = session
    taken = commitments_of(request)
    taken = {1: taken[1], 3: three.signers[3].issue(COORDINATOR, 3).commitments}
    assert one.decide(build(three, taken)).code == "not-a-signer"


def test_a_stranger_among_the_signers_is_refused(three, session):
    one, request = session
    taken = commitments_of(request)
    taken[9] = taken[1]
    assert one.decide(build(three, taken)).code == "signers"


def test_a_hoarding_coordinator_loses_its_oldest_commitments(session):
    one, request = session
    for _ in range(5):
        one.issue(COORDINATOR, 250)
    assert one.state.outstanding(COORDINATOR) == signer.MAX_OUTSTANDING
    assert one.decide(request).code == signer.UNKNOWN_COMMITMENT
    one.restart()


def test_a_request_for_commitments_is_checked(three):
    one = three.signers[ME]
    ask = messages.CommitRequest(one.context.key, COORDINATOR, 4)
    assert signer.grant(one.context, ask).code == "signature"
    assert signer.grant(one.context, ask.signed(three.identities[0])) == signer.Granted(4)
    other = replace(ask, key=b"\x03" * 33).signed(three.identities[0])
    assert signer.grant(one.context, other).code == "wrong-key"


def test_a_verdict_is_signed_and_says_what_was_decided(three):
    one = three.signers[ME]
    yes = signer.verdict(one.identity, one.context.key, 0, "test", b"x", approve("test", b"x"))
    no = signer.verdict(one.identity, one.context.key, 0, "test", b"x", Refused("é" * 2000, retryable=True))
    for made in (yes, no):
        assert messages.Verdict.decode(made.encode()).check(three.committee) == made
    assert yes.approved
    assert not no.approved
    assert yes.request == no.request
