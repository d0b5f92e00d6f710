"""Which bitcoind is used, which is refused and why, and when the cached build is not believed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from regtest import core

ROOT = Path(core.__file__).parent.parent


def program(path: Path, says: str) -> Path:
    """An executable that answers `-version`; it stands for versions of bitcoind that we do not have."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho '{says}'\n")
    path.chmod(0o755)
    return path


@pytest.fixture(autouse=True)
def nothing_around(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No BITCOIND, an empty cache folder, and a PATH without any bitcoind."""
    monkeypatch.delenv("BITCOIND", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))


def fill_cache() -> Path:
    """Put a stamped build into the cache folder."""
    built = program(
        core.cache_folder() / f"bitcoind-{core.BUILD_ID}" / "bitcoind", "Bitcoin Core daemon version v31.99.0"
    )
    core._write_stamp(built)
    return built


def test_without_any_there_is_none() -> None:
    assert core.find() is None


def test_the_named_one_comes_before_path_and_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    cached = fill_cache()
    assert core.find() == cached
    on_path = program(tmp_path / "bin" / "bitcoind", "Bitcoin Core daemon version v29.1.0 bitcoind")
    assert core.find() == on_path
    named = program(tmp_path / "mine", "Bitcoin Core daemon version v28.0.0")
    monkeypatch.setenv("BITCOIND", str(named))
    assert core.find() == named


@pytest.mark.parametrize(
    ("says", "reason"),
    [
        ("Bitcoin Core version v27.2.0", "is Bitcoin Core 27, but Holdfast needs 28"),
        ("Bitcoin Knots daemon version v29.1", "does not say that it is Bitcoin Core"),
        ("", "does not say that it is Bitcoin Core"),
    ],
)
def test_a_named_one_that_will_not_do_is_refused_with_the_reason(
    says: str, reason: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fill_cache()
    monkeypatch.setenv("BITCOIND", str(program(tmp_path / "mine", says)))
    with pytest.raises(core.CoreError, match=reason):
        core.find()


def test_a_named_one_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BITCOIND", str(tmp_path / "nowhere"))
    with pytest.raises(core.CoreError, match="does not run"):
        core.find()


def test_an_old_one_on_path_is_passed_over_and_that_is_said(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    cached = fill_cache()
    program(tmp_path / "bin" / "bitcoind", "Bitcoin Core version v25.0.0")
    assert core.find() == cached
    assert "Bitcoin Core 25, but Holdfast needs 28" in capsys.readouterr().err


def test_a_changed_binary_in_the_cache_is_not_believed() -> None:
    built = fill_cache()
    built.write_text(built.read_text() + "# damaged\n")
    assert core.find() is None


def test_a_copied_cache_is_believed_after_its_hash_was_checked_once() -> None:
    built = fill_cache()
    os.utime(built, ns=(1, 1))
    assert core.find() == built
    assert f'"mtime_ns": {1}' in (built.parent / "stamp.json").read_text()


@pytest.mark.parametrize("stamp", [None, "", "[]", "{}", '{"size": 1'])
def test_a_half_built_cache_is_not_believed(stamp: str | None) -> None:
    built = fill_cache()
    if stamp is None:
        (built.parent / "stamp.json").unlink()
    else:
        (built.parent / "stamp.json").write_text(stamp)
    assert core.find() is None


def test_missing_build_tools_are_named_before_anything_is_built() -> None:
    with pytest.raises(core.CoreError, match="needs packages"):
        core.ensure()  # PATH is empty: neither dpkg-query nor cmake


def test_it_runs_as_a_script_without_an_environment(tmp_path: Path) -> None:
    named = program(tmp_path / "mine", "Bitcoin Core daemon version v31.99.0")
    command = [sys.executable, "-I", "-S", str(ROOT / "regtest" / "core.py"), "--ensure"]
    done = subprocess.run(command, env={"BITCOIND": str(named)}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{named}\n", "")


def test_a_refusal_on_the_command_line_is_one_sentence_and_status_2(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "regtest" / "core.py")]
    done = subprocess.run(
        command, env={"BITCOIND": str(tmp_path / "no")}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.regtest
def test_the_one_that_the_tests_use_is_new_enough(bitcoind_path: Path) -> None:
    assert core.version_of(bitcoind_path) >= core.MINIMUM
    assert shutil.which(bitcoind_path)
