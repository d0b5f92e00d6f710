"""`holdfast bridge epoch`: how a committee hands a live bridge on to the next one's keys."""

import json
import time
from pathlib import Path
from typing import Any

import click

from anchor.cli_http import HttpClient
from anchor.cli_tools import FILE, FOLDER, JSON, Failed, lines, show, write_new
from bridge.admin_client import admin

_WAIT_SECONDS, _LOOK_SECONDS = 60.0, 0.5
_PROPOSE_SECONDS = 120.0  # every member answers, then the old mint key signs
_STEPS = {
    "announced": "its record waits until it is final on the rollup",
    "rotating": "the lanes' rotation anchors are on their way",
    "moving": "the treasury's move is on its way",
    "active": "lanes, treasury and new addresses are under its keys",
    "draining": "deposits to its addresses are swept until Bitcoin height {until}",
    "retired": "its addresses were swept until Bitcoin height {until}",
}
_HANDING_ON = "the treasury and new addresses are under its keys, until the treasury has moved"


@click.group()
def epoch() -> None:
    """The key epochs: who holds the bridge, and how it moves to the next committee's keys.

    Before: a new committee file that all its members accepted, and its verified keys (docs: tss/ROTATION.md). Then
    one operator proposes the succession; lanes and treasury follow by themselves.
    """


@epoch.command("show")
@click.option("--node", "url", envvar="HOLDFAST_NODE", help="Root of a node's public HTTP API.")
@click.option(
    "--dir",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Instead: the folder of your own node, which also tells what it would sign next.",
)
@JSON
def show_epochs(url: str | None, folder: Path | None, as_json: bool) -> None:
    """Print every key epoch, how far its move is, and until when its addresses are swept.

    Example: holdfast bridge epoch show --node http://127.0.0.1:8101
    """
    if folder is not None:
        found = admin(folder).get("/v1/bridge/epoch")
    elif url is not None:
        found = HttpClient(url).get("/v1/epochs")
    else:
        raise click.UsageError("give --node of any node, or --dir of your own")
    show(as_json, found, _told(found))


def _told(found: dict[str, Any]) -> str:
    text = [_epoch(row, found["latest"]) for row in found["epochs"]]
    if (following := found.get("next")) is not None:
        text.append(_next(following))
    return "\n\n".join(text)


def _epoch(row: dict[str, Any], latest: int) -> str:
    facts: dict[str, object] = {"epoch": row["epoch"]}
    step = _HANDING_ON if row["state"] == "active" and row["epoch"] < latest else _STEPS[row["state"]]
    facts["state"] = f"{row['state']}: {step.format(until=row['until'])}"
    facts["committee"] = f"{row['committee_hash']}, {row['threshold']} of {len(row['host_keys'])}"
    facts["record"] = row["record"]
    if row["rollup_height"] is not None:
        facts["rollup block"] = row["rollup_height"]
    for step in row["rotations"]:
        facts[f"lane {step['lane']} rotated"] = _step(step)
    if row["move"] is not None:
        facts["treasury moved"] = _step(row["move"])
    facts["treasury address"] = row["treasury_address"]
    return lines(facts)


def _step(step: dict[str, Any]) -> str:
    return f"{step['txid']} at height {step['height']}{'' if step['final'] else ', not final yet'}"


def _next(following: dict[str, Any]) -> str:
    if following["record"] is None:
        return f"next epoch: {following['waits_for']}"
    facts: dict[str, object] = {"next epoch": following["epoch"]}
    facts["committee"] = f"{', '.join(following['members'])}; {following['threshold']} sign"
    facts["words"] = following["words"]
    facts |= {f"{name} key": key for name, key in following["keys"].items()}
    facts["record"] = following["record"]
    if following["waits_for"] is not None:
        facts["not now"] = following["waits_for"]
    return lines(facts)


@epoch.command()
@FOLDER
@click.option("-o", "--output", type=FILE, help="Also write succession.json.")
@click.option("--no-wait", is_flag=True, help="Do not wait until a rollup block holds it.")
@JSON
def propose(folder: Path, output: Path | None, no_wait: bool, as_json: bool) -> None:
    """Have every member of the new committee, then the old mint key, sign the succession; the rollup gets it.

    Run it on one node of the new committee, once all of them are up and hold the new keys. Asked again, by anybody,
    it makes the same record. Outside regtest every operator consents to the record first.

    Example: holdfast bridge epoch propose --dir ~/holdfast
    """
    client = admin(folder)
    made = client.post("/v1/bridge/epoch/propose", {}, timeout=_PROPOSE_SECONDS)
    if output is not None and made["succession"] is not None:
        text = json.dumps(made["succession"], indent=2, sort_keys=True) + "\n"
        write_new(output, text.encode(), "a succession")
    if made["rollup_height"] is None and not no_wait:
        made["rollup_height"] = _await_block(client, made["epoch"])
    if made["rollup_height"] is None and not no_wait:
        why = "" if made["refusal"] is None else f" (it said: {made['refusal']})"
        raise Failed(
            f"all signed epoch {made['epoch']}, record {made['record']}, but no rollup block holds it yet{why}: "
            "every node goes on handing it in; see `holdfast bridge epoch show`, and the sequencer's log"
        )
    where = "" if made["rollup_height"] is None else f", in rollup block {made['rollup_height']}"
    text = f"epoch {made['epoch']}: record {made['record']}{where}; `bridge epoch show` tells how it moves on"
    show(as_json, made, text)


def _await_block(client: HttpClient, number: int) -> int | None:
    """The rollup block that holds the succession, once the node has read it."""
    until = time.monotonic() + _WAIT_SECONDS
    while time.monotonic() < until:
        for row in client.get("/v1/bridge/epoch")["epochs"]:
            if row["epoch"] == number:
                return int(row["rollup_height"])
        time.sleep(_LOOK_SECONDS)
    return None


@epoch.command()
@FOLDER
@click.argument("digest", metavar="HASH")
@JSON
def consent(folder: Path, digest: str, as_json: bool) -> None:
    """Agree to the succession with this hash, so that this node signs it when it is proposed.

    Outside regtest a node signs no succession that its operator has not agreed to: the first `propose` fails and
    names the hash; every operator compares the new committee's words and keys with the others, agrees to it, then
    `propose` is repeated. A node agrees only to the record that it would make itself.

    Example: holdfast bridge epoch consent --dir ~/holdfast 5f0c…9a
    """
    found = admin(folder).post("/v1/bridge/epoch/consent", {"hash": digest})
    show(as_json, found, f"this node signs the record of epoch {found['epoch']} when it is proposed again")
