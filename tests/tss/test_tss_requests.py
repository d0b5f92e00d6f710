"""Requests: asked about twice and stored so, handed on to later leaders, and bounded per member."""

import asyncio

import pytest

from tests.tss.shells import committee_of, sign_test, until
from tss.request_store import RequestShares
from tss.signing.approval import Refused
from tss.signing.slots import request_id
from tss.signing_runner import SigningFailed
from tss.store import RequestRow, Store, VerdictRow

PAY = request_id("treasury", b"pay", 1)


async def with_treasury(seats):
    await seats[0].node.dkg("treasury")
    await until(lambda: all(seat.node.public("treasury") for seat in seats))


async def verdicts(seat, request=PAY):
    return [(row.phase, row.approved) for row in await seat.node._store.verdicts(request)]


async def test_a_request_that_comes_with_its_session_is_asked_about_twice_and_both_answers_are_kept(tmp_path):
    async with committee_of(tmp_path, 3, 3) as seats:
        await with_treasury(seats)
        _alice, bob, _carol = seats
        await seats[0].node.sign("treasury", b"fills the pool")
        bob.port.asked.clear()
        await seats[0].node.sign("treasury", b"pay")
        assert len(seats[0].node._runner._ended[0].members) == 3
        assert bob.port.asked == [("treasury", b"pay")] * 2
        assert await verdicts(bob) == [("request", True), ("release", True)]


async def test_a_no_between_signing_and_release_keeps_the_share_in_and_burns_its_nonces(tmp_path):
    async with committee_of(tmp_path, 3, 3) as seats:
        await with_treasury(seats)
        alice, bob, _carol = seats
        await alice.node.sign("treasury", b"fills the pool")
        real = bob.port

        class Changing:
            asked = 0

            async def approve(self, purpose, payload, epoch):
                Changing.asked += 1
                return (
                    await real.approve(purpose, payload, epoch)
                    if Changing.asked == 1
                    else Refused("paused", False)
                )

        bob.node.use_approval(Changing())
        before = bob.node._nonces.of(bob.node.public("treasury").share_set)
        with pytest.raises(SigningFailed, match=r"bob refused \(paused\)"):
            await alice.node.sign("treasury", b"pay")
        after = bob.node._nonces.of(before.share_set)
        assert (after.spent, after.voided, after.refused) == (
            before.spent,
            before.voided + 2,
            before.refused + 2,
        )
        assert await verdicts(bob) == [("request", True), ("release", False)]
        assert await bob.node.request(PAY) is None, "what was refused at once and for good is not kept"


async def test_a_member_takes_over_what_a_dead_one_began(tmp_path):
    async with committee_of(tmp_path, 5, 3) as seats:
        await with_treasury(seats)
        alice, bob, carol, dave, erin = seats
        for seat in (carol, dave, erin):
            seat.port.refusal = Refused("not deep enough", retryable=True)
        with pytest.raises(SigningFailed):
            await alice.node.sign("treasury", b"pay")
        assert [row.request_id for row in await bob.node.requests()] == [PAY]
        await alice.down()
        for seat in (carol, dave, erin):
            seat.port.refusal = None
        signed = await bob.node.take_over(PAY)
        assert len(signed) == 2
        assert await bob.node.requests() == []
        for seat in seats[2:]:
            await seat.node._store.request(PAY)
        asked = len(dave.port.asked)
        assert await dave.node.take_over(PAY) == signed, "dave gets what bob finished"
        assert len(dave.port.asked) == asked + 1, "but only what dave's own port approves"


