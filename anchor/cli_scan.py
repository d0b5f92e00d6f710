"""`holdfast anchor scan` and `anchor rotations`: a lane over its key epochs, from blocks or from a node."""

import asyncio
import sys
from pathlib import Path
from typing import Any

import click

from anchor.cli_http import HttpClient
from anchor.cli_tools import FILE, JSON, NODE, READABLE, Failed, lines, show, table, to_stdout

LANE = click.option("--lane", type=click.IntRange(0, 0xFFFF), default=0, show_default=True)


@click.command()
@NODE
@LANE
@click.option(
    "-o", "--output", type=FILE, help="File to write instead of stdout; an existing one is replaced."
)
def rotations(url: str, lane: int, output: Path | None) -> None:
    """Write the proofs of a lane's rotations, byte for byte: how its key went from epoch to epoch.

    `verify --rotations` takes the file; none yet is an answer, too. Each rotation is shown to be that of the lane's
    own coin, signed by the key before it, and decided by every operator of the committee that came.

    Example: holdfast anchor rotations --node http://127.0.0.1:8101 -o r.json
    """
    data = HttpClient(url).raw("/v1/rotations", lane=lane)
    if output is None:
        to_stdout(data)
        return
    try:
        output.write_bytes(data)
    except OSError as error:
        raise Failed(f"cannot write {output} ({error.strerror}): choose another place") from error


@click.command()
@click.option("--activation", type=READABLE, required=True, help="activation.json, from somewhere you trust.")
@click.option("--bitcoind-url", required=True, help="RPC of your own bitcoind, e.g. http://127.0.0.1:8332.")
@click.option("--cookie", type=FILE, required=True, help="bitcoind's cookie file.")
@JSON
def scan(activation: Path, bitcoind_url: str, cookie: Path, as_json: bool) -> None:
    """Find every anchor and rotation again in your own bitcoind's blocks; the activation record is all it takes.

    Example: holdfast anchor scan --activation a.json --bitcoind-url http://127.0.0.1:8332
    --cookie ~/.bitcoin/.cookie
    """
    from anchor.btc.codec import CodecError
    from anchor.rollup.activation import SignedActivation

    try:
        record = SignedActivation.from_json(activation.read_bytes()).activation
    except CodecError as fault:
        raise Failed(f"{activation}: {fault}") from fault
    found = asyncio.run(_scan(bitcoind_url, cookie, record))
    heading = lines({key: found[key] for key in ("height", "hash")})
    columns = ("lane", "epoch", "key", "sequence", "tip", "value", "halted")
    lanes = table("lanes", columns, [[lane[name] for name in columns] for lane in found["lanes"]])
    rows = [
        (e["lane"], e["sequence"], e["kind"], e["epoch"], e["count"], e["txid"], e["height"])
        for e in found["events"]
    ]
    events = table("anchors", ("lane", "seq", "kind", "epoch", "records", "txid", "height"), rows)
    show(as_json, found, f"{heading}\n\n{lanes}\n\n{events}")


async def _scan(url: str, cookie: Path, record: Any) -> dict[str, Any]:
    from anchor.bitcoind import Bitcoind, NodeError
    from anchor.btc.network import network_by_name
    from anchor.lane_scan import ChainMoves, scan

    try:
        async with Bitcoind(url, cookie=cookie) as bitcoind:
            await bitcoind.check(network_by_name(record.network))
            return _facts(await scan(bitcoind, record, _progress if sys.stderr.isatty() else None))
    except (NodeError, ChainMoves) as fault:
        raise Failed(str(fault)) from fault


def _progress(height: int) -> None:
    if height % 100 == 0:
        click.echo(f"\rblock {height}", nl=False, err=True)


def _facts(found: Any) -> dict[str, Any]:
    from anchor.btc.ids import display

    lanes = [
        {
            "lane": lane.lane,
            "epoch": lane.epoch,
            "key": lane.key33.hex(),
            "sequence": lane.sequence,
            "root": lane.root.hex(),
            "tip": str(lane.tip),
            "value": lane.tip_value,
            "pending": None if lane.pending is None else display(lane.pending.outpoint.txid),
            "halted": lane.halted,
        }
        for lane in found.lanes
    ]
    events = [_event(event) for event in found.events]
    return {"height": found.height, "hash": display(found.hash), "lanes": lanes, "events": events}


def _event(event: Any) -> dict[str, Any]:
    """One event with the names that /v1/anchors has; what its kind has not is null."""
    from anchor.api_wire import SuccessorView
    from anchor.btc.ids import display
    from anchor.inscription.reader import ForeignSpend, RotationFound, VoidFound

    facts = dict.fromkeys(
        ("kind", "lane", "sequence", "epoch", "root", "count", "txid", "commit_txid", "height")
    )
    facts |= {"fee": None, "successor": None, "reason": None}
    facts |= {"txid": display(event.txid), "height": event.height}
    if isinstance(event, ForeignSpend):
        return facts | {"kind": "foreign", "lane": event.lane, "reason": event.reason}
    facts |= {"commit_txid": display(event.commit), "fee": event.fee}
    if isinstance(event, VoidFound):
        return facts | {"kind": "void", "lane": event.lane, "sequence": event.sequence}
    p = event.payload
    facts |= {"kind": "anchor", "lane": p.lane, "sequence": p.sequence, "epoch": p.epoch}
    facts |= {"root": p.root.hex(), "count": max(0, p.count - 1)}
    if isinstance(event, RotationFound):
        facts |= {"kind": "rotation", "successor": SuccessorView.of(event.successor).plain()}
    return facts
