"""`holdfast regtest`: a whole world on this machine to play with; `up` in one shell, everything else in another."""

import json
import signal
import subprocess
import sys
import time
from typing import Any

import click

SWAPPED = 10  # more blocks than these and every program takes its bitcoind for another one, and holds
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")


@click.group()
def regtest() -> None:
    """A whole world on this machine: bitcoinds, committee, rollup; all real, all worthless."""


@regtest.command()
@click.option("--operators", type=click.IntRange(1, 12), default=5, show_default=True)
@click.option("--threshold", type=click.IntRange(1, 12), default=3, show_default=True)
@click.option("--detach", is_flag=True, help="Return when it is up; end it with `holdfast regtest down`.")
@click.option("--json", "as_json", is_flag=True, help="With --detach: print JSON for programs.")
def up(operators: int, threshold: int, detach: bool, as_json: bool) -> None:
    """Start a world with keys made, bridge active and coins to spend; Ctrl-C ends it and leaves nothing.

    Example: holdfast regtest up --operators 5 --threshold 3
    """
    if threshold > operators:
        raise click.UsageError(
            f"{threshold} of {operators} cannot sign: choose a threshold up to {operators}."
        )
    if threshold == 1 < operators:
        raise click.UsageError(f"1 of {operators} is no committee: any one could take all. 1 of 1 is.")
    if as_json and not detach:
        raise click.UsageError("--json is for --detach: without it this command goes on until the world ends")
    if detach:
        text = _detach(operators, threshold)
        _show(as_json, _ask("status") if as_json else None, text)
        return
    from regtest.playground import Trouble, hold

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(0))  # ends the world as Ctrl-C does
    try:
        hold(operators, threshold, click.echo)
    except KeyboardInterrupt:
        click.echo("")
    except Trouble as trouble:
        raise click.ClickException(str(trouble)) from trouble


@regtest.command()
@JSON
def status(as_json: bool) -> None:
    """Print where bitcoinds, nodes and rollup stand.

    Example: holdfast regtest status
    """
    found = _ask("status")
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    click.echo(f"Bitcoin at height {found['height']} ({found['bitcoind']}), files in {found['folder']}")
    for node in found["nodes"]:
        click.echo(f"  {node['name']:<10} {node['url']}  {node['text']}")
    click.echo(f"  {'rollup':<10} {found['rollup']['url']}  {found['rollup']['text']}")


@regtest.command()
@click.argument("count", type=click.IntRange(1, 200), default=1)
@JSON
def mine(count: int, as_json: bool) -> None:
    """Mine N blocks with what waits in the mempool, and wait until every node has seen them.

    Example: holdfast regtest mine 3
    """
    done = _ask("mine", count=count)
    _show(as_json, done, f"mined {count}, height {done['height']}, tip {done['blocks'][-1]}")


@regtest.command()
@click.argument("depth", type=click.IntRange(1))
@JSON
def reorg(depth: int, as_json: bool) -> None:
    """Replace the last N blocks by N + 1 empty ones; what they held is unconfirmed again. N is at most 10.

    From k = 3 blocks on value is paused; `holdfast regtest resume` plays the operators' decision that it moves on.

    Example: holdfast regtest reorg 2
    """
    if depth > SWAPPED:
        raise click.UsageError(
            f"a reorg of {depth} is too deep to play with: from {SWAPPED + 1} blocks on every program takes "
            f"its bitcoind for another one and holds. Choose 1 to {SWAPPED}."
        )
    done = _ask("reorg", depth=depth)
    text = (
        f"{depth} blocks above height {done['fork_height']} are gone, {len(done['won'])} empty ones there now"
    )
    if done["pauses"]:
        text += "\nthat is k or more: value stands still until the operators decide: holdfast regtest resume"
    _show(as_json, done, text)


