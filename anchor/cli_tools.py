"""What the commands of anchor and bridge share: options, refusals as one sentence, answers as text or JSON.

Light on purpose: a command starts in a fraction of a second, so nothing heavy is imported here.
"""

import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

FILE = click.Path(dir_okay=False, path_type=Path)
READABLE = click.Path(exists=True, dir_okay=False, path_type=Path)

JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
NODE = click.option(
    "--node", "url", required=True, envvar="HOLDFAST_NODE", help="Root of a node's public HTTP API."
)
FOLDER = click.option(
    "--dir",
    "folder",
    required=True,
    envvar="HOLDFAST_DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="The node's folder.",
)


class Failed(click.ClickException):
    """Why a command did not do its work: one sentence with the next move. Status 1, or 2 for wrong set-up."""

    def __init__(self, sentence: str, status: int = 1) -> None:
        super().__init__(sentence)
        self.exit_code = status  # type: ignore[misc]  # click reads it from the instance


def show(as_json: bool, value: Any, text: str) -> None:
    """Print the answer: `value` as JSON when asked to, else `text`."""
    click.echo(json.dumps(value, indent=2) if as_json else text)


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Lay rows out under their columns; with lines and colours only where stdout is a terminal."""
    cells = [["" if cell is None else str(cell) for cell in row] for row in rows]
    if not cells:
        return f"{title}: none yet"
    if sys.stdout.isatty():
        return _rich_table(title, columns, cells)
    widths = [max(len(row[i]) for row in [list(columns), *cells]) for i in range(len(columns))]
    lines = ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) for row in [columns, *cells]]
    return "\n".join(line.rstrip() for line in lines)


def _rich_table(title: str, columns: Sequence[str], cells: list[list[str]]) -> str:
    from rich.console import Console
    from rich.table import Table

    drawn = Table(*columns, title=title)
    for row in cells:
        drawn.add_row(*row)
    console = Console()
    with console.capture() as said:
        console.print(drawn)
    return said.get().rstrip("\n")


def lines(facts: Mapping[str, object]) -> str:
    """Lay out names and values, one a line."""
    width = max(map(len, facts), default=0)
    return "\n".join(f"{name.ljust(width)}  {_plain(value)}" for name, value in facts.items())


def _plain(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return json.dumps(value) if isinstance(value, dict | list) else str(value)


def to_stdout(data: bytes) -> None:
    """Write bytes to stdout as they are."""
    sys.stdout.buffer.write(data)
    sys.stdout.flush()


def write_new(path: Path, data: bytes, what: str, mode: int = 0o644) -> None:
    """Write a file that must not exist yet. Failed otherwise."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "wb") as out:
            out.write(data)
    except FileExistsError as error:
        raise Failed(f"{path} exists: {what} is never overwritten, choose another name") from error
    except OSError as error:
        raise Failed(f"cannot write {path} ({error.strerror}): choose another place") from error


def key32(_: click.Context, __: click.Parameter, value: str) -> bytes:
    """Read an x-only key from 64 hex digits."""
    try:
        if len(value) == 64 and value.isalnum():
            return bytes.fromhex(value)
    except ValueError:
        pass
    raise click.BadParameter("give a key as 64 hex digits, as `holdfast rollup key show` prints it")
