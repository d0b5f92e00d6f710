"""Where a key epoch is between its record and the end of its addresses, read off both chains."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from anchor.header_alarms import HeaderAlarm
from anchor.rollup.succession import Epochs, KeyEpoch
from bridge.ceremony import PURPOSES
from bridge.epochs import EpochNews, standing_of, state_of
from bridge.health import _keys

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
    retires = {1: 90 + DELAY} if moved else {}
    return SimpleNamespace(
        ground=SimpleNamespace(follower=SimpleNamespace(final=final)),
        view=SimpleNamespace(rotations=rotations if rotated else (), height=height),
        is_final=lambda block: block == b"final",
        address_epoch=2 if moved == b"final" else 1,
        retires=retires.get,
        epochs=Epochs((FIRST, SECOND)),
        moving=SimpleNamespace(outdated=lambda: None),
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


def node(epoch: int, **desk: Any) -> Any:
    """A node whose committee file is of this epoch; an observer without a `desk`."""
    return SimpleNamespace(
        folder=Path("there is no such folder"),
        committee=SimpleNamespace(committee=SimpleNamespace(epoch=epoch)),
        successions=SimpleNamespace(**{"complete": None, "refusal": None, **desk}) if desk else None,
    )


OPERATOR = {"complete": None}


def test_health_tells_how_far_the_move_is() -> None:
    moved = bridge(rotated=b"final", moved=b"final")
    assert standing_of(node(2, **OPERATOR), bridge()) == (True, "epoch 2 is rotating")
    assert standing_of(node(2, **OPERATOR), moved) == (
        True,
        "epoch 2 is active; epoch 1 drains until height 100",
    )


def test_health_names_what_waits_for_whom() -> None:
    complete = SimpleNamespace(succession=SimpleNamespace(epoch=3))
    moved = bridge(rotated=b"final", moved=b"final", height=101)
    assert (
        "waits for the rollup: it has not taken it yet" in standing_of(node(3, complete=complete), moved)[1]
    )
    refused = standing_of(node(3, complete=complete, refusal="paused: a reorg"), moved)
    assert not refused[0]
    assert "waits for the rollup: paused: a reorg" in refused[1]
    assert "`holdfast bridge epoch propose`" in standing_of(node(3, **OPERATOR), moved)[1]


def test_health_says_when_the_committee_file_is_behind() -> None:
    moved = bridge(rotated=b"final", moved=b"final", height=101)
    assert standing_of(node(1), moved) == (True, "epoch 2 is active; committee.json here is of epoch 1")
    moved.moving = SimpleNamespace(outdated=lambda: "the bridge was handed on")
    assert standing_of(node(1, **OPERATOR), moved) == (False, "the bridge was handed on")


def signer(epoch: int, held: dict[int, str]) -> Any:
    """A signer whose committee file is of `epoch`; per key epoch what state all three keys are in."""
    infos = [SimpleNamespace(purpose=p, epoch=e, state=s) for e, s in held.items() for p in PURPOSES]
    serving = {(i.purpose, i.epoch) for i in infos if i.state not in ("lost", "acked")}
    return SimpleNamespace(
        committee=SimpleNamespace(epoch=epoch),
        public=lambda purpose, at: object() if (purpose, at) in serving else None,
        every_key=lambda: infos,
        mender=SimpleNamespace(damaged=[]),
    )


@pytest.mark.parametrize(
    ("it", "latest", "ok", "words"),
    [
        (signer(1, {1: "active"}), 1, True, "a share of each"),
        (signer(1, {1: "lost"}), 1, False, "make no new keys; run `holdfast tss repair --purpose treasury`"),
        (signer(1, {}), 1, False, "the shares are lost of treasury, anchor, mint: make no new keys"),
        (signer(2, {}), 1, True, "the keys of epoch 2 are to be made: treasury, anchor, mint"),
        (signer(2, {1: "active"}), 1, True, "the keys of epoch 2 are to be made"),
        (signer(2, {1: "active", 2: "verified"}), 1, True, "a share of each"),
        (signer(2, {1: "active", 2: "lost"}), 1, False, "the shares are lost"),
        (signer(2, {1: "retiring"}), 2, False, "make no new keys"),
        (signer(2, {1: "retiring", 2: "acked"}), 2, False, "mint are here and wait for their proof"),
        (signer(2, {1: "active", 2: "acked"}), 1, True, "the keys of epoch 2 are to be made"),
        (signer(2, {1: "retired", 2: "active"}), 2, True, "a share of each"),
    ],
)
def test_nobody_is_told_to_make_keys_that_are_lost_nor_kept_from_keys_that_are_to_be_made(
    it: Any, latest: int, ok: bool, words: str
) -> None:
    check = _keys(it, latest)
    assert check.ok is ok
    assert words in check.text


async def test_each_step_is_told_once_and_what_was_before_the_start_is_not() -> None:
    told: list[HeaderAlarm] = []

    async def tell(alarm: HeaderAlarm) -> None:
        told.append(alarm)

    news, unread = EpochNews(tell), bridge()
    unread.view = None
    for it in (unread, bridge(), bridge(), bridge(rotated=b"final")):
        await news.look(it)
    assert [alarm.text for alarm in told] == ["key epoch 2 is moving"]
    for _ in range(2):
        await news.look(bridge(rotated=b"final", moved=b"final"))
    assert [alarm.text for alarm in told[1:]] == [
        "key epoch 1 is draining until height 100",
        "key epoch 2 is active",
    ]
    assert told[1].data == {"epoch": 1, "state": "draining", "until": 100}
    assert {(alarm.level, alarm.kind) for alarm in told} == {("info", "epoch")}
