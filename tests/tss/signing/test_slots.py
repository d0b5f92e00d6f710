"""Request ids and leaders."""

from collections import Counter

from tss.signing.slots import leader, request_id


def test_equal_content_makes_equal_ids_and_nothing_else_does():
    assert request_id("mint", b"x") == request_id("mint", b"x")
    assert len({request_id("mint", b"x"), request_id("min", b"tx"), request_id("anchor", b"x")}) == 3


def test_leaders_are_members_and_change_with_the_attempt():
    seen = Counter(leader(b"slot", attempt, 5) for attempt in range(500))
    assert set(seen) == {1, 2, 3, 4, 5}
    assert min(seen.values()) > 50
    assert leader(b"slot", 7, 5) == leader(b"slot", 7, 5)
