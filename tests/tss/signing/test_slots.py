"""Request ids and leaders."""

from collections import Counter

from tss.signing.slots import leader, request_id


def test_equal_content_makes_equal_ids_and_nothing_else_does():
    assert request_id("mint", b"x", 1) == request_id("mint", b"x", 1)
    asked = [("mint", b"x", 1), ("min", b"tx", 1), ("anchor", b"x", 1), ("mint", b"x", 2)]
    assert len({request_id(*one) for one in asked}) == 4, "one payload under two keys is two requests"


def test_in_each_round_every_member_leads_once_so_dead_ones_cost_a_time_out_each():
    for slot in (b"slot", b"another", b""):
        for cycle in range(20):
            turns = [leader(slot, 5 * cycle + place, 5) for place in range(5)]
            assert sorted(turns) == [1, 2, 3, 4, 5]


def test_who_leads_first_is_drawn_by_slot_and_round_and_is_the_same_for_all():
    first = Counter(leader(b"slot", 5 * cycle, 5) for cycle in range(200))
    assert min(first.values()) > 20
    assert set(first) == {leader(bytes([slot]), 0, 5) for slot in range(60)} == {1, 2, 3, 4, 5}
    assert leader(b"slot", 7, 5) == leader(b"slot", 7, 5)
