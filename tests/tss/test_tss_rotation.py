"""Refresh, removal and repair in committees of real nodes over real TLS, in one process."""

import asyncio
import shutil

import pytest

from tests.tss.shells import committee_of, noticed, sign_test, until, valid
from tss.frost.hashing import tagged_hash
from tss.node import DkgFailed, SigningFailed


def secret_of(seat, purpose="anchor"):
    return bytes(seat.node._keyring.serving(purpose).share.export_secret())


def group_of(seat, purpose="anchor"):
    return seat.node.public(purpose)


def all_on(seats, share_set):
    return lambda: all(
        seat.node._keyring.serving("anchor").info.public.share_set == share_set for seat in seats
    )


async def with_key(seats, purpose="anchor"):
    await seats[0].node.dkg(purpose)
    await until(lambda: all(seat.node.public(purpose) for seat in seats))
    return seats[0].node.public(purpose)


async def refreshed(seat, seats, **options):
    done = await seat.node.key_work.refresh("anchor", **options)
    await until(all_on(seats, done.share_set))
    return done


async def test_a_refresh_changes_every_share_and_nothing_that_anybody_sees(tmp_path):
    async with committee_of(tmp_path, 3, 2) as seats:
        alice, bob, carol = seats
        before = await with_key(seats)
        await sign_test(alice.node, b"before")
        old = {seat.folder.name: secret_of(seat) for seat in seats}
        files = {seat.folder.name: (seat.folder / "keys" / "anchor-1.share").read_bytes() for seat in seats}
        done = await refreshed(bob, seats)
        assert (done.generation, done.members, done.removed) == (1, (1, 2, 3), ())
        for seat in seats:
            assert secret_of(seat) != old[seat.folder.name]
            assert (seat.folder / "keys" / "anchor-1.share").read_bytes() != files[seat.folder.name]
            assert group_of(seat).group_key == before.group_key
        for seat in seats:
            await sign_test(seat.node, b"after, led by " + seat.folder.name.encode())
        await carol.down()
        await sign_test(alice.node, b"two of the new shares")
        await carol.up()
        await noticed(alice, carol)
        await sign_test(carol.node, b"and a restart keeps them")
        assert (await refreshed(alice, seats)).generation == 2
        message = tagged_hash("tests/message", b"pay")
        signature = (await alice.node.sign("anchor", b"pay"))[0]
        assert valid(before.x_only, message, signature)


async def test_nonces_of_replaced_shares_are_counted_as_voided(tmp_path):
    async with committee_of(tmp_path, 3, 2) as seats:
        await with_key(seats)
        await sign_test(seats[0].node, b"some are spent, more lie in reserve")
        before = group_of(seats[0]).share_set
        book = seats[0].node._nonces
        assert book.of(before).unused > 0
        await refreshed(seats[1], seats)
        await until(lambda: book.of(before).unused == 0)
        counts = book.of(before)
        assert counts.made == counts.spent + counts.voided
        await sign_test(seats[0].node, b"under the new shares")
        assert book.of(group_of(seats[0]).share_set).unused > 0


async def test_requests_go_on_while_shares_are_refreshed(tmp_path):
    async with committee_of(tmp_path, 3, 2) as seats:
        await with_key(seats)
        stop, signed, lost = asyncio.Event(), [], []

        async def busy(seat):
            number = 0
            while not stop.is_set():
                number += 1
                try:
                    signed.append(await sign_test(seat.node, b"%d" % number))
                except SigningFailed as failed:
                    lost.append(failed)

        work = [asyncio.create_task(busy(seat)) for seat in seats]
        for seat in seats:
            await refreshed(seat, seats)
        await until(lambda: len(signed) > 10)
        stop.set()
        await asyncio.gather(*work)
        assert all(failed.retryable for failed in lost), [failed.reason for failed in lost]
        for seat in seats:
            assert await seat.node.evidence() == [], "nobody is accused for a share of the time before"


async def test_a_lost_share_file_is_restored_from_the_chain(tmp_path):
    async with committee_of(tmp_path, 3, 3) as seats:
        alice, bob, _ = seats
        await with_key(seats)
        await refreshed(alice, seats)
        await refreshed(alice, seats)
        share = secret_of(bob)
        await bob.down()
        (bob.folder / "keys" / "anchor-1.share").unlink()
        await bob.up()
        assert secret_of(bob) == share
        await noticed(alice, bob)
        await sign_test(alice.node, b"restored")


async def test_a_node_with_an_older_database_learns_the_refreshes_it_forgot(tmp_path):
    async with committee_of(tmp_path, 3, 3) as seats:
        alice, bob, _ = seats
        await with_key(seats)
        await bob.down()
        shutil.copy(bob.folder / "signer.db", tmp_path / "old.db")
        await bob.up()
        await noticed(alice, bob)
        await noticed(seats[2], bob)
        done = await refreshed(alice, seats)
        await bob.down()
        for rest in ("signer.db-wal", "signer.db-shm"):
            (bob.folder / rest).unlink(missing_ok=True)
        shutil.copy(tmp_path / "old.db", bob.folder / "signer.db")
        await bob.up()
        await until(all_on(seats, done.share_set), timeout=60)
        assert len(bob.node._keyring.serving("anchor").links) == 1, "the refresh that its database had not"
        await noticed(alice, bob)
        await sign_test(bob.node, b"with the new share")


