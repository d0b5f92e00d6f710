"""`holdfast bridge decision`: how the operators let value move again after a deep reorg."""

import json
from pathlib import Path
from typing import Any

import click

from anchor.cli_tools import FILE, FOLDER, JSON, READABLE, Failed, lines, show, write_new
from bridge.admin_client import admin

_OUT = click.option("-o", "--output", type=FILE, required=True, help="File to write; never overwritten.")


@click.group()
def decision() -> None:
    """After a reorg of k or more blocks: see what it touched, decide that value moves again.

    One operator makes the decision, t operators sign their copies, anybody joins and submits them:
    show, make, sign, combine, submit. docs: bridge/NOTES.md.
    """


@decision.command("show")
@FOLDER
@JSON
def show_standing(folder: Path, as_json: bool) -> None:
    """Print whether value stands still, and everything that the reorg touched.

    Example: holdfast bridge decision show --dir ~/holdfast
    """
    found = admin(folder).get("/v1/bridge/decision")
    show(as_json, found, _standing(found))


def _standing(found: dict[str, Any]) -> str:
    pause = found["pause"]
    if pause is None:
        return found["paused"] or "value moves: there is nothing to decide"
    facts = {
        "value stands still since": f"rollup block {pause['since']}, last reorg in block {pause['until']}",
        "the reorg": f"{pause['depth']} blocks above Bitcoin height {pause['fork_height']}, tip {pause['tip']}",
        "pause": pause["id"],
        "who decides": f"{found['threshold']} of the {len(found['operators'])} operators of committee "
        f"{found['committee'][:16]}…",
        "the reserves lack": "not known yet" if found["deficit"] is None else f"{found['deficit']} sats",
    }
    text = [lines(facts)]
    text += [
        f"  credited {m['amount']} sats for deposit {m['outpoint']}: "
        + ("its sweep is in a block again" if m["backed"] else "its sweep left the chain")
        + (f"; its depositor may take it back from block {m['reclaim_from']}" if m["reclaim_from"] else "")
        for m in pause["mints"]
    ]
    text += [
        f"  withdrawal {s['id']} of {s['amount']} sats: its payout left the chain, now {s['state']}"
        for s in pause["settlements"]
    ]
    text += [f"  reorg {t['reorg']}: {t['kind']} {t['key']}: {t['text']}" for t in found["touched"]]
    return "\n".join(text)


@decision.command()
@FOLDER
@click.option("--reason", required=True, help="One line for those who read the log, up to 200 characters.")
@_OUT
@JSON
def make(folder: Path, reason: str, output: Path, as_json: bool) -> None:
    """Write the decision that ends the present pause, not signed yet; give every operator a copy.

    Example: holdfast bridge decision make --dir ~/holdfast --reason "all payouts are back" -o decision.json
    """
    made = admin(folder).post("/v1/bridge/decision", {"reason": reason})
    _written(output, made, as_json, "every operator who agrees runs `holdfast bridge decision sign`")


@decision.command()
@FOLDER
@click.argument("file", type=READABLE)
@_OUT
@click.option(
    "--despite-deficit",
    type=click.IntRange(min=0),
    default=0,
    help="What you know the reserves to lack, in sats, as `show` prints it.",
)
@JSON
def sign(folder: Path, file: Path, output: Path, despite_deficit: int, as_json: bool) -> None:
    """Sign a decision with this node's host key, after its own look at both chains.

    Example: holdfast bridge decision sign --dir ~/holdfast decision.json -o by-alice.json
    """
    body = {"decision": _text(file), "despite_deficit": despite_deficit}
    signed = admin(folder).post("/v1/bridge/decision/sign", body)
    _written(output, signed, as_json, "join t of them with `holdfast bridge decision combine`")


@decision.command()
@FOLDER
@click.argument("files", nargs=-1, required=True, type=READABLE)
@_OUT
@JSON
def combine(folder: Path, files: tuple[Path, ...], output: Path, as_json: bool) -> None:
    """Join the operators' copies of one decision; every signature is checked.

    Example: holdfast bridge decision combine --dir ~/holdfast by-alice.json by-bob.json -o all.json
    """
    copies = [{"decision": _text(file)} for file in files]
    joined = admin(folder).post("/v1/bridge/decision/combine", copies)
    _written(output, joined, as_json, "hand it in with `holdfast bridge decision submit`")


@decision.command()
@FOLDER
@click.argument("file", type=READABLE)
@JSON
def submit(folder: Path, file: Path, as_json: bool) -> None:
    """Hand a decision with t signatures to the rollup; value moves when a block has taken it.

    Example: holdfast bridge decision submit --dir ~/holdfast all.json
    """
    done = admin(folder).post("/v1/bridge/decision/submit", {"decision": _text(file)})
    show(
        as_json,
        done,
        f"handed in as {done['txid']}: `holdfast bridge decision show` says when it took effect",
    )


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise Failed(f"{file} is no decision: give what `holdfast bridge decision make` wrote") from error


def _written(output: Path, made: dict[str, Any], as_json: bool, following: str) -> None:
    text = json.dumps(made, indent=2, sort_keys=True) + "\n"
    write_new(output, text.encode(), "a decision")
    who = ", ".join(str(s["operator"]) for s in made["signatures"]) or "nobody yet"
    show(as_json, made, f"{output}: signed by {who}; {following}")
