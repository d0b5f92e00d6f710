"""Two certified keys for one purpose and epoch, as a relay makes that keeps a certificate to itself."""

import asyncio
import time

import pytest

from tests.tss.shells import committee_of, sign_test
from tss.key_proof import TEST, verify_payload
from tss.keyring import KeyFault
from tss.node import DkgFailed
from tss.signing.slots import request_id
from tss.signing_runner import SigningFailed


async def rivals(seats):
    """Both keys' recovery data, the one that comes first in front; alice drove and told nobody."""
    relay = seats[0].node._relay
    made = [await relay._generate("anchor") for _ in range(2)]
    return sorted(made, key=lambda recovery: recovery.certificate.sid)


async def held_by(seat, recovery):
    return await seat.node._keyring.accept(seat.committee.committee, recovery, time.time())


def verified(seats):
    return {seat.node.public("anchor").group_key for seat in seats}


@pytest.mark.parametrize("together", [False, True])
async def test_of_two_certified_keys_all_come_to_serve_the_same(tmp_path, together):
    """Bob holds one of them and carol the other, and both finish what they hold, one after the other or at once."""
    async with committee_of(tmp_path, 3, 2) as seats:
        _alice, bob, carol = seats
        first, second = await rivals(seats)
        await held_by(bob, second)
        await held_by(carol, first)
        if together:
            await asyncio.gather(bob.node.dkg("anchor"), carol.node.dkg("anchor"), return_exceptions=True)
        info = await bob.node.dkg("anchor")
        assert (await carol.node.dkg("anchor")).public == info.public
        assert verified(seats) == {info.public.group_key}
        await sign_test(carol.node, b"one key")


async def test_shares_given_for_different_keys_by_different_members_stop_neither_for_ever(tmp_path):
    """A coordinator that asks bob for the one and carol for the other cannot leave both unproven."""
    async with committee_of(tmp_path, 3, 2) as seats:
        alice, bob, carol = seats
        first, second = await rivals(seats)
        keys = [[await held_by(seat, recovery) for recovery in (first, second)] for seat in seats]
        real = alice.peers.call

        def only(victim):
            async def call(member, topic, body, **more):
                if topic == "tss.sign.shares" and member not in (1, victim):
                    raise SigningFailed("test", "never sent", retryable=False)
                return await real(member, topic, body, **more)

            return call

        for victim, key in ((2, keys[0][1]), (3, keys[0][0])):
            alice.peers.call = only(victim)
            proving = asyncio.create_task(alice.node._relay._prove(key))
            async with asyncio.timeout(40):
                while not await released(seats[victim - 1], key):  # noqa: ASYNC110 no event tells of it
                    await asyncio.sleep(0.02)
            proving.cancel()
            await asyncio.gather(proving, return_exceptions=True)
        alice.peers.call = real
        assert await released(bob, keys[0][1])
        assert await released(carol, keys[0][0])
        info = await bob.node.dkg("anchor")
        assert verified(seats) == {info.public.group_key} == {keys[0][0].info.public.group_key}


async def released(seat, key):
    """Whether this member gave its share for the proof of a key."""
    rows = await seat.node._store.verdicts(request_id(TEST, verify_payload("anchor", key.sid), 1))
    return any(row.approved and row.phase == "release" for row in rows)


async def test_a_proof_of_the_later_key_is_not_adopted_where_the_earlier_ones_share_was_given(tmp_path):
    """Else a relay that held the proof back could have two keys verified, each by some."""
    async with committee_of(tmp_path, 3, 2) as seats:
        alice, bob, carol = seats
        first, second = await rivals(seats)
        keys = [[await held_by(seat, recovery) for recovery in (first, second)] for seat in seats]
        proof = await alice.node._relay._prove(keys[0][1])
        earlier = await alice.node._relay._prove(keys[0][0])
        for seat, (one, other) in zip(seats, keys, strict=True):
            topics = seat.node._topics
            with pytest.raises(KeyFault, match="comes first"):
                await topics.adopt(other, proof)
            assert (await topics.adopt(one, earlier)).info.state == "verified"
            with pytest.raises(KeyFault, match="comes first"):
                await topics.adopt(other, proof)
        with pytest.raises((SigningFailed, DkgFailed)):
            await alice.node._relay._prove(keys[0][1])
        assert (await carol.node.dkg("anchor")).public == (await bob.node.dkg("anchor")).public
