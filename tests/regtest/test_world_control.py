"""One world per user: who holds it, how another shell drives it, what a crash leaves."""

import json
import os
import socket
import subprocess
import sys
import threading

import pytest
from click.testing import CliRunner

from regtest import control
from regtest.cli import regtest
from regtest.control import NoWorld, Refused, Seat, WorldIsUp
from regtest.waiting import wait_until


@pytest.fixture(autouse=True)
def own_home(monkeypatch, tmp_path):
    """A user without a world."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def look():
    """Nothing to look after."""


def answers():
    try:
        control.ask("ping")
    except NoWorld:
        return False
    return True


@pytest.fixture
def served():
    """A world that answers in another thread; yields what it was asked."""
    asked = []

    def do(verb, arguments):
        if verb != "ping":
            asked.append((verb, arguments))
        if verb == "fund":
            raise ValueError("no such address")
        return {"height": 7}

    with Seat():
        thread = threading.Thread(target=control.serve, args=(do, look))
        thread.start()
        wait_until(answers, "the world to answer")
        yield asked
        if thread.is_alive():
            control.ask("down")
        thread.join()


def test_a_world_answers_another_shell(served):
    assert control.ask("mine", {"count": 2}) == {"height": 7}
    assert served == [("mine", {"count": 2})]


def test_what_a_world_cannot_do_is_refused_with_its_reason_and_it_goes_on(served):
    with pytest.raises(Refused, match="no such address"):
        control.ask("fund", {"address": "x", "sats": 1})
    assert control.ask("status") == {"height": 7}


@pytest.mark.parametrize("garbage", [b"", b"hello\n", b"[]\n", b'{"verb": 3}\n', b"\xff" * 70_000])
def test_garbage_on_the_socket_does_not_end_the_world(served, garbage):
    with socket.socket(socket.AF_UNIX) as stranger:
        stranger.connect(str(control.home() / "control.sock"))
        stranger.sendall(garbage)
    assert control.ask("status") == {"height": 7}


def test_without_a_world_the_next_move_is_named():
    with pytest.raises(NoWorld, match="holdfast regtest up"):
        control.ask("status")


def test_of_a_world_that_is_starting_one_is_told_to_wait():
    with Seat():
        result = CliRunner().invoke(regtest, ["status"])
    assert (result.exit_code, result.output) == (
        1,
        "Error: A world is starting or ending: ask again in a few seconds.\n",
    )


def test_a_reorg_that_pauses_says_so_and_one_that_no_world_survives_is_refused(monkeypatch):
    found = {"fork_height": 7, "lost": ["a"] * 3, "won": ["b"] * 4, "pauses": True}
    monkeypatch.setattr(control, "ask", lambda _verb, _arguments: found)
    assert "holdfast regtest resume" in CliRunner().invoke(regtest, ["reorg", "3"]).output
    deep = CliRunner().invoke(regtest, ["reorg", "11"])
    assert (deep.exit_code, "Choose 1 to 10" in deep.output) == (2, True)


def test_down_tells_programs_too():
    assert json.loads(CliRunner().invoke(regtest, ["down", "--json"]).output) == {"was_up": False}


def test_there_is_one_world_per_user():
    with Seat(), pytest.raises(WorldIsUp, match="holdfast regtest down"), Seat():
        pass


def test_what_a_crash_left_is_cleared_by_the_next():
    taker = (
        "import os, signal\n"
        "from regtest import control\n"
        "with control.Seat() as seat:\n"
        "    (seat.folder / 'left').write_text('behind')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", taker], check=False)
    left = control.home() / "world" / "left"
    assert left.exists()
    assert control.clear_stale()
    assert not left.exists()
    with Seat() as seat:
        assert list(seat.folder.iterdir()) == []


def test_a_living_world_is_not_cleared():
    with Seat() as seat:
        assert not control.clear_stale()
        assert seat.folder.is_dir()
    assert not seat.folder.exists()


def test_the_lock_names_the_process_that_holds_the_world():
    with Seat():
        assert int((control.home() / "lock").read_text()) == os.getpid()


@pytest.mark.parametrize(
    "words", [("status",), ("mine", "1"), ("reorg", "1"), ("fund", "x", "1"), ("rotate", "--add", "1")]
)
def test_each_verb_without_a_world_is_one_sentence_and_status_1(words):
    result = CliRunner().invoke(regtest, words)
    assert result.exit_code == 1
    assert result.output == "Error: No world is up: start one with `holdfast regtest up`.\n"


def test_down_without_a_world_is_content():
    result = CliRunner().invoke(regtest, ["down"])
    assert result.exit_code == 0
    assert "nothing is left" in result.output


@pytest.mark.parametrize(
    "words",
    [
        ("up", "--operators", "3", "--threshold", "4"),
        ("mine", "0"),
        ("fund", "x", "-1"),
        ("up", "--operators", "1"),
        ("up", "--json"),
        ("rotate",),
        ("rotate", "--threshold", "1"),
    ],
)
def test_impossible_wishes_are_usage_errors(words):
    assert CliRunner().invoke(regtest, words).exit_code == 2


def test_a_status_is_printed_for_people_and_for_programs(monkeypatch):
    found = {
        "height": 7,
        "bitcoind": "http://127.0.0.1:1",
        "folder": "f",
        "nodes": [{"name": "alice", "url": "u", "text": "ok"}],
        "rollup": {"url": "r", "text": "block 1"},
    }
    monkeypatch.setattr(control, "ask", lambda _verb, _arguments: found)
    assert json.loads(CliRunner().invoke(regtest, ["status", "--json"]).output) == found
    said = CliRunner().invoke(regtest, ["status"]).output
    assert "height 7" in said
    assert "alice" in said