async def test_a_request_is_fetched_by_who_never_saw_it_and_listed_by_who_did(tmp_path):
    async with committee_of(tmp_path, 3, 2) as seats:
        await with_treasury(seats)
        alice, bob, carol = seats
        bob.port.refusal = Refused("not yet", retryable=True)
        carol.peers._handlers["tss.sign.request"] = carol.peers._handlers["tss.sign.shares"] = _away
        with pytest.raises(SigningFailed):
            await alice.node.sign("treasury", b"pay")
        bob.port.refusal = None
        assert await carol.node.request(PAY) is None
        assert (PAY, 1) in await carol.node._handover.pending_at(2)
        signed = await carol.node.take_over(PAY)
        assert len(signed) == 2
        from tss.node import UnknownRequest

        with pytest.raises(UnknownRequest, match="let its first leader ask again"):
            await carol.node.take_over(bytes(32))


async def _away(_member, _body):
    await asyncio.sleep(30)


async def test_wrong_signatures_handed_on_are_not_taken(tmp_path):
    async with committee_of(tmp_path, 3, 2) as seats:
        await with_treasury(seats)
        alice, bob, _carol = seats
        signed = await alice.node.sign("treasury", b"pay")
        approval_digest = (await alice.node._store.signatures(PAY))[0]
        await alice.node._store.save_signatures(PAY, approval_digest, bytes(128))
        made = await bob.node.take_over(PAY)
        assert made != [bytes(64)] * 2
        assert len(made) == len(signed)


async def test_nonces_are_counted_and_a_restart_voids_what_was_unused(tmp_path):
    async with committee_of(tmp_path, 2, 2) as (alice, bob):
        await alice.node.dkg("anchor")
        await until(lambda: bob.node.public("anchor"))
        for number in range(3):
            await sign_test(alice.node, b"count %d" % number)
        [row] = await bob.node.nonces()
        assert row.counts.spent == 4, "three tests, and the proof of the key"
        assert row.counts.made == row.counts.spent + row.counts.unused
        assert row.counts.unused > 0
        first = row.counts
        await bob.down()
        await bob.up()
        [row] = await bob.node.nonces()
        assert (row.counts.made, row.counts.spent, row.counts.unused) == (first.made, first.spent, 0)
        assert row.counts.voided == first.made - first.spent


async def test_a_member_fills_only_its_own_share_of_the_requests(tmp_path):
    store = Store(tmp_path / "signer.db", lambda: 1.0)
    store._shares = RequestShares(max_requests=20, max_bytes=10_000)
    try:
        for number in range(100):
            name = number.to_bytes(32, "big")
            no = VerdictRow(name, "request", approved=False, reason="no", verdict=b"signed")
            await store.keep_request(RequestRow(name, "treasury", 1, bytes(100), 2, float(number)), no)
        mine = RequestRow(b"m" * 32, "treasury", 1, bytes(100), 1, 0.0)
        await store.keep_request(
            mine, VerdictRow(b"m" * 32, "request", approved=True, reason="", verdict=b"s")
        )
        big = RequestRow(b"b" * 32, "treasury", 1, bytes(9_999), 2, 200.0)
        await store.keep_request(
            big, VerdictRow(b"b" * 32, "request", approved=True, reason="", verdict=b"s")
        )
        assert await store.request(mine.request_id) == mine
        assert await store.request((99).to_bytes(32, "big")) is None, "a large one pushes out many small ones"
        assert await store.verdicts((0).to_bytes(32, "big")) == []
        assert len(await store.verdicts(mine.request_id)) == 1
    finally:
        await store.close()


async def test_the_same_no_again_fills_nothing(tmp_path):
    store = Store(tmp_path / "signer.db", lambda: 1.0)
    try:
        no = VerdictRow(b"r" * 32, "request", approved=False, reason="not yet", verdict=b"signed")
        for _ in range(10):
            await store.record_verdict(no)
        assert len(await store.verdicts(b"r" * 32)) == 1
        assert await store.check_audit() == 1
        yes = VerdictRow(b"r" * 32, "request", approved=True, reason="", verdict=b"signed")
        for one in (yes, no):
            await store.record_verdict(one)
        assert [row.approved for row in await store.verdicts(b"r" * 32)] == [False, True, False]
    finally:
        await store.close()
