"""Who drives key work, and for how long: nobody keeps the others from it, and everybody sees who has it."""

import pytest

from tests.tss.shells import committee_of, sign_test, until
from tests.tss.test_tss_rotation import with_key
from tss.dkg_member import OFFER, offer_request
from tss.node import DkgFailed
from tss.peers import PeerRefused, Refuse
from tss.rotation.plan import Work
from tss.rotation_topics import OFFER as WORK_OFFER
from tss.turns import STALLED_SECONDS, TURN_SECONDS, Turns
from tss.watch_cli import text_of

ALICE, BOB, CAROL = 1, 2, 3


class Five:
    size = 5

    def name_of(self, member):
        return ("alice", "bob", "carol", "dave", "erin")[member - 1]

    def names_of(self, members):
        return " and ".join(map(self.name_of, members))


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def turns(clock):
    return Turns(Five(), clock)


def busy(turns, driver):
    """Whom the refusal names, or None when the place is given."""
    try:
        turns.take("mint", "making the mint key", driver)
    except Refuse as refusal:
        return refusal.code, refusal.reason.split()[0]
    return None


def drive(turns, clock, driver, seconds):
    """Begin again and again, with a step every ten seconds, as a driver does that never ends."""
    for _ in range(int(seconds / 10)):
        assert busy(turns, driver) is None
        clock.now += 10
        turns.moved("mint")


def test_one_drives_at_a_time_and_the_next_when_it_is_done(turns, clock):
    assert busy(turns, ALICE) is None
    clock.now += 3
    with pytest.raises(Refuse, match=r"alice is making the mint key just now, for 3 s: .* in 87 s"):
        turns.take("mint", "making the mint key", BOB)
    assert busy(turns, ALICE) is None, "it begins anew in its place"
    turns.end("mint")
    assert busy(turns, BOB) is None
    assert [(place.driver, place.waiting) for place in turns.places()] == [(BOB, ())]


def test_a_driver_that_does_nothing_for_a_minute_loses_its_place(turns, clock):
    turns.take("mint", "making the mint key", ALICE)
    clock.now += STALLED_SECONDS - 1
    assert busy(turns, BOB) == ("busy", "alice")
    turns.moved("mint")
    clock.now += STALLED_SECONDS
    assert turns.holds("mint")
    clock.now += 1
    assert not turns.holds("mint")
    assert turns.places() == []
    assert busy(turns, BOB) is None


def test_who_begins_again_and_again_has_its_time_and_then_lets_the_others_go_first(turns, clock):
    drive(turns, clock, ALICE, 30)
    assert busy(turns, BOB) == ("busy", "alice")
    assert [place.waiting for place in turns.places()] == [(BOB,)]
    drive(turns, clock, ALICE, 60)
    assert busy(turns, ALICE) == ("turn", "alice")
    assert busy(turns, BOB) is None
    turns.end("mint")
    assert busy(turns, ALICE) is None, "nobody waits any more"
    assert busy(turns, CAROL) is None, "who has had its time is in nobody's way"


def test_who_waits_and_does_not_come_holds_nobody_up_for_more_than_a_minute(turns, clock):
    drive(turns, clock, ALICE, TURN_SECONDS)
    turns.moved("mint")
    line = turns._lines["mint"]
    line.asked[BOB] = clock.now
    assert busy(turns, ALICE) == ("turn", "alice")
    clock.now += 61
    assert busy(turns, ALICE) is None


def test_taking_places_from_others_costs_even_who_gives_them_up_at_once(turns, clock):
    drive(turns, clock, ALICE, TURN_SECONDS)
    for _ in range(40):
        if busy(turns, BOB) is not None:
            break
        clock.now += 0.01
        turns.end("mint")
        busy(turns, ALICE)
        clock.now += 61
        busy(turns, ALICE)
    else:
        pytest.fail("bob takes alice's place for ever")


def test_all_the_others_together_cannot_keep_one_member_out(turns, clock):
    """Four of five drive in turn without end; the fifth asks once a minute and needs two seconds."""
    got = 0
    for minute in range(120):
        for liar in (1, 2, 3, 4):
            if busy(turns, liar) is None:
                break
        for _ in range(6):
            clock.now += 10
            turns.moved("mint")
        if busy(turns, 5) is None:
            got += 1
            clock.now += 2
            turns.end("mint")
        assert got or minute < 8
    assert got >= 30, "some each hour"


def test_what_a_driver_had_is_forgotten_after_the_window(turns, clock):
    drive(turns, clock, ALICE, TURN_SECONDS)
    turns.end("mint")
    clock.now += 3601
    assert busy(turns, ALICE) is None
    assert busy(turns, BOB) == ("busy", "alice")


async def test_a_member_that_drives_a_key_generation_without_end_is_named_and_gives_way(tmp_path):
    async with committee_of(tmp_path, 3, 2) as seats:
        alice, bob, carol = seats
        clock = Clock()
        for seat in seats:
            seat.node._dkg_member.turns._clock = clock

        async def again():
            for member in (1, 2, 3):
                await carol.peers.call(member, OFFER, offer_request("anchor", 1, 1))

        await again()
        with pytest.raises(DkgFailed, match="carol is making the anchor key just now") as failed:
            await alice.node.dkg("anchor")
        assert failed.value.code == "busy"
        clock.now += 5
        assert [(one.work, one.driver, one.waiting) for one in bob.node.places()] == [
            ("making the anchor key", 3, (1,))
        ]
        for _ in range(4):
            clock.now += 20
            await again()
        clock.now += 20
        with pytest.raises(PeerRefused, match=r"carol has been making the anchor key for .* alice waits"):
            await again()
        assert (await alice.node.dkg("anchor")).state == "verified"


async def test_a_member_that_drives_refreshes_without_end_is_named_and_gives_way(tmp_path):
    async with committee_of(tmp_path, 3, 2) as seats:
        alice, bob, carol = seats
        await with_key(seats)
        clock, relay = Clock(), carol.node.key_work.relay
        for seat in seats:
            seat.node.key_work.member.turns._clock = clock
        number = 0

        async def again():
            nonlocal number
            number += 1
            plan = await relay._plan(carol.node._keyring.serving("anchor"), Work.REFRESH, (1, 2, 3))
            for member in (1, 2, 3):
                await carol.peers.call(member, WORK_OFFER, plan.encode())

        await again()
        with pytest.raises(DkgFailed, match="carol is refreshing the anchor key just now"):
            await bob.node.key_work.refresh("anchor")
        for _ in range(4):
            clock.now += 20
            await again()
        clock.now += 20
        done = await bob.node.key_work.refresh("anchor")
        await until(lambda: alice.node.public("anchor").share_set == done.share_set)
        await sign_test(alice.node, b"refreshed")


def test_the_live_view_names_who_drives_and_who_waits():
    place = {
        "work": "making the mint key",
        "driver": "carol",
        "seconds": 31.2,
        "idle": 1.0,
        "waiting": ["bob"],
    }
    empty = {name: [] for name in ("members", "keys", "attempts", "rounds", "sessions")}
    text = text_of(empty | {"name": "alice", "at": 0, "paused": None, "places": [place]})
    [row] = [line for line in text.split("\n") if "making the mint key" in line]
    assert row.split() == ["carol", "making", "the", "mint", "key", "31", "s", "bob"]
