"""Peers over real TLS sockets: who is let in, what is refused by name, what a silent member costs."""

import asyncio
import ssl
import time
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

import aiohttp
import pytest

from tests.tss.shells import fake_committee, free_ports, make_identities, port_of, start_peers
from tss import identity
from tss.envelope import MAX_BODY, Envelope, Kind
from tss.frost.codec import DecodeError
from tss.peer_tls import client_context
from tss.peers import PeerDown, PeerRefused, Refuse


@asynccontextmanager
async def running(committee, members):
    async with AsyncExitStack() as stack:
        lines = []
        for member in members:
            peers = await start_peers(committee, member)
            stack.push_async_callback(peers.close)
            lines.append(peers)
        for peers in lines:
            await peers.until_heard(range(1, len(members) + 1), 40)
        yield lines


async def echo(member, body):
    return bytes([member]) + body


@pytest.fixture
def three(tmp_path):
    members = make_identities(tmp_path, 3)
    return fake_committee(members), members


async def test_members_call_each_other_over_pinned_tls(three):
    committee, members = three
    async with running(committee, members) as (alice, bob, carol):
        for line in (alice, bob, carol):
            line.handle("t", echo)
        assert await alice.call(2, "t", b"x") == b"\x01x"
        assert await carol.gather("t", b"y") == {1: b"\x03y", 2: b"\x03y"}
        assert await alice.call(1, "t", b"self") == b"\x01self"
        assert alice.seen[2].boot_id == bob.boot_id
        assert alice.seen[2].rtt < 2
        assert abs(alice.seen[2].skew) < 2


async def test_a_handler_that_refuses_or_breaks_answers_by_name(three):
    committee, members = three

    async def refuse(_member, _body):
        raise Refuse("not-now", "ask me after block 7")

    async def broken(_member, _body):
        raise ZeroDivisionError

    async with running(committee, members) as (alice, bob, _carol):
        bob.handle("no", refuse)
        bob.handle("broken", broken)
        with pytest.raises(PeerRefused, match="bob: ask me after block 7") as refused:
            await alice.call(2, "no", b"")
        assert refused.value.code == "not-now"
        with pytest.raises(PeerRefused) as failed:
            await alice.call(2, "broken", b"")
        assert failed.value.code == "internal"
        with pytest.raises(PeerRefused) as unknown:
            await alice.call(2, "nothing", b"")
        assert unknown.value.code == "unknown-topic"


async def test_another_committee_file_is_refused_with_both_words(three):
    committee, members = three
    alice = await start_peers(committee.salted("alice's copy"), members[0])
    bob = await start_peers(committee, members[1])
    try:
        async with asyncio.timeout(60):
            while "takes nothing" not in alice.seen[2].down:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        with pytest.raises(
            PeerRefused, match="your committee file differs from bob's: compare words"
        ) as refused:
            await alice.call(2, "peer.ping", b"")
        assert "differs from bob's" in alice.seen[2].down
        assert committee.words in str(refused.value)
        assert committee.salted("alice's copy").words in str(refused.value)
    finally:
        await alice.close()
        await bob.close()


async def test_a_certificate_that_is_not_pinned_gets_no_connection(three, tmp_path):
    committee, members = three
    mallory = identity.create(tmp_path / "mallory", "mallory", "https://127.0.0.1:1")
    async with running(committee, members), aiohttp.ClientSession() as session:
        url = f"{members[0].peer_url}/peer/v1/peer.ping"
        for context in (client_context(mallory.tls), _no_certificate()):
            with pytest.raises(aiohttp.ClientError):
                await session.post(url, data=b"x", ssl=context)


async def test_a_server_that_shows_another_certificate_is_never_spoken_to(three, tmp_path):
    committee, members = three
    mallory = identity.create(tmp_path / "mallory", "bob", members[1].peer_url)
    fake = fake_committee([members[0], mallory, members[2]])
    bob = await start_peers(fake, mallory)
    alice = await start_peers(committee, members[0])
    try:
        while "does not pin" not in (alice.seen[2].down or ""):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        with pytest.raises(PeerDown):
            await alice.call(2, "peer.ping", b"")
        assert 2 not in alice.pins.learned
    finally:
        await alice.close()
        await bob.close()