async def test_removal_needs_every_other_operators_consent_and_ends_the_removed_ones_share(tmp_path):
    async with committee_of(tmp_path, 4, 2) as seats:
        alice, bob, carol, dave = seats
        await with_key(seats)
        with pytest.raises(DkgFailed, match=r"bob and carol refused: .*not agreed to remove dave") as failed:
            await alice.node.key_work.refresh("anchor", ["dave"])
        assert failed.value.code == "consent"
        await sign_test(dave.node, b"nothing happened")
        for seat in (bob, carol):
            await seat.node.key_work.consent("anchor", ["dave"])
        done = await alice.node.key_work.refresh("anchor", ["dave"])
        assert done.removed == (4,)
        await until(all_on((alice, bob, carol), done.share_set))
        await until(lambda: dave.node.keys()["anchor"].state == "removed", timeout=60)
        assert not (dave.folder / "keys" / "anchor-1.share").exists()
        with pytest.raises(SigningFailed, match="is only removed here: this member was left out"):
            await sign_test(dave.node, b"gone")
        for seat in (alice, bob, carol):
            await sign_test(seat.node, b"three go on")
        await dave.down()
        await dave.up()
        assert dave.node.public("anchor") is None
        assert (await alice.node.key_work.refresh("anchor")).members == (1, 2, 3)


async def test_impossible_removals_are_refused_with_the_reason(tmp_path):
    async with committee_of(tmp_path, 3, 2) as (alice, bob, _carol):
        work = alice.node.key_work
        with pytest.raises(DkgFailed, match="run `holdfast tss dkg --purpose anchor` first"):
            await work.refresh("anchor")
        await alice.node.dkg("anchor")
        for without, why in (
            (["zoe"], "zoe is no member"),
            (["alice"], "cannot remove itself"),
            (["bob", "carol"], "make a new key instead"),
        ):
            with pytest.raises(DkgFailed, match=why):
                await work.refresh("anchor", without)
        with pytest.raises(DkgFailed, match="names the members to remove"):
            await work.consent("anchor", [])
        await bob.down()
        with pytest.raises(DkgFailed, match=r"bob is down.*leave out who will not") as failed:
            await work.refresh("anchor")
        assert failed.value.culprits == (2,)


async def test_a_share_that_neither_vault_nor_transcript_give_is_repaired_by_t_others(tmp_path, monkeypatch):
    async with committee_of(tmp_path, 4, 2) as seats:
        alice, bob, carol, dave = seats
        await with_key(seats)
        await refreshed(alice, seats)
        share = secret_of(bob)
        await bob.down()
        (bob.folder / "keys" / "anchor-1.share").unlink()
        from tss.dkg.faults import RestoreFault
        from tss.rotation import chain

        def lost(*_arguments):
            raise RestoreFault("the sealed shares are damaged")

        with monkeypatch.context() as damaged:
            damaged.setattr(chain.participant, "restore", lost)
            await bob.up()
            assert bob.node.keys()["anchor"].state == "lost"
            assert bob.node.public("anchor") is None
            await noticed(alice, bob)
            await noticed(carol, bob)
            await noticed(dave, bob)
            await sign_test(alice.node, b"the others do not wait")
            with pytest.raises(DkgFailed, match="exactly 2 other members"):
                await bob.node.key_work.repair("anchor", ["carol"])
            done = await bob.node.key_work.repair("anchor", ["carol", "dave"])
            assert (done.work, done.generation, done.members) == ("repair", 1, (2, 3, 4))
            assert secret_of(bob) == share
            await sign_test(bob.node, b"repaired")
            await bob.down()
            (bob.folder / "keys" / "anchor-1.share").unlink()
            await bob.up()
            assert secret_of(bob) == share, "the repair is recovery data too"
        await noticed(alice, bob)
        assert (await bob.node.key_work.repair("anchor")).work == "repair", (
            "a share that is there comes out equal"
        )
        assert secret_of(bob) == share
        await sign_test(bob.node, b"still")


async def test_only_the_member_itself_gets_its_share_repaired(tmp_path):
    async with committee_of(tmp_path, 3, 2) as seats:
        alice, bob, carol = seats
        await with_key(seats)
        relay = alice.node.key_work.relay
        from tss.rotation.plan import Work

        key = alice.node._keyring.serving("anchor")
        plan = await relay._plan(key, Work.REPAIR, (1, 2, 3), receiver=3)
        with pytest.raises(DkgFailed, match="only carol itself may ask"):
            await relay._certified(plan, key.info.public)
        assert bob.node.public("anchor") == carol.node.public("anchor")
