"""What the handles stand on: waiting for conditions, ports of one's own, long commands shown and stopped."""

import re
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from regtest.ports import Port
from regtest.progress import Progress
from regtest.waiting import wait_until
from tests.regtest.processes import gone

TAKE_A_THOUSAND = """
from regtest.ports import Port
ports = [Port() for _ in range(1000)]
print(*(port.number for port in ports), flush=True)
input()
"""


def test_waiting_ends_as_soon_as_the_condition_holds() -> None:
    looks = iter([False, False, True])
    wait_until(lambda: next(looks), "the third look")
    assert list(looks) == []


def test_waiting_in_vain_names_what_was_waited_for() -> None:
    with pytest.raises(TimeoutError, match=r"Waited 0\.05 s in vain for: rain"):
        wait_until(lambda: False, "rain", seconds=0.05)


def test_two_processes_never_get_the_same_port() -> None:
    command = [sys.executable, "-c", TAKE_A_THOUSAND]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as one, subprocess.Popen(command, **pipes) as other:
        first, second = (set(p.stdout.readline().split()) for p in (one, other))
        for process in (one, other):
            process.communicate("\n")
    assert len(first) == len(second) == 1000
    assert first.isdisjoint(second)


def test_a_released_port_may_be_released_again() -> None:
    port = Port()
    port.release()
    port.release()


def test_a_long_command_returns_what_it_printed_and_shows_its_title(
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert Progress("Working").run([sys.executable, "-c", "print('[3/4] done')"]) == "[3/4] done\n"
    assert re.match(r"Working … 0 s\n", capfd.readouterr().err)


def test_a_failing_command_hands_over_all_it_said() -> None:
    with pytest.raises(subprocess.CalledProcessError) as caught:
        Progress("Working").run([sys.executable, "-c", "import sys; print('why'); sys.exit('not')"])
    assert set(caught.value.output.splitlines()) == {"why", "not"}


def test_an_interrupted_command_is_stopped_with_its_children(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pids = tmp_path / "pids"
    script = f"sleep 600 & echo $! $$ > {pids}.part; mv {pids}.part {pids}; wait"

    def interrupt(*_: object) -> None:
        wait_until(pids.exists, "the child to start")
        raise KeyboardInterrupt

    monkeypatch.setattr(Progress, "_show_until_done", interrupt)
    with pytest.raises(KeyboardInterrupt):
        Progress("Working").run(["/bin/sh", "-c", script])
    for pid in map(int, pids.read_text().split()):
        wait_until(partial(gone, pid), "the child to end", seconds=10)