async def test_garbage_and_oversized_bodies_get_a_client_error_and_the_node_goes_on(three):
    committee, members = three
    async with running(committee, members) as (alice, bob, _carol), aiohttp.ClientSession() as session:
        alice.handle("t", echo)
        url = f"{members[0].peer_url}/peer/v1/t"
        context = client_context(members[1].tls)
        for body, status in [(b"", 400), (b"\x01" * 300, 400), (bytes(MAX_BODY + 2000), 413)]:
            async with session.post(url, data=body, ssl=context) as response:
                assert response.status == status
        async with session.get(url, ssl=context) as response:
            assert response.status == 405
        with pytest.raises(PeerRefused, match="over the limit"):
            await bob.call(1, "t", bytes(MAX_BODY + 1))
        assert await bob.call(1, "t", bytes(MAX_BODY - 1)) is not None


async def test_an_envelope_cannot_be_replayed_forged_or_sent_to_another(three):
    committee, members = three
    async with running(committee, members) as (alice, bob, _carol), aiohttp.ClientSession() as session:
        alice.handle("t", echo)
        context = client_context(members[1].tls)

        async def post(envelope, topic="t", to=0):
            url = f"{members[to].peer_url}/peer/v1/{topic}"
            async with session.post(url, data=envelope.encode(), ssl=context) as response:
                data = await response.read()
                return Envelope.decode(data).code if response.status == 200 else response.status

        good = bob._seal(Kind.REQUEST, 1, "t", bytes(32), "", b"once")
        assert await post(good) == "ok"
        assert await post(good) == "replay"
        assert await post(replace(good, body=b"twice")) == 401
        assert await post(good, topic="other") == 401
        assert await post(good, to=2) == 400
        assert await post(replace(good, sender=3)) == 400
        late = replace(good, time_ms=good.time_ms - 10**7, sequence=10**6)
        assert await post(late.with_signature(members[1].sign(late.digest))) == "clock"
        clone = replace(good, boot_id=bytes(16), time_ms=good.time_ms - 1000, sequence=10**6)
        assert await post(clone.with_signature(members[1].sign(clone.digest))) == "boot"


async def test_a_dead_member_costs_its_callers_nothing(three):
    committee, members = three
    async with running(committee, members) as (alice, bob, carol):
        carol.handle("t", echo)
        await bob.close()
        with pytest.raises(PeerDown, match="bob"):
            await alice.call(2, "t", b"")
        begun = time.monotonic()
        answers = await alice.gather("t", b"z")
        assert time.monotonic() - begun < 5, "half of a call's usual time-out"
        assert isinstance(answers[2], PeerDown)
        assert answers[3] == b"\x01z"
        again = await start_peers(committee, members[1])
        again.handle("t", echo)
        await alice.until_heard([2], 40)
        assert await alice.call(2, "t", b"back") == b"\x01back"
        assert alice.seen[2].boot_id == again.boot_id
        await again.close()


async def test_a_member_that_accepts_and_says_nothing_times_out(three):
    committee, members = three
    silent = await asyncio.start_server(lambda _r, _w: asyncio.sleep(60), "127.0.0.1", port_of(members[1]))
    alice = await start_peers(committee, members[0])
    try:
        with pytest.raises(PeerDown, match="did not answer within"):
            await alice.call(2, "t", b"", timeout=0.3)
    finally:
        await alice.close()
        silent.close()


async def test_learned_certificates_survive_a_restart(three):
    committee, members = three
    async with running(committee, members):
        pass
    bob = await start_peers(committee, members[1])
    try:
        assert bob.pins.learned == {1, 3}
    finally:
        await bob.close()


def test_envelopes_read_back_and_nothing_else_is_one(three):
    _committee, members = three
    envelope = Envelope(Kind.REQUEST, bytes(32), 1, 2, bytes(16), 3, 4, "topic", bytes(32), "", b"body")
    envelope = envelope.with_signature(members[0].sign(envelope.digest))
    data = envelope.encode()
    assert Envelope.decode(data) == envelope
    assert envelope.signed_by(members[0].host_key)
    for cut in range(len(data)):
        with pytest.raises(DecodeError):
            Envelope.decode(data[:cut])
    with pytest.raises(DecodeError):
        Envelope.decode(data + b"\0")
    for at in range(len(data)):
        flipped = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        try:
            assert not Envelope.decode(flipped).signed_by(members[0].host_key)
        except DecodeError:
            pass


async def test_a_busy_port_is_an_error_of_the_start(three):
    committee, members = three
    alice = await start_peers(committee, members[0])
    try:
        with pytest.raises(OSError, match="Address already in use"):
            await start_peers(committee, members[0])
    finally:
        await alice.close()
    assert free_ports(1)


def _no_certificate():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
