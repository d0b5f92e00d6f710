"""Sets this checkout up: `.venv` with pinned requirements, the native crate, a bitcoind. Standard library only.

Idempotent: each part leaves a stamp of what it was made from, inside what it made, and is done again only when that
changed. So a second run takes no time and no network, and deleting `.venv` is the way to begin anew.
Exit status 2 means that something must be installed by hand first; what, is printed.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMPS = VENV / "holdfast-setup.json"
BASE_PYTHON = getattr(sys, "_base_executable", sys.executable)  # not the one inside .venv, which we replace
PYTHONS = ((3, 11), (3, 12), (3, 13))
CARGO = (1, 85)


class SetupError(Exception):
    """Something is missing or failed; the sentence names the next move."""


def main() -> int:
    """Set up what is not set up; return the exit status."""
    if sys.version_info[:2] not in PYTHONS:
        return run_under_another_python()
    sys.path.insert(0, str(ROOT))
    from regtest.core import CoreError, find

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    began = time.monotonic()
    try:
        done = [name for name, part in PARTS if part()]
    except (SetupError, CoreError) as error:
        say(str(error))
        return 2
    except KeyboardInterrupt:
        say("Interrupted; `make setup` goes on where it stopped.")
        return 130
    which = f"bitcoind is {find()}"
    if done:
        say(f"Set up ({', '.join(done)}) in {time.monotonic() - began:.0f} s; {which}.")
    else:
        say(f"Everything is set up; {which}.")
    return 0


def run_under_another_python() -> int:
    """Start over with a Python that we support, when PATH has one."""
    for major, minor in PYTHONS:
        if found := shutil.which(f"python{major}.{minor}"):
            return subprocess.run([found, __file__], check=False).returncode
    say(
        f"Python 3.11, 3.12 or 3.13 is needed, not {sys.version.split()[0]}: install one (Debian: python3-venv)."
    )
    return 2


def check_tools() -> bool:
    """Refuse, with the next move, when a tool is missing that we do not install ourselves."""
    lacking = []
    found = re.match(r"cargo (\d+)\.(\d+)", output_of("cargo", "--version"))
    if found is None or (int(found[1]), int(found[2])) < CARGO:
        lacking.append(f"Rust {CARGO[0]}.{CARGO[1]} or later (cargo on PATH; rustup installs it)")
    if not any(map(shutil.which, (os.environ.get("CXX") or "c++", "g++", "clang++"))):
        lacking.append("a C++ compiler (Debian: apt-get install -y g++)")
    if output_of(sys.executable, "-c", "import ensurepip, venv; print('there')").strip() != "there":
        lacking.append("Python's venv (Debian: apt-get install -y python3-venv)")
    if lacking:
        raise SetupError("Install first: " + "; ".join(lacking) + ". Then run `make setup` again.")
    return False


def make_environment() -> bool:
    """Make `.venv` with exactly the hashed requirements."""
    files = [ROOT / "requirements-build.txt", ROOT / "requirements.txt"]
    want = digest(files, sys.version, str(ROOT))
    if stamped("environment") == want and output_of(PYTHON, "--version"):
        return False
    title = "Making .venv with the pinned requirements"
    pip: list[str | Path] = [
        PYTHON,
        "-m",
        "pip",
        "--disable-pip-version-check",
        "install",
        "--require-hashes",
    ]
    attempt(title, [BASE_PYTHON, "-m", "venv", "--clear", VENV])
    attempt(title, [*pip, "-r", files[0]])
    attempt(title, [*pip, "--no-build-isolation", "-r", files[1]])
    stamp("environment", want)
    return True


def build_native() -> bool:
    """Build the native crate and install this checkout, editable, into `.venv`."""
    crate = ROOT / "tss" / "frost" / "native"
    sources = [p for p in crate.rglob("*") if p.is_file() and "target" not in p.relative_to(crate).parts]
    want = digest([*sources, ROOT / "pyproject.toml"])
    built = ROOT / "tss" / "frost" / "_native"
    if stamped("native") == want and any(built.glob("*.so")) and (VENV / "bin" / "holdfast").is_file():
        return False
    pip: list[str | Path] = [
        PYTHON,
        "-m",
        "pip",
        "--disable-pip-version-check",
        "install",
        "--no-build-isolation",
        "--no-deps",
    ]
    search = f"{VENV / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}"  # pip's build finds maturin there
    attempt("Building the native crate", [*pip, "-e", ROOT], PATH=search, VIRTUAL_ENV=str(VENV))
    stamp("native", want)
    return True


def ensure_bitcoind() -> bool:
    """Find a bitcoind or build one, installing Debian's packages for that when we may."""
    from regtest import core

    if core.find() is not None:
        return False
    if lacking := core.missing_packages():
        install(lacking)
    core.ensure()
    return True


def install(packages: list[str]) -> None:
    """Install Debian packages as root, else say the line to run."""
    command = ["apt-get", "install", "-y", "--no-install-recommends", *packages]
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        how = (
            f"run `sudo {' '.join(command)}`" if shutil.which("apt-get") else f"install {', '.join(packages)}"
        )
        raise SetupError(f"bitcoind must be built: {how}, then `make setup` again (or set BITCOIND).")
    title = "Installing Debian packages for the build"
    attempt(title, ["apt-get", "update"], DEBIAN_FRONTEND="noninteractive")
    attempt(title, command, DEBIAN_FRONTEND="noninteractive")


PARTS = (
    ("tools", check_tools),
    ("environment", make_environment),
    ("native crate", build_native),
    ("bitcoind", ensure_bitcoind),
)


def attempt(title: str, command: Sequence[str | Path], **variables: str) -> None:
    """Run a command with progress; its failure becomes a sentence with the end of what it said."""
    from regtest.progress import Progress  # needs the Python that main() made sure of

    try:
        Progress.under(title).run(command, cwd=ROOT, env={**os.environ, **variables})
    except subprocess.CalledProcessError as error:
        tail = "\n".join(error.output.splitlines()[-25:])
        raise SetupError(f"{title} failed; mend this and run `make setup` again:\n{tail}") from error


def digest(files: list[Path], *more: str) -> str:
    """Return one hash over names and contents of files and further words."""
    total = hashlib.sha256("\0".join(more).encode())
    for file in sorted(files):
        content = hashlib.sha256(file.read_bytes()).hexdigest()
        total.update(f"{file.relative_to(ROOT)}\0{content}\n".encode())
    return total.hexdigest()


def stamped(part: str) -> object:
    """Return the stamp of a part, or None."""
    try:
        return json.loads(STAMPS.read_text())[part]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def stamp(part: str, value: str) -> None:
    """Remember what a part was made from."""
    try:
        stamps = json.loads(STAMPS.read_text())
    except (OSError, ValueError):
        stamps = {}
    STAMPS.write_text(json.dumps({**stamps, part: value}))


def output_of(*command: str | Path) -> str:
    """Return what a command prints, or nothing when it cannot run."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return ""


def say(text: str) -> None:
    """Tell the human."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
