"""`holdfast bridge reclaim`: take a deposit back that nobody swept, with no server of ours."""

from pathlib import Path

import click

from anchor.cli_tools import FILE, JSON, READABLE, Failed, lines, show


@click.command()
@click.argument("payment", metavar="TXID:VOUT")
@click.option("--recovery", type=READABLE, required=True, help="What `bridge address -o` wrote.")
@click.option("--key", "key_file", type=READABLE, required=True, help="Key file of the reclaim key.")
@click.option("--to", "destination", required=True, help="Bitcoin address to be paid.")
@click.option("--value", type=click.IntRange(min=1), help="Sats of the payment, when no bitcoind is asked.")
@click.option("--fee", type=click.IntRange(min=1), help="Sats [2 sat/vB, or what bitcoind estimates].")
@click.option(
    "--bitcoind-url", help="RPC of any bitcoind: it tells the value, and the reclaim is sent to it."
)
@click.option("--cookie", type=FILE, help="bitcoind's cookie file.")
@JSON
def reclaim(
    payment: str,
    recovery: Path,
    key_file: Path,
    destination: str,
    value: int | None,
    fee: int | None,
    bitcoind_url: str | None,
    cookie: Path | None,
    as_json: bool,
) -> None:
    """Take back a payment to a deposit address, once its delay is over; prints the signed transaction.

    Without --bitcoind-url nothing is sent and no server is asked: send the printed hex from anywhere, from the
    payment's block + delay on.

    Example: holdfast bridge reclaim 4e3a…:0 --recovery recovery.json --key reclaim.json --to bcrt1q…7x
    --bitcoind-url http://127.0.0.1:18443 --cookie ~/.bitcoin/regtest/.cookie
    """
    if (bitcoind_url is None) == (value is None):
        raise click.UsageError("give either --bitcoind-url and --cookie, or --value of the payment")
    if bitcoind_url is not None and cookie is None:
        raise click.UsageError("--bitcoind-url needs the --cookie of that bitcoind")
    from bridge.reclaiming import Wish, offline, through

    wish = Wish(payment, recovery, key_file, destination, fee)
    if bitcoind_url is None or cookie is None:
        assert value is not None
        done = offline(wish, value)
    else:
        done = through(wish, bitcoind_url, cookie)
    show(as_json, done, done["hex"])
    facts = {name: fact for name, fact in done.items() if name != "hex"}
    click.echo(lines(facts), err=True)
    if done["refused"]:
        raise Failed(f"bitcoind did not take it ({done['refused']}): mend that, then send the hex")
