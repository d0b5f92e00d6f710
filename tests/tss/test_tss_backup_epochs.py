"""Backups over a change of the committee: keys of two epochs come back, each with the committee that made it."""

import sqlite3
from contextlib import closing

import pytest

from tests.tss.epochs import epochs_of
from tests.tss.shells import noticed, sign_test, until
from tests.tss.test_tss_backup import announced, backed_up, came_back
from tests.tss.test_tss_epochs import signs
from tss import committee_files as files
from tss import recovery
from tss.recovery import RecoveryFile
from tss.rehearsal import newer_chains, rehearse


async def two_epochs(it):
    """Keys of epochs 1 and 2: alice and bob stay, dave comes for carol."""
    old = await it.key()
    for seat in it.seats.values():  # as `rotate accept` leaves the folders
        (seat.folder / files.PRESENT).write_text(it.files[0].to_json())
    early = await backed_up(it["bob"], it.folder)
    early[1].rename(it.folder / "early.json")
    await it.serve(it.propose({"carol": "dave"}))
    for seat in it.seats.values():
        (seat.folder / files.PRESENT).write_text(it.files[1].to_json())
    return (early[0], it.folder / "early.json"), old, await it.key()


async def test_keys_of_two_epochs_come_back_and_each_signs(tmp_path):
    async with epochs_of(tmp_path, 4, 3, 2) as it:
        _, old, new = await two_epochs(it)
        bob, dave = it["bob"], it["dave"]
        words, path = await backed_up(bob, tmp_path)
        await bob.down()
        bob.folder.rename(tmp_path / "lost")
        bob.identity = await came_back(bob, bob.folder, words, path)
        assert files.known(bob.folder, bob.committee.committee) == tuple(f.committee for f in it.files)
        await bob.up()
        await noticed(it["alice"], bob)
        await noticed(bob, it["alice"])
        assert signs(old.public, b"move", await bob.node.sign("treasury", b"move", epoch=1))
        assert signs(new.public, b"move", await bob.node.sign("treasury", b"move", epoch=2))
        assert signs(old.public, b"for dave", await dave.node.sign("treasury", b"for dave", epoch=1))


async def test_a_rehearsal_proves_the_shares_of_both_epochs(tmp_path):
    async with epochs_of(tmp_path, 4, 3, 2) as it:
        await two_epochs(it)
        bob = it["bob"]
        await bob.node.retire("treasury", 1)
        words, path = await backed_up(bob, tmp_path)
        place = tmp_path / "bob" / "rehearsal"
        restored, chains = await came_back(bob, place, words, path), RecoveryFile.read(path).chains
        signed = await rehearse(place, bob.committee, restored, chains, await announced(bob))
        assert sorted(signed) == ["treasury", "treasury 1"]
        dave = it["dave"]
        words, path = await backed_up(dave, tmp_path)
        place = tmp_path / "dave" / "rehearsal"
        restored, chains = await came_back(dave, place, words, path), RecoveryFile.read(path).chains
        signed = await rehearse(place, dave.committee, restored, chains, await announced(dave))
        assert list(signed) == ["treasury"], "an old key is none of a newcomer's"


async def test_a_backup_from_before_the_rotation_takes_the_new_key_from_the_others(tmp_path):
    async with epochs_of(tmp_path, 4, 3, 2) as it:
        (words, path), old, new = await two_epochs(it)
        alice, bob = it["alice"], it["bob"]
        early = RecoveryFile.read(path)
        assert [chain.epoch for chain in early.chains] == [1]
        epochs = recovery.committees_of(bob.committee.committee, early)
        assert epochs == tuple(signed.committee for signed in it.files)
        [newer] = await newer_chains(bob.peers, [1, 3], epochs, early.chains)
        assert (newer.chain.epoch, newer.known) == (2, 0)
        await bob.down()
        bob.folder.rename(tmp_path / "lost")
        both = recovery.newest(early.chains, [newer.chain])
        bob.identity = await came_back(bob, bob.folder, words, path, chains=both)
        assert files.known(bob.folder, bob.committee.committee) == epochs
        await bob.up()
        await noticed(alice, bob)
        await noticed(bob, alice)
        assert signs(old.public, b"move", await bob.node.sign("treasury", b"move", epoch=1))
        await until(lambda: bob.node.public("treasury", 2) == new.public)
        await sign_test(bob.node, b"proved anew", "treasury")


async def test_all_keys_that_came_from_the_others_are_proved_at_once_not_one_after_the_other(tmp_path):
    purposes = ("treasury", "anchor", "mint")
    async with epochs_of(tmp_path, 3, 3, 2) as it:
        for purpose in purposes[:2]:
            await it.key(purpose)
        alice, bob = it["alice"], it["bob"]
        (bob.folder / files.PRESENT).write_text(it.files[0].to_json())
        words, path = await backed_up(bob, tmp_path)
        await it.key(purposes[2])
        _, newest = await backed_up(alice, tmp_path)
        chains = recovery.newest((), RecoveryFile.read(newest).chains)
        assert [chain.state for chain in chains] == ["acked"] * 3
        await bob.down()
        bob.folder.rename(tmp_path / "lost")
        bob.identity = await came_back(bob, bob.folder, words, path, chains=chains)
        await bob.up()
        await until(lambda: all(bob.node.public(purpose) is not None for purpose in purposes))


async def test_another_members_file_brings_keys_of_every_epoch_that_the_committee_comes_from(tmp_path):
    async with epochs_of(tmp_path, 4, 3, 2) as it:
        await two_epochs(it)
        third = it.propose()
        _, path = await backed_up(it["alice"], tmp_path)
        file = RecoveryFile.read(path)
        epochs = recovery.committees_of(third.committee, file)
        assert [one.epoch for one in epochs] == [1, 2, 3]
        assert [chain.epoch for chain in recovery.of_member(file, epochs)] == [1, 2]
        assert [chain.epoch for chain in recovery.of_member(file, [third.committee])] == [2]


@pytest.mark.parametrize("epoch", [1, 2])
async def test_a_damaged_transcript_of_either_epoch_is_fetched(tmp_path, epoch):
    async with epochs_of(tmp_path, 3, 3, 2) as it:
        await it.key()
        await it.serve(it.propose())
        await it.key()
        alice, bob = it["alice"], it["bob"]
        await alice.down()
        with closing(sqlite3.connect(alice.folder / "signer.db")) as db, db:
            db.execute("UPDATE keys SET recovery = x'00' WHERE epoch = ?", (epoch,))
        await alice.up()
        await noticed(bob, alice)
        await noticed(alice, bob)
        if (
            epoch == 1 and alice.node._keyring.signing("treasury", 1) is None
        ):  # who lost an old share has it signed by the others, as a newcomer does
            made = await alice.node.sign("treasury", b"without ours", epoch=1)
            assert signs(bob.node.public("treasury", 1), b"without ours", made)
        await until(lambda: alice.node._keyring.signing("treasury", epoch) is not None)
        await sign_test(alice.node, b"whole again", "treasury", epoch=epoch, own=True)
