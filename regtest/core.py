"""Finds a bitcoind that is new enough, or builds one from pinned source into the user's cache folder.

Runs before any virtual environment exists (`python3 regtest/core.py --ensure` prints the path), so it
uses the standard library only. Order: `$BITCOIND`, then PATH, then the cached build. The source is the
archive of the PyPI package py-bitcoinkernel, which carries the whole Bitcoin Core tree; pip fetches it and
refuses other bytes than those pinned here.
"""

import argparse
import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import venv
from collections.abc import Iterator
from pathlib import Path

if not __package__:  # run as a script, before anything is installed
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from regtest.progress import Progress

MINIMUM = 28  # TRUC transactions and `submitpackage`
SOURCE = "py-bitcoinkernel"
SOURCE_VERSION = "0.1.0a5"
SOURCE_SHA256 = "71b91eecac7a8b07248be04471c3bf98016b38bf823aefd28f7b31179940520d"
RECIPE = "1"  # raise it when FLAGS or UNITY change, so that old builds are not reused
BUILD_ID = f"31.99-{SOURCE_SHA256[:12]}-{RECIPE}"

# pip asks an archive for its metadata, and the archive asks for this backend: pinned like the archive.
BACKEND = """
scikit-build-core==1.1.2 --hash=sha256:7f4f959a467692db50bdd1ea7ce1507f2c7972e6023b753ee302d169bc4cec85
packaging==26.3 --hash=sha256:d7193f7c8e4e93f444fde0262bf90af30e16fa0ad0ad44cb553c87339b23cd1c
pathspec==1.1.1 --hash=sha256:a00ce642f577bf7f473932318056212bc4f8bfdf53128c78bbd5af0b9b20b189
"""
PACKAGES = (
    "cmake",
    "ninja-build",
    "pkgconf",
    "libboost-dev",
    "libevent-dev",
    "libsqlite3-dev",
    "libzmq3-dev",
)

OFF = (
    *("BUILD_TESTS", "BUILD_TX", "BUILD_UTIL", "BUILD_GUI", "BUILD_CLI", "BUILD_BENCH"),
    *("BUILD_FUZZ_BINARY", "ENABLE_IPC", "INSTALL_MAN"),
)
FLAGS = (
    *("-G", "Ninja", "-DCMAKE_BUILD_TYPE=None", "-DAPPEND_CXXFLAGS=-O1 -g0", "-DAPPEND_CFLAGS=-O1"),
    *("-DENABLE_WALLET=ON", "-DWITH_ZMQ=ON", "-DBUILD_DAEMON=ON"),
    *(f"-D{name}=OFF" for name in OFF),
)
UNITY = (
    "-DCMAKE_UNITY_BUILD=ON",
    "-DCMAKE_UNITY_BUILD_BATCH_SIZE=8",
)  # a third of the plain build's CPU time
ALONE = ("src/node/chainstate.cpp", "src/index/coinstatsindex.cpp")  # clashing names: never in one unity unit
GIGABYTES_PER_JOB = 1.5


class CoreError(Exception):
    """No usable bitcoind; the sentence says why and what to do next."""


