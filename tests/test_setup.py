"""What a newcomer's machine downloads is pinned by hash, names no registry, and is set up once only."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parent.parent
PINNED = [ROOT / "requirements.txt", ROOT / "requirements-build.txt"]


@pytest.fixture
def setup(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """The set-up script as a module, looking at a folder of its own."""
    spec = importlib.util.spec_from_file_location("holdfast_setup", ROOT / ".ci" / "setup.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(module, "STAMPS", tmp_path / "stamps.json")
    return module


@pytest.mark.parametrize("file", PINNED, ids=lambda path: path.name)
def test_every_requirement_is_exact_and_hashed_and_no_registry_is_named(file: Path) -> None:
    text = file.read_text()
    wanted = text.replace("\\\n", " ").splitlines()
    assert wanted
    for line in wanted:
        assert re.match(r"^[A-Za-z0-9._\[\]-]+==[^ ]+ ", line), line
        assert "--hash=sha256:" in line, line
    assert "://" not in text
    assert "index" not in text


def test_every_direct_requirement_of_the_package_is_pinned() -> None:
    import tomllib

    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    pinned = set(re.findall(r"^([a-z0-9-]+)==", (ROOT / "requirements.txt").read_text(), re.MULTILINE))
    for name in wanted:
        assert re.split(r"[\[<>=]", name)[0].lower() in pinned, name


def test_a_stamp_survives_and_damage_to_the_stamps_means_doing_it_again(setup: ModuleType) -> None:
    setup.stamp("native", "one")
    setup.stamp("environment", "two")
    assert (setup.stamped("native"), setup.stamped("environment")) == ("one", "two")
    setup.STAMPS.write_text("{half")
    assert setup.stamped("native") is None
    setup.stamp("native", "three")
    assert setup.stamped("native") == "three"


def test_a_changed_renamed_or_added_source_changes_the_digest(setup: ModuleType, tmp_path: Path) -> None:
    source = tmp_path / "lib.rs"
    source.write_text("fn a() {}")
    before = setup.digest([source])
    assert setup.digest([source]) == before
    source.write_text("fn b() {}")
    assert setup.digest([source]) != before
    source.write_text("fn a() {}")
    renamed = source.rename(tmp_path / "other.rs")
    assert setup.digest([renamed]) != before


def test_too_old_a_cargo_is_refused_with_the_next_move(
    setup: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    cargo = tmp_path / "cargo"
    cargo.write_text("#!/bin/sh\necho 'cargo 1.84.1 (66221abde 2024-11-19)'\n")
    cargo.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(setup.SetupError, match=r"Rust 1\.85 or later"):
        setup.check_tools()


def test_without_root_the_line_to_run_is_said_and_nothing_is_installed(
    setup: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(setup.os, "geteuid", lambda: 1000)
    monkeypatch.setattr(setup.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(setup, "attempt", lambda *_, **__: pytest.fail("it must not try"))
    with pytest.raises(
        setup.SetupError, match="sudo apt-get install -y --no-install-recommends libevent-dev"
    ):
        setup.install(["libevent-dev"])


def test_a_failed_command_is_told_with_the_end_of_what_it_said(setup: ModuleType) -> None:
    with pytest.raises(setup.SetupError, match=r"(?s)Trying failed.*no such luck"):
        setup.attempt("Trying", [sys.executable, "-c", "print('no such luck'); raise SystemExit(3)"])


@pytest.mark.parametrize(("done", "said"), [(True, "Set up (part) in "), (False, "Everything is set up; ")])
def test_one_line_says_what_was_done_and_which_bitcoind_is_used(
    setup: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    *,
    done: bool,
    said: str,
) -> None:
    monkeypatch.setattr(setup, "PARTS", (("part", lambda: done),))
    monkeypatch.setattr("regtest.core.find", lambda: Path("/opt/bitcoind"))
    monkeypatch.setattr(setup.signal, "signal", lambda *_: None)
    assert setup.main() == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(said)
    assert line.endswith("bitcoind is /opt/bitcoind.")


def test_make_help_names_every_target() -> None:
    said = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for target in ("setup", "demo", "test", "unit", "check", "clean"):
        assert f"make {target} " in said
