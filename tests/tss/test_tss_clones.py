"""Two copies of one node: seen by their boot ids, told, refused until a new start; across our own restarts too."""

from dataclasses import replace

import pytest
import sqlalchemy as sa

from tests.tss.shells import committee_of, noticed, sign_test, until
from tss.clone_watch import CloneWatch
from tss.envelope import Envelope, Kind, ReplayWindow
from tss.store import Store

NOW = 1_000_000
OLD, NEW = (bytes([i]) * 16 for i in (1, 2))


def said(boot_id, sequence, *, time_ms=NOW, words=b"x"):
    """An envelope whose signature differs with its words, as real ones do."""
    return Envelope(
        Kind.REQUEST, bytes(32), 2, 1, boot_id, sequence, time_ms, "t", bytes(32), "", words, words * 64
    )


def test_a_boot_that_was_left_is_refused_when_it_comes_back():
    window = ReplayWindow()
    assert window.refusal(said(OLD, 1), NOW) is None
    assert window.refusal(said(NEW, 1, time_ms=NOW + 1), NOW) is None
    assert window.refusal(said(OLD, 2, time_ms=NOW + 2), NOW)[0] == "boot"
    assert window.refusal(said(NEW, 2, time_ms=NOW + 3), NOW) is None, "the later one goes on"


def test_a_running_machine_that_was_copied_is_refused_for_both_until_a_new_start():
    window = ReplayWindow()
    assert window.refusal(said(OLD, 7, words=b"a"), NOW) is None
    assert window.refusal(said(OLD, 7, words=b"a"), NOW)[0] == "replay", "the network's own repetition"
    assert window.refusal(said(OLD, 7, words=b"b"), NOW)[0] == "boot"
    assert window.refusal(said(OLD, 8, words=b"a"), NOW)[0] == "boot"
    assert window.refusal(said(NEW, 1), NOW) is None


@pytest.fixture
async def store(tmp_path):
    opened = Store(tmp_path / "signer.db", lambda: 5.0)
    yield opened
    await opened.close()


async def test_boots_and_alarms_outlive_our_own_restart(store):
    watch = CloneWatch(lambda: 5.0)
    await watch.open(store)
    window = watch.window(2)
    for boot in (OLD, NEW):
        assert watch.refusal(2, window, said(boot, 1), NOW) is None
    await watch.save()
    again = CloneWatch(lambda: 6.0)
    await again.open(store)
    window = again.window(2)
    assert again.refusal(2, window, said(OLD, 9), NOW)[0] == "boot", "left before we restarted"
    assert again.refusal(2, window, said(NEW, 9), NOW) is None, "the newest may still run"
    assert [(alarm.member, alarm.left) for alarm in again.alarms] == [(2, OLD)]
    await again.save()
    third = CloneWatch(lambda: 7.0)
    await third.open(store)
    assert len(third.alarms) == 1
    rows = await store.rows(sa.text("SELECT kind FROM audit"))
    assert ("clone",) in rows


async def test_what_is_remembered_of_a_member_is_bounded(store):
    watch = CloneWatch(lambda: 5.0)
    await watch.open(store)
    window = watch.window(2)
    for number in range(200):
        boot = number.to_bytes(16, "big")
        assert watch.refusal(2, window, said(boot, 1, time_ms=NOW + number), NOW) is None
    await watch.save()
    assert len(await store.rows(sa.text("SELECT 1 FROM peer_boots"))) == 64


async def test_a_clock_that_was_set_back_is_refused_but_raises_no_alarm():
    watch = CloneWatch(lambda: 5.0)
    window = watch.window(2)
    assert watch.refusal(2, window, said(OLD, 1), NOW) is None
    assert watch.refusal(2, window, said(NEW, 1, time_ms=NOW - 1), NOW)[0] == "boot"
    assert watch.alarms == []


async def test_a_clone_of_a_running_node_is_told_to_its_operator_and_refused_until_it_starts_anew(tmp_path):
    async with committee_of(tmp_path, 3, 2) as (alice, bob, carol):
        await alice.node.dkg("anchor")
        await until(lambda: bob.node.public("anchor") and carol.node.public("anchor"))
        real = bob.peers._seal

        def copied(kind, to, topic, request, code, body):
            """Bob's machine as its copy would speak: the same boot, numbers that were used."""
            made = real(kind, to, topic, request, code, body)
            if kind is Kind.ANSWER:
                return made
            again = replace(made, sequence=1, body=body)
            return again.with_signature(bob.identity.sign(again.digest))

        bob.peers._seal = copied
        await until(lambda: alice.node.clones and carol.node.clones and bob.node.clones)
        assert {alarm.member for alarm in alice.node.clones} == {2}
        assert {alarm.left for alarm in bob.node.clones} == {b""}, "bob is told that a copy of it runs"
        assert alice.node.copies() == ["two copies of bob were heard: stop both, find out why, start one"]
        assert "heard another copy of this node" in bob.node.copies()[0]
        await bob.down()
        await bob.up()
        await noticed(alice, bob)
        await noticed(carol, bob)
        await bob.peers.until_heard([1, 3], 40)
        await sign_test(bob.node, b"bob started anew")
        assert [seat.node.copies() for seat in (alice, bob)] == [[], []]
        assert alice.node.clones, "the alarm is history, and kept"
