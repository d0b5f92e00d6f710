"""TLS certificates that change while all run: announced by the host key, heard of later, old ones refused."""

import asyncio
import json
import ssl
import time
from contextlib import asynccontextmanager
from dataclasses import replace

import aiohttp
import pytest
import sqlalchemy as sa
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import utils

from tests.tss.shells import committee_of, noticed, sign_test, until
from tests.tss.test_tss_ops import admin_of, cli
from tss import backup, identity, tables
from tss.certificate import DAY, Announcing, Certificate, CertificateFault, Notice, make, read_file
from tss.certificates import EXCHANGE, CertificateRefused, decode, encode
from tss.identity import TlsFiles, rotate_tls
from tss.peer_tls import client_context, shown
from tss.peers import PeerDown, PeerRefused

_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551  # of P-256


def answered(said):
    """The JSON of a command; the nodes' log lines may stand before it."""
    return json.loads(said[said.index("{\n") :])


def der_of(pem):
    return ssl.PEM_cert_to_DER_cert(pem.decode())


def own(seat):
    return read_file(seat.identity.tls.certificate)[0]


async def shows(seat):
    """What the member's port shows on a new connection."""
    return Certificate.read(await shown(seat.identity.peer_url, seat.peers.pins.client))


def copy_of(tls, folder):
    """A thief's copy of key and certificate."""
    folder.mkdir()
    for path in (tls.key, tls.certificate):
        (folder / path.name).write_bytes(path.read_bytes())
    return TlsFiles(folder / tls.key.name, folder / tls.certificate.name, folder / "peers")


async def knocks(seat, tls):
    """Whether a bearer of this TLS key gets as far as HTTP, and the status."""
    async with aiohttp.ClientSession() as session:
        url = f"{seat.identity.peer_url}/peer/v1/t"
        try:
            async with session.post(url, data=b"x", ssl=client_context(tls)) as response:
                return response.status
        except aiohttp.ClientError:
            return None


@asynccontextmanager
async def running(folder, count=3, threshold=2):
    async with committee_of(folder, count, threshold) as seats:
        yield seats


async def test_a_running_node_changes_its_certificate_and_all_lines_go_on(tmp_path):
    async with running(tmp_path) as (alice, bob, carol):
        await alice.node.dkg("anchor")
        before, boot = own(bob), bob.node.boot_id
        made = await bob.node.certificates.rotate()
        assert made.missing == {}
        assert (await shows(bob)).fingerprint == made.certificate.fingerprint != before.fingerprint
        for other in (alice, carol):
            assert other.peers.pins.newest(2).fingerprint == made.certificate.fingerprint
            assert await other.peers.call(2, "peer.ping", b"")
            assert await bob.peers.call(other.peers.index, "peer.ping", b"")
        await sign_test(bob.node, b"under the new certificate", own=True)
        assert bob.node.boot_id == boot, "nothing was started anew"
        rows = await alice.node._store.rows(
            sa.select(tables.audit.c.detail).where(tables.audit.c.kind == "certificate")
        )
        assert [detail for (detail,) in rows] == [
            f"bob: number {made.certificate.number} {made.certificate.fingerprint.hex()}"
        ]


async def test_a_restart_keeps_the_new_certificate_on_both_sides(tmp_path):
    async with running(tmp_path) as (alice, bob, _carol):
        made = (await bob.node.certificates.rotate()).certificate
        await alice.down()
        await bob.down()
        bob.identity = identity.load(bob.folder)
        await bob.up()
        await alice.up()
        await noticed(alice, bob)
        assert (await shows(bob)).fingerprint == made.fingerprint
        assert alice.peers.pins.newest(2).fingerprint == made.fingerprint
        assert identity.passport(bob.folder).tls_fingerprint == made.fingerprint, (
            "for the next committee file"
        )


async def test_a_member_that_was_away_hears_of_it_through_any_other(tmp_path):
    async with running(tmp_path) as (alice, bob, carol):
        await carol.down()
        made = await bob.node.certificates.rotate()
        assert list(made.missing) == ["carol"]
        await bob.down()
        await carol.up()
        await noticed(alice, carol)
        await carol.node.certificates.compare(1)
        assert carol.peers.pins.newest(2).fingerprint == made.certificate.fingerprint


