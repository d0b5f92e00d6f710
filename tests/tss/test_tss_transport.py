"""The lines' bounds: floods are refused and counted, slow members hold up nobody, time-outs follow the line."""

import asyncio
import time
from contextlib import AsyncExitStack, asynccontextmanager
from types import SimpleNamespace

import aiohttp
import pytest
import structlog

from tests.tss.shells import fake_committee, free_ports, make_identities, start_peers, until
from tss import identity
from tss.peer_bounds import Bounds, Bucket, Rates, Refusals, RoundTrips, back_off, ping_interval, ping_pause
from tss.peer_tls import client_context
from tss.peers import PeerDown, PeerError, PeerRefused


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


async def echo(member, body):
    return bytes([member]) + body


@asynccontextmanager
async def running(folder, count, **settings):
    members = make_identities(folder, count)
    committee = fake_committee(members)
    async with AsyncExitStack() as stack:
        lines = []
        for member in members:
            lines.append(await start_peers(committee, member, **settings))
            stack.push_async_callback(lines[-1].close)
        for line in lines:
            await line.until_heard(range(1, count + 1), 40)
        yield lines, members


def test_a_bucket_lets_bursts_pass_and_fills_with_time():
    clock = Clock()
    bucket = Bucket(10, 20, clock)
    assert bucket.holds(20)
    bucket.take(20)
    assert not bucket.holds(1)
    clock.now = 0.5
    assert bucket.holds(5)
    assert not bucket.holds(6)
    clock.now = 1000
    assert not bucket.holds(21)


def test_each_member_has_bounds_of_its_own_for_calls_and_bytes():
    clock = Clock()
    bounds = Bounds(Rates(calls=1, calls_at_once=3, bytes=10, bytes_at_once=100), clock)
    assert [bounds.admit(1, 10) for _ in range(4)] == [True, True, True, False]
    assert bounds.admit(2, 100)
    assert not bounds.admit(2, 1), "no bytes left"
    clock.now = 2.0
    assert bounds.admit(1, 10)
    assert bounds.admit(2, 20)
    assert not bounds.admit(2, 20)


def test_refusals_are_counted_each_and_logged_once_per_member_and_minute():
    clock = Clock()
    refusals = Refusals(clock)
    with structlog.testing.capture_logs() as logs:
        for _ in range(100):
            refusals.add(1, "alice", "replay", "seen before")
        refusals.add(2, "bob", "http-429", "x" * 10_000)
        clock.now = 61.0
        refusals.add(1, "alice", "boot", "left")
    assert refusals.counts == {(1, "replay"): 100, (2, "http-429"): 1, (1, "boot"): 1}
    assert [(entry["member"], entry["more"]) for entry in logs] == [("alice", 0), ("bob", 0), ("alice", 99)]
    assert max(len(entry["reason"]) for entry in logs) <= 200


def test_patience_follows_what_was_measured_within_bounds():
    times = RoundTrips()
    assert times.patience("t", 1.0, 2.0) == 2.0
    for _ in range(50):
        times.heard("t", 0.01)
    assert times.patience("t", 1.0, 2.0) == 1.0, "never below the floor"
    for _ in range(50):
        times.heard("far", 1.5)
    assert 1.5 < times.patience("far", 1.0, 2.0) < 2.0
    assert times.patience("other", 1.0, 2.0) == 2.0
    waits = []
    for _ in range(6):
        waits.append(times.patience("dead", 2.0, 2.0))
        times.late("dead", waits[-1])
    assert waits == [2.0, 4.0, 8.0, 8.0, 8.0, 8.0], "an unanswered call doubles the wait, up to four times"
    times.heard("dead", 3.0)
    assert times.patience("dead", 2.0, 2.0) == 8.0


def test_back_off_doubles_to_a_bound_and_is_spread_by_chance():
    assert [back_off(failures, 0.0) for failures in range(7)] == [0.25, 0.5, 1.0, 2.0, 4.0, 4.0, 4.0]
    assert back_off(10**6, 0.0) == 4.0
    assert [back_off(failures, 1.0) for failures in range(4)] == [0.125, 0.25, 0.5, 1.0]


def test_a_large_committee_pings_each_member_less_often_and_not_all_at_one_moment():
    assert [ping_interval(1.0, members) for members in (1, 5, 32, 64, 128)] == [1, 1, 1, 2, 4]
    assert [ping_pause(4.0, 0, chance) for chance in (0.0, 0.5, 1.0)] == [3, 4, 5]
    assert ping_pause(4.0, 1, 0.0) < 1, "who is down is asked sooner"
    assert ping_pause(0.2, 9, 0.0) == 0.4


async def test_who_does_not_answer_a_call_is_pinged_at_once(tmp_path):
    members = make_identities(tmp_path, 2)
    committee = fake_committee(members)
    alice, bob = await start_peers(committee, members[0]), await start_peers(committee, members[1])
    try:
        await alice.until_heard([2], 40)
        await bob.until_heard([1], 40)
        alice.ping_seconds, hung, pings = 600.0, asyncio.Event(), []
        real = bob._handlers["peer.ping"]

        async def counted(member, body):
            pings.append(member)
            return await real(member, body)

        async def never(_member, _body):
            await hung.wait()

        bob._handlers["peer.ping"] = counted
        bob.handle("t", never)
        await until(lambda: pings)  # the last one at the old pace
        seen = len(pings)
        with pytest.raises(PeerDown, match="did not answer"):
            await alice.call(2, "t", b"", timeout=0.2)
        await until(lambda: len(pings) > seen)
    finally:
        hung.set()
        await asyncio.gather(alice.close(), bob.close())


