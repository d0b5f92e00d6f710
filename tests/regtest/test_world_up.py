"""`holdfast regtest up` as its user has it: it comes up, does as it is told, and leaves nothing behind."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from regtest.command import HOLDFAST
from regtest.waiting import wait_until
from tests.regtest.processes import gone

pytestmark = pytest.mark.regtest
SMALL = ("--operators", "3", "--threshold", "2")


@pytest.fixture
def user(bitcoind_path: Path, tmp_path: Path) -> dict[str, str]:
    """A user with a cache of his own."""
    return {**os.environ, "XDG_CACHE_HOME": str(tmp_path), "BITCOIND": str(bitcoind_path)}


def holdfast(user: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command as that user."""
    return subprocess.run(
        [*HOLDFAST, *words], env=user, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.fixture
def world(user: dict[str, str], tmp_path: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A small world in another shell."""
    with (tmp_path / "up.txt").open("wb") as out:
        up = subprocess.Popen(
            [*HOLDFAST, "regtest", "up", *SMALL], env=user, stdout=out, stderr=out, start_new_session=True
        )
    try:
        wait_until(
            lambda: up.poll() is not None or "Try in another shell" in (tmp_path / "up.txt").read_text(),
            "the world to come up",
            seconds=120,
        )
        assert up.poll() is None, (tmp_path / "up.txt").read_text()
        yield up
    finally:
        up.kill()
        up.wait()


def programs(folder: Path) -> list[int]:
    """Every process whose command line names the folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if str(folder).encode() in entry.read_bytes():
                found.append(int(entry.parent.name))
        except OSError:
            continue  # it ended meanwhile
    return found


def test_a_world_does_what_other_shells_ask_for_and_ends_when_told(world, user, tmp_path):
    status = json.loads(holdfast(user, "regtest", "status", "--json").stdout)
    assert [node["name"] for node in status["nodes"]] == ["alice", "bob", "carol"]
    node = status["nodes"][0]["url"]
    key = json.loads(holdfast(user, "rollup", "key", "new", "-o", str(tmp_path / "k"), "--json").stdout)[
        "keys"
    ][0]
    asked = ("--node", node, "--recipient", key, "--reclaim-key", key, "--json")
    address = json.loads(holdfast(user, "bridge", "address", *asked).stdout)["address"]
    assert holdfast(user, "regtest", "fund", address, "50000").returncode == 0
    mined = json.loads(holdfast(user, "regtest", "mine", "2", "--json").stdout)
    assert mined["height"] == status["height"] + 2
    done = json.loads(holdfast(user, "regtest", "reorg", "1", "--json").stdout)
    assert done["lost"] == mined["blocks"][1:]
    assert not done["pauses"]
    assert "nothing to resume" in holdfast(user, "regtest", "resume").stderr
    assert "genesis coins would be gone" in holdfast(user, "regtest", "reorg", "10").stderr
    assert holdfast(user, "regtest", "mine", "8").returncode == 0
    deep = json.loads(holdfast(user, "regtest", "reorg", "10", "--json").stdout)
    assert (len(deep["won"]), deep["pauses"]) == (11, True)
    assert "regtest resume" not in holdfast(user, "regtest", "reorg", "1").stdout
    done = holdfast(user, "regtest", "resume", "--json")
    assert done.returncode == 0, done.stderr
    resumed = json.loads(done.stdout)
    assert (resumed["signed_by"], resumed["pause"]["depth"]) == (["alice", "bob"], 10)
    rollup = json.loads(holdfast(user, "regtest", "status", "--json").stdout)["rollup"]
    assert "paused" not in rollup["text"]
    deposit = json.loads(holdfast(user, "bridge", "deposit", address, "--node", node, "--json").stdout)
    assert deposit["deposits"][0]["value"] == 50_000
    assert "is up already" in holdfast(user, "regtest", "up").stderr
    assert "does not pay" in holdfast(user, "regtest", "fund", "nonsense", "1").stderr
    assert holdfast(user, "regtest", "down").stdout == "The world is gone.\n"
    assert world.wait(10) == 0
    assert programs(tmp_path) == []
    assert not (tmp_path / "holdfast" / "regtest" / "world").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_world_that_is_interrupted_or_killed_leaves_no_process(world, user, tmp_path, number):
    running = programs(tmp_path)
    assert len(running) >= 4 + 3 + 2  # bitcoinds, nodes, sequencer and validators
    world.send_signal(number)
    world.wait(60)
    wait_until(lambda: all(map(gone, running)), "all its processes to end", seconds=90)
    assert "nothing is left" in holdfast(user, "regtest", "down").stdout
    assert not (tmp_path / "holdfast" / "regtest" / "world").exists()