def cache_folder() -> Path:
    """Return the user's cache folder for Holdfast, by the XDG base directory rule."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "holdfast"


def version_of(bitcoind: Path) -> int:
    """Return the major version that a bitcoind states; CoreError when it does not run or does not say."""
    try:
        answer = subprocess.run(
            [bitcoind, "-version"], capture_output=True, text=True, timeout=30, check=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise CoreError(f"{bitcoind} does not run ({error}): give the path of a working bitcoind.") from error
    found = re.search(r"Bitcoin Core.* version v?(\d+)\.", answer.stdout)
    if found is None:
        raise CoreError(f"{bitcoind} does not say that it is Bitcoin Core: give the path of a Core bitcoind.")
    return int(found[1])


def checked(bitcoind: Path) -> Path:
    """Return the same path when its version is new enough, otherwise raise CoreError with the next move."""
    major = version_of(bitcoind)
    if major < MINIMUM:
        raise CoreError(
            f"{bitcoind} is Bitcoin Core {major}, but Holdfast needs {MINIMUM} or later "
            "(TRUC, submitpackage): set BITCOIND to a newer one, or unset it to have one built."
        )
    return bitcoind


def find() -> Path | None:
    """Return the bitcoind to use, or None when one must be built.

    A `$BITCOIND` that will not do raises CoreError; one on PATH that will not do is passed over, and said.
    """
    if named := os.environ.get("BITCOIND"):
        return checked(Path(named))
    if on_path := shutil.which("bitcoind"):
        try:
            return checked(Path(on_path))
        except CoreError as error:
            print(f"Not used: {error}", file=sys.stderr)
    return cached()


def cached() -> Path | None:
    """Return the cached build when it is whole, else None.

    The stamp holds SHA-256, size and mtime of the binary; the hash is taken again only when one of the
    other two changed.
    """
    bitcoind = cache_folder() / f"bitcoind-{BUILD_ID}" / "bitcoind"
    try:
        stamp = json.loads((bitcoind.parent / "stamp.json").read_text())
        now = bitcoind.stat()
        if (stamp["size"], stamp["mtime_ns"]) != (now.st_size, now.st_mtime_ns):
            if stamp["sha256"] != _sha256(bitcoind):
                return None
            _write_stamp(bitcoind)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return bitcoind if os.access(bitcoind, os.X_OK) else None


def ensure() -> Path:
    """Return a usable bitcoind, building it first when there is none (minutes, once)."""
    if found := find():
        return found
    if lacking := missing_packages():
        raise CoreError(f"bitcoind must be built and needs packages: apt-get install -y {' '.join(lacking)}")
    with _build_lock():
        return cached() or _build()  # another process may have built it while we waited


def missing_packages() -> list[str]:
    """Return the Debian packages that the build needs and dpkg does not have; tool names elsewhere."""
    if shutil.which("dpkg-query") is None:
        return [tool for tool in ("cmake", "ninja", "pkg-config") if shutil.which(tool) is None]
    shown = subprocess.run(
        ["dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\n", *PACKAGES],
        capture_output=True,
        text=True,
        check=False,
    )
    there = {line.split()[0] for line in shown.stdout.splitlines() if line.endswith(" installed")}
    return [name for name in PACKAGES if name not in there]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_stamp(bitcoind: Path) -> None:
    seen = bitcoind.stat()
    stamp = {"sha256": _sha256(bitcoind), "size": seen.st_size, "mtime_ns": seen.st_mtime_ns}
    draft = bitcoind.parent / f"stamp.{os.getpid()}"
    draft.write_text(json.dumps(stamp))
    draft.replace(bitcoind.parent / "stamp.json")


@contextlib.contextmanager
def _build_lock() -> Iterator[None]:
    """One build at a time per user; the lock falls with its process, however that ends."""
    cache_folder().mkdir(parents=True, exist_ok=True)
    with (cache_folder() / "build.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("Another build of bitcoind is under way; waiting for it.", file=sys.stderr, flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _build() -> Path:
    home = cache_folder()
    for leftover in home.glob("building-*"):  # whoever made it died: we hold the lock
        shutil.rmtree(leftover, ignore_errors=True)
    final = home / f"bitcoind-{BUILD_ID}"
    with tempfile.TemporaryDirectory(prefix="building-", dir=home) as name:
        work = Path(name)
        source = _unpack(_archive(work), work)
        try:
            built = _compile(source, work / "unity", (*UNITY, _keep_alone(source, work)))
        except CoreError as error:
            print(f"The quick build failed, now the plain one (slower). {error}", file=sys.stderr, flush=True)
            built = _compile(source, work / "plain", ())
        ready = work / "ready"
        ready.mkdir()
        shutil.copy2(built, ready / "bitcoind")
        subprocess.run(["strip", ready / "bitcoind"], check=False)
        checked(ready / "bitcoind")
        _write_stamp(ready / "bitcoind")
        shutil.rmtree(final, ignore_errors=True)
        ready.replace(final)
    return final / "bitcoind"


def _archive(work: Path) -> Path:
    """Return the verified source archive, kept in the cache so that a rebuild needs no network."""
    kept = cache_folder() / f"source-{SOURCE_SHA256[:12]}.tar.gz"
    if kept.is_file() and _sha256(kept) == SOURCE_SHA256:
        return kept
    progress = Progress("Fetching Bitcoin Core's source")
    venv.create(work / "pip", with_pip=True)
    pip: list[str | Path] = [
        work / "pip" / "bin" / "python",
        "-m",
        "pip",
        "--disable-pip-version-check",
        "-q",
    ]
    backend, archive = work / "backend.txt", work / "archive.txt"
    backend.write_text(BACKEND)
    archive.write_text(f"{SOURCE}=={SOURCE_VERSION} --hash=sha256:{SOURCE_SHA256}\n")
    fetch = (
        "--no-deps",
        "--no-binary",
        SOURCE,
        "--no-build-isolation",
        "--require-hashes",
        "-d",
        work / "fetched",
    )
    try:
        progress.run(
            [*pip, "install", "--no-deps", "--only-binary", ":all:", "--require-hashes", "-r", backend]
        )
        progress.run([*pip, "download", *fetch, "-r", archive])
    except subprocess.CalledProcessError as error:
        raise CoreError(
            "Bitcoin Core's source could not be fetched. Check the network and try again, or set BITCOIND."
            f"\n{error.output}"
        ) from error
    (fetched,) = (work / "fetched").glob("*.tar.gz")
    if _sha256(fetched) != SOURCE_SHA256:
        raise CoreError(
            "The source archive is not the pinned one: nothing was built. Try again, or set BITCOIND."
        )
    shutil.copy2(fetched, work / "kept")
    (work / "kept").replace(kept)
    return kept


def _unpack(archive: Path, work: Path) -> Path:
    with tarfile.open(archive) as tar:
        if hasattr(tarfile, "data_filter"):  # not in every 3.11; the archive is pinned anyway
            tar.extraction_filter = tarfile.data_filter
        tar.extractall(work / "source")  # noqa: S202  its bytes are pinned
    return work / "source" / f"{SOURCE.replace('-', '_')}-{SOURCE_VERSION}" / "depend" / "bitcoin"


def _keep_alone(source: Path, work: Path) -> str:
    """Write the CMake line that takes two files out of the unity units without touching the source."""
    include = work / "alone.cmake"
    files = " ".join(f'"{source / name}"' for name in ALONE)  # relative paths are silently ignored
    include.write_text(
        f'cmake_language(DEFER DIRECTORY "{source}" CALL set_source_files_properties {files} '
        f'DIRECTORY "{source / "src"}" PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)\n'
    )
    return f"-DCMAKE_PROJECT_INCLUDE={include}"


def _compile(source: Path, out: Path, extra: tuple[str, ...]) -> Path:
    progress = Progress("Building bitcoind (once, some minutes)")
    try:
        progress.run(["cmake", "-S", source, "-B", out, *FLAGS, *extra])
        progress.run(["ninja", "-C", out, f"-j{_jobs()}", "bitcoind"])
    except (OSError, subprocess.CalledProcessError) as error:
        tail = "\n".join((getattr(error, "output", "") or str(error)).splitlines()[-25:])
        raise CoreError(
            f"Building bitcoind failed; set BITCOIND to one of your own. The build said:\n{tail}"
        ) from error
    return out / "bin" / "bitcoind"


def _jobs() -> int:
    gigabytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return max(1, min(os.cpu_count() or 1, int(gigabytes / GIGABYTES_PER_JOB)))


def main() -> int:
    """Print the path of a usable bitcoind; with `--ensure`, build it first when there is none."""
    parser = argparse.ArgumentParser(
        description="Find, or build once, the bitcoind that Holdfast's regtest uses."
    )
    parser.add_argument("--ensure", action="store_true", help="build it when there is none")
    wanted = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the compiler is stopped, too
    try:
        found = ensure() if wanted.ensure else find()
    except CoreError as error:
        print(error, file=sys.stderr)
        return 2
    if found is None:
        print("There is no bitcoind yet: run `make setup`, or set BITCOIND.", file=sys.stderr)
        return 1
    print(found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
