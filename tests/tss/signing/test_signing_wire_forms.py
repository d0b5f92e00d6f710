"""Every wire form of signing has one encoding; truncation and flipped bits are refused."""

from dataclasses import replace
from random import Random

import pytest

from tests.tss.simnet import approve
from tss.dkg.faults import BadSignature
from tss.frost.codec import DecodeError
from tss.signing import messages, signer
from tss.signing.approval import Refused
from tss.signing.messages import (
    Commitments,
    CommitRequest,
    Order,
    Refusal,
    Shares,
    SharesRequest,
    Verdict,
    read_answer,
    read_offer,
)

KINDS = [CommitRequest, Commitments, SharesRequest, Order, Shares, Refusal, Verdict]


@pytest.fixture
def forms(three):
    shell = three.sign()
    request = shell.opened[0].request.signed(three.identities[0])
    one = three.signers[request.members[0]]
    refuse = signer.Refuse("refused", "no", retryable=True)
    every = [
        CommitRequest(request.key, 1, 3).signed(three.identities[0]),
        one.issue(1, 3),
        request,
        request.order,
        messages.Shares.decode(one.handle_shares(request.encode())),
        signer.refusal(one.identity, request, refuse),
        signer.verdict(one.identity, request.key, 0, "test", b"pay", approve("test", b"pay")),
    ]
    return {type(form): form for form in every}


@pytest.mark.parametrize("kind", KINDS)
def test_decoding_what_was_encoded_gives_the_same(forms, three, kind):
    form = forms[kind]
    assert kind.decode(form.encode()) == form
    form.check(three.committee)


@pytest.mark.parametrize("kind", KINDS)
def test_a_truncated_or_lengthened_message_is_refused(forms, three, kind):
    encoded = forms[kind].encode()
    for size in range(len(encoded)):
        with pytest.raises((DecodeError, BadSignature)):
            kind.decode(encoded[:size]).check(three.committee)
    with pytest.raises((DecodeError, BadSignature)):
        kind.decode(encoded + b"\0").check(three.committee)


@pytest.mark.parametrize("kind", KINDS)
def test_a_flipped_bit_is_refused(forms, three, kind):
    encoded = forms[kind].encode()
    for bit in Random(1).sample(range(len(encoded) * 8), 200):
        flipped = bytearray(encoded)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises((DecodeError, BadSignature)):
            kind.decode(bytes(flipped)).check(three.committee)


@pytest.mark.parametrize("kind", KINDS)
def test_random_bytes_are_refused_not_crashed_on(three, kind):
    random = Random(2)
    for size in range(300):
        with pytest.raises((DecodeError, BadSignature)):
            kind.decode(bytes([kind.KIND]) + random.randbytes(size)).check(three.committee)


def test_answers_are_told_apart(forms):
    assert isinstance(read_answer(forms[Shares].encode()), Shares)
    assert isinstance(read_answer(forms[Refusal].encode()), Refusal)
    assert isinstance(read_offer(forms[Commitments].encode()), Commitments)
    assert isinstance(read_offer(forms[Refusal].encode()), Refusal)
    with pytest.raises(DecodeError):
        read_answer(forms[Commitments].encode())
    with pytest.raises(DecodeError):
        read_offer(forms[Shares].encode())


def test_the_largest_request_fits_a_peers_body():
    assert SharesRequest.LIMIT < 4 * 1024 * 1024 - 64 * 1024


def test_an_order_is_signed_by_the_requests_own_signature(three, forms):
    request = forms[SharesRequest]
    assert request.order.digest == request.digest
    assert request.order.session == request.session
    request.order.check(three.committee)
    changed = replace(request, payload=b"other").order
    with pytest.raises(BadSignature):
        changed.check(three.committee)


def test_a_long_reason_is_cut_to_travel():
    assert len(messages.cut("é" * 5000).encode()) <= messages.MAX_REASON
    assert Refused("x", retryable=False).reason == "x"
