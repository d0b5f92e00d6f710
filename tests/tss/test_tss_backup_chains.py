"""Backups of keys that were refreshed: the chain is followed to its end, kept whole, and never shortened."""

from dataclasses import replace

import pytest

from tests.tss.rotation.session import Held
from tests.tss.shells import committee_of, noticed, sign_test, until
from tests.tss.test_tss_backup import announced, backed_up, came_back, key_everywhere
from tss import backup, recovery, rehearsal
from tss.recovery import RecoveryFault, RecoveryFile
from tss.rehearsal import RehearsalFailed, rehearse
from tss.vault import ShareVault

NOW = 1_800_000_000.0


class Kept:
    """A simulated committee's key as a member's signer.db keeps it, refresh by refresh."""

    def __init__(self, held):
        self.held = held
        roster = held.chain.base.transcript.roster
        self.links = (held.chain.base.encode(), *(link.encode() for link in held.chain.links))
        self.chain = recovery.RecoveryChain(
            roster.sid, roster.purpose, roster.epoch, "active", held.public.encode(), self.links, b"", NOW
        )


def test_a_chain_is_extended_only_by_refreshes_of_itself():
    once = Held.made(3, 2)
    old, new, other = Kept(once).chain, Kept(once.refreshed()).chain, Kept(once.refreshed(attempt=2)).chain
    assert new.extends(old)
    assert not old.extends(new)
    assert not new.extends(new)
    assert len({old.head, new.head, other.head}) == 3
    assert recovery.newest([old], [new])[0].links == new.links
    assert recovery.newest([new], [old])[0].links == new.links
    assert recovery.newest([replace(old, state="verified")], [new])[0].state == "verified"
    with pytest.raises(RecoveryFault, match="two histories"):
        recovery.newest([new], [other])
    with pytest.raises(RecoveryFault, match="is damaged"):
        recovery.newest([new], [replace(new, links=(*new.links, b"garbage"))])


async def test_refreshed_keys_are_restored_to_their_last_share_and_stored_as_before(tmp_path):
    held = Held.made(4, 2).refreshed().refreshed()
    chain = Kept(held).chain
    for member, key in held.keys.items():
        folder = tmp_path / str(member)
        (folder / "keys").mkdir(parents=True, mode=0o700)
        await backup.add_keys(folder, held.who(member), [chain])
        assert [c.links for c in await backup.chains_of(folder)] == [chain.links]
        share = ShareVault(folder / "keys", held.who(member)).load(chain.purpose, chain.epoch)
        assert share == key.export_secret()


async def test_a_member_that_a_refresh_left_out_is_told_that_its_share_is_gone(tmp_path):
    held = Held.made(4, 2).refreshed((1, 2, 3))
    (tmp_path / "keys").mkdir()
    (said,) = await backup.add_keys(tmp_path, held.who(4), [Kept(held).chain])
    assert "left out of a refresh" in said
    assert not list((tmp_path / "keys").iterdir())
    over = replace(Kept(held).chain, state="retired")
    (tmp_path / "b" / "keys").mkdir(parents=True)
    assert await backup.add_keys(tmp_path / "b", held.who(4), [over]) == [], "nobody misses a retired key"


async def refreshed_by_all(seats):
    await seats[0].node.key_work.refresh("anchor")
    want = seats[0].node.public("anchor")
    await until(lambda: all(seat.node.public("anchor") == want for seat in seats))


async def test_a_backup_from_before_a_refresh_is_refused_and_one_from_after_it_signs(tmp_path):
    async with committee_of(tmp_path, 3, 3) as seats:
        alice, bob, carol = seats
        await key_everywhere(seats)
        words, old = await backed_up(bob, tmp_path)
        await refreshed_by_all(seats)
        chains = RecoveryFile.read(old).chains
        (newer,) = await rehearsal.newer_chains(bob.peers, [1, 3], [bob.committee.committee], chains)
        assert "holds 2 certificates of the anchor key of epoch 1, this recovery file 1" in newer.reason
        assert "good for nothing together" in newer.reason
        heads = backup.heads_of(await backup.chains_of(bob.folder))
        backup.note(bob.folder, "backup", backup.heads_of(chains), NOW, words=True)
        assert "1 keys changed since the backup" in backup.standing(bob.folder, heads, NOW).backup
        folder = bob.folder / "rehearsal"
        stale = await came_back(bob, folder, words, old)
        with pytest.raises(RehearsalFailed, match="make a new backup"):
            await rehearse(folder, bob.committee, stale, chains, await announced(bob))

        _, new = await backed_up(bob, tmp_path)
        chains = RecoveryFile.read(new).chains
        assert [len(chain.links) for chain in chains] == [2]
        assert await rehearsal.newer_chains(bob.peers, [1, 3], [bob.committee.committee], chains) == []
        restored = await came_back(bob, folder, words, new)
        assert list(await rehearse(folder, bob.committee, restored, chains, await announced(bob))) == [
            "anchor"
        ]
        await bob.down()
        bob.folder.rename(tmp_path / "lost")
        merged = recovery.newest(RecoveryFile.read(old).chains, [newer.chain])
        bob.identity = await came_back(bob, bob.folder, words, old, chains=merged)
        await bob.up()
        assert bob.node.public("anchor") == carol.node.public("anchor")
        await noticed(alice, bob)
        await sign_test(alice.node, b"under the refreshed shares, all three needed")
        await refreshed_by_all(seats)
        await sign_test(bob.node, b"and once more after the next refresh")


async def test_a_stranger_brings_no_keys_whatever_his_own_committee_signed(tmp_path):
    async with committee_of(tmp_path / "ours", 2, 2) as ours, committee_of(tmp_path / "his", 2, 2) as his:
        for seats in (ours, his):
            await key_everywhere(seats)
        (tmp_path / "stolen").mkdir()
        _, path = await backed_up(his[1], tmp_path / "stolen")
        strange, committee = RecoveryFile.read(path), ours[0].committee.committee
        with pytest.raises(RecoveryFault, match="no member of the committee"):
            recovery.of_member(strange, [committee])
        _, path = await backed_up(ours[1], tmp_path)
        member = RecoveryFile.read(path)
        assert recovery.of_member(member, [committee]) == member.chains
        assert (
            recovery.of_member(replace(member, chains=member.chains + strange.chains), [committee])
            == member.chains
        )
        later = replace(committee, epoch=2, previous=committee.hash)
        assert recovery.of_member(member, [later]) == member.chains
        for lie in ({"sid": bytes(32)}, {"purpose": "treasury"}, {"epoch": 2}):
            renamed = replace(member, chains=(replace(member.chains[0], **lie),))
            with pytest.raises(RecoveryFault, match="is the anchor key of epoch 1"):
                recovery.of_member(renamed, [committee])
