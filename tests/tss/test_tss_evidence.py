"""Evidence among running members: who finds a fault tells all, each judges alone, and nothing unproven stays."""

import asyncio
from dataclasses import replace

import pytest

from tests.tss.evidence.running import some_evidence
from tests.tss.shells import committee_of, sign_test, until
from tss import evidence_store
from tss.dkg.messages import R1, R1Set, R2Set
from tss.evidence_gossip import FETCH, LIST, TELL
from tss.node import DkgFailed
from tss.peers import PeerRefused, Refuse
from tss.rotation import messages
from tss.rotation_topics import ROUND1


async def holding(seat, wanted):
    """Wait until a member holds evidence of exactly these faults."""
    async with asyncio.timeout(60):
        while {(row.member, row.kind) for row in await seat.node.evidence()} != wanted:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_a_bad_r1_convicts_its_signer_at_every_member(tmp_path):
    async with committee_of(tmp_path, 3, 2) as (alice, bob, carol):
        real = bob.peers._handlers["tss.dkg.r1"]

        async def lying(member, body):
            r1 = R1.decode(await real(member, body))
            return (
                replace(r1, package=bytes(131)).signed(bob.identity.seated(bob.committee.committee)).encode()
            )

        bob.peers._handlers["tss.dkg.r1"] = lying
        with pytest.raises(DkgFailed, match="the R1 of bob holds no valid package") as failed:
            await carol.node.dkg("anchor")
        assert failed.value.culprits == (2,)
        for seat in (alice, bob, carol):
            await holding(seat, {(2, "bad-proof")})


async def test_a_complaint_reaches_all_though_the_relay_drops_it(tmp_path):
    async with committee_of(tmp_path, 3, 2) as (alice, bob, carol):
        honest = bob.node._dkg_member._sealer

        class Lying:
            derive, open = honest.derive, honest.open
            sealed = 0

            def seal(self, public, info, plaintext, /):
                Lying.sealed += 1
                return honest.seal(public, info, plaintext if Lying.sealed != 3 else bytes(32))

        bob.node._dkg_member._sealer = Lying()
        real = alice.node._relay._rounds

        async def dropping(roster):
            alice.node._relay._book.report = _nothing
            return await real(roster)

        alice.node._relay._rounds = dropping
        with pytest.raises(DkgFailed):
            await alice.node.dkg("anchor")
        for seat in (bob, carol):
            await holding(seat, {(2, "bad-dkg-share")})


async def _nothing(_found):
    return []


async def test_a_member_that_shows_two_r1_is_named_when_views_differ(tmp_path):
    async with committee_of(tmp_path, 3, 2) as (alice, bob, carol):
        me = bob.identity.seated(bob.committee.committee)
        sent = {}
        real_r1 = bob.peers._handlers["tss.dkg.r1"]

        async def first(member, body):
            sent["r1"] = R1.decode(await real_r1(member, body))
            sent["other"] = replace(sent["r1"], salt=b"\x33" * 32).signed(me)
            return sent["r1"].encode()

        bob.peers._handlers["tss.dkg.r1"] = first
        real = carol.peers._handlers["tss.dkg.r2"]

        async def two_faced(member, body):
            """What bob and the relay could show carol together."""
            r1s = R1Set.decode(body[32:])
            shown = tuple(sent["other"] if r1.sender == 2 else r1 for r1 in r1s.messages)
            return await real(member, body[:32] + R1Set(shown).encode())

        carol.peers._handlers["tss.dkg.r2"] = two_faced
        with pytest.raises(DkgFailed, match="bob signed two different messages for one round") as failed:
            await alice.node.dkg("anchor")
        assert (failed.value.code, failed.value.culprits) == ("equivocation", (2,))
        for seat in (alice, bob, carol):
            await holding(seat, {(2, "equivocation")})


async def test_a_relay_that_alters_or_drops_is_noticed_and_blames_no_member(tmp_path):
    async with committee_of(tmp_path, 3, 2) as (alice, bob, carol):
        real = alice.peers.gather

        async def altering(topic, body, **more):
            if topic == "tss.dkg.r3":
                r2s = R2Set.decode(body[32:])
                changed = replace(r2s.messages[1], sealed=r2s.messages[1].sealed[::-1])
                body = body[:32] + R2Set((r2s.messages[0], changed, r2s.messages[2])).encode()
            return await real(topic, body, **more)

        alice.peers.gather = altering
        with pytest.raises(DkgFailed, match="bob"):
            await alice.node.dkg("anchor")
        alice.peers.gather = real
        assert [await seat.node.evidence() for seat in (alice, bob, carol)] == [[], [], []]
        assert (await bob.node.dkg("anchor")).state == "verified"


