"""Spent nonces of ended starts go after a month, and nothing can be signed with them all the same."""

import time

import pytest
import sqlalchemy as sa

from tests.tss.shells import committee_of, noticed, sign_test, until
from tss import tables
from tss.signing.messages import Refusal, read_answer
from tss.signing_member import SHARES
from tss.trimming import KEPT_SECONDS, Trimming


async def count(seat, table):
    ((number,),) = await seat.node._store.rows(sa.select(sa.func.count()).select_from(table))
    return number


def trimming(seat, ahead):
    return Trimming(seat.node._store, seat.node.boot_id, lambda: time.time() + ahead)


async def shares_of_bob(alice, text):
    """Have bob sign a test with alice, and what she sent him for it."""
    sent, real = [], alice.peers.call

    async def recording(member, topic, body, **more):
        if (member, topic) == (2, SHARES):
            sent.append(body)
        return await real(member, topic, body, **more)

    alice.peers.call = recording
    try:
        await sign_test(alice.node, text)
    finally:
        alice.peers.call = real
    return sent[0]


async def test_rows_of_an_ended_start_go_after_a_month_and_their_nonces_sign_nothing(tmp_path):
    async with committee_of(tmp_path, 2, 2) as (alice, bob):
        await alice.node.dkg("anchor")
        await until(lambda: bob.node.public("anchor"))
        body = await shares_of_bob(alice, b"once")
        await bob.down()
        await bob.up()
        await noticed(alice, bob)
        await noticed(bob, alice)
        before = await count(bob, tables.nonces)
        assert before >= 2
        again = read_answer(await alice.peers.call(2, SHARES, body))
        assert not isinstance(again, Refusal), "the stored share, while its row is there"
        assert await trimming(bob, KEPT_SECONDS - 3600).trim() == 0, "a month it is kept"
        assert await count(bob, tables.nonces) == before
        assert await trimming(bob, KEPT_SECONDS + 3600).trim() == before
        assert await count(bob, tables.nonces) == await count(bob, tables.sessions) == 0
        refused = read_answer(await alice.peers.call(2, SHARES, body))
        assert isinstance(refused, Refusal)
        assert refused.code == "unknown-commitment"
        await sign_test(alice.node, b"twice", "anchor")
        assert await bob.node._store.check_audit() > 0
        assert {info.state for info in bob.node.keys().values()} == {"verified"}


async def test_rows_of_the_start_that_runs_never_go(tmp_path):
    async with committee_of(tmp_path, 2, 2) as (alice, bob):
        await alice.node.dkg("anchor")
        await until(lambda: bob.node.public("anchor"))
        body = await shares_of_bob(alice, b"once")
        before = await count(bob, tables.nonces)
        assert await trimming(bob, 100 * KEPT_SECONDS).trim() == 0
        assert await count(bob, tables.nonces) == before
        assert not isinstance(read_answer(await alice.peers.call(2, SHARES, body)), Refusal)
        assert [row for row in await bob.node.audit.store.rows(0, 1000) if row.kind == "trimmed"] == []


@pytest.mark.parametrize("most", [1, 2_000])
async def test_many_rows_go_in_small_transactions(tmp_path, monkeypatch, most):
    monkeypatch.setattr("tss.trimming._AT_ONCE", most)
    async with committee_of(tmp_path, 2, 2) as (alice, bob):
        await alice.node.dkg("anchor")
        await until(lambda: bob.node.public("anchor"))
        await shares_of_bob(alice, b"once")
        await bob.down()
        await bob.up()
        rows = await count(bob, tables.nonces)
        assert await trimming(bob, KEPT_SECONDS + 3600).trim() == rows
        told = [row.detail for row in await bob.node.audit.store.rows(0, 1000) if row.kind == "trimmed"]
        assert sum(int(line.split()[0]) for line in told if "spent nonces" in line) == rows
        assert (len(told) > 2) is (most == 1)


async def test_a_key_whose_proof_lost_our_row_is_proved_again_by_itself(tmp_path):
    async with committee_of(tmp_path, 3, 2) as (alice, bob, carol):
        await alice.node.dkg("anchor")
        await until(lambda: all(seat.node.public("anchor") for seat in (bob, carol)))
        key = bob.node._keyring.serving("anchor")
        async with bob.node._store.transaction() as db:
            await db.execute(sa.delete(tables.nonces))
            await db.execute(sa.update(tables.keys).values(state="acked", proof=b""))
        await bob.down()
        await bob.up()
        assert bob.node.keys()["anchor"].state in {"acked", "verified"}
        await until(lambda: bob.node.public("anchor") is not None, 60)
        assert bob.node._keyring.serving("anchor").sid == key.sid, "the same key, no other is made"
        await sign_test(bob.node, b"and it signs", own=True)
