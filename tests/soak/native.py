"""The native crate under fuzz and under AddressSanitizer: `make fuzz-tss`, `make asan-tss`.

`fuzz` builds `tss/frost/native/fuzz` with libFuzzer and AddressSanitizer and runs it for FUZZ_MINUTES (10) on
FUZZ_JOBS processes (default 1), from the corpus that the runs before left under build/fuzz. `asan` runs the crate's
own tests, and then Python's tests of the engine and of the protocol, on a library that is built with it.

Sanitizers need options that a stable compiler takes only when it is told so (RUSTC_BOOTSTRAP); no release is built
like that.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
CRATE = ROOT / "tss" / "frost" / "native"
BUILT = CRATE / "target" / "sanitized"
_COVERAGE = (
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Ccodegen-units=1",
    "--cfg=fuzzing",
)
_MEMORY = "-Zsanitizer=address"
# A sanitizer keeps what was freed for a while, so the test that looks for secrets in memory would find them.
_TESTS = (
    "-k",
    "not memory_holds_a_share",
    "tests/tss/frost",
    "tests/tss/dkg",
    "tests/tss/signing",
    "tests/tss/rotation/test_refresh_rounds.py",
)


def target() -> str:
    """The machine's own target: naming it keeps the flags away from build scripts."""
    told = subprocess.run(("rustc", "-vV"), check=True, capture_output=True, text=True).stdout
    return next(line.split()[1] for line in told.splitlines() if line.startswith("host:"))


def cargo(folder: Path, *words: str, flags: tuple[str, ...], built: str) -> Path:
    """Run cargo with these flags; where what it makes lies. CalledProcessError when it fails."""
    where = BUILT / built
    environment = os.environ | {
        "RUSTC_BOOTSTRAP": "1",
        "RUSTFLAGS": " ".join(flags),
        "CARGO_TARGET_DIR": str(where),
    }
    host = target()
    subprocess.run(("cargo", *words, "--target", host), cwd=folder, env=environment, check=True)
    return where / host / ("release" if "--release" in words else "debug")


def fuzz() -> int:
    """0 when nothing was found; what was found lies in build/fuzz, to be run again by its path."""
    made = cargo(CRATE / "fuzz", "build", "--release", flags=(*_COVERAGE, _MEMORY), built="fuzz")
    place = ROOT / "build" / "fuzz"
    corpus = place / "abi"
    corpus.mkdir(parents=True, exist_ok=True)
    seconds = int(60 * float(os.environ.get("FUZZ_MINUTES", "10")))
    words = [f"-max_total_time={seconds}", "-max_len=1024", "-len_control=20", "-print_final_stats=1"]
    if (jobs := os.environ.get("FUZZ_JOBS", "1")) != "1":
        words.append(f"-fork={jobs}")
    return subprocess.run(
        (made / "abi", *words, f"-artifact_prefix={place}/", corpus), check=False
    ).returncode


def asan() -> int:
    """0 when all tests pass and no byte was touched that may not be."""
    cargo(CRATE, "test", "--features", "test-seed", flags=(_MEMORY,), built="asan")
    made = cargo(CRATE, "build", "--release", flags=(_MEMORY,), built="asan")
    runtime = _runtime()
    if runtime is None:
        print("the crate's own tests passed; no libasan.so for Python's: install gcc")
        return 0
    with tempfile.TemporaryDirectory(prefix="holdfast-asan-") as folder:
        copy = Path(folder) / "holdfast"
        leave = shutil.ignore_patterns(
            ".git", ".venv", "target", "build", "__pycache__", ".*_cache", ".hypothesis"
        )
        shutil.copytree(ROOT, copy, ignore=leave)
        shutil.copy(made / "libholdfast_frost.so", copy / "tss" / "frost" / "_native" / "lib_native.so")
        # Python keeps memory to its end, which is no leak of ours; what the crate touches is what counts.
        environment = os.environ | {
            "LD_PRELOAD": runtime,
            "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1",
            "PYTHONPATH": str(copy),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        tests = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *_TESTS)
        return subprocess.run(tests, cwd=copy, env=environment, check=False).returncode


def _runtime() -> str | None:
    """The sanitizer's own library, which must be in the process before ours."""
    compiler = shutil.which("gcc")
    if compiler is None:
        return None
    named = subprocess.run(
        (compiler, "-print-file-name=libasan.so"), check=True, capture_output=True, text=True
    )
    path = named.stdout.strip()
    return path if Path(path).is_absolute() else None


if __name__ == "__main__":
    try:
        sys.exit({"fuzz": fuzz, "asan": asan}[sys.argv[1]]())
    except subprocess.CalledProcessError as failed:
        sys.exit(f"{failed.cmd[0]} failed: exit {failed.returncode}")
