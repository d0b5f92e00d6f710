"""Members compare what they saw when key work ends in disagreement, and name who spoke twice."""

from dataclasses import replace

import pytest

from tests.tss.shells import committee_of, sign_test, until
from tests.tss.test_tss_evidence import holding
from tss.dkg.messages import R3
from tss.dkg.transcript import transcript_hash
from tss.evidence.form import Evidence
from tss.evidence.judge import judge
from tss.frost.codec import DecodeError
from tss.frost.engine import Engine
from tss.node import DkgFailed
from tss.peers import PeerRefused
from tss.rotation.link import transcript_hash as work_hash
from tss.rotation.messages import R1, Assent, Deal, DealSet, R1Set
from tss.rotation_topics import ASSENT, DEAL, ROUND1, SUM
from tss.vault import HpkeSealer
from tss.views import VIEWS, Signed, View


async def with_key(seats):
    await seats[0].node.dkg("anchor")
    await until(lambda: all(seat.node.public("anchor") for seat in seats))


def wrap(seat, topic, make):
    """Answer a topic by what `make` makes of the real handler."""
    seat.peers._handlers[topic] = make(seat.peers._handlers[topic])


def me(seat):
    return seat.identity.seated(seat.committee.committee)


async def test_a_member_that_shows_two_r1_in_a_refresh_is_named(tmp_path):
    async with committee_of(tmp_path, 3, 2) as (alice, bob, carol):
        await with_key((alice, bob, carol))
        sent = {}

        def first(real):
            async def handler(member, body):
                sent["r1"] = R1.decode(await real(member, body))
                sent["other"] = replace(sent["r1"], salt=b"\x33" * 32).signed(me(bob))
                return sent["r1"].encode()

            return handler

        def shown_another(real):
            """What bob and the relay could show carol together."""

            async def handler(member, body):
                r1s = R1Set.decode(body[32:])
                shown = tuple(sent["other"] if r1.sender == 2 else r1 for r1 in r1s.messages)
                return await real(member, body[:32] + R1Set(shown).encode())

            return handler

        wrap(bob, ROUND1, first)
        wrap(carol, DEAL, shown_another)
        with pytest.raises(DkgFailed, match="bob signed two different messages for one round") as failed:
            await alice.node.key_work.refresh("anchor")
        assert (failed.value.code, failed.value.culprits) == ("equivocation", (2,))
        for seat in (alice, bob, carol):
            await holding(seat, {(2, "equivocation")})
        await sign_test(alice.node, b"the old shares serve on")


async def test_a_helper_that_deals_twice_in_a_repair_is_named(tmp_path):
    async with committee_of(tmp_path, 3, 2) as (alice, bob, carol):
        await with_key((alice, bob, carol))
        sent = {}

        def first(real):
            async def handler(member, body):
                sent["deal"] = Deal.decode(await real(member, body))
                sealed = tuple(box[::-1] for box in sent["deal"].sealed)
                sent["other"] = replace(sent["deal"], sealed=sealed).signed(me(bob))
                return sent["deal"].encode()

            return handler

        def shown_another(real):
            async def handler(member, body):
                deals = DealSet.decode(body[32:])
                shown = DealSet(tuple(sent["other"] if d.sender == 2 else d for d in deals.messages))
                return await real(member, body[:32] + shown.encode())

            return handler

        wrap(bob, DEAL, first)
        wrap(carol, SUM, shown_another)
        with pytest.raises(DkgFailed) as failed:
            await alice.node.key_work.repair("anchor", ("bob", "carol"))
        assert failed.value.culprits == (2,), failed.value.reason
        for seat in (alice, bob, carol):
            await holding(seat, {(2, "equivocation"), (2, "bad-work-share")})


async def test_a_relay_that_shows_its_own_invention_blames_no_member(tmp_path):
    async with committee_of(tmp_path, 3, 2) as (alice, bob, carol):
        await with_key((alice, bob, carol))

        def unsigned(real):
            async def handler(member, body):
                r1s = R1Set.decode(body[32:])
                forged = replace(r1s.messages[1], salt=b"\x33" * 32)
                shown = (r1s.messages[0], forged, r1s.messages[2])
                return await real(member, body[:32] + R1Set(shown).encode())

            return handler

        wrap(carol, DEAL, unsigned)
        with pytest.raises(DkgFailed):
            await alice.node.key_work.refresh("anchor")
        assert [await seat.node.evidence() for seat in (alice, bob, carol)] == [[], [], []]


