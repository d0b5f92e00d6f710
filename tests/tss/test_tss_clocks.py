"""Clocks that were wrong and are right again: nobody is taken for a copy of himself, no key stays unrefreshed."""

import time

import pytest

from tests.tss.shells import committee_of, noticed, sign_test
from tests.tss.test_tss_rotation import refreshed, with_key
from tss.envelope import Envelope, Kind, ReplayWindow
from tss.node import DkgFailed
from tss.peers import PeerRefused

HOUR = 3600.0
NOW = 1_800_000_000_000  # Unix milliseconds


def said(boot, at, sequence=1):
    body = (Kind.REQUEST, bytes(32), 2, 1, boot * 16, sequence, at, "topic", bytes(32), "", b"")
    return Envelope(*body, signature=bytes(64))


def test_a_clock_that_went_back_does_not_make_a_restarted_member_a_copy():
    window, ahead = ReplayWindow(), NOW + 3_600_000
    assert window.refusal(said(b"a", ahead), ahead) is None
    assert window.refusal(said(b"a", NOW, sequence=2), NOW) is None, "both clocks were set right"
    assert window.refusal(said(b"b", NOW + 10), NOW + 10) is None, "and then it started anew"
    assert window.refusal(said(b"a", NOW + 20, sequence=3), NOW + 20)[0] == "boot", "the earlier one is over"


def test_an_earlier_boot_of_the_same_hour_is_still_a_copy():
    window = ReplayWindow()
    assert window.refusal(said(b"a", NOW), NOW) is None
    assert window.refusal(said(b"b", NOW - 5), NOW + 5)[0] == "boot"


async def at(seats, ahead):
    def clock():
        return time.time() + ahead

    for seat in seats:
        seat.peers._clock = seat.node.key_work.member._clock = seat.node.key_work.relay._clock = clock


async def test_key_work_of_an_hour_that_never_was_keeps_nobody_from_the_next(tmp_path):
    async with committee_of(tmp_path, 3, 2) as seats:
        alice, bob, carol = seats
        await with_key(seats)
        await at(seats, HOUR)
        assert (await carol.node.key_work.repair("anchor")).work == "repair"
        await sign_test(bob.node, b"ahead")
        await at(seats, 0.0)
        await carol.down()
        await carol.up()
        await noticed(alice, carol)
        await noticed(bob, carol)
        await sign_test(carol.node, b"back, and started anew")
        assert (await refreshed(alice, seats)).generation == 1


async def test_a_member_an_hour_ahead_is_told_so_and_signs_when_its_clock_is_set(tmp_path):
    async with committee_of(tmp_path, 3, 2) as seats:
        alice, bob, carol = seats
        await with_key(seats)
        await at([carol], HOUR)
        with pytest.raises(PeerRefused, match="clocks differ by 3"):
            await carol.peers.call(1, "peer.ping", b"")
        await sign_test(alice.node, b"two are enough")
        with pytest.raises(DkgFailed, match="carol"):
            await bob.node.key_work.refresh("anchor")
        await at([carol], 0.0)
        await carol.peers.until_heard((1, 2), 30)
        await alice.peers.until_heard((3,), 30)
        await bob.peers.until_heard((3,), 30)
        await sign_test(carol.node, b"set by NTP")
        assert (await refreshed(bob, seats)).generation == 1


async def test_nobody_books_the_far_future(tmp_path):
    async with committee_of(tmp_path, 3, 2) as seats:
        await with_key(seats)
        seats[0].node.key_work.relay._clock = lambda: time.time() + 30 * 86400
        with pytest.raises(DkgFailed, match="lies in the future"):
            await seats[0].node.key_work.refresh("anchor")
