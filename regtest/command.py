"""Runs the `holdfast` command as a person would: own process, exit status, what it printed."""

import json
import shlex
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from regtest import orphans

HOLDFAST = (str(Path(sys.executable).with_name("holdfast")),)


@dataclass(frozen=True, slots=True)
class Result:
    """What a command did."""

    command: str
    status: int
    out: str
    err: str


class CommandFault(Exception):
    """A command that failed; the sentence holds the command, its status and what it said."""

    def __init__(self, result: Result) -> None:
        self.result = result
        said = result.err.strip() or result.out.strip() or "nothing"
        super().__init__(f"`{result.command}` ended with status {result.status} and said: {said}")


def attempt(*args: object, seconds: float = 120) -> Result:
    """Run `holdfast ARGS` to its end, whatever that is; it ends with us, too. TimeoutError when it takes longer."""
    words = [str(arg) for arg in args]
    shown = shlex.join(["holdfast", *words])
    process = subprocess.Popen(
        [*HOLDFAST, *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    orphans.guard(process.pid)
    try:
        out, err = process.communicate(timeout=seconds)
    except BaseException as error:
        process.kill()
        process.communicate()
        if isinstance(error, subprocess.TimeoutExpired):
            raise TimeoutError(f"Waited {seconds:g} s in vain for `{shown}` to end.") from error
        raise
    finally:
        orphans.forget(process.pid)
    return Result(shown, process.returncode, out, err)


def holdfast(*args: object, seconds: float = 120) -> str:
    """Run `holdfast ARGS` and return what it printed. CommandFault when its exit status is not 0."""
    result = attempt(*args, seconds=seconds)
    if result.status != 0:
        raise CommandFault(result)
    return result.out


def holdfast_json(*args: object, seconds: float = 120) -> Any:
    """Run `holdfast ARGS --json` and return the value that it printed. CommandFault as above."""
    return json.loads(holdfast(*args, "--json", seconds=seconds))


def together(commands: Sequence[Sequence[object]]) -> list[str]:
    """Run independent commands at once; return what they printed, in their order. CommandFault of the first."""
    with ThreadPoolExecutor(max(1, len(commands))) as pool:
        return list(pool.map(lambda command: holdfast(*command), commands))
