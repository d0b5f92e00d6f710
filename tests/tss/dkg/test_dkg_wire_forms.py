"""Every wire form of a key generation has one encoding; truncation and flipped bits are refused."""

from random import Random

import pytest

from tests.tss.simnet import ENGINE, Dkg
from tss.dkg import participant
from tss.dkg.faults import DkgFault
from tss.dkg.messages import R1, R2, R3, Ack, Complaint, R1Set, R2Set, Roster, RosterEntry
from tss.dkg.signed import SignedMessage
from tss.dkg.transcript import Certificate, RecoveryData, Transcript
from tss.frost.codec import DecodeError, Reader, Writer
from tss.frost.errors import FrostError


@pytest.fixture(scope="module")
def forms():
    dkg = Dkg(3, 2)
    _, recovery = dkg.run()
    t = recovery.transcript
    complaint = Complaint(t.roster.sid, 3, (1, 2), t.r1s.hash, t.r2s.hash, b"\x05" * 32)
    every = {
        RosterEntry: t.roster.entries[0],
        Roster: t.roster,
        R1: t.r1s.of(1),
        R1Set: t.r1s,
        R2: t.r2s.of(1),
        R2Set: t.r2s,
        R3: dkg.third[1].r3,
        Complaint: complaint.signed(dkg.identities[2]),
        Ack: participant.acknowledge(dkg.identities[0], recovery),
        Certificate: recovery.certificate,
        Transcript: t,
        RecoveryData: recovery,
    }
    return dkg, recovery, every


KINDS = [RosterEntry, Roster, R1, R1Set, R2, R2Set, R3, Complaint, Ack, Certificate, Transcript, RecoveryData]


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


@pytest.mark.parametrize("kind", KINDS)
def test_a_flipped_bit_is_refused(forms, kind):
    dkg, recovery, every = forms
    encoded = every[kind].encode()
    random = Random(7)
    bits = range(len(encoded) * 8) if len(encoded) < 150 else random.sample(range(len(encoded) * 8), 150)
    for bit in bits:
        flipped = bytearray(encoded)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises((DecodeError, DkgFault)):
            check(dkg, recovery, kind.decode(bytes(flipped)))


def check(dkg, recovery, value):
    t = recovery.transcript
    public = recovery.check(ENGINE) if isinstance(value, Certificate) else None
    if isinstance(value, SignedMessage | Roster):
        value.check(dkg.committee)
    elif isinstance(value, R1Set | R2Set):
        value.check(dkg.committee, t.roster)
    elif isinstance(value, Certificate):
        value.check(dkg.committee, t.roster.sid, t.hash(public))
    elif isinstance(value, Transcript):
        # The committee inside is what its members signed; a changed one is another committee.
        assert value.check().committee == dkg.committee or pytest.fail("a changed transcript passed")
    else:
        try:
            value.check(ENGINE)
        except FrostError as error:
            raise DecodeError(str(error)) from error


@pytest.mark.parametrize("kind", KINDS)
def test_one_kind_is_never_read_as_another(forms, kind):
    for other, value in forms[2].items():
        if other is not kind:
            with pytest.raises(DecodeError):
                kind.decode(value.encode())


@pytest.mark.parametrize("kind", KINDS)
def test_random_bytes_are_refused_not_crashed_on(kind):
    random = Random(3)
    for size in range(200):
        data = bytes([kind.KIND]) + random.randbytes(size)
        with pytest.raises(DecodeError):
            kind.decode(data)


@pytest.mark.parametrize("kind", KINDS)
def test_an_oversized_form_is_refused_before_it_is_read(kind):
    with pytest.raises(DecodeError, match=r"limit|no "):
        kind.decode(bytes([kind.KIND]) * (kind.LIMIT + 65))


def test_a_signature_counts_only_under_its_own_kind(forms):
    dkg, _, every = forms
    r3, ack = every[R3], every[Ack]
    # The same fields and layout, but another tag and kind: the signature must not carry over.
    crossed = Ack(r3.sid, r3.sender, r3.transcript, r3.signature)
    assert len(crossed.encode()) == len(r3.encode()) == len(ack.encode())
    with pytest.raises(DkgFault):
        crossed.check(dkg.committee)


def test_the_codec_refuses_what_is_not_canonical():
    with pytest.raises(DecodeError, match="flag"):
        Reader(b"\x02", 9).flag()
    with pytest.raises(DecodeError, match="UTF-8"):
        Reader(Writer().var(b"\xff", 9).done(), 9).text(9)
    with pytest.raises(DecodeError, match="length"):
        Reader(b"\xff\xff\xff\xff", 9).var(8)
    with pytest.raises(DecodeError, match="limit"):
        Reader(bytes(10), 9)


def test_the_codec_writes_nothing_that_does_not_fit():
    for wrong in (
        lambda: Writer().u8(256),
        lambda: Writer().u16(-1),
        lambda: Writer().raw(b"123", 4),
        lambda: Writer().var(b"123", 2),
    ):
        with pytest.raises(AssertionError):
            wrong()
