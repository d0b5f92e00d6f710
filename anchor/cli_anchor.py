"""`holdfast anchor`: list and show anchors, fetch a proof, and check it alone with a file of headers."""

from pathlib import Path
from typing import Any

import click

from anchor.cli_headers import NETWORK, START, headers, risk, trusted
from anchor.cli_http import HttpClient
from anchor.cli_reorgs import reorgs
from anchor.cli_scan import rotations, scan
from anchor.cli_tools import JSON, NODE, READABLE, Failed, lines, show, table, to_stdout


@click.group()
def anchor() -> None:
    """What was anchored: list, show, prove, verify, scan; header files; reorgs; how deep is deep enough."""


anchor.add_command(headers)
anchor.add_command(risk)
anchor.add_command(reorgs)
anchor.add_command(rotations)
anchor.add_command(scan)


@anchor.command("list")
@NODE
@click.option(
    "--after", type=click.IntRange(min=0), default=0, help="Only anchors after this sequence number."
)
@click.option("--limit", type=click.IntRange(1, 500), default=50, show_default=True)
@JSON
def list_anchors(url: str, after: int, limit: int, as_json: bool) -> None:
    """List anchors and rotations, oldest first.

    Example: holdfast anchor list --node http://127.0.0.1:8101
    """
    found = HttpClient(url).get("/v1/anchors", after=after, limit=limit)
    columns = ("seq", "blocks", "records", "txid", "height", "depth", "final")
    show(as_json, found, table("anchors", columns, map(_row, found["anchors"])))


def _row(found: dict[str, Any]) -> tuple[object, ...]:
    status, blocks = found["status"], "-" if found["first"] is None else f"{found['first']}..{found['last']}"
    if found["successor"] is not None:
        blocks = f"key epoch {found['successor']['epoch']}"
    final = "yes" if status["final"] else "no"
    return (
        found["sequence"],
        blocks,
        found["count"],
        found["txid"],
        status["block_height"],
        status["depth"],
        final,
    )


@anchor.command("show")
@click.argument("sequence", type=click.IntRange(min=1), metavar="SEQ")
@NODE
@JSON
def show_anchor(sequence: int, url: str, as_json: bool) -> None:
    """Show one anchor or rotation.

    Example: holdfast anchor show 3 --node http://127.0.0.1:8101
    """
    found = HttpClient(url).get(f"/v1/anchors/{sequence}")
    flat = {name: value for name, value in found.items() if name not in ("status", "successor")}
    next_keys = {f"next_{name}": value for name, value in (found["successor"] or {}).items()}
    show(as_json, found, lines({**flat, **next_keys, **found["status"]}))


@anchor.command()
@click.argument("record", required=False)
@click.option(
    "--last-block", type=click.IntRange(min=1), help="Instead: the record that holds this rollup block."
)
@NODE
def proof(record: str | None, last_block: int | None, url: str) -> None:
    """Write the proof of an anchored record to stdout, byte for byte.

    Example: holdfast anchor proof --last-block 64 --node http://127.0.0.1:8101 > p.json
    """
    if (record is None) == (last_block is None):
        raise click.UsageError("give a record's hash, or --last-block with a rollup block")
    client = HttpClient(url)
    if last_block is not None:
        found = client.get("/v1/records", block=last_block)
        if not found:
            raise Failed(f"no record holds block {last_block} yet: it must be final, with its whole range")
        record = found[0]["hash"]
    to_stdout(client.raw(f"/v1/records/{record}/proof"))


