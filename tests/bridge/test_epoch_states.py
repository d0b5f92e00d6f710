"""Where a key epoch is between its record and the end of its addresses, read off both chains."""

from types import SimpleNamespace
from typing import Any

import pytest

from anchor.rollup.succession import KeyEpoch
from bridge.epochs import state_of

DELAY = 10
FIRST = KeyEpoch(1, bytes(32), bytes(32), (), 1, b"", b"", b"")
SECOND = KeyEpoch(2, bytes(32), bytes(32), (), 1, b"", b"", b"", since=7)


def bridge(
    *, final: int = 7, rotated: bytes = b"", lane: int = 0, moved: bytes = b"", height: int = 100
) -> Any:
    """A bridge whose blocks named "final" are final; the move, if any, is at height 90."""
    rotations = [
        SimpleNamespace(found=SimpleNamespace(lane=lane, successor=SimpleNamespace(epoch=2)), block=rotated)
    ]
    move = SimpleNamespace(block=moved, move=SimpleNamespace(epoch=1, successor_epoch=2))
    retires = {1: 90 + DELAY} if moved else {}
    treasury = SimpleNamespace(
        batches=(move,) if moved else (), retires=lambda epoch, delay: retires.get(epoch)
    )
    return SimpleNamespace(
        activation=SimpleNamespace(epoch=1, params=SimpleNamespace(reclaim_delay=DELAY)),
        ground=SimpleNamespace(follower=SimpleNamespace(final=final)),
        view=SimpleNamespace(rotations=rotations if rotated else (), treasury=treasury, height=height),
        is_final=lambda block: block == b"final",
        address_epoch=2 if moved == b"final" else 1,
        retires=retires.get,
    )


@pytest.mark.parametrize(
    ("it", "first", "second"),
    [
        (bridge(final=6), "active", "announced"),
        (bridge(), "active", "rotating"),
        (bridge(rotated=b"mined"), "active", "rotating"),
        (bridge(rotated=b"final", lane=1), "active", "rotating"),
        (bridge(rotated=b"final"), "active", "moving"),
        (bridge(rotated=b"final", moved=b"mined"), "active", "moving"),
        (bridge(rotated=b"final", moved=b"final"), "draining", "active"),
        (bridge(rotated=b"final", moved=b"final", height=101), "retired", "active"),
    ],
)
def test_an_epoch_goes_from_announced_to_retired_by_what_is_final(it: Any, first: str, second: str) -> None:
    assert (state_of(it, FIRST), state_of(it, SECOND)) == (first, second)


def test_a_node_that_has_read_no_block_says_that_the_first_epoch_is_active() -> None:
    it = bridge()
    it.view = None
    assert (state_of(it, FIRST), state_of(it, SECOND)) == ("active", "rotating")
