"""`holdfast rollup genesis`: make the file a rollup begins with."""

from pathlib import Path

import click

from anchor.btc.ids import XOnlyKey
from anchor.btc.network import NETWORKS
from anchor.header_source import SourceError
from anchor.rollup.genesis import Genesis, Validator
from anchor.rollup_cli_tools import FILE, JSON, go, key32, show


@click.group()
def genesis() -> None:
    """The file a rollup begins with."""


@genesis.command("make")
@click.option("-o", "--output", type=FILE, required=True, help="File to write; never overwritten.")
@click.option(
    "--id", "rollup_id", type=click.IntRange(1, 2**32 - 1), required=True, help="Number of the rollup."
)
@click.option("--name", required=True, help="a-z, 0-9 and '-'.")
@click.option("--network", type=click.Choice(list(NETWORKS)), required=True)
@click.option("--committee-hash", callback=key32, required=True, help="Hash of the committee file.")
@click.option(
    "--host-key", "hosts", multiple=True, required=True, help="Host key of each operator, in order."
)
@click.option(
    "--validator", "validators", multiple=True, required=True, help="KEY or KEY:STAKE; may be repeated."
)
@click.option("--bitcoind-url", required=True, help="RPC of your own bitcoind.")
@click.option("--cookie", type=FILE, required=True, help="bitcoind's cookie file.")
@click.option(
    "--bitcoin-height", type=click.IntRange(min=0), required=True, help="Where the view of Bitcoin begins."
)
@click.option(
    "--k", type=click.IntRange(min=1), default=6, show_default=True, help="Depth at which Bitcoin counts."
)
@click.option("--block-ms", type=click.IntRange(min=50), default=1000, show_default=True)
@JSON
def genesis_make(
    output: Path,
    rollup_id: int,
    name: str,
    network: str,
    committee_hash: bytes,
    hosts: tuple[str, ...],
    validators: tuple[str, ...],
    bitcoind_url: str,
    cookie: Path,
    bitcoin_height: int,
    k: int,
    block_ms: int,
    as_json: bool,
) -> None:
    """Make genesis.json; the header where the view begins is read from your bitcoind.

    Example: holdfast rollup genesis make -o genesis.json --id 1 --name demo --network regtest …
    """
    header = go(_header_at(bitcoind_url, cookie, bitcoin_height))
    try:
        made = Genesis(
            rollup_id,
            name,
            network,
            committee_hash,
            tuple(bytes.fromhex(host) for host in hosts),
            tuple(_stake(text) for text in validators),
            bitcoin_height,
            header,
            k,
            block_ms,
        )
        with output.open("x", encoding="utf-8") as file:
            file.write(made.to_json())
    except FileExistsError as error:
        raise click.ClickException(f"{output} exists: choose another name") from error
    except (OSError, ValueError) as error:
        raise click.ClickException(str(error)) from error
    show(as_json, {"genesis_hash": made.hash.hex()}, f"genesis {made.hash.hex()} written to {output}")


async def _header_at(url: str, cookie: Path, height: int) -> bytes:
    from anchor.bitcoind import Bitcoind

    async with Bitcoind(url, cookie=cookie) as bitcoind:
        block_hash = await bitcoind.block_hash(height)
        if block_hash is None:
            raise SourceError(f"bitcoind has no block {height} yet: choose a lower --bitcoin-height")
        return await bitcoind.header_bytes(block_hash)


def _stake(text: str) -> Validator:
    public, _, stake = text.partition(":")
    return Validator(XOnlyKey(bytes.fromhex(public)), int(stake or "1"))