async def test_two_that_both_changed_while_apart_find_each_other_without_a_third(tmp_path):
    async with running(tmp_path, 2, 2) as (alice, bob):
        await bob.down()
        await alice.node.certificates.rotate(overlap=0)
        await alice.down()
        bob.identity = identity.load(bob.folder)
        await bob.up()
        await bob.node.certificates.rotate(overlap=0)
        alice.identity = identity.load(alice.folder)
        await alice.up()
        await noticed(alice, bob)
        await noticed(bob, alice)
        assert await alice.peers.call(2, "peer.ping", b"")
        assert await bob.peers.call(1, "peer.ping", b"")


async def test_the_old_certificate_is_good_for_the_overlap_and_then_refused_and_counted(tmp_path):
    async with running(tmp_path) as (alice, bob, _carol):
        stolen = copy_of(bob.identity.tls, tmp_path / "thief")
        await bob.node.certificates.rotate(overlap=DAY)
        assert await knocks(alice, stolen) == 400, "let in, to be refused for what it says"
        alice.peers.pins._clock = lambda: time.time() + DAY + 60
        assert await knocks(alice, stolen) == 403
        assert alice.peers.refusals.counts[2, "cert-old"] == 1


async def test_without_an_overlap_a_stolen_tls_key_opens_nothing_any_more(tmp_path):
    async with running(tmp_path) as (alice, bob, _carol):
        stolen = copy_of(bob.identity.tls, tmp_path / "thief")
        await bob.node.certificates.rotate(overlap=0)
        assert await knocks(alice, stolen) == 403
        await bob.node.certificates.rotate(overlap=DAY)
        assert await knocks(alice, stolen) == 403, "a later overlap does not bring it back"
        await alice.down()
        alice.identity = identity.load(alice.folder)
        await alice.up()
        await noticed(alice, bob)
        assert await knocks(alice, stolen) is None, "after a restart it is a stranger's"
        await until(lambda: alice.peers.refusals.counts[0, "tls-stranger"] > 0)


async def test_a_certificate_that_expired_after_it_was_learned_gets_no_further_than_tls(tmp_path):
    async with running(tmp_path, 2, 2) as (alice, bob):
        keys = tmp_path / "ended"
        keys.mkdir()
        key, pem = make("bob 7", time.time() - 30 * DAY, days=20)
        (keys / "tls.key").write_bytes(key)
        (keys / "tls.crt").write_bytes(pem)
        alice.peers.pins._keep(2, Certificate.read(der_of(pem)))
        assert await knocks(alice, TlsFiles(keys / "tls.key", keys / "tls.crt", keys)) is None
        await until(lambda: alice.peers.refusals.counts[0, "tls-expired"] == 1)
        assert await bob.peers.call(1, "peer.ping", b""), "the member itself is let in"


def announced(seat, sign=None, **changes):
    """A certificate as `rotate_tls` would make it for this seat, with something changed."""
    now = int(time.time())
    notice = Notice(seat.committee.committee.hash, seat.peers.index, now, 0, now + DAY)
    wanted = replace(notice, **changes)
    _key, pem = make(seat.identity.name, now, Announcing(wanted, sign or seat.identity.sign))
    return Certificate.read(der_of(pem))


async def test_an_announcement_that_does_not_hold_is_refused_by_name(tmp_path):
    async with running(tmp_path) as (alice, bob, carol):
        before = alice.peers.pins.newest(2)
        now = int(time.time())
        _key, foreign = make("bob", now)
        cases = {
            "cert-signature": announced(bob, sign=carol.identity.sign),
            "cert-committee": announced(bob, committee=bytes(32)),
            "cert-member": announced(bob, member=9),
            "cert-early": announced(bob, number=now + 3600),
            "cert-malformed": announced(bob, number=0),
            "cert-foreign": Certificate.read(der_of(foreign)),
        }
        for code, certificate in cases.items():
            with pytest.raises(PeerRefused) as refused:
                await carol.peers.call(1, EXCHANGE, encode([certificate]))
            assert refused.value.code == code
            assert alice.peers.refusals.counts[3, code] == 1
        with pytest.raises(PeerRefused, match="did not sign"):
            await carol.peers.call(1, EXCHANGE, encode([announced(bob, sign=lambda _digest: bytes(64))]))
        for garbage in (b"", b"\0", b"\0\1", b"\0\1\0\0\0\1x", b"\xff" * 40):
            with pytest.raises(PeerRefused):
                await carol.peers.call(1, EXCHANGE, garbage)
        assert alice.peers.pins.newest(2) == before, "nothing of it was taken"
        assert not list((alice.folder / "keys").glob("*.next"))


