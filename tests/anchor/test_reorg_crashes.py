"""SIGKILL at every change of a file while a reorg is applied: nothing is lost, and all places say the same."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("there is no C compiler to build the library that kills at a write")
    made = tmp_path_factory.mktemp("kill") / "kill_at_write.so"
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-O1", "-o", made, HERE / "kill_at_write.c", "-ldl"], check=True
    )
    return made


@pytest.mark.parametrize("how", ["before", "torn"])
def test_killed_at_any_write_of_a_reorg_file_tables_and_ledger_agree(
    library: Path, tmp_path: Path, how: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.anchor.reorg_crashes", library, tmp_path, how],
        cwd=ROOT,
        env=os.environ | {"LD_PRELOAD": str(library)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert 10 <= int(done.stdout.split()[-1]) < 400, "it was killed at each of them"
