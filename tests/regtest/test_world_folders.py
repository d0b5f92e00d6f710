"""A run's folder: its own, gone afterwards, kept when asked, cleared when its process was killed."""

import subprocess
import sys

import pytest

from regtest.core import cache_folder
from regtest.folders import RunFolder


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def test_a_run_has_its_own_folder_and_leaves_none():
    with RunFolder("demo") as one, RunFolder("demo") as other:
        assert one.path != other.path
        assert one.path.is_dir()
    assert not list(cache_folder().iterdir())


def test_a_folder_can_be_kept_until_the_next_run():
    with RunFolder("demo") as folder:
        folder.keep = True
    assert folder.path.is_dir()
    with RunFolder("demo"):
        assert not folder.path.exists()


def test_the_folder_of_a_killed_run_is_cleared_by_the_next():
    dying = (
        "import os, signal\n"
        "from regtest.folders import RunFolder\n"
        "with RunFolder('demo') as folder:\n"
        "    print(folder.path, flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", dying], check=False, capture_output=True)
    assert len(list(cache_folder().glob("demo-*"))) == 1
    with RunFolder("demo") as folder:
        assert list(cache_folder().glob("demo-*")) == [folder.path]


def test_other_folders_in_the_cache_are_left_alone():
    kept = cache_folder() / "bitcoind-1"
    kept.mkdir(parents=True)
    with RunFolder("demo"):
        pass
    assert kept.is_dir()