async def test_a_member_that_signs_a_key_that_the_session_did_not_make_is_convicted(tmp_path):
    async with committee_of(tmp_path, 3, 2) as (alice, bob, carol):
        await with_key((alice, bob, carol))
        false = alice.node.public("anchor").encode()

        def lying(real):
            """As a broken engine would: it tells truthfully what it signed."""

            async def handler(member, body):
                r3 = R3.decode(await real(member, body))
                view = carol.node._dkg_member.views._seen[r3.sid]
                r1s, r2_hash = view.sets[0], view.signed.dealt
                carol.node._dkg_member.views.signed(r3.sid, r2_hash, false)
                lie = transcript_hash(r3.sid, r1s.hash, r2_hash, false)
                return R3(r3.sid, 3, lie).signed(me(carol)).encode()

            return handler

        wrap(carol, "tss.dkg.r3", lying)
        with pytest.raises(DkgFailed, match="carol signed a key that the session did not make") as failed:
            await bob.node.dkg("mint")
        assert failed.value.culprits == (3,)
        for seat in (alice, bob, carol):
            await holding(seat, {(3, "false-key")})
        [row] = await alice.node.evidence()
        evidence = Evidence.decode(row.body)
        assert judge(Engine(), HpkeSealer(), evidence, alice.committee.committee).proven
        await sign_test(alice.node, b"the anchor key serves on")


@pytest.mark.parametrize("work", ["refresh", "repair"])
async def test_a_member_that_assents_to_shares_that_were_not_made_is_convicted(tmp_path, work):
    async with committee_of(tmp_path, 3, 2) as (alice, bob, carol):
        await with_key((alice, bob, carol))
        before = alice.node.public("anchor")
        await alice.node.dkg("mint")
        false = alice.node.public("mint").encode()

        def lying(real):
            """As a broken engine would: it tells truthfully what it signed."""

            async def handler(member, body):
                assent = Assent.decode(await real(member, body))
                view = carol.node._dkg_member.views._seen[assent.sid]
                r1s, dealt = view.sets[0], view.signed.dealt
                carol.node._dkg_member.views.signed(assent.sid, dealt, false)
                lie = work_hash(assent.sid, r1s.hash, dealt, false)
                return Assent(assent.sid, 3, lie).signed(me(carol)).encode()

            return handler

        wrap(carol, ASSENT, lying)
        what = "refresh did not make" if work == "refresh" else "repair was not for"
        driven = bob.node.key_work
        begun = driven.refresh("anchor") if work == "refresh" else driven.repair("anchor", ["alice", "carol"])
        with pytest.raises(DkgFailed, match=f"carol signed shares that the {what}") as failed:
            await begun
        assert failed.value.culprits == (3,)
        for seat in (alice, bob, carol):
            await holding(seat, {(3, f"false-{work}")})
        [row] = await alice.node.evidence()
        evidence = Evidence.decode(row.body)
        assert judge(Engine(), HpkeSealer(), evidence, alice.committee.committee).proven
        assert {seat.node.public("anchor") for seat in (alice, bob, carol)} == {before}
        await sign_test(alice.node, b"the old shares serve on")


async def test_a_member_that_does_not_say_what_it_signed_stays_unnamed_but_the_key_is_not_made(tmp_path):
    async with committee_of(tmp_path, 3, 2) as (alice, bob, carol):

        def silent(real):
            async def handler(member, body):
                r3 = R3.decode(await real(member, body))
                return R3(r3.sid, 3, bytes(32)).signed(me(carol)).encode()

            return handler

        wrap(carol, "tss.dkg.r3", silent)
        with pytest.raises(DkgFailed, match="carol signed another transcript than ours"):
            await bob.node.dkg("mint")
        assert [await seat.node.evidence() for seat in (alice, bob, carol)] == [[], [], []]
        assert alice.node.public("mint") is None


async def test_views_of_unknown_sessions_and_of_no_form_are_refused(tmp_path):
    async with committee_of(tmp_path, 2, 2) as (_alice, bob):
        for body in (b"", bytes(32), b"\xff" * 99):
            with pytest.raises(PeerRefused) as refused:
                await bob.peers.call(1, VIEWS, body)
            assert refused.value.code == "unknown-attempt"


def test_views_read_back_and_nothing_else_is_one():
    for view in (View(), View([], Signed(bytes(32), b"key"))):
        data = view.encode()
        assert View.decode(data) == view
        for cut in range(len(data)):
            with pytest.raises(DecodeError):
                View.decode(data[:cut])
        with pytest.raises(DecodeError):
            View.decode(data + b"\0")
    for bad in (
        b"\xff\xff" + bytes(9),
        b"\0\1\0\0\0\1\x63\0\0\0\0",
        b"\0\1\0\0\0\0\0\0\0\0",
        b"\0\0\0\0\0\1x",
    ):
        with pytest.raises(DecodeError):
            View.decode(bad)
