"""The whole story, as `make demo` tells it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.regtest
STEPS = ("World", "Keys", "Deposit", "Rollup", "Anchor", "Withdrawal", "Reorg", "Faults", "Audit")
MEGABYTES = 150  # a node's peak


def test_every_step_of_the_story_holds_and_leaves_nothing(bitcoind_path: Path, tmp_path: Path) -> None:
    env = {**os.environ, "XDG_CACHE_HOME": str(tmp_path), "BITCOIND": str(bitcoind_path)}
    told = subprocess.run(
        [sys.executable, "-m", "regtest.demo"],
        env=env,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert told.returncode == 0, told.stdout[-6000:] + told.stderr[-2000:]
    for number, title in enumerate(STEPS, start=1):
        assert re.search(rf"^  {number}\. {title} .* held$", told.stdout, re.MULTILINE), title
    peaks = [int(peak) for peak in re.findall(r"^  \w+'s node +(\d+)$", told.stdout, re.MULTILINE)]
    assert len(peaks) == 6
    assert max(peaks) < MEGABYTES
    assert list((tmp_path / "holdfast").iterdir()) == []
