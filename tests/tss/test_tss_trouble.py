"""Members that lie, race or stop half-way: who is named, and that nothing is made twice or lost."""

import asyncio

import pytest

from tests.tss.evidence.judging import judged
from tests.tss.shells import committee_of, noticed, sign_test, until
from tss.evidence.form import Evidence
from tss.node import DkgFailed
from tss.peers import PeerDown, Refuse
from tss.signing_member import SHARES
from tss.store import NonceTaken


async def holding(seat, wanted):
    """Wait until a member holds evidence of exactly these faults."""
    async with asyncio.timeout(60):
        while {(row.member, row.kind) for row in await seat.node.evidence()} != wanted:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_three_keys_are_made_at_once_by_three_drivers(tmp_path):
    async with committee_of(tmp_path, 3, 2) as seats:
        purposes = ("treasury", "anchor", "mint")
        made = await asyncio.gather(*(s.node.dkg(p) for s, p in zip(seats, purposes, strict=True)))
        assert len({info.public.group_key for info in made}) == 3
        await until(lambda: all(seat.node.public(p) for seat in seats for p in purposes))
        for seat in seats:
            await seat.node.activate(purposes, 1)
            assert {info.state for info in seat.node.keys().values()} == {"active"}


async def test_two_drivers_of_one_key_never_make_two(tmp_path):
    async with committee_of(tmp_path, 3, 2) as (alice, bob, carol):
        await asyncio.gather(alice.node.dkg("anchor"), bob.node.dkg("anchor"), return_exceptions=True)
        info = await carol.node.dkg("anchor")
        await until(lambda: alice.node.public("anchor") and bob.node.public("anchor"))
        assert {seat.node.public("anchor") for seat in (alice, bob, carol)} == {info.public}
        assert len(alice.node._keyring.of("anchor", 1)) == 1


async def test_a_bad_share_in_a_key_generation_names_its_sender_with_evidence(tmp_path):
    async with committee_of(tmp_path, 3, 2) as (alice, bob, carol):
        honest = bob.node._dkg_member._sealer

        class Lying:
            derive, open = honest.derive, honest.open
            sealed = 0

            def seal(self, public, info, plaintext, /):
                Lying.sealed += 1
                return honest.seal(public, info, plaintext if Lying.sealed != 3 else bytes(32))

        bob.node._dkg_member._sealer = Lying()
        with pytest.raises(DkgFailed, match="bob sealed to carol a share that does not fit") as failed:
            await alice.node.dkg("anchor")
        assert failed.value.culprits == (2,)
        for seat in (alice, bob, carol):
            await holding(seat, {(2, "bad-dkg-share")})
        bob.node._dkg_member._sealer = honest
        assert (await carol.node.dkg("anchor")).state == "verified", "a new attempt starts from nothing"


async def test_a_bad_signature_share_is_evidence_and_the_others_sign(tmp_path):
    async with committee_of(tmp_path, 3, 2) as (alice, bob, carol):
        await alice.node.dkg("anchor")
        await until(lambda: bob.node.public("anchor") and carol.node.public("anchor"))
        real = bob.node._member._sign
        bob.node._member._sign = lambda key, plan: [
            bytes([share[0] ^ 1]) + share[1:] for share in real(key, plan)
        ]
        for number in range(6):
            await sign_test(alice.node, b"with a liar %d" % number)
        found = await alice.node.evidence()
        assert found, "bob was never asked"
        orders = [alice.node._runner._preferred(bytes([i]) * 32) for i in range(20)]
        assert {order[-1] for order in orders} == {2}, "who lied is asked last from then on"
        for seat in (alice, bob, carol):
            await holding(seat, {(2, "bad-signature-share")})
        assert all(judged(Evidence.decode(row.body), alice.node.committee).proven for row in found)


async def test_who_falls_silent_costs_no_time_out_when_another_can_sign(tmp_path):
    async with committee_of(tmp_path, 3, 2) as (alice, bob, carol):
        await alice.node.dkg("anchor")
        await until(lambda: bob.node.public("anchor") and carol.node.public("anchor"))
        runner, asked = alice.node._runner, asyncio.Event()
        runner._preferred = lambda _request: [2, 3]
        runner._share_timeout = 600.0
        for number in range(3):  # bob's own measure
            await sign_test(alice.node, b"usual %d" % number)

        async def silent(_member, _body):
            asked.set()
            await asyncio.Event().wait()

        bob.peers._handlers[SHARES] = silent
        await sign_test(alice.node, b"without bob")
        assert asked.is_set()
        assert runner._grudges.level(2) == 1, "and he is asked after the others from then on"


