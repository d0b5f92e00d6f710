"""The bytes of evidence: one form per fault, bounded, and nothing damaged convicts or crashes its judge."""

from dataclasses import replace
from random import Random

import pytest

from tests.tss.evidence.cases import TRUE_CASES, true_case
from tests.tss.evidence.judging import judged
from tests.tss.simnet import ENGINE, SEALER
from tss.evidence.form import MAX_BODY, Evidence, Kind
from tss.evidence.judge import RULES, judge
from tss.frost.codec import DecodeError


@pytest.mark.parametrize("kind", Kind)
def test_evidence_survives_its_bytes_and_has_one_form(kind):
    evidence = true_case(kind)
    again = Evidence.decode(evidence.encode())
    assert again == evidence
    assert again.id == evidence.id
    body = RULES[kind].body.decode(evidence.body)
    assert body.encode() == evidence.body
    assert len(evidence.body) <= RULES[kind].body.LIMIT <= MAX_BODY


def test_every_kind_has_its_own_id_and_name():
    assert len({true_case(kind).id for kind in TRUE_CASES}) == len(TRUE_CASES)
    assert Kind.BAD_DKG_SHARE.slug == "bad-dkg-share"


@pytest.mark.parametrize("kind", Kind)
def test_truncated_and_lengthened_evidence_is_unreadable(kind):
    encoded = true_case(kind).encode()
    sizes = range(len(encoded)) if len(encoded) < 3000 else sorted(Random(3).sample(range(len(encoded)), 800))
    for size in sizes:
        with pytest.raises(DecodeError):
            Evidence.decode(encoded[:size])
    with pytest.raises(DecodeError):
        Evidence.decode(encoded + b"\0")


@pytest.mark.parametrize("kind", Kind)
def test_a_body_cut_anywhere_is_judged_unproven(kind):
    evidence = true_case(kind)
    for size in Random(4).sample(range(len(evidence.body)), 60):
        assert not judged(replace(evidence, body=evidence.body[:size])).proven
    assert not judged(replace(evidence, body=evidence.body + b"\0")).proven


@pytest.mark.parametrize("kind", Kind)
def test_a_flipped_bit_never_convicts_anybody_else_and_never_crashes(kind):
    evidence = true_case(kind)
    encoded = evidence.encode()
    for bit in Random(5).sample(range(len(encoded) * 8), 250):
        flipped = bytearray(encoded)
        flipped[bit // 8] ^= 1 << bit % 8
        try:
            read = Evidence.decode(bytes(flipped))
        except DecodeError:
            continue
        judgement = judge(ENGINE, SEALER, read)
        if judgement.proven:
            # Some bits are nobody's word, like the place of a second bad share: the truth stays the same.
            assert (read.culprit, read.kind) == (evidence.culprit, evidence.kind)
            assert read.committee.member(read.culprit).host_key == (
                evidence.committee.member(evidence.culprit).host_key
            )


@pytest.mark.parametrize("kind", Kind)
def test_random_bodies_are_unproven(kind):
    random = Random(6)
    head = true_case(kind)
    for size in range(0, 400, 7):
        body = RULES[kind].body.KIND.to_bytes(1, "big") + random.randbytes(size)
        assert not judged(replace(head, body=body)).proven


def test_another_version_and_an_unknown_kind_are_unreadable():
    encoded = bytearray(true_case(Kind.EQUIVOCATION).encode())
    for at, value in ((1, 2), (2, 0), (2, 200), (4, 9)):
        changed = bytearray(encoded)
        changed[at] = value
        with pytest.raises(DecodeError):
            Evidence.decode(bytes(changed))
