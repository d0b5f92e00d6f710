"""A change of a world's committee that a command refuses leaves nothing behind: another one can be asked for."""

import shutil
from types import SimpleNamespace

import pytest

from regtest import rotation
from regtest.command import CommandFault
from regtest.rotation import Change
from regtest.world import World


@pytest.fixture
def world(tmp_path, bitcoind):
    """Folders of three operators and their committee file; none of their nodes runs."""
    made = World(tmp_path, operators=3, threshold=2, bitcoinds=1)
    made.network.close()
    made.network = SimpleNamespace(nodes=[bitcoind], close=lambda: None)
    made.form_committee()
    yield made
    made.close()


def lies_in(world):
    return sorted(str(path.relative_to(world.folder)) for path in world.folder.rglob("*") if path.is_file())


def test_a_change_that_is_refused_leaves_nothing_and_another_one_is_made(world):
    before = lies_in(world)
    for change, why in (
        (Change(("zoe",)), "zoe is no member"),
        (Change(("alice", "bob")), "only 1 of the old members stay"),
        (Change(threshold=7), "threshold 7 of 3 members"),
    ):
        with pytest.raises(CommandFault, match=why):
            rotation.form(world, change)
        assert lies_in(world) == before, why
    made = rotation.form(world, Change(("carol",), add=1, threshold=3))
    assert [node.name for node in made.operators] == ["alice", "bob", "dave", "erin"]
    assert (made.epoch, made.threshold) == (2, 3)


def test_a_file_that_nobody_accepts_leaves_nothing(world):
    before = lies_in(world)
    made = rotation.form(world, Change(("carol",)))
    shutil.copy2(world.committee_file, made.file)  # as good as one that they refuse
    for node in made.operators[:2]:
        (node.folder / "committee.json").write_text("{")
    with pytest.raises(CommandFault, match="rotate accept"):
        rotation.accept(world, made)
    for node in made.operators[:2]:
        shutil.copy2(world.committee_file, node.folder / "committee.json")
    assert lies_in(world) == before
    assert [node.name for node in world.operators] == ["alice", "bob", "carol"]


def test_who_holds_the_oldest_keys_is_asked_first_so_that_a_refusal_comes_before_anybody_took_the_file(world):
    alice, bob, carol = world.operators
    second = rotation.form(world, Change(("alice",), add=1))
    dave, erin = second.newcomers
    world.succeed(second.operators, second.leavers, 2, second.file)
    assert [node.name for node in second.operators] == ["dave", "bob", "carol", "erin"]
    assert rotation._longest_in(world, [dave, erin, carol, bob, alice]) == [alice, bob, carol, dave, erin]