@pytest.mark.parametrize("lost", ["tss.dkg.r2", "tss.dkg.r3"])
@pytest.mark.parametrize("answered", [True, False])
async def test_a_member_restarted_after_its_r2_goes_on_and_the_key_is_made(tmp_path, lost, answered):
    async with committee_of(tmp_path, 3, 2) as (alice, bob, carol):
        real = carol.peers._handlers[lost]
        restarted = asyncio.Event()

        async def dying(member, body):
            if answered or lost == "tss.dkg.r2":
                await real(member, body)  # stored, but the answer is lost with the process
            restarted.set()
            await asyncio.sleep(60)

        carol.peers._handlers[lost] = dying
        making = asyncio.create_task(alice.node.dkg("anchor"))
        await restarted.wait()
        await carol.down()
        await carol.up()
        info = await making
        assert info.state == "verified"
        await until(lambda: bob.node.public("anchor") and carol.node.public("anchor"))
        assert carol.node.public("anchor") == info.public
        [row] = await carol.node._store.attempts("anchor", 1)
        assert row.attempt == 1, "the attempt went on, it was not begun anew"


async def test_a_member_restarted_before_its_r2_gives_that_attempt_up(tmp_path):
    async with committee_of(tmp_path, 3, 2) as (alice, _bob, carol):
        restarted = asyncio.Event()

        async def dying(_member, _body):
            restarted.set()
            await asyncio.sleep(60)

        carol.peers._handlers["tss.dkg.r2"] = dying
        making = asyncio.create_task(alice.node.dkg("anchor"))
        await restarted.wait()
        await carol.down()
        await carol.up()
        with pytest.raises(DkgFailed, match="carol refused in round 2"):
            await making
        [row] = await carol.node._store.attempts("anchor", 1)
        assert (row.state, row.reason) == ("failed", "this node was restarted before it sent R2")
        assert (await alice.node.dkg("anchor")).state == "verified"


async def test_a_member_answers_a_repeated_round_with_the_same_words_only(tmp_path):
    async with committee_of(tmp_path, 3, 2) as (alice, _bob, carol):
        codes = []

        def twice(real):
            async def handler(member, body):
                answer = await real(member, body)
                assert await real(member, body) == answer
                other = bytearray(body)
                other[-70] ^= 1  # before the last signature: another salt, another sealed share
                try:
                    await real(member, bytes(other))
                except Refuse as refused:
                    codes.append(refused.code)
                return answer

            return handler

        for topic in ("tss.dkg.r2", "tss.dkg.r3"):
            carol.peers._handlers[topic] = twice(carol.peers._handlers[topic])
        await alice.node.dkg("anchor")
        assert codes == ["order", "order"]


async def test_a_certificate_that_comes_after_all_gave_up_still_makes_the_key(tmp_path):
    async with committee_of(tmp_path, 3, 2) as (alice, bob, carol):
        real = alice.node._relay._finish
        kept = []

        async def withheld(key):
            kept.append(key.recovery)
            raise DkgFailed("gone", "the relay went away with the certificate")

        alice.node._relay._finish = withheld
        with pytest.raises(DkgFailed):
            await alice.node.dkg("anchor")
        alice.node._relay._finish = real
        await carol.down()
        await carol.up()
        await carol.peers.until_heard([1, 2], 40)
        answer = await bob.peers.call(3, "tss.dkg.accept", kept[0].encode())
        assert answer, "carol, restarted since, acknowledges it"
        assert carol.node._keyring.of("anchor", 1)
        info = await carol.node.dkg("anchor")
        assert info.state == "verified"
        assert len(alice.node._keyring.of("anchor", 1)) == 1