async def test_who_lost_a_member_waits_as_chance_says_before_he_calls_it_again(tmp_path):
    members = make_identities(tmp_path, 3)
    committee = fake_committee(members)
    alice = await start_peers(committee, members[0], chance=lambda: 1.0)
    try:
        async with asyncio.timeout(10):
            while alice._peers[2].failures < 5:  # noqa: ASYNC110 no event tells of it
                await asyncio.sleep(0.02)
        assert alice._peers[2].retry_at - time.monotonic() <= 2.0, "half of the longest"
        with pytest.raises(PeerDown):
            await alice.call(2, "t", b"")
    finally:
        await alice.close()


async def test_a_flood_is_refused_counted_and_costs_the_others_nothing(tmp_path):
    rates = Rates(calls=5, calls_at_once=40)
    async with running(tmp_path, 3, rates=rates) as ((alice, bob, carol), _members):
        alice.handle("t", echo)
        answers = await asyncio.gather(*(bob.call(1, "t", b"") for _ in range(80)), return_exceptions=True)
        refused = [answer for answer in answers if isinstance(answer, PeerRefused)]
        assert {answer.code for answer in refused} == {"http-429"}
        assert len(refused) >= 30
        assert alice.refusals.counts[2, "http-429"] >= len(refused)
        assert await carol.call(1, "t", b"x") == b"\x03x"
        assert not any(member == 3 for member, _code in alice.refusals.counts)


async def test_what_is_refused_by_name_is_counted_too(tmp_path):
    async with running(tmp_path, 2) as ((alice, bob), members):
        with pytest.raises(PeerRefused):
            await bob.call(1, "nothing", b"")
        async with aiohttp.ClientSession() as session:
            url = f"{members[0].peer_url}/peer/v1/t"
            context = client_context(members[1].tls)
            async with session.post(url, data=b"garbage", ssl=context) as response:
                assert response.status == 400
        of_bob = {code: count for (member, code), count in alice.refusals.counts.items() if member == 2}
        assert of_bob == {"unknown-topic": 1, "http-400": 1}


async def test_a_slow_member_holds_up_nobody_and_is_not_taken_for_a_dead_one(tmp_path):
    async with running(tmp_path, 3) as ((alice, bob, carol), _members):
        free = asyncio.Event()

        async def slow(_member, body):
            await free.wait()
            return body

        bob.handle("t", slow)
        bob.handle("quick", echo)
        carol.handle("t", echo)
        held = [asyncio.create_task(alice.call(2, "t", b"s", timeout=20)) for _ in range(50)]
        await asyncio.sleep(0)
        begun = time.monotonic()
        for _ in range(20):
            assert await alice.call(3, "t", b"") == b"\x01"
        assert await alice.call(2, "quick", b"") == b"\x01"
        both = await alice.gather("t", b"g", timeout=2)
        assert both[3] == b"\x01g"
        assert isinstance(both[2], PeerDown)
        assert time.monotonic() - begun < 15, "less than the calls that are held up"
        await alice.until_heard([2], 40)  # its pings are answered beside the calls that wait
        free.set()
        assert await asyncio.gather(*held) == [b"s"] * 50


async def test_more_calls_than_a_line_takes_wait_for_their_turn(tmp_path):
    async with running(tmp_path, 2) as ((alice, bob), _members):
        bob.handle("t", echo)
        answers = await asyncio.gather(*(alice.call(2, "t", b"") for _ in range(200)))
        assert answers == [b"\x01"] * 200
        assert not bob.refusals.counts


async def test_an_expired_certificate_gets_no_line_though_it_is_pinned(tmp_path, monkeypatch):
    alice, bob = make_identities(tmp_path, 2)

    with monkeypatch.context() as patch:
        patch.setattr(identity, "time", SimpleNamespace(time=lambda: 978_307_200.0))  # 2001
        carol = identity.create(tmp_path / "carol", "carol", f"https://127.0.0.1:{free_ports(1)[0]}")
    committee = fake_committee([alice, bob, carol])
    async with AsyncExitStack() as stack:
        lines = []
        for member in (alice, bob, carol):
            lines.append(await start_peers(committee, member))
            stack.push_async_callback(lines[-1].close)
        await lines[0].until_heard([2], 40)
        async with asyncio.timeout(60):
            while "expired" not in (lines[0].seen[3].down or ""):  # noqa: ASYNC110 no event tells of it
                await asyncio.sleep(0.02)
        with pytest.raises(PeerDown, match="expired"):
            await lines[0].call(3, "peer.ping", b"")
        assert lines[0].refusals.counts[3, "cert-expired"] > 0
        with pytest.raises(PeerError):
            await lines[2].call(1, "peer.ping", b"")
        assert lines[0].seen[3].last_seen is None
