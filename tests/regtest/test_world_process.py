"""A program as a handle: it starts, tells why it ended, freezes, dies, and never outlives us."""

import subprocess
import sys
from pathlib import Path

import pytest

from regtest.process import Process, ProcessFault
from regtest.waiting import wait_until
from tests.regtest.processes import gone

SLEEPER = "import time; print('awake', flush=True); time.sleep(600)"
STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {SLEEPER}"


@pytest.fixture
def sleeper(tmp_path):
    process = Process("the sleeper", (sys.executable, "-c", SLEEPER), tmp_path / "logs" / "sleeper.log")
    yield process
    process.kill()


def awake(process: Process) -> bool:
    return process.log.exists() and "awake" in process.log.read_text()


def test_a_process_starts_says_something_and_stops(sleeper):
    sleeper.start().wait_ready(lambda: awake(sleeper))
    pid = sleeper.pid
    assert sleeper.running
    sleeper.stop()
    assert not sleeper.running
    assert sleeper.pid is None
    assert gone(pid)
    sleeper.stop()  # a second time does nothing


def test_a_second_start_while_it_runs_is_refused(sleeper):
    sleeper.start()
    with pytest.raises(ProcessFault, match="runs already"):
        sleeper.start()


def test_it_can_start_again_and_its_log_goes_on(sleeper):
    for runs in (1, 2):
        sleeper.start()
        wait_until(lambda runs=runs: sleeper.log.read_text().count("awake") == runs, "it to say so")
        sleeper.kill()


def test_peak_memory_is_known_and_stays_known_after_the_end(sleeper):
    assert sleeper.peak_memory == 0
    sleeper.start().wait_ready(lambda: awake(sleeper))
    sleeper.stop()
    assert sleeper.peak_memory > 1_000_000


def test_a_frozen_process_stops_in_order_all_the_same(sleeper):
    sleeper.start().wait_ready(lambda: awake(sleeper))
    sleeper.freeze()
    state = Path(f"/proc/{sleeper.pid}/stat")
    wait_until(lambda: state.read_text().rpartition(")")[2].split()[0] == "T", "it to be frozen")
    assert sleeper.running
    assert sleeper.frozen
    sleeper.stop()
    assert not sleeper.frozen


def test_a_thawed_process_is_awake(sleeper):
    sleeper.start().wait_ready(lambda: awake(sleeper))
    sleeper.freeze()
    sleeper.thaw()
    assert not sleeper.frozen
    assert sleeper.running


def test_one_that_does_not_run_cannot_be_frozen(sleeper):
    with pytest.raises(ProcessFault, match="does not run"):
        sleeper.freeze()


def test_one_that_ends_while_starting_is_a_fault_with_its_last_words(tmp_path):
    command = (sys.executable, "-c", "import sys; sys.exit('the port is taken: choose another')")
    process = Process("the hasty one", command, tmp_path / "hasty.log")
    with pytest.raises(ProcessFault, match=r"ended while starting[\s\S]*the port is taken"):
        process.start().wait_ready(lambda: False)


def test_one_that_is_never_ready_is_a_fault(sleeper):
    sleeper.start()
    with pytest.raises(ProcessFault, match="to be ready"):
        sleeper.wait_ready(lambda: False, seconds=0.05)


def test_one_that_ignores_sigterm_is_killed_and_named(tmp_path):
    process = Process("the stubborn one", (sys.executable, "-c", STUBBORN), tmp_path / "stubborn.log")
    process.start().wait_ready(lambda: awake(process))
    with pytest.raises(ProcessFault, match="the stubborn one took over"):
        process.stop(seconds=0.2)
    assert not process.running


def test_it_ends_with_us_even_when_we_are_killed(tmp_path):
    starter = f"""
import pathlib, time
from regtest.process import Process
process = Process("child", {(sys.executable, "-c", SLEEPER)!r}, pathlib.Path({str(tmp_path)!r}) / "child.log")
print(process.start().pid, flush=True)
time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", starter], stdout=subprocess.PIPE, text=True) as parent:
        child = int(parent.stdout.readline())
        assert not gone(child)
        parent.kill()
    wait_until(lambda: gone(child), "the child to end")
