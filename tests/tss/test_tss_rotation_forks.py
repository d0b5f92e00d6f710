"""Two certified, proved refreshes of the same shares, shown to some members only: all come to one chain again."""

import asyncio

import pytest

from tests.tss.shells import committee_of, noticed, sign_test, until
from tests.tss.test_tss_rotation import all_on, group_of, with_key
from tss.rotation.link import HeldLink, Link
from tss.rotation.plan import Work
from tss.rotation_keys import proof_payload


async def held_back(seats):
    """Two refreshes of the DKG's shares, both certified and proved by all, neither adopted: (sid, proof) each."""
    relay = seats[0].node.key_work.relay
    key, found = seats[0].node._keyring.serving("anchor"), []
    for _ in range(2):
        plan = await relay._plan(key, Work.REFRESH, tuple(range(1, len(seats) + 1)))
        found.append(await relay._certified(plan, key.info.public))
    proved = []
    for link in found:
        for seat in seats:
            await seat.node.key_work.keys.accept(link)
        pending = {held.links[-1].sid: held for held in seats[0].node._keyring.pending(key.sid)}
        proof = await relay._prove(pending[link.sid], proof_payload("anchor", link.sid))
        proved.append((link.sid, proof))
    return proved


async def forked(seats):
    """All have the lower refresh and one more after it; carol, who missed that one, is given the higher."""
    low, high = await held_back(seats)
    for seat in seats:
        await seat.node.key_work.keys.adopt(*low)
    carol = seats[2]

    async def unheard(_member, _body):
        raise ConnectionError

    heard, carol.peers._handlers["tss.rotation.proof"] = carol.peers._handlers["tss.rotation.proof"], unheard
    relay, key = seats[0].node.key_work.relay, seats[0].node._keyring.serving("anchor")
    # An honest driver would finish the higher one first.
    link = await relay._certified(await relay._plan(key, Work.REFRESH, (1, 2, 3)), key.info.public)
    await relay._finish_refresh("anchor", link)
    carol.peers._handlers["tss.rotation.proof"] = heard
    await carol.node.key_work.keys.adopt(*high)
    return group_of(seats[0]).share_set, high


@pytest.fixture
def deaf(monkeypatch):
    """Nobody catches up by itself while this is not set."""
    from tss.key_work import KeyWork

    asked = asyncio.Event()
    real = KeyWork._catch_up

    async def later(self):
        await asked.wait()
        await real(self)

    monkeypatch.setattr(KeyWork, "_catch_up", later)
    return asked


async def test_a_member_that_was_given_a_held_back_proof_comes_back_to_what_the_others_serve(tmp_path, deaf):
    async with committee_of(tmp_path, 3, 2) as seats:
        alice, _bob, carol = seats
        await with_key(seats)
        served, high = await forked(seats)
        on_a_branch = carol.node._keyring.serving("anchor")
        assert (len(on_a_branch.links), on_a_branch.links[-1].sid) == (1, high[0])
        deaf.set()
        await until(all_on(seats, served), timeout=15)
        await sign_test(carol.node, b"one chain again")
        await carol.down()
        (carol.folder / "keys" / "anchor-1.share").unlink()
        await carol.up()
        assert carol.node.public("anchor").share_set == served, "and what it stored leads there"
        await noticed(alice, carol)
        await sign_test(carol.node, b"after a restart")
        for seat in seats:
            assert await seat.node.evidence() == []


async def test_a_member_that_the_others_left_out_meanwhile_learns_it_on_its_branch_too(tmp_path, deaf):
    async with committee_of(tmp_path, 4, 2) as seats:
        alice, bob, carol, dave = seats
        await with_key(seats)
        low, high = await held_back(seats)
        for seat in seats:
            await seat.node.key_work.keys.adopt(*low)
        for seat in (bob, dave):
            await seat.node.key_work.consent("anchor", ["carol"])
        relay, key = alice.node.key_work.relay, alice.node._keyring.serving("anchor")
        await relay._store.consent(key.info.public.share_set, (3,))
        plan = await relay._plan(key, Work.REFRESH, (1, 2, 4))
        await relay._finish_refresh("anchor", await relay._certified(plan, key.info.public))
        await carol.node.key_work.keys.adopt(*high)
        assert carol.node.public("anchor") is not None
        deaf.set()
        await until(lambda: carol.node.keys()["anchor"].state == "removed", timeout=60)
        assert not (carol.folder / "keys" / "anchor-1.share").exists()
        for seat in (alice, bob, dave):
            await sign_test(seat.node, b"three go on")


async def test_who_serves_the_longer_chain_stays_there_whatever_it_is_shown(tmp_path, deaf):
    async with committee_of(tmp_path, 3, 2) as seats:
        alice, _bob, carol = seats
        await with_key(seats)
        served, high = await forked(seats)
        catch_up, key = alice.node.key_work.catch_up, alice.node._keyring.serving("anchor")
        shown = await carol.node.key_work.keys.following(
            key.sid, [link.roster.plan.base for link in key.links][:1]
        )
        assert Link.decode(shown.link).sid == high[0]
        await catch_up._take(key, 3, shown)
        await catch_up.all()
        assert group_of(alice).share_set == served
        await sign_test(alice.node, b"undisturbed")


async def test_a_branch_without_the_signatures_of_all_is_not_taken(tmp_path, deaf):
    async with committee_of(tmp_path, 3, 2) as seats:
        _alice, bob, carol = seats
        await with_key(seats)
        _served, high = await forked(seats)
        for seat in seats[:2]:
            answer = seat.peers._handlers["tss.rotation.links"]

            async def forged(member, body, real=answer):
                held = HeldLink.decode(await real(member, body))
                return HeldLink(held.link, held.proof[:-1] + bytes([held.proof[-1] ^ 1])).encode()

            seat.peers._handlers["tss.rotation.links"] = forged
        await carol.node.key_work.catch_up.all()
        assert carol.node._keyring.serving("anchor").links[-1].sid == high[0]
        await sign_test(bob.node, b"undisturbed")
