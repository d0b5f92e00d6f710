"""Refresh and repair when members lie, stores fail and drivers race; real nodes over real TLS, in one process."""

import asyncio
from dataclasses import replace

import pytest

from tests.tss.shells import committee_of, noticed, sign_test, until
from tests.tss.test_tss_rotation import all_on, group_of, refreshed, with_key
from tss.node import DkgFailed
from tss.peers import Refuse
from tss.rotation import boxes, refresh
from tss.rotation_topics import failure


async def test_a_member_that_deals_a_bad_refresh_share_is_named_and_the_old_shares_serve(tmp_path):
    async with committee_of(tmp_path, 3, 2) as seats:
        alice, bob, carol = seats
        before = await with_key(seats)
        honest = bob.node.key_work.member._sealer

        class Lying:
            derive, open = honest.derive, honest.open
            sealed = 0

            def seal(self, public, info, plaintext, /):
                Lying.sealed += 1
                return honest.seal(public, info, plaintext if Lying.sealed != 3 else b"\x01" * 32)

        bob.node.key_work.member._sealer = Lying()
        with pytest.raises(
            DkgFailed, match="bob sealed to carol a refresh share that does not fit"
        ) as failed:
            await alice.node.key_work.refresh("anchor")
        assert failed.value.culprits == (2,)
        bob.node.key_work.member._sealer = honest
        assert group_of(carol) == before
        await sign_test(carol.node, b"undisturbed")
        assert (await refreshed(carol, seats)).generation == 1


async def test_a_helper_that_sends_a_bad_sigma_is_named(tmp_path, monkeypatch):
    async with committee_of(tmp_path, 3, 2) as seats:
        await with_key(seats)
        carol = seats[2]
        honest = carol.node.key_work.member._sealer

        class Lying:
            derive, open = honest.derive, honest.open

            def seal(self, public, info, plaintext, /):
                second = info[24 + 32] == boxes.SECOND
                return honest.seal(public, info, b"\x01" * 32 if second else plaintext)

        carol.node.key_work.member._sealer = Lying()
        with pytest.raises(DkgFailed, match="carol sealed to alice a sigma that does not fit") as failed:
            await seats[0].node.key_work.repair("anchor", ["bob", "carol"])
        assert failed.value.culprits == (3,)
        await sign_test(seats[0].node, b"undisturbed")


@pytest.mark.parametrize("topic", ["tss.rotation.deal", "tss.rotation.sum"])
async def test_a_helper_that_is_asked_twice_at_once_signs_once(tmp_path, topic):
    """Two signed answers to one question would convict it of having spoken twice."""
    async with committee_of(tmp_path, 3, 2) as (alice, bob, carol):
        await with_key([alice, bob, carol])
        codes, real = [], carol.peers._handlers[topic]

        async def twice(member, body):
            one, other = await asyncio.gather(real(member, body), real(member, body), return_exceptions=True)
            codes.append(other.code)
            return one

        carol.peers._handlers[topic] = twice
        assert (await alice.node.key_work.repair("anchor")).work == "repair"
        assert codes == ["order"]


async def test_a_relay_that_gives_up_in_the_middle_of_a_sum_makes_no_helper_look_guilty(tmp_path):
    """What a helper is about to sign is not wiped under its hands."""
    async with committee_of(tmp_path, 3, 2) as (alice, bob, carol):
        await with_key([alice, bob, carol])
        loop, given_up = asyncio.get_running_loop(), []
        honest, key = carol.node.key_work.member._sealer, alice.node._keyring.serving("anchor").sid

        async def give_up():
            failing = carol.peers._handlers["tss.rotation.fail"](1, failure(key, "never mind"))
            given_up.append(asyncio.create_task(failing))
            for _ in range(10):
                await asyncio.sleep(0)

        class Interrupted:
            derive, seal = honest.derive, honest.seal

            def open(self, private, info, sealed, /):
                if not given_up:
                    asyncio.run_coroutine_threadsafe(give_up(), loop).result()
                return honest.open(private, info, sealed)

        carol.node.key_work.member._sealer = Interrupted()
        with pytest.raises(DkgFailed, match=r"carol refused.*we are in no such attempt"):
            await alice.node.key_work.repair("anchor", ["bob", "carol"])
        await given_up[0]
        for seat in (alice, bob, carol):
            assert await seat.node.evidence() == []


ROUNDS = ["offer", "r1", "deal", "assent", "accept"]


@pytest.mark.parametrize("lost", ROUNDS)
async def test_a_refresh_that_stops_anywhere_leaves_the_old_shares_and_can_be_run_again(tmp_path, lost):
    async with committee_of(tmp_path, 3, 2) as seats:
        alice, bob, carol = seats
        before = await with_key(seats)
        real = carol.peers._handlers[f"tss.rotation.{lost}"]

        async def silent(_member, _body):
            raise Refuse("gone", "the machine went away")

        carol.peers._handlers[f"tss.rotation.{lost}"] = silent
        with pytest.raises(DkgFailed, match="carol refused"):
            await alice.node.key_work.refresh("anchor")
        assert group_of(alice) == before
        await sign_test(alice.node, b"undisturbed")
        await carol.down()
        await carol.up()
        await noticed(bob, carol)
        await noticed(alice, carol)
        assert carol.peers._handlers[f"tss.rotation.{lost}"] is not real
        await sign_test(carol.node, b"undisturbed after a restart")
        done = await refreshed(bob, seats)
        assert done.generation == 1
        await sign_test(carol.node, b"new")


