"""The whole move on real parts: the story of `make show-move`, all operators on one bitcoind to be quick."""

from io import StringIO
from pathlib import Path

import pytest

from regtest.move import Move
from regtest.stage import play
from regtest.story.scene import Scene
from regtest.telling import Teller
from regtest.world import World
from tests.regtest import quick_commands


def test_a_live_bridge_goes_to_a_new_committee_and_nothing_is_lost(
    bitcoind_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BITCOIND", str(bitcoind_path))
    monkeypatch.setattr("regtest.command.attempt", quick_commands.attempt)
    told = StringIO()
    with World(tmp_path, bitcoinds=1) as world:
        status = play(Scene(world, Teller(told)), Move().steps())
    assert status == 0, told.getvalue()
