"""Root-only anchors and ranges that everyone cuts alike: together they say what is anchored."""

from dataclasses import replace

from anchor.proofs.coverage import Coverage, cover
from tests.anchor.inscription.batches import a_batch, a_range, a_rotation

ROOT = bytes(32)
RANGES = [a_range(n) for n in range(6)]
FIRST = a_batch(*RANGES[:2]).payload()
SECOND = a_batch(*RANGES[2:3], previous_root=FIRST.root, sequence=2).payload()
AFTER_A_VOID = a_batch(*RANGES[3:6], previous_root=SECOND.root, sequence=4).payload()
ALL = [FIRST, SECOND, AFTER_A_VOID]


def test_anchors_cover_the_ranges_one_after_another_even_across_a_void():
    assert cover([], RANGES, ROOT) == Coverage(())
    found = cover(ALL, RANGES, ROOT)
    assert found == Coverage(((0, 2), (2, 3), (3, 6)))
    assert found.next == 6


def test_a_rotation_covers_nothing_and_breaks_nothing():
    """It repeats the root before it, and the next epoch's anchors follow upon that."""
    rotation = a_rotation(sequence=3, previous_root=SECOND.root).payload()
    after = a_batch(*RANGES[3:6], previous_root=rotation.root, sequence=4, epoch=2).payload()
    assert rotation.count == 0
    assert cover([FIRST, SECOND, after], RANGES, ROOT) == cover(ALL, RANGES, ROOT)


def test_an_earlier_answer_saves_work_and_changes_nothing():
    for size in range(4):
        known = cover(ALL[:size], RANGES, ROOT)
        assert cover(ALL, RANGES, ROOT, known) == cover(ALL, RANGES, ROOT)


def test_an_answer_from_before_a_reorg_is_cut_back():
    known = cover(ALL, RANGES, ROOT)
    assert cover(ALL[:1], RANGES, ROOT, known) == Coverage(((0, 2),))


def test_ranges_that_are_not_final_here_are_waited_for():
    found = cover(ALL, RANGES[:4], ROOT)
    assert found == Coverage(((0, 2), (2, 3)), waits=True)


def test_an_anchor_whose_root_does_not_fit_is_a_conflict():
    lie = replace(SECOND, root=bytes([9]) * 32)
    assert cover([FIRST, lie], RANGES, ROOT).conflict == "anchor 2 does not cover the next ranges"
    assert "anchor 1" in (cover([FIRST], RANGES[1:], ROOT).conflict or "")
    assert "anchor 1" in (cover([FIRST], RANGES, bytes([1]) * 32).conflict or "")
