"""Damaged recovery data: the node starts all the same, fetches them from the others, and its share comes back."""

import sqlite3
from contextlib import closing, contextmanager

import pytest

from tests.tss.shells import committee_of, noticed, sign_test, until
from tests.tss.test_tss_rotation import secret_of, with_key
from tss.backup import leads_to_its_key, stored_chains
from tss.node import DkgFailed, KeyFault, SigningFailed


@contextmanager
def database(seat):
    with closing(sqlite3.connect(seat.folder / "signer.db")) as db, db:
        yield db


def damaged(data, at):
    spoiled = bytearray(data)
    spoiled[at] ^= 0xFF
    return bytes(spoiled)


def spoil(seat, column="recovery", at=3):
    with database(seat) as db:
        [(old,)] = db.execute(f"SELECT {column} FROM keys").fetchall()
        db.execute(f"UPDATE keys SET {column} = ?", (damaged(old, at),))


def forget_refreshes(seat):
    with database(seat) as db:
        db.execute("DELETE FROM rotations")


async def whole(seat):
    chains = await stored_chains(seat.node._store)
    return all(map(leads_to_its_key, chains))


async def back(seat, *others):
    await seat.up()
    for other in others:
        await noticed(seat, other)
        await noticed(other, seat)


@pytest.mark.parametrize("with_share", [True, False])
@pytest.mark.parametrize("at", [3, -9, 700], ids=["no form", "no signature", "no share"])
async def test_a_damaged_key_is_fetched_from_the_others_and_refreshed_again(tmp_path, at, with_share):
    async with committee_of(tmp_path, 3, 2) as seats:
        alice, bob, carol = seats
        await with_key(seats)
        share = secret_of(alice)
        await alice.down()
        spoil(alice, at=at)
        if not with_share:
            (alice.folder / "keys" / "anchor-1.share").unlink()
        await back(alice, bob, carol)
        await until(alice.node.mender._task.done)
        assert alice.node.mender.damaged == ()
        assert secret_of(alice) == share
        assert await whole(alice)
        await sign_test(alice.node, b"mended")
        await bob.node.key_work.refresh("anchor")
        await alice.down()
        await back(alice, bob, carol)
        await sign_test(alice.node, b"refreshed")


async def test_a_refresh_that_is_missing_is_fetched_and_the_share_of_it_comes_back(tmp_path):
    async with committee_of(tmp_path, 3, 2) as seats:
        alice, bob, carol = seats
        await with_key(seats)
        await bob.node.key_work.refresh("anchor")
        share = secret_of(alice)
        await alice.down()
        forget_refreshes(alice)
        (alice.folder / "keys" / "anchor-1.share").unlink()
        await bob.down()
        await carol.down()
        await alice.up()
        assert alice.node.keys()["anchor"].state == "lost"
        with pytest.raises(SigningFailed, match="run `holdfast tss repair --purpose anchor`"):
            await sign_test(alice.node, b"lost")
        with pytest.raises(DkgFailed, match="run `holdfast tss repair --purpose anchor`"):
            await alice.node.key_work.refresh("anchor")
        await until(lambda: alice.node.mender.damaged == ("anchor",))
        await bob.up()
        await carol.up()
        await until(lambda: alice.node.keys()["anchor"].state == "verified")
        assert secret_of(alice) == share
        assert await whole(alice)
        await until(alice.node.mender._task.done)
        await carol.node.key_work.refresh("anchor")
        assert [info.generation for info in alice.node.every_key()] == [2]


async def test_what_does_not_lead_to_our_key_is_not_taken(tmp_path):
    async with committee_of(tmp_path, 3, 2) as seats:
        alice, bob, carol = seats
        await with_key(seats)
        await bob.node.dkg("mint")
        share = secret_of(alice)
        await alice.down()
        with database(alice) as db:
            [(old,)] = db.execute("SELECT recovery FROM keys WHERE purpose = 'anchor'").fetchall()
            db.execute("UPDATE keys SET recovery = ? WHERE purpose = 'anchor'", (damaged(old, 3),))
        await carol.down()
        real = bob.node.rehearsals.chains

        async def exchanged():
            one, two = await real()
            return [type(one)(*_but_links(one, two.links)), type(two)(*_but_links(two, one.links))]

        bob.node.rehearsals.chains = exchanged
        await back(alice, bob)
        [chain] = await alice.node.mender.look()
        assert not await alice.node.mender.mend(chain)
        assert alice.node.keys()["anchor"].state == "lost"
        bob.node.rehearsals.chains = real
        await until(lambda: alice.node.keys()["anchor"].state == "verified")
        assert secret_of(alice) == share


def _but_links(chain, links):
    return (chain.sid, chain.purpose, chain.epoch, chain.state, chain.public, links, chain.proof, chain.at)


async def test_a_group_that_cannot_be_read_is_a_sentence_at_the_start(tmp_path):
    async with committee_of(tmp_path, 3, 2) as seats:
        alice = seats[0]
        await with_key(seats)
        await alice.down()
        spoil(alice, "public", 0)
        with pytest.raises(KeyFault, match=r"signer.db is damaged .* `holdfast node restore`"):
            await alice.up()
        await alice.peers.close()
        alice.node = None
