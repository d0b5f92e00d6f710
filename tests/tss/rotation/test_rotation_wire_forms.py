"""Every wire form of key work has one encoding; truncation and flipped bits are refused."""

from random import Random

import pytest

from tests.tss.rotation.session import Held, Session
from tests.tss.simnet import ENGINE
from tss.dkg.faults import DkgFault
from tss.dkg.signed import SignedMessage
from tss.frost.codec import DecodeError
from tss.frost.errors import FrostError
from tss.rotation.link import Certificate, Link, Transcript, acknowledge
from tss.rotation.messages import FIRST, R1, Ack, Assent, Complaint, Deal, DealSet, R1Set
from tss.rotation.plan import Entry, Plan, Roster

KINDS = [Plan, Entry, Roster, R1, R1Set, Deal, DealSet, Assent, Complaint, Ack, Certificate, Transcript, Link]


@pytest.fixture(scope="module", params=["refresh", "repair"])
def forms(request):
    held = Held.made(4, 3)
    plan = held.plan((1, 2, 3, 4), lost=4) if request.param == "repair" else held.plan((1, 2, 4))
    session = Session(held, plan)
    link = session.run()
    t = link.transcript
    complaint = Complaint(link.sid, 1, FIRST, t.deals.hash, (2, 4), (b"\x05" * 32, b"\x06" * 32))
    every = {
        Plan: plan,
        Entry: t.roster.entries[0],
        Roster: t.roster,
        R1: t.r1s.of(1),
        R1Set: t.r1s,
        Deal: t.deals.of(1),
        DealSet: t.deals,
        Assent: session.done[1].assent,
        Complaint: complaint.signed(held.who(1)),
        Ack: acknowledge(held.who(1), link),
        Certificate: link.certificate,
        Transcript: t,
        Link: link,
    }
    return held, link, every


@pytest.mark.parametrize("kind", KINDS)
def test_decoding_what_was_encoded_gives_the_same_bytes(forms, kind):
    value = forms[2][kind]
    assert kind.decode(value.encode()) == value
    assert kind.decode(value.encode()).encode() == value.encode()


@pytest.mark.parametrize("kind", KINDS)
def test_a_truncated_or_lengthened_form_is_refused(forms, kind):
    encoded = forms[2][kind].encode()
    step = max(1, len(encoded) // 300)
    for size in [*range(0, len(encoded), step), len(encoded) - 1]:
        with pytest.raises(DecodeError):
            kind.decode(encoded[:size])
    with pytest.raises(DecodeError):
        kind.decode(encoded + b"\0")


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind is not Plan])
def test_a_flipped_bit_is_refused(forms, kind):
    held, link, every = forms
    encoded = every[kind].encode()
    bits = Random(7).sample(range(len(encoded) * 8), min(100, len(encoded) * 8))
    for bit in bits:
        flipped = bytearray(encoded)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises((DecodeError, DkgFault, FrostError)):
            check(held, link, kind.decode(bytes(flipped)))


def check(held, link, value):
    """What a receiver checks; a changed value must fail somewhere."""
    committee, roster, t = held.committee, link.roster, link.transcript
    match value:
        case SignedMessage():
            value.check(committee)
        case Roster():
            value.check(committee)
        case R1Set():
            value.check(committee, roster, roster.plan.members)
        case DealSet():
            value.check_deals(committee, roster, FIRST, t.r1s.hash)
        case Certificate():
            value.check(committee, roster, t.hash(t.check(ENGINE, committee, held.public)))
        case Transcript():
            link.certificate.check(committee, roster, value.hash(value.check(ENGINE, committee, held.public)))
        case Link():
            value.check(ENGINE, committee, held.public)


@pytest.mark.parametrize(("at", "to"), [(1, 0), (1, 3), (1, 255)])
def test_a_plan_for_no_known_work_is_refused(forms, at, to):
    encoded = bytearray(forms[2][Plan].encode())
    encoded[at] = to
    with pytest.raises(DecodeError):
        Plan.decode(bytes(encoded))


def test_plans_with_members_out_of_order_or_receivers_out_of_place_are_refused():
    held = Held.made(3, 2)
    plan = held.plan()
    from dataclasses import replace

    from tss.rotation.plan import Work

    for bad in (
        replace(plan, members=(2, 1, 3)),
        replace(plan, members=(1, 1, 3)),
        replace(plan, receiver=1),
        replace(plan, work=Work.REPAIR),
        replace(plan, work=Work.REPAIR, members=(1, 2), receiver=3),
    ):
        with pytest.raises(DecodeError):
            Plan.decode(bad.encode())