async def test_what_proves_nothing_is_dropped_and_counted(tmp_path):
    async with committee_of(tmp_path, 3, 2) as seats:
        alice, bob, _carol = seats
        good = some_evidence(seats)
        slander = replace(good, culprit=1)
        for body, code in (
            (b"", "malformed"),
            (b"\x40\x01" + bytes(50), "malformed"),
            (slander.encode(), "unproven"),
        ):
            with pytest.raises(PeerRefused) as refused:
                await bob.peers.call(1, TELL, body)
            assert refused.value.code == code
        counts = alice.node.evidence_counts
        assert (counts.unreadable, counts.unproven, counts.stored) == (2, 1, 0)
        for _ in range(3):
            await bob.peers.call(1, TELL, good.encode())
        assert (counts.stored, counts.known) == (1, 2)
        assert [row.reporter for row in await alice.node.evidence()] == [2]


async def test_a_culprit_cannot_fill_our_disk_with_its_own_faults_nor_our_time_with_judging(tmp_path):
    async with committee_of(tmp_path, 3, 2) as seats:
        alice, bob, _carol = seats
        codes = []
        for number in range(40):
            try:
                await bob.peers.call(1, TELL, some_evidence(seats, sequence=10 * number).encode())
            except PeerRefused as refused:
                codes.append(refused.code)
        assert codes == ["too-many"] * 10
        assert len(await alice.node.evidence()) == 8
        assert alice.node.evidence_counts.full == 22


async def test_a_culprit_leaves_room_for_the_faults_of_others(tmp_path, monkeypatch):
    async with committee_of(tmp_path, 3, 2) as seats:
        alice, bob, _carol = seats
        first, second = (some_evidence(seats, sequence=number) for number in (10, 20))
        room = len(first.encode())
        monkeypatch.setattr(evidence_store, "MAX_BYTES_OF_ONE", room)
        for piece in (first, second):
            await bob.peers.call(1, TELL, piece.encode())
        assert [row.id for row in await alice.node.evidence()] == [first.id]
        other = some_evidence(seats, member=3)
        await bob.peers.call(1, TELL, other.encode())
        assert [row.member for row in await alice.node.evidence()] == [2, 3]


async def test_a_member_that_was_away_fetches_what_it_missed(tmp_path):
    async with committee_of(tmp_path, 3, 2) as seats:
        alice, bob, carol = seats
        await carol.down()
        assert len(await alice.node._book.report([some_evidence(seats)])) == 1
        await holding(bob, {(2, "replayed-commitment")})
        await carol.up()
        await carol.peers.until_heard([1, 2], 40)
        await carol.node._book.compare(1)
        await holding(carol, {(2, "replayed-commitment")})
        with pytest.raises(PeerRefused):
            await carol.peers.call(1, FETCH, bytes(32))
        with pytest.raises(PeerRefused):
            await carol.peers.call(1, LIST, b"?")


async def test_a_lie_in_a_refresh_is_evidence_at_every_member_and_the_old_shares_serve_on(tmp_path):
    async with committee_of(tmp_path, 3, 2) as (alice, bob, carol):
        await alice.node.dkg("anchor")
        await until(lambda: bob.node.public("anchor") and carol.node.public("anchor"))
        member = bob.node.key_work.member
        honest = member._sealer

        class Lying:
            derive, open = honest.derive, honest.open

            def seal(self, public, info, plaintext, /):
                return honest.seal(public, info, b"\x01" * 32)

        member._sealer = Lying()
        with pytest.raises(DkgFailed, match="bob"):
            await alice.node.key_work.refresh("anchor")
        for seat in (alice, bob, carol):
            await holding(seat, {(2, "bad-work-share")})
        member._sealer = honest
        await sign_test(carol.node, b"as before")


async def test_a_bad_first_message_of_a_refresh_is_evidence_at_every_member(tmp_path):
    async with committee_of(tmp_path, 3, 2) as (alice, bob, carol):
        await alice.node.dkg("anchor")
        await until(lambda: bob.node.public("anchor") and carol.node.public("anchor"))
        real = bob.peers._handlers[ROUND1]

        async def lying(member, body):
            r1 = messages.R1.decode(await real(member, body))
            return (
                replace(r1, keys=r1.keys[:-1]).signed(bob.identity.seated(bob.committee.committee)).encode()
            )

        bob.peers._handlers[ROUND1] = lying
        with pytest.raises(DkgFailed, match="the R1 of bob"):
            await alice.node.key_work.refresh("anchor")
        for seat in (alice, bob, carol):
            await holding(seat, {(2, "bad-work")})