@regtest.command()
@JSON
def resume(as_json: bool) -> None:
    """Have t operators decide that value moves again after a reorg of k or more, by `holdfast bridge decision`.

    Example: holdfast regtest resume
    """
    done = _ask("resume")
    pause = done["pause"]
    touched = f"{len(pause['mints'])} mints and {len(pause['settlements'])} settlements were touched"
    _show(as_json, done, f"{', '.join(done['signed_by'])} signed; {touched}; value moves again")


@regtest.command()
@click.option(
    "--replace", multiple=True, metavar="NAME", help="Somebody new takes NAME's place; may be repeated."
)
@click.option("--add", type=click.IntRange(0, 4), default=0, show_default=True, help="How many more come.")
@click.option(
    "--drop", type=click.IntRange(0, 4), default=0, show_default=True, help="How many at the end leave."
)
@click.option("--threshold", type=click.IntRange(2, 12), help="Signers needed, t; as before by default.")
@JSON
def rotate(replace: tuple[str, ...], add: int, drop: int, threshold: int | None, as_json: bool) -> None:
    """Have the committee hand the bridge on: new file, restarts, new keys, the succession; `mine` does the rest.

    At least t of the present members stay. The lane moves by the next blocks, the treasury k blocks later.

    Example: holdfast regtest rotate --replace carol --add 1 --threshold 4
    """
    if not replace and not add and not drop and threshold is None:
        raise click.UsageError("nothing would change: name --replace, --add, --drop or --threshold")
    done = _ask("rotate", replace=list(replace), add=add, drop=drop, threshold=threshold)
    members = ", ".join(node["name"] for node in done["operators"])
    left = f"; {', '.join(done['left'])} left" if done["left"] else ""
    node = done["operators"][0]["url"]
    text = (
        f"epoch {done['epoch']}: {members}, {done['threshold']} of them sign{left}\n"
        f"next: `holdfast regtest mine 1`, some times, and look: `holdfast bridge epoch show --node {node}`"
    )
    _show(as_json, done, text)


@regtest.command()
@click.argument("address")
@click.argument("sats", type=click.IntRange(min=1))
@JSON
def fund(address: str, sats: int, as_json: bool) -> None:
    """Pay an address from the miner's wallet; `holdfast regtest mine` confirms it.

    Example: holdfast regtest fund bcrt1p… 1000000
    """
    done = _ask("fund", address=address, sats=sats)
    _show(as_json, done, f"paid {sats} sats in {done['outpoint']}; next: holdfast regtest mine 1")


@regtest.command()
@JSON
def down(as_json: bool) -> None:
    """End the world, and clean up what a crashed one left.

    Example: holdfast regtest down
    """
    from regtest import control

    if control.clear_stale():
        _show(as_json, {"was_up": False}, "No world is up; nothing is left of earlier ones.")
        return
    try:
        control.ask("down")
    except control.NoWorld:
        control.stop_starting()
    control.wait_gone()
    _show(as_json, {"was_up": True}, "The world is gone.")


def _ask(verb: str, **arguments: object) -> Any:
    from regtest import control

    try:
        return control.ask(verb, arguments)
    except (control.NoWorld, control.Refused) as error:
        raise click.ClickException(str(error)) from error


def _show(as_json: bool, value: Any, text: str) -> None:
    click.echo(json.dumps(value, indent=2) if as_json else text)


def _detach(operators: int, threshold: int) -> str:
    """Start `up` on its own and return its words when it answers; they go to a log, too."""
    from regtest import control
    from regtest.command import HOLDFAST

    control.home().mkdir(parents=True, exist_ok=True)
    log = control.home() / "up.log"
    sizes = ("--operators", str(operators), "--threshold", str(threshold))
    with log.open("wb") as out:
        process = subprocess.Popen(
            [*HOLDFAST, "regtest", "up", *sizes],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    while process.poll() is None:
        try:
            control.ask("ping", seconds=5)
        except control.NoWorld:
            time.sleep(0.2)
            continue
        return log.read_text().replace("Ctrl-C here or `", "`") + f"What it says later goes to {log}."
    raise click.ClickException(f"the world did not come up: {log.read_text().strip()}")