async def test_a_share_that_cannot_be_recorded_does_not_leave(tmp_path):
    async with committee_of(tmp_path, 2, 2) as (alice, bob):
        await alice.node.dkg("anchor")
        await until(lambda: bob.node.public("anchor"))
        real = bob.node._store.insert_shares

        async def taken(*_rows, **_more):
            raise NonceTaken("one of these commitments was signed with before")

        async def full(*_rows, **_more):
            raise OSError("disk full")

        for failing in (taken, full):
            bob.node._store.insert_shares = failing
            with pytest.raises(Exception, match=r"bob (refused|did not)"):
                await sign_test(alice.node, b"unrecorded")
        bob.node._store.insert_shares = real
        await sign_test(alice.node, b"recorded")


async def test_the_same_package_again_gets_the_stored_share_and_another_one_is_refused(tmp_path):
    async with committee_of(tmp_path, 2, 2) as (alice, bob):
        await alice.node.dkg("anchor")
        await until(lambda: bob.node.public("anchor"))
        sent = []
        real = alice.peers.call

        async def recording(member, topic, body, *, timeout=10):
            answer = await real(member, topic, body, timeout=timeout)
            if (member, topic) == (2, "tss.sign.shares"):
                sent.append((body, answer))
            return answer

        alice.peers.call = recording
        await sign_test(alice.node, b"once")
        from dataclasses import replace

        from tss.signing.messages import Refusal, SharesRequest, read_answer

        body, first = sent[0]
        again = read_answer(await real(2, "tss.sign.shares", body))
        assert again.shares == read_answer(first).shares
        request = SharesRequest.decode(body)
        package = request.packages[0]
        other = replace(request, packages=(replace(package, message=bytes(32)),)).signed(alice.node.identity)
        refusal = read_answer(await real(2, "tss.sign.shares", other.encode()))
        assert isinstance(refusal, Refusal)
        assert refusal.code == "nonce-reuse"
        for seat in (alice, bob):
            await holding(seat, {(1, "two-packages")})


@pytest.mark.parametrize(
    "lost", ["tss.dkg.r1", "tss.dkg.r2", "tss.dkg.r3", "tss.dkg.accept", "tss.sign.shares"]
)
async def test_a_key_generation_that_stops_anywhere_can_be_run_again_from_another_member(tmp_path, lost):
    async with committee_of(tmp_path, 3, 2) as (alice, bob, carol):
        real = carol.peers._handlers[lost]

        async def silent(_member, _body):
            raise Refuse("gone", "the machine went away")

        carol.peers._handlers[lost] = silent
        with pytest.raises(DkgFailed, match="carol"):
            await alice.node.dkg("anchor")
        assert alice.node.public("anchor") is None
        carol.peers._handlers[lost] = real
        info = await bob.node.dkg("anchor")
        await until(lambda: alice.node.public("anchor") and carol.node.public("anchor"))
        assert {seat.node.public("anchor") for seat in (alice, bob, carol)} == {info.public}
        await sign_test(carol.node, b"works")


async def test_a_relay_that_dies_half_way_blocks_nobody(tmp_path):
    async with committee_of(tmp_path, 3, 2) as (alice, bob, carol):
        real = alice.peers.gather

        async def dying(topic, body, **more):
            if topic == "tss.dkg.r2":
                raise asyncio.CancelledError
            return await real(topic, body, **more)

        alice.peers.gather = dying
        with pytest.raises(asyncio.CancelledError):
            await alice.node.dkg("anchor")
        with pytest.raises(DkgFailed, match="alice is making the anchor key just now"):
            await bob.node.dkg("anchor")
        await alice.down()
        await until(lambda: bob.peers.seen[1].down and carol.peers.seen[1].down)
        with pytest.raises(DkgFailed, match="alice"):
            await bob.node.dkg("anchor")
        await alice.up()
        await asyncio.gather(*(noticed(seat, alice) for seat in (bob, carol)))
        await alice.peers.until_heard([2, 3], 40)
        info = await bob.node.dkg("anchor")
        assert info.state == "verified"


def test_what_is_down_reads_as_a_sentence():
    assert str(PeerDown(3, "did not answer within 2 s", "carol")) == "carol did not answer within 2 s"
