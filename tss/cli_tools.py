"""How the `tss` commands speak: to the node's admin port by plain HTTP, to people by tables or JSON."""

import json
import sys
import tomllib
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

_MAX_ANSWER = 8 << 20
CHAINS = ("mainnet", "testnet3", "testnet4", "signet", "regtest")
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a node is never behind a proxy

JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
FOLDER = click.option(
    "--dir",
    "folder",
    required=True,
    envvar="HOLDFAST_DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="The node's folder.",
)


class Failed(click.ClickException):
    """Why a command did not do its work: one sentence with the next move; status 1, or 2 for wrong set-up."""

    def __init__(self, sentence: str, status: int = 1) -> None:
        super().__init__(sentence)
        self.exit_code = status  # type: ignore[misc]  # click reads it from the instance


class Admin:
    """The admin port of the node that runs on a folder."""

    def __init__(self, folder: Path) -> None:
        path = folder / "admin.json"
        if setting(folder, "role") == "observer":
            raise Failed(
                f"{folder} is an observer, and an observer has no keys: give an operator's folder", 2
            )
        start = f"start it with `holdfast node run --dir {folder}`"
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            self._url, self._token = str(found["url"]), str(found["token"])
        except FileNotFoundError as error:
            raise Failed(f"no node runs on {folder}: {start}") from error
        except PermissionError as error:
            raise Failed(f"{path} is not yours to read: run the command as the node's user") from error
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise Failed(f"{path} is damaged: stop the node and {start}") from error
        self._who, self._start = f"the node on {folder}", start

    def get(self, path: str) -> Any:
        """GET a JSON answer."""
        return self._ask("GET", path, None, 30)

    def post(self, path: str, body: object, *, timeout: float) -> Any:
        """POST JSON, return the JSON answer."""
        return self._ask("POST", path, json.dumps(body).encode(), timeout)

    def is_active(self) -> bool:
        """Whether the node's bridge is active; False as well when it does not tell."""
        try:
            return bool(self.get("/v1/node/status")["active"])
        except (Failed, KeyError, TypeError):
            return False

    def _ask(self, method: str, path: str, body: bytes | None, timeout: float) -> Any:
        request = urllib.request.Request(self._url + path, body, method=method)  # noqa: S310 the node wrote the URL
        request.add_header("Content-Type", "application/json")
        request.add_header("Authorization", f"Bearer {self._token}")
        try:
            with _DIRECT.open(request, timeout=timeout) as answer:
                return json.loads(answer.read(_MAX_ANSWER))
        except urllib.error.HTTPError as refused:
            raise Failed(self._sentence(refused)) from refused
        except (OSError, ValueError) as error:
            why = getattr(error, "reason", None) or error
            raise Failed(f"{self._who} does not answer ({why}): {self._start}") from error

    def _sentence(self, refused: urllib.error.HTTPError) -> str:
        try:
            problem = json.loads(refused.read(1 << 20))
            title, detail, remedy = (str(problem.get(x) or "") for x in ("title", "detail", "remedy"))
        except (ValueError, AttributeError, OSError):
            return f"{self._who} answered {refused.code}: look into its log"
        said = ": ".join(part for part in (title, detail) if part) or f"HTTP {refused.code}"
        return f"{self._who} says: {said}" + (f"; {remedy}" if remedy and remedy not in said else "")


def setting(folder: Path, name: str) -> str | None:
    """What a node's config.toml says in [node]; None when there is none to read."""
    try:
        return str(tomllib.loads((folder / "config.toml").read_text(encoding="utf-8"))["node"][name])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def show(as_json: bool, value: Any, text: str) -> None:
    """Print the answer: `value` as JSON when asked to, else `text`."""
    click.echo(json.dumps(value, indent=2) if as_json else text)


def table(columns: Sequence[str], rows: Sequence[Sequence[object]], none: str) -> str:
    """Rows under their columns, or `none` when there are no rows; drawn by rich on a terminal."""
    cells = [["-" if cell is None else str(cell) for cell in row] for row in rows]
    if not cells:
        return none
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.table import Table

        drawn = Table(*columns)
        for row in cells:
            drawn.add_row(*row)
        console = Console()
        with console.capture() as said:
            console.print(drawn)
        return said.get().rstrip("\n")
    widths = [max(len(row[i]) for row in [list(columns), *cells]) for i in range(len(columns))]
    laid = ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) for row in [columns, *cells]]
    return "\n".join(line.rstrip() for line in laid)
