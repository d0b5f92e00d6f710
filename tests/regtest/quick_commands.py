"""Runs many `holdfast` commands as processes of their own without paying for each one's imports.

A server process imports the program once; each command is forked from it. It has its own process number, streams,
locks and end, exactly as one that a shell starts. For one or two commands use `regtest.command`.
"""

import contextlib
import multiprocessing as mp
import os
import shlex
import sys
import traceback
from pathlib import Path
from tempfile import TemporaryDirectory

from regtest import orphans
from regtest.command import Result

_PROGRAM: tuple[str, ...] = (
    "bridge.cli",
    "bridge.cli_node",
    "bridge.node",
    "bridge.http",
    "bridge.logs",
    "anchor.rollup_cli",
)
_PROGRAM += ("bridge.api", "bridge.api_admin", "anchor.rollup_processes", "tss.api", "tss.cli")


def attempt(*args: object, seconds: float = 60) -> Result:
    """Run `holdfast ARGS` to its end, whatever that is. TimeoutError when it takes longer."""
    words = [str(arg) for arg in args]
    server = mp.get_context("forkserver")
    server.set_forkserver_preload(list(_PROGRAM))
    with TemporaryDirectory() as folder:
        out, err, end = (Path(folder) / name for name in ("out", "err", "end"))
        process = server.Process(target=_holdfast, args=(words, out, err, end))
        process.start()
        assert process.pid is not None
        orphans.guard(process.pid)
        try:
            process.join(seconds)
            if process.is_alive():
                process.kill()
                process.join()
                raise TimeoutError(f"Waited {seconds:g} s in vain for `holdfast {shlex.join(words)}` to end.")
        finally:
            orphans.forget(process.pid)
        # Not `exitcode`: of two threads that look at it at once, one is told 255.
        return Result(
            shlex.join(["holdfast", *words]), int(end.read_text()), out.read_text(), err.read_text()
        )


def _holdfast(words: list[str], out: Path, err: Path, end: Path) -> None:
    """In the forked process: be the command."""
    from bridge.cli import main

    for number, path in ((0, Path(os.devnull)), (1, out), (2, err)):
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(file, number)
        os.close(file)
    sys.stdin, sys.stdout, sys.stderr = (os.fdopen(n, m) for n, m in ((0, "r"), (1, "w"), (2, "w")))
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.setsid()
    status = 1
    try:
        main(words, prog_name="holdfast")
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else 0
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    end.write_text(str(status))