async def test_an_older_announcement_never_comes_back(tmp_path):
    async with running(tmp_path) as (alice, bob, carol):
        first = (await bob.node.certificates.rotate(overlap=0)).certificate
        second = (await bob.node.certificates.rotate(overlap=0)).certificate
        assert second.number > first.number
        held = decode(await carol.peers.call(1, EXCHANGE, encode([first])))
        assert second.der in held, "who is behind is told what is newer"
        assert alice.peers.pins.newest(2) == second
        await alice.down()
        await alice.up()
        with pytest.raises(CertificateFault) as fault:
            alice.peers.pins.admit(2, first.der)
        assert fault.value.code == "cert-old"


async def test_one_number_stands_for_one_key(tmp_path):
    async with running(tmp_path) as (alice, bob, carol):
        first = (await bob.node.certificates.rotate()).certificate
        with pytest.raises(PeerRefused) as refused:
            await carol.peers.call(1, EXCHANGE, encode([announced(bob, number=first.number)]))
        assert refused.value.code == "cert-twice"
        assert alice.peers.pins.newest(2) == first


def rewritten(certificate):
    """The same certificate with its signature on itself written the other way, which needs no key."""
    one = x509.load_der_x509_certificate(certificate.der)
    r, s = utils.decode_dss_signature(one.signature)
    other = utils.encode_dss_signature(r, _ORDER - s)
    tbs, kind = one.tbs_certificate_bytes, bytes.fromhex("300a06082a8648ce3d040302")
    body = tbs + kind + b"\x03" + bytes([len(other) + 1]) + b"\0" + other
    return Certificate.read(b"\x30\x82" + len(body).to_bytes(2, "big") + body)


async def test_who_hands_on_a_rewritten_copy_cannot_keep_the_true_certificate_out(tmp_path):
    async with running(tmp_path) as (alice, bob, carol):
        committee = bob.committee.committee
        made = rotate_tls(bob.identity.placed(committee), committee, time.time(), overlap=0, days=100)
        copy = rewritten(made)
        assert (copy.key_hash, copy.notice) == (made.key_hash, made.notice)
        assert ssl.create_default_context(cadata=copy.der), "for OpenSSL it is as good"
        with pytest.raises(PeerRefused) as refused:
            await carol.peers.call(1, EXCHANGE, encode([copy]))
        assert refused.value.code == "cert-copy"
        await carol.peers.call(1, EXCHANGE, encode([made]))
        assert alice.peers.pins.newest(2) == made
        assert await knocks(alice, bob.identity.tls) == 400


async def test_a_member_cannot_fill_the_others_with_certificates(tmp_path):
    async with running(tmp_path) as (alice, bob, carol):
        now = int(time.time())
        for number in range(now - 20, now):
            await carol.peers.call(1, EXCHANGE, encode([announced(bob, number=number)]))
        assert alice.node.certificates.counts["taken"] <= 8
        assert len(alice.peers.pins._members[2].certificates) <= 12
        asked = (carol.peers.call(1, EXCHANGE, encode([])) for _ in range(31))
        refused = [
            a for a in await asyncio.gather(*asked, return_exceptions=True) if isinstance(a, PeerRefused)
        ]
        assert {one.code for one in refused} == {"too-many"}


