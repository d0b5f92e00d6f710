"""A TLS certificate on the disk: made, announced, installed as a whole, read back or refused."""

import time
from dataclasses import replace

import pytest

from tests.tss.shells import fake_committee, make_identities
from tests.tss.test_tss_certificates import der_of
from tss import identity
from tss.certificate import DAY, CertificateFault, Notice, make
from tss.frost.codec import DecodeError
from tss.identity import rotate_tls
from tss.peer_tls import client_context
from tss.pins import Pins


def test_an_expired_certificate_is_mended_by_its_operator_alone(tmp_path):
    members = make_identities(tmp_path, 3)
    bob = members[1]
    (tmp_path / "bob" / "keys" / "old").mkdir()
    key, pem = make("bob", time.time() - 30 * DAY, days=20)
    identity.write_tls(tmp_path / "bob" / "keys", key, pem)
    committee = fake_committee([members[0], identity.load(tmp_path / "bob"), members[2]])
    pins = Pins(committee, 1, members[0].tls)
    with pytest.raises(CertificateFault, match="expired"):
        pins.admit(2, der_of(pem))
    made = rotate_tls(bob.placed(committee), committee, time.time(), overlap=DAY, days=100)
    assert pins.admit(2, made.der) == made
    with pytest.raises(CertificateFault, match="expired"):
        pins.admit(2, der_of(pem))


def test_a_rotation_that_was_cut_short_is_ended_by_the_next_start(tmp_path, monkeypatch):
    members = make_identities(tmp_path, 2)
    committee = fake_committee(members)
    bob = members[1].seated(committee)

    class Killed(Exception):
        pass

    wrote = []

    def until_third(path, data, mode=0o600):
        if len(wrote) == stop:
            raise Killed
        wrote.append(path.name)
        real(path, data, mode)

    real = identity.write_atomically
    for stop in range(4):
        wrote.clear()
        before = identity.passport(tmp_path / "bob").tls_fingerprint
        with monkeypatch.context() as patch:
            patch.setattr(identity, "write_atomically", until_third)
            with pytest.raises(Killed):
                rotate_tls(bob, committee, time.time(), overlap=DAY, days=100)
        again = identity.load(tmp_path / "bob").seated(committee)
        client_context(again.tls)  # key and certificate belong together
        assert (again.tls.fingerprint == before) == (stop == 0)
        assert identity.passport(tmp_path / "bob").tls_fingerprint == again.tls.fingerprint
        assert not (tmp_path / "bob" / "keys" / "tls.next").exists()


def test_a_folder_takes_its_seat_by_an_announced_certificate_of_this_committee_only(tmp_path):
    members = make_identities(tmp_path, 2)
    committee = fake_committee(members)
    rotate_tls(members[1].seated(committee), committee, time.time(), overlap=0, days=100)
    again = identity.load(tmp_path / "bob")
    assert again.seated(committee).index == 2
    assert identity.check_seat(tmp_path / "bob", committee) == 2
    with pytest.raises(identity.IdentityFault, match="certificate rotate --offline"):
        again.seated(committee.salted("the next epoch"))


def test_the_next_committee_file_pins_a_certificate_that_was_announced_to_the_last(tmp_path):
    members = make_identities(tmp_path, 2)
    first = fake_committee(members)
    old = rotate_tls(members[1].seated(first), first, time.time(), overlap=DAY, days=100)
    bob = identity.load(tmp_path / "bob")
    following = fake_committee([members[0], bob]).salted("epoch 2")
    seated, pins = bob.seated(following), Pins(following, 1, members[0].tls)
    assert pins.admit(2, old.der) == old
    assert pins.announced() == [], "the file says it already"
    made = rotate_tls(seated, following, time.time(), overlap=DAY, days=100)
    assert pins.take(made.der) == (2, made)
    assert pins.admit(2, old.der) == old, "for the overlap"
    assert pins.announced() == [made]
    again = Pins(following, 1, members[0].tls)
    assert (again.newest(2), again.learned) == (made, {2})
    with pytest.raises(CertificateFault) as fault:
        Pins(first, 1, members[0].tls).admit(2, made.der)
    assert fault.value.code == "cert-committee"


def test_notices_read_back_and_nothing_else_is_one():
    notice = Notice(bytes(32), 2, 3, 4, 5, bytes(64))
    data = notice.encode()
    assert Notice.decode(data) == notice
    for cut in range(len(data)):
        with pytest.raises(DecodeError):
            Notice.decode(data[:cut])
    with pytest.raises(DecodeError):
        Notice.decode(data + b"\0")
    with pytest.raises(DecodeError):
        Notice.decode(b"\2" + data[1:])
    digests = {notice.digest(bytes(32), 1, 2)}
    for one in (
        replace(notice, committee=b"\1" * 32),
        replace(notice, member=9),
        replace(notice, number=9),
        replace(notice, before=9),
        replace(notice, until=9),
    ):
        digests.add(one.digest(bytes(32), 1, 2))
    digests |= {
        notice.digest(b"\1" * 32, 1, 2),
        notice.digest(bytes(32), 2, 2),
        notice.digest(bytes(32), 1, 1),
    }
    assert len(digests) == 9, "every field is signed"


@pytest.mark.filterwarnings("ignore:Parsed a serial number")
def test_a_certificate_with_any_bit_flipped_or_byte_missing_is_never_admitted(tmp_path):
    members = make_identities(tmp_path, 2)
    committee = fake_committee(members)
    made = rotate_tls(members[1].seated(committee), committee, time.time(), overlap=0, days=100)
    pins = Pins(committee, 1, members[0].tls)
    for at in range(8 * len(made.der)):
        flipped = bytearray(made.der)
        flipped[at // 8] ^= 1 << at % 8
        with pytest.raises(CertificateFault):
            pins.admit(2, bytes(flipped))
    for cut in range(len(made.der)):
        with pytest.raises(CertificateFault):
            pins.admit(2, made.der[:cut])
    with pytest.raises(CertificateFault):
        pins.admit(2, made.der + b"\0")
    assert not pins.learned
    assert pins.admit(2, made.der) == made
