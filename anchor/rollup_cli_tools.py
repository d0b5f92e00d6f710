"""What all commands of `holdfast rollup` share: options, key files, errors as one sentence, output."""

import asyncio
import json
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import click

from anchor import rollup_keys
from anchor.btc.codec import CodecError
from anchor.rollup.genesis import Genesis
from anchor.rollup_keys import KeyFileError, RollupKey

_T = TypeVar("_T")
FILE = click.Path(dir_okay=False, path_type=Path)
READABLE = click.Path(exists=True, dir_okay=False, path_type=Path)


def http_url(_: click.Context, param: click.Parameter, value: Any) -> Any:
    """Refuse what is no http URL with a host; a click callback for one or several."""
    for each in value if isinstance(value, tuple) else (value,):
        try:
            parts = urlsplit(each)
            good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            good = False
        if not good:
            raise click.BadParameter(f"{each[:80]!r} is no URL: give {param.opts[0]} http://host:port")
    return value


URL = click.option(
    "--rollup",
    "url",
    required=True,
    envvar="HOLDFAST_ROLLUP",
    callback=http_url,
    help="Root of the rollup's HTTP API.",
)
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")


def go(work: Coroutine[Any, Any, _T]) -> _T:
    """Run to the end; a foreseen error becomes one sentence and exit status 1."""
    try:
        return asyncio.run(work)
    except Exception as error:
        if isinstance(error, _foreseen()):
            raise click.ClickException(str(error)) from error
        raise


def _foreseen() -> tuple[type[Exception], ...]:
    """Errors whose sentence is meant for people; imported only when there is one, so that commands start fast."""
    from anchor.bitcoind import NodeError
    from anchor.finality.replay import ReplayRefused
    from anchor.header_source import SourceError
    from anchor.headers.rules import HeaderRefused
    from anchor.rollup.refusals import BlockRefused
    from anchor.rollup_block_file import BlockFileFault
    from anchor.rollup_client import RollupError
    from anchor.rollup_store import StoreError
    from anchor.rollup_verify_cli import Disagrees
    from anchor.validator import ChainLied, NotAValidator, Restored
    from migrations.upgrade import SchemaFault

    return (
        StoreError,
        SchemaFault,
        NodeError,
        SourceError,
        HeaderRefused,
        RollupError,
        KeyFileError,
        CodecError,
        NotAValidator,
        Restored,
        ChainLied,
        ReplayRefused,
        BlockRefused,
        BlockFileFault,
        Disagrees,
        OSError,
    )


def load_genesis(path: Path) -> Genesis:
    """Read genesis.json, or end the command with what is wrong with it."""
    try:
        return Genesis.from_json(path.read_bytes())
    except (OSError, CodecError) as error:
        raise click.ClickException(f"{path}: {error}") from error


def load_keys(path: Path) -> list[RollupKey]:
    """Read a key file, or end the command with what is wrong with it."""
    try:
        return rollup_keys.load(path)
    except KeyFileError as error:
        raise click.ClickException(str(error)) from error


def key32(_: click.Context, __: click.Parameter, value: str) -> bytes:
    """Read a 32-byte argument in hex; a click callback."""
    try:
        if len(value) == 64:
            return bytes.fromhex(value)
    except ValueError:
        pass
    raise click.BadParameter("give 64 hex digits, as `holdfast rollup key show` prints them")


def show(as_json: bool, value: dict[str, Any], text: str) -> None:
    """Print `value` as JSON or `text` for people."""
    click.echo(json.dumps(value, indent=2) if as_json else text)