async def test_a_recovery_file_carries_the_newest_certificate_and_a_rehearsal_needs_it(tmp_path):
    async with running(tmp_path, 2, 2) as (alice, bob):
        await alice.node.dkg("anchor")
        made = (await bob.node.certificates.rotate(overlap=0)).certificate
        chains = await backup.stored_chains(bob.node._store)
        file = backup.make(bob.folder, bob.identity, "regtest", chains, time.time())
        assert der_of(file.tls_certificate.encode()) == made.der
        place = tmp_path / "again"
        secret = bytearray(bob.identity.secret())
        again = backup.build_identity(place, secret, file, bob.committee, None)
        assert again.tls.fingerprint == made.fingerprint
        client_context(again.tls)
        assert await knocks(alice, again.tls) == 400


async def test_certificate_list_and_rotate_as_commands(tmp_path):
    async with running(tmp_path, 2, 2) as (alice, bob):
        runner = await admin_of(bob)
        try:
            where = ("--dir", bob.folder)
            (bob.folder / "committee.json").write_text(bob.committee.to_json())
            first = answered(await cli("certificate", "list", *where, "--json"))["certificates"]
            assert [(c["name"], c["number"], c["trouble"]) for c in first] == [
                ("alice", 0, None),
                ("bob", 0, None),
            ]
            made = answered(await cli("certificate", "rotate", *where, "--overlap", "0", "--json"))
            assert made["missing"] == {}
            assert alice.peers.pins.newest(2).fingerprint.hex() == made["fingerprint"]
            said = await cli("certificate", "rotate", *where, "--days", "100")
            assert "node backup" in said
            assert "good until" in said
            assert str(bob.peers.pins.own.number) in await cli("certificate", "list", *where)
            assert "is in use" in await cli("certificate", "rotate", *where, "--offline", ok=False)
        finally:
            await runner.cleanup()
        await bob.down()
        offline = answered(await cli("certificate", "rotate", *where, "--offline", "--json"))
        bob.identity = identity.load(bob.folder)
        await bob.up()
        await noticed(alice, bob)
        assert alice.peers.pins.newest(2).fingerprint.hex() == offline["fingerprint"], (
            "told by the start alone"
        )


async def test_the_operator_hears_in_time_that_his_certificate_ends(tmp_path):
    async with running(tmp_path) as (alice, bob, _carol):
        watch = bob.node.certificates
        assert watch.trouble() is None
        await watch.rotate(days=90)
        assert watch.trouble() is None
        ahead = time.time() + 65 * DAY
        watch._clock = lambda: ahead
        assert watch.trouble() == "the TLS certificate ends in 24 days: run `holdfast tss certificate rotate`"
        watch._clock = lambda: ahead + 30 * DAY
        assert "has ended" in watch.trouble()
        alice.node.certificates._clock = lambda: ahead
        states = {s.name: s.trouble for s in alice.node.certificates.standings()}
        assert states["alice"] is None
        assert "24 days" in states["bob"]
        for overlap, days in ((-1, 10), (400 * DAY, 10), (0, 0), (0, 4000)):
            with pytest.raises(CertificateRefused):
                await watch.rotate(overlap=overlap, days=days)


async def test_a_node_that_shows_an_older_certificate_than_the_others_know_is_told(tmp_path):
    async with running(tmp_path) as (alice, bob, _carol):
        kept = {path: path.read_bytes() for path in (bob.folder / "keys").glob("tls.*")}
        await bob.node.certificates.rotate(overlap=DAY)
        await bob.down()
        for path, data in kept.items():
            path.write_bytes(data)
        bob.identity = identity.load(bob.folder)
        await bob.up()
        await noticed(alice, bob)
        await bob.node.certificates.compare(1)
        assert "later certificate" in bob.node.certificates.trouble()
        await bob.node.certificates.rotate(overlap=0)
        assert bob.node.certificates.trouble() is None


async def test_a_call_under_the_old_certificate_of_a_dead_line_is_an_error_like_any_other(tmp_path):
    async with running(tmp_path) as (alice, bob, _carol):
        await bob.node.certificates.rotate(overlap=0)
        await asyncio.gather(*(bob.peers.call(1, "peer.ping", b"") for _ in range(20)))
        await bob.down()
        with pytest.raises(PeerDown):
            await alice.peers.call(2, "peer.ping", b"")