@anchor.command()
@click.argument("file", type=READABLE, metavar="PROOF")
@click.option("--headers", type=READABLE, required=True, help="Headers of 80 bytes each, without framing.")
@click.option("--activation", type=READABLE, required=True, help="activation.json, from somewhere you trust.")
@click.option(
    "--genesis", type=READABLE, help="genesis.json: also check that every operator signed the record."
)
@click.option(
    "--rotations", type=READABLE, help="The lane's rotations: needed for anchors of later key epochs."
)
@NETWORK
@START
@JSON
def verify(
    file: Path,
    headers: Path,
    activation: Path,
    genesis: Path | None,
    rotations: Path | None,
    network: str,
    start_height: int,
    as_json: bool,
) -> None:
    """Check a proof with a file of headers and the activation record; asks no server. Status 0 or 1.

    A committee may have handed its keys on: with --rotations (`holdfast anchor rotations`, not older than the
    anchor) the keys of all epochs are known, and up to which block each counts.

    Example: holdfast anchor verify p.json --headers h.bin --activation a.json --network regtest
    """
    from anchor.btc.network import network_by_name
    from anchor.proofs.proof import verify
    from anchor.proofs.refused import ProofRefused

    record = _record(activation, genesis)
    chain = network_by_name(network)
    try:
        found = verify(
            file.read_bytes(),
            headers.read_bytes(),
            record,
            chain,
            start_height=start_height,
            rotations=None if rotations is None else rotations.read_bytes(),
        )
    except ProofRefused as refused:
        if as_json:
            show(True, {"valid": False, "reason": str(refused)}, "")
        raise Failed(f"not proven: {refused}") from refused
    facts = _facts(found) | {
        "operators": "checked" if genesis is not None else "not checked",
        "rotations": "checked" if rotations is not None else "not checked",
    }
    notes = trusted(network, start_height)
    told = [lines(facts), *(f"note: {note}" for note in notes)]
    text = "\n".join(["proven: the committee anchored this record", *told])
    if genesis is None:
        text += (
            "\nthe operators' signatures on the activation record were not checked: "
            "give --genesis, or be sure of where you have it from"
        )
    if rotations is None:
        text += "\nwhether the key was succeeded before that block was not checked: give --rotations"
    elif found.succeeded is None:
        text += (
            f"\nthe rotations given end with key epoch {found.newest_epoch}; that none is missing, other nodes' "
            "files show, or `holdfast anchor scan`"
        )
    show(as_json, {"valid": True, **facts, "notes": notes}, text)


@anchor.command()
@NODE
def activation(url: str) -> None:
    """Write the activation record, which every operator signed, to stdout, byte for byte.

    It is what `verify` trusts: compare its hash with other nodes (`activation_hash` in /v1/info), or get it from
    several.

    Example: holdfast anchor activation --node http://127.0.0.1:8101 > a.json
    """
    to_stdout(HttpClient(url).raw("/v1/activation"))


def _record(activation: Path, genesis: Path | None) -> Any:
    """The activation record; with genesis.json also that every operator signed it. Failed otherwise."""
    from anchor.btc.codec import CodecError
    from anchor.rollup.activation import ActivationRefused, SignedActivation
    from anchor.rollup.genesis import Genesis

    try:
        signed = SignedActivation.from_json(activation.read_bytes())
        if genesis is not None:
            born = Genesis.from_json(genesis.read_bytes())
            signed.verify(born.host_keys)
            if signed.activation.genesis_hash != born.hash:
                raise Failed("the activation record is for another rollup than genesis.json")
    except (CodecError, ActivationRefused) as fault:
        raise Failed(f"{activation}: {fault}") from fault
    return signed.activation


def _facts(found: Any) -> dict[str, Any]:
    from anchor.btc.ids import display

    record = found.record
    return {
        "rollup_id": record.rollup_id,
        "kind": "range",
        "first": record.first,
        "last": record.last,
        "state_after": record.state_after.hex(),
        "record": found.record_hash.hex(),
        "lane": found.lane,
        "sequence": found.sequence,
        "epoch": found.epoch,
        "key": found.key.hex(),
        "txid": display(found.txid),
        "height": found.height,
        "block_hash": display(found.block_hash),
        "block_time": found.block_time,
        "depth": found.depth,
        "final": found.final,
        "key_succeeded_at": found.succeeded,
        "newest_epoch": found.newest_epoch,
    }
