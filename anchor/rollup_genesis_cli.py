"""`holdfast rollup genesis`: make the file a rollup begins with."""

import json
from pathlib import Path
from typing import NamedTuple

import click

from anchor.btc.ids import XOnlyKey
from anchor.btc.network import NETWORKS, network_by_name
from anchor.header_source import SourceError
from anchor.rollup.genesis import Genesis, Validator
from anchor.rollup_cli_tools import FILE, JSON, READABLE, go, http_url, key32, load_keys, show

PERIOD = 2016  # where Bitcoin retargets: headers are checked from the first block of a period


class _Committee(NamedTuple):
    network: str
    hash: bytes
    host_keys: tuple[bytes, ...]
    threshold: int


@click.group()
def genesis() -> None:
    """The file a rollup begins with."""


@genesis.command("make")
@click.option("-o", "--output", type=FILE, required=True, help="File to write; never overwritten.")
@click.option(
    "--id", "rollup_id", type=click.IntRange(1, 2**32 - 1), required=True, help="Number of the rollup."
)
@click.option("--name", required=True, help="a-z, 0-9 and '-'.")
@click.option("--committee", type=READABLE, help="What `holdfast tss committee show --json` prints.")
@click.option(
    "--network", type=click.Choice(list(NETWORKS)), help="Instead of --committee, as the next three."
)
@click.option(
    "--committee-hash", callback=lambda c, p, v: v and key32(c, p, v), help="Hash of committee.json."
)
@click.option("--host-key", "hosts", multiple=True, help="Host key of each operator, in order.")
@click.option(
    "--threshold", type=click.IntRange(1, 128), help="How many operators decide: t of the committee file."
)
@click.option("--validators", "key_file", type=READABLE, help="Key file; each of its keys gets stake 1.")
@click.option("--validator", "validators", multiple=True, help="Instead: KEY or KEY:STAKE; may be repeated.")
@click.option("--bitcoind-url", required=True, callback=http_url, help="RPC of your own bitcoind.")
@click.option("--cookie", type=FILE, required=True, help="bitcoind's cookie file.")
@click.option(
    "--bitcoin-height",
    type=click.IntRange(min=0),
    help="Where the view of Bitcoin begins [just below the tip].",
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
    committee: Path | None,
    network: str | None,
    committee_hash: bytes | None,
    hosts: tuple[str, ...],
    threshold: int | None,
    key_file: Path | None,
    validators: tuple[str, ...],
    bitcoind_url: str,
    cookie: Path,
    bitcoin_height: int | None,
    k: int,
    block_ms: int,
    as_json: bool,
) -> None:
    """Make genesis.json; the header where the view begins is read from your bitcoind.

    Example: holdfast rollup genesis make -o genesis.json --id 1 --name demo --committee shown.json
    --validators validators.json --bitcoind-url http://127.0.0.1:18443 --cookie ~/.bitcoin/regtest/.cookie --k 3
    """
    of = _committee(committee, network, committee_hash, hosts, threshold)
    stakes = _stakes(key_file, validators)
    height, header = go(_header_at(bitcoind_url, cookie.expanduser(), of.network, bitcoin_height, k))
    try:
        made = Genesis(
            rollup_id,
            name,
            of.network,
            of.hash,
            of.host_keys,
            of.threshold,
            stakes,
            height,
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
    text = f"genesis {made.hash.hex()} written to {output}: every operator and validator gets a copy"
    show(as_json, {"genesis_hash": made.hash.hex()}, text)


def _committee(
    file: Path | None,
    network: str | None,
    digest: bytes | None,
    hosts: tuple[str, ...],
    threshold: int | None,
) -> _Committee:
    """The committee from what `committee show --json` prints, or from the options that spell it out."""
    if file is None:
        if network is None or digest is None or not hosts or threshold is None:
            raise click.UsageError(
                "give --committee, or all of --network, --committee-hash, --host-key and --threshold"
            )
        return _Committee(network, digest, tuple(_host_key(host) for host in hosts), threshold)
    if network is not None or digest is not None or hosts or threshold is not None:
        raise click.UsageError(
            "--committee says network, hash, host keys and threshold: leave those options out"
        )
    try:
        shown = json.loads(file.read_bytes())
        keys = tuple(bytes.fromhex(member["host_key"]) for member in shown["members"])
        named = network_by_name(shown["chain"]).name
        return _Committee(named, bytes.fromhex(shown["hash"]), keys, int(shown["threshold"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise click.ClickException(
            f"{file} does not say the committee's hash: give what "
            "`holdfast tss committee show committee.json --json` prints"
        ) from error


def _stakes(key_file: Path | None, validators: tuple[str, ...]) -> tuple[Validator, ...]:
    if (key_file is None) == (not validators):
        raise click.UsageError("give either --validators, a key file, or --validator for each")
    if key_file is not None:
        return tuple(Validator(pair.public, 1) for pair in load_keys(key_file))
    return tuple(_stake(text) for text in validators)


def _host_key(text: str) -> bytes:
    try:
        if len(text) == 64:
            return bytes.fromhex(text)
    except ValueError:
        pass
    raise click.BadParameter(
        f"{text[:80]!r} is no host key: give 64 hex digits, as `holdfast tss committee show --json` prints them",
        param_hint="'--host-key'",
    )


def _stake(text: str) -> Validator:
    public, _, stake = text.partition(":")
    try:
        if len(public) == 64:
            return Validator(XOnlyKey(bytes.fromhex(public)), int(stake or "1"))
    except ValueError:
        pass
    raise click.BadParameter(
        f"{text[:80]!r} is no validator: give KEY or KEY:STAKE, the key as `holdfast rollup key show` prints it",
        param_hint="'--validator'",
    )


async def _header_at(url: str, cookie: Path, network: str, height: int | None, k: int) -> tuple[int, bytes]:
    """Height and header, 80 bytes; without a height that of a block which is k deep and begins a period."""
    from anchor.bitcoind import Bitcoind

    async with Bitcoind(url, cookie=cookie) as bitcoind:
        info = await bitcoind.check(network_by_name(network))
        if height is None:
            height = max(0, info.blocks - k)
            height -= 0 if network == "regtest" else height % PERIOD
        block_hash = await bitcoind.block_hash(height)
        if block_hash is None:
            raise SourceError(f"bitcoind has no block {height} yet: choose a lower --bitcoin-height")
        return height, await bitcoind.header_bytes(block_hash)
