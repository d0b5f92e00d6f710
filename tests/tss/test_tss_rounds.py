"""Operators see who is waited for while a key is made or refreshed, on the driving node and on the others."""

import asyncio
import json

import pytest

from tests.tss.shells import committee_of, until
from tests.tss.test_tss_ops import admin_of, cli
from tss.frost.codec import DecodeError
from tss.peers import PeerRefused
from tss.rotation_topics import DEAL
from tss.rounds import ROUNDS, Round, decode, encode


class Held:
    """A topic that one member does not answer until it is let go."""

    def __init__(self, seat, topic):
        self.free = asyncio.Event()
        real = seat.peers._handlers[topic]

        async def waiting(member, body):
            await self.free.wait()
            return await real(member, body)

        seat.peers._handlers[topic] = waiting


async def waits(seat):
    """(driver, work, step, who is waited for) as this seat's node tells."""
    told = await seat.node.rounds()
    return {(d, r.work, r.step, tuple(sorted(r.waiting))) for d, rounds in told.items() for r in rounds}


async def until_it_waits(seat, wanted):
    async with asyncio.timeout(20):
        while wanted not in await waits(seat):  # noqa: ASYNC110 no event tells of it
            await asyncio.sleep(0.02)


async def test_who_is_waited_for_in_a_key_generation_shows_everywhere(tmp_path):
    async with committee_of(tmp_path, 3, 2) as (alice, bob, carol):
        held = Held(carol, "tss.dkg.r2")
        making = asyncio.create_task(alice.node.dkg("anchor"))
        wanted = (1, "key generation", "in round 2", (3,))
        for seat in (alice, bob, carol):
            await until_it_waits(seat, wanted)
        runner = await admin_of(bob)
        try:
            seen = await cli("watch", "--dir", bob.folder)
            assert "key generation" in seen
            assert "in round 2" in seen
            line = json.loads(
                (await cli("watch", "--dir", bob.folder, "--json", "--count", "1")).splitlines()[-1]
            )
            assert line["rounds"] == [
                {
                    "work": "key generation",
                    "purpose": "anchor",
                    "driver": "alice",
                    "step": "in round 2",
                    "waiting": ["carol"],
                }
            ]
        finally:
            await runner.cleanup()
        held.free.set()
        assert (await making).state == "verified"
        await until(lambda: not alice.node._rounds.now())
        assert await waits(alice) == set()


async def test_who_is_waited_for_in_a_refresh_shows_everywhere(tmp_path):
    async with committee_of(tmp_path, 3, 2) as (alice, bob, carol):
        await alice.node.dkg("anchor")
        await until(lambda: all(seat.node.public("anchor") for seat in (bob, carol)))
        held = Held(bob, DEAL)
        working = asyncio.create_task(carol.node.key_work.refresh("anchor"))
        for seat in (alice, carol):
            await until_it_waits(seat, (3, "refresh", "for deals", (2,)))
        held.free.set()
        await working
        assert await waits(carol) == set()


async def test_what_a_driver_tells_is_bounded_and_a_round_that_failed_is_over(tmp_path):
    async with committee_of(tmp_path, 2, 2) as (alice, bob):
        with pytest.raises(PeerRefused) as refused:
            await bob.peers.call(1, ROUNDS, b"x")
        assert refused.value.code == "malformed"

        async def lying(_member, _body):
            return encode([Round("refresh", "anchor", "for\x1b[31mever", {1})])

        alice.peers._handlers[ROUNDS] = lying
        assert await bob.node._rounds.of([1]) == {}

        async def beyond(_member, _body):
            return encode([Round("refresh", "anchor", "for deals", {9})])

        alice.peers._handlers[ROUNDS] = beyond
        assert await bob.node._rounds.of([1]) == {}
        with pytest.raises(ZeroDivisionError), alice.node._rounds.asking("w", "p", "s", (1, 2)):
            raise ZeroDivisionError
        assert alice.node._rounds.now() == []


def test_rounds_read_back_and_nothing_else_is_one():
    rounds = [
        Round("refresh", "anchor", "for deals", {1, 3}, 0.0),
        Round("repair", "mint", "to begin", set(), 0.0),
    ]
    data = encode(rounds)
    again = decode(data)
    assert [(r.work, r.purpose, r.step, r.waiting) for r in again] == [
        (r.work, r.purpose, r.step, r.waiting) for r in rounds
    ]
    for cut in range(len(data)):
        with pytest.raises(DecodeError):
            decode(data[:cut])
    for bad in (data + b"\0", b"\xff\xff" + data[2:], data[:-6] + b"\0\2\0\3\0\1"):
        with pytest.raises(DecodeError):
            decode(bad)
