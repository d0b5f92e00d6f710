"""`holdfast tss pause|resume`, and the commands of other files that look after a signer."""

import time
from pathlib import Path
from typing import Any

import click

from tss.cli_audit import audit
from tss.cli_certificate import certificate
from tss.cli_tools import FOLDER, JSON, Admin, show
from tss.watch_cli import watch


@click.command()
@FOLDER
@click.option("--reason", required=True, help="Why, for the other operators: they read it in every refusal.")
@JSON
def pause(folder: Path, reason: str, as_json: bool) -> None:
    """Sign nothing on this node, tests neither, until `resume`; a restart changes nothing about it.

    The others go on while t of them sign: to stop the bridge, n - t + 1 nodes must pause.

    Example: holdfast tss pause --dir ~/holdfast --reason "strange withdrawals since noon"
    """
    made = Admin(folder).post("/v1/tss/pause", {"reason": reason}, timeout=30)
    show(
        as_json,
        made,
        f"this node signs nothing: {made['reason']}\ngo on with `holdfast tss resume --dir {folder}`",
    )


@click.command()
@FOLDER
@JSON
def resume(folder: Path, as_json: bool) -> None:
    """Sign again after `pause`.

    Example: holdfast tss resume --dir ~/holdfast
    """
    made = Admin(folder).post("/v1/tss/resume", {}, timeout=30)
    ended = made["ended"]
    said = (
        "it was not paused" if ended is None else f"paused since {_when(ended['since'])}: {ended['reason']}"
    )
    show(as_json, made, f"this node signs ({said})")


def _when(seconds: Any) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))


COMMANDS = (audit, certificate, pause, resume, watch)