async def test_a_lost_proof_is_asked_for_and_the_last_one_comes_along(tmp_path):
    async with committee_of(tmp_path, 3, 2) as seats:
        alice, bob, carol = seats
        await with_key(seats)

        async def unheard(_member, _body):
            raise ConnectionError

        carol.peers._handlers["tss.rotation.proof"] = unheard
        done = await alice.node.key_work.refresh("anchor")
        await sign_test(alice.node, b"whoever is behind serves the new shares already")
        await until(all_on(seats, done.share_set), timeout=60)
        await sign_test(carol.node, b"caught up")
        assert group_of(bob) == group_of(carol)


WRITES = [("save", 1), ("save", 2), ("save", 3), ("adopt", 1)]


@pytest.mark.parametrize("who", ["alice", "carol"])
@pytest.mark.parametrize(("method", "number"), WRITES)
async def test_a_store_that_fails_at_any_write_disturbs_nothing(tmp_path, who, method, number):
    """The disk is full at the n-th durable write of relay or member; after a restart a refresh comes through."""
    async with committee_of(tmp_path, 3, 2) as seats:
        alice, bob, carol = seats
        await with_key(seats)
        victim = alice if who == "alice" else carol
        store = victim.node.key_work.member._store
        real, calls = getattr(store, method), []

        async def failing(*arguments):
            calls.append(arguments)
            if len(calls) == number:
                raise OSError("disk full")
            return await real(*arguments)

        setattr(
            type(store), method, lambda self, *a: failing(*a) if self is store else real.__func__(self, *a)
        )
        try:
            [result] = await asyncio.gather(alice.node.key_work.refresh("anchor"), return_exceptions=True)
            assert not isinstance(result, DkgFailed) or who in result.reason, result
        finally:
            setattr(type(store), method, real.__func__)
        assert len(calls) >= number, "the write that fails is one that happens"
        await sign_test(bob.node, b"undisturbed")
        await victim.down()
        await victim.up()
        for other in seats:
            if other is not victim:
                await noticed(other, victim)
        done = await refreshed(bob, seats)
        for seat in seats:
            await sign_test(seat.node, b"new " + seat.folder.name.encode())
        assert done.generation in (1, 2)


async def test_two_drivers_at_once_end_on_the_same_shares(tmp_path):
    async with committee_of(tmp_path, 3, 2) as seats:
        await with_key(seats)
        results = await asyncio.gather(
            *(seat.node.key_work.refresh("anchor") for seat in seats), return_exceptions=True
        )
        assert all(isinstance(r, DkgFailed) or r.generation for r in results), results
        await until(lambda: len({group_of(seat) for seat in seats}) == 1, timeout=60)
        for seat in seats:
            await sign_test(seat.node, b"one set of shares")


async def test_a_late_certificate_of_the_same_members_still_counts_after_a_restart(tmp_path):
    async with committee_of(tmp_path, 3, 2) as seats:
        alice, bob, _carol = seats
        await with_key(seats)
        relay = alice.node.key_work.relay
        key = alice.node._keyring.serving("anchor")
        from tss.rotation.plan import Work

        link = await relay._certified(await relay._plan(key, Work.REFRESH, (1, 2, 3)), key.info.public)
        for seat in seats:
            await seat.down()
        for seat in seats:
            await seat.up()
        for seat in seats:
            await seat.peers.until_heard((1, 2, 3), 40)
        await bob.node.key_work.keys.accept(link)
        assert bob.node._keyring.pending(key.sid)
        await bob.down()
        await bob.up()
        assert bob.node._keyring.pending(key.sid), "a certified refresh survives restarts"
        await noticed(alice, bob)
        await noticed(_carol, bob)
        done = await refreshed(bob, seats)
        assert done.generation == 1
        assert bob.node._keyring.serving("anchor").links[0].sid == link.sid


async def test_garbage_on_every_topic_of_key_work_is_refused(tmp_path):
    async with committee_of(tmp_path, 3, 2) as seats:
        group = await with_key(seats)
        _, bob, carol = seats
        topics = [topic for topic in bob.peers._handlers if topic.startswith("tss.rotation.")]
        assert len(topics) == 9
        for topic in topics:
            for body in (b"", b"\0" * 40, b"\xff" * 3000, group.encode(), bytes(65)):
                answers = await carol.peers.gather(topic, body, members=[2])
                answer = answers[2]
                assert answer == b"" or answer.code not in ("internal", "down"), (topic, answer.reason)
        await refreshed(carol, seats)


async def test_a_key_goes_from_retiring_to_retired_only_behind_a_later_one(tmp_path):
    async with committee_of(tmp_path, 2, 2) as seats:
        alice, _bob = seats
        await with_key(seats)
        work = alice.node.key_work
        with pytest.raises(DkgFailed, match="is verified: from there it can become active, retiring"):
            await work.move("anchor", 1, "retired")
        assert (await work.move("anchor", 1, "retiring")).state == "retiring"
        assert alice.node.public("anchor") is not None, "it signs on until another key serves"
        await sign_test(alice.node, b"the move")
        with pytest.raises(DkgFailed, match="no later anchor key serves here"):
            await work.move("anchor", 1, "retired")
        key = alice.node._keyring.serving("anchor")
        later = replace(key, sid=bytes(32), info=replace(key.info, epoch=2, state="active"))
        alice.node._keyring._keys[later.sid] = later
        assert (await work.move("anchor", 1, "retired")).state == "retired"
        assert not (alice.folder / "keys" / "anchor-1.share").exists()
        with pytest.raises(DkgFailed, match="holds no share"):
            await work.move("anchor", 1, "active")
        del alice.node._keyring._keys[later.sid]


def test_a_refresh_needs_no_proof_of_knowledge_and_says_so():
    assert "constant term" in refresh.step1.__doc__
