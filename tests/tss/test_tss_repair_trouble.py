"""A repair whose writes fail at one of those who take part: nothing is lost or disturbed, the next one succeeds."""

import asyncio

import pytest

from tests.tss.shells import committee_of, noticed, sign_test
from tests.tss.test_tss_rotation import secret_of, with_key
from tss.dkg.faults import RestoreFault
from tss.node import DkgFailed
from tss.rotation import chain
from tss.rotation_store import RotationStore
from tss.vault import ShareVault


def full_at(monkeypatch, kind, method, whose, number):
    """Let the n-th call of a store's method fail as on a full disk, before anything is written; gives the calls."""
    real, calls = getattr(kind, method), []

    def counted(self):
        if whose(self):
            calls.append(method)
        return len(calls) == number and whose(self)

    async def failing(self, *arguments):
        if counted(self):
            raise OSError(28, "No space left on device")
        return await real(self, *arguments)

    def failing_now(self, *arguments):
        if counted(self):
            raise OSError(28, "No space left on device")
        return real(self, *arguments)

    monkeypatch.setattr(kind, method, failing if asyncio.iscoroutinefunction(real) else failing_now)
    return calls


async def anew(seat, others):
    await seat.down()
    await seat.up()
    for other in others:
        if other is not seat:
            await noticed(other, seat)
            await noticed(seat, other)


@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize("who", ["alice", "carol"])
async def test_a_repair_that_cannot_be_noted_leaves_every_share_as_it_was(tmp_path, monkeypatch, who, number):
    """Alice repairs with bob and carol; the disk of one is full at its n-th note of it."""
    async with committee_of(tmp_path, 3, 2) as seats:
        alice, _bob, carol = seats
        await with_key(seats)
        before = [secret_of(seat) for seat in seats]
        victim = alice if who == "alice" else carol
        store = victim.node.key_work.member._store
        with monkeypatch.context() as patch:
            calls = full_at(patch, RotationStore, "save", lambda one: one is store, number)
            with pytest.raises(DkgFailed, match=who):
                await alice.node.key_work.repair("anchor")
        assert len(calls) >= number, "the write that fails is one that happens"
        assert [secret_of(seat) for seat in seats] == before
        for seat in seats:
            await sign_test(seat.node, b"undisturbed " + seat.folder.name.encode())
        await anew(victim, seats)
        assert (await alice.node.key_work.repair("anchor")).work == "repair"
        assert [secret_of(seat) for seat in seats] == before
        await sign_test(victim.node, b"after")


async def test_who_forgot_an_attempt_that_others_saw_begins_again_under_a_later_number(tmp_path, monkeypatch):
    async with committee_of(tmp_path, 3, 2) as seats:
        alice = seats[0]
        await with_key(seats)
        relay = alice.node.key_work.relay
        monkeypatch.setattr(relay, "_clock", lambda: 0)  # as when all happens within one second
        with monkeypatch.context() as patch:
            full_at(patch, RotationStore, "save", lambda one: one is alice.node.key_work.member._store, 1)
            with pytest.raises(DkgFailed, match="alice"):
                await alice.node.key_work.repair("anchor")
        base = alice.node.public("anchor").share_set
        assert await relay._store.highest_attempt(base) == 0
        assert (await alice.node.key_work.repair("anchor")).work == "repair"
        assert await relay._store.highest_attempt(base) == 2


@pytest.mark.parametrize(("kind", "method", "number"), [(RotationStore, "save", 3), (ShareVault, "save", 1)])
async def test_a_lost_share_whose_repair_could_not_be_written_is_repaired_again(
    tmp_path, monkeypatch, kind, method, number
):
    """The one who lost its share fails to write the link, or the share itself; nobody else notices."""
    async with committee_of(tmp_path, 3, 2) as seats:
        alice, bob, carol = seats
        await with_key(seats)
        share = secret_of(alice)
        await alice.down()
        (alice.folder / "keys" / "anchor-1.share").unlink()

        def lost(*_arguments):
            raise RestoreFault("the sealed shares are damaged")

        monkeypatch.setattr(chain.participant, "restore", lost)
        await alice.up()
        for other in (bob, carol):
            await noticed(other, alice)
            await noticed(alice, other)
        assert alice.node.keys()["anchor"].state == "lost"
        node = alice.node
        mine = node.key_work.member._store if kind is RotationStore else node._keyring._vault
        with monkeypatch.context() as patch:
            calls = full_at(patch, kind, method, lambda one: one is mine, number)
            with pytest.raises((DkgFailed, OSError)):
                await node.key_work.repair("anchor")
        assert len(calls) >= number, "the write that fails is one that happens"
        await sign_test(bob.node, b"the others do not wait")
        await anew(alice, seats)
        if alice.node.keys()["anchor"].state == "lost":
            await alice.node.key_work.repair("anchor")
        assert secret_of(alice) == share
        assert (alice.folder / "keys" / "anchor-1.share").exists()
        await sign_test(alice.node, b"repaired")
