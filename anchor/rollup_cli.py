"""`holdfast rollup`: run its sequencer and validators, keep keys, read accounts and blocks, send transfers."""

import asyncio
import signal
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import click
import msgspec

from anchor import rollup_keys
from anchor.btc.amounts import Sats
from anchor.btc.ids import display
from anchor.rollup.block import CertifiedBlock
from anchor.rollup.genesis import Genesis
from anchor.rollup.tx import Transfer, decode_tx
from anchor.rollup_cli_tools import (
    FILE,
    JSON,
    READABLE,
    URL,
    go,
    http_url,
    key32,
    load_genesis,
    load_keys,
    show,
)
from anchor.rollup_genesis_cli import genesis as genesis_group
from anchor.rollup_keys import KeyFileError, RollupKey
from anchor.rollup_verify_cli import verify_headers


@click.group()
def rollup() -> None:
    """The embedded rollup: sequencer, validators, keys, balances, transfers."""


async def _stoppable(work: Callable[[asyncio.Event], Coroutine[Any, Any, None]]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    await work(stop)


# Processes


@rollup.command()
@click.option("--genesis", type=READABLE, required=True, help="genesis.json of this rollup.")
@click.option("--db", type=FILE, required=True, help="rollup.db of this sequencer.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=9000, show_default=True, help="0 chooses one.")
@click.option(
    "--node",
    "nodes",
    multiple=True,
    required=True,
    callback=http_url,
    help="Public URL of a committee node to read Bitcoin headers from. Repeat it, best for three or more: only "
    "headers that more than half of those that answer have on their main chain are used. A single one is believed, "
    "and can hold the rollup up while it lies.",
)
def run(genesis: Path, db: Path, host: str, port: int, nodes: tuple[str, ...]) -> None:
    """Run the sequencer.

    Example: holdfast rollup run --genesis genesis.json --db rollup.db --node http://127.0.0.1:8101
    """
    from anchor.rollup_processes import SequencerSettings, run_sequencer

    settings = SequencerSettings(db, host, port, nodes)
    found = load_genesis(genesis)
    _log_to_stderr()
    go(_stoppable(lambda stop: run_sequencer(found, settings, stop, _ready("rollup API on {}"))))


@rollup.group()
def validator() -> None:
    """Validators: run one process for some keys."""


@validator.command("run")
@click.option("--genesis", type=READABLE, required=True, help="genesis.json of this rollup.")
@click.option("--keys", type=READABLE, required=True, help="Key file; all its keys vote.")
@click.option("--db", type=FILE, required=True, help="rollup.db of this validator; never copy or restore it.")
@click.option(
    "--headers", type=click.Path(file_okay=False, path_type=Path), help="Folder of headers [beside --db]."
)
@click.option("--rollup", "url", required=True, callback=http_url, help="Root of the rollup's HTTP API.")
@click.option(
    "--bitcoind-url",
    required=True,
    callback=http_url,
    help="RPC of your own bitcoind, e.g. http://127.0.0.1:8332.",
)
@click.option("--cookie", type=FILE, required=True, help="bitcoind's cookie file.")
@click.option("--zmq", help="bitcoind's -zmqpubsequence address, for quicker wake-ups.")
@click.option(
    "--resume-above", type=click.IntRange(min=0), help="After losing --db: nothing above was ever signed."
)
def run_validator_command(
    genesis: Path,
    keys: Path,
    db: Path,
    headers: Path | None,
    url: str,
    bitcoind_url: str,
    cookie: Path,
    zmq: str | None,
    resume_above: int | None,
) -> None:
    """Run the validators whose keys are in one file.

    Example: holdfast rollup validator run --genesis genesis.json --keys validators.json --db validator.db
    --rollup http://127.0.0.1:9000 --bitcoind-url http://127.0.0.1:18443 --cookie ~/.bitcoin/regtest/.cookie
    """
    found, pairs = load_genesis(genesis), load_keys(keys)
    folder = headers or db.with_name(f"{db.stem}-headers")
    _log_to_stderr()

    async def work(stop: asyncio.Event) -> None:
        from anchor.bitcoind import Bitcoind
        from anchor.rollup_processes import ValidatorSettings, run_validator

        bitcoind = Bitcoind(bitcoind_url, cookie=cookie)
        settings = ValidatorSettings(db, folder, url, bitcoind, zmq, resume_above)
        await run_validator(found, pairs, settings, stop, _ready("validator at height {}"))

    go(_stoppable(work))


def _ready(text: str) -> Callable[[Any], None]:
    def say(value: Any) -> None:
        click.echo(text.format(value))
        sys.stdout.flush()

    return say


def _log_to_stderr() -> None:
    import structlog

    readable = sys.stderr.isatty()
    renderer = structlog.dev.ConsoleRenderer() if readable else structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.format_exc_info,
            renderer,
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


# Keys


@rollup.group()
def key() -> None:
    """Rollup keys: of users and of validators."""


@key.command("new")
@click.option("-o", "--output", type=FILE, required=True, help="File to write; never overwritten.")
@click.option(
    "--count", type=click.IntRange(1, 100), default=1, show_default=True, help="Several for validators."
)
@JSON
def key_new(output: Path, count: int, as_json: bool) -> None:
    """Make a key, or several for validators, in a file that only you can read.

    Example: holdfast rollup key new -o alice.json
    """
    keys = [RollupKey.new() for _ in range(count)]
    try:
        rollup_keys.save(output, keys)
    except KeyFileError as error:
        raise click.ClickException(str(error)) from error
    _print_keys(keys, as_json)


@key.command("show")
@click.argument("file", type=READABLE)
@JSON
def key_show(file: Path, as_json: bool) -> None:
    """Print the public keys of a key file.

    Example: holdfast rollup key show alice.json
    """
    _print_keys(load_keys(file), as_json)


def _print_keys(keys: list[RollupKey], as_json: bool) -> None:
    publics = [pair.public.hex() for pair in keys]
    show(as_json, {"keys": publics}, "\n".join(publics))


# Reading and sending


@rollup.command()
@click.argument("key", callback=key32)
@URL
@JSON
def balance(key: bytes, url: str, as_json: bool) -> None:
    """Print the coins of a rollup key, in satoshis.

    Example: holdfast rollup balance 79be66…1798 --rollup http://127.0.0.1:9000
    """

    async def work() -> Any:
        from anchor.rollup_client import RollupClient

        async with RollupClient(url) as client:
            return await client.account(key)

    found = go(work())
    show(as_json, msgspec.to_builtins(found), f"{found.balance} sats, next nonce {found.next_nonce}")


@rollup.command()
@click.option("--key", "key_file", type=READABLE, required=True, help="Key file of the sender.")
@click.option("--to", "recipient", callback=key32, required=True, help="Rollup key of the recipient.")
@click.option("--amount", type=click.IntRange(min=1), required=True, help="Satoshis.")
@URL
@JSON
def transfer(key_file: Path, recipient: bytes, amount: int, url: str, as_json: bool) -> None:
    """Send coins to another rollup key.

    Example: holdfast rollup transfer --key alice.json --to 79be66…1798 --amount 5000 --rollup http://127.0.0.1:9000
    """

    async def work() -> bytes:
        sender = rollup_keys.load_one(key_file)
        from anchor.rollup_client import RollupClient

        async with RollupClient(url) as client:
            genesis = await client.genesis()
            nonce = (await client.account(sender.public)).next_nonce
            tx = Transfer(sender.public, nonce, recipient, Sats(amount))
            return await client.submit(sender.sign_tx(tx, genesis.hash).encode())

    txid = go(work()).hex()
    show(as_json, {"txid": txid}, f"sent {amount} sats in {txid}")


@rollup.command()
@click.argument("height", type=click.IntRange(min=1))
@URL
@JSON
def block(height: int, url: str, as_json: bool) -> None:
    """Print a certified block, its votes checked.

    Example: holdfast rollup block 12 --rollup http://127.0.0.1:9000
    """

    async def work() -> tuple[Genesis, CertifiedBlock | None]:
        from anchor.rollup_client import RollupClient

        async with RollupClient(url) as client:
            page = await client.blocks(height - 1, 1)
            return await client.genesis(), page[0] if page else None

    genesis, found = go(work())
    if found is None or found.height != height:
        raise click.ClickException(f"there is no certified block {height} yet: ask again later")
    try:
        from anchor.finality.votes import check_certified

        check_certified(genesis, found)
    except ValueError as error:
        raise click.ClickException(f"the rollup served a block that is not certified: {error}") from error
    facts = _facts(found)
    show(as_json, facts, "\n".join(f"{name:>14}  {value}" for name, value in facts.items()))


def _facts(found: CertifiedBlock) -> dict[str, Any]:
    header = found.block.header
    return {
        "height": header.height,
        "hash": found.hash.hex(),
        "parent": header.parent.hex(),
        "time": header.time,
        "transactions": [type(decode_tx(raw)).__name__ for raw in found.block.transactions],
        "bundle_bytes": len(found.block.bundle),
        "final_bitcoin": f"{header.final_height} {display(header.final_hash)}",
        "state_root": header.state_after.hex(),
        "votes": [vote.validator for vote in found.certificate.votes],
    }


rollup.add_command(genesis_group)
rollup.add_command(verify_headers)
