"""`holdfast tss audit verify|export|take-out|heads`: the hash-chained log of a signer."""

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tss.cli_tools import FOLDER, JSON, Admin, Failed, show, table

if TYPE_CHECKING:
    from tss.audit_file import Log

_FILE = click.Path(dir_okay=False, path_type=Path)


@click.group()
def audit() -> None:
    """The hash-chained log of all that this signer did."""


@audit.command()
@click.option(
    "--dir", "folder", envvar="HOLDFAST_DIR", type=click.Path(file_okay=False, path_type=Path), help="A node."
)
@click.option(
    "--database", type=_FILE, help="A copy of the node's signer.db instead of the one in the folder."
)
@click.argument("exports", nargs=-1, type=_FILE)
@JSON
def verify(folder: Path | None, database: Path | None, exports: tuple[Path, ...], as_json: bool) -> None:
    """Check an audit log from its first row, the node running or not, and exports of other members with it.

    Every log is held against the heads that its member signed for the others: a log that was rewritten as a whole
    shows as soon as one other member's export is given. Exit status 1: a log does not hold.

    Example: holdfast tss audit verify --dir ~/holdfast bob.audit carol.audit
    """
    from tss.audit import AuditFault
    from tss.audit_file import check_all, read_export

    if folder is None and not exports:
        raise Failed("which log? Give --dir, exports of `holdfast tss audit export`, or both", 2)
    try:
        logs = [] if folder is None else [_own(folder, database)]
        checked = check_all([*logs, *(read_export(path) for path in exports)])
    except AuditFault as fault:
        raise Failed(
            f"{fault}; keep the files as they are and compare them with the other operators'"
        ) from fault
    value = [
        {"member": c.log.whose.name, "rows": c.number, "hash": c.hash.hex(), "held_by": list(c.held_by)}
        for c in checked
    ]
    rows = [
        (v["member"], v["rows"], ", ".join(c.held_by), v["hash"]) for v, c in zip(value, checked, strict=True)
    ]
    text = table(("log of", "rows", "head known to", "head"), rows, "no logs")
    show(as_json, {"ok": True, "logs": value}, f"{text}\nevery row follows from the one before")


@audit.command()
@FOLDER
@click.option(
    "--database", type=_FILE, help="A copy of the node's signer.db instead of the one in the folder."
)
@click.option("-o", "--out", type=_FILE, required=True, help="The file to write; it must not exist.")
@JSON
def export(folder: Path, database: Path | None, out: Path, as_json: bool) -> None:
    """Write the audit log to a file of JSON lines, with the heads of the others; it holds no secret.

    Example: holdfast tss audit export --dir ~/holdfast -o alice.audit
    """
    from tss.audit import AuditFault

    try:
        log = _own(folder, database)
    except AuditFault as fault:
        raise Failed(str(fault)) from fault
    _write(out, log)
    done = {"file": str(out), "rows": len(log.rows), "heads": len(log.heads)}
    show(
        as_json,
        done,
        f"{out}: {len(log.rows)} rows; check it anywhere with `holdfast tss audit verify {out}`",
    )


@audit.command("take-out")
@FOLDER
@click.option("--keep", type=click.IntRange(1), default=90, show_default=True, help="Days that stay.")
@click.option("-o", "--out", type=_FILE, required=True, help="Where the older rows go; it must not exist.")
@JSON
def take_out(folder: Path, keep: int, out: Path, as_json: bool) -> None:
    """Move old rows of the log from signer.db to a file, which then belongs to the log: keep it.

    All other members must be up and remember a later row, so that nobody is left with one that is gone. A row says
    what was taken out; `verify` puts file and log together again.

    Example: holdfast tss audit take-out --dir ~/holdfast --keep 90 -o alice-until-june.audit
    """
    from dataclasses import replace

    from tss.audit import AuditFault
    from tss.audit_file import check_all, read_export

    try:
        log = _own(folder, None)
        check_all([log])
        old = tuple(row for row in log.rows if row.at < time.time() - keep * 86_400)
        if not old:
            raise Failed(f"no row is older than {keep} days: there is nothing to take out")
        _write(out, replace(log, rows=old))
        check_all([read_export(out), replace(log, rows=log.rows[len(old) :])])
    except AuditFault as fault:
        raise Failed(str(fault)) from fault
    last = old[-1]
    body = {"through": last.number, "hash": last.hash.hex()}
    try:
        made = Admin(folder).post("/v1/tss/audit/take-out", body, timeout=120)
    except Failed as failed:
        # The node may have done it and died before it said so: the file is never deleted here.
        raise Failed(
            f"{failed}; {out} stays: delete it before you try again, unless the log begins after row {last.number} "
            "by then (`holdfast tss audit export`)"
        ) from failed
    text = f"{out}: {made['rows']} rows, up to {last.number}; check them with the rest by\n"
    show(
        as_json,
        made | {"file": str(out), "through": last.number},
        f"{text}`holdfast tss audit verify --dir {folder} {out}`",
    )


@audit.command()
@FOLDER
@JSON
def heads(folder: Path, as_json: bool) -> None:
    """Show how far the others' logs were heard of, and every log that lost a row.

    Example: holdfast tss audit heads --dir ~/holdfast
    """
    found = Admin(folder).get("/v1/tss/audit/heads")
    rows = [(h["member"], h["number"], _when(h["at_ms"] / 1000), h["hash"]) for h in found["heads"]]
    text = f"this node's log: {found['number']} rows, head {found['hash']}\n"
    text += table(("member", "rows", "heard", "head"), rows, "no other member's head was heard yet")
    for alarm in found["alarms"]:
        text += (
            f"\nALARM {_when(alarm['at'])}: {alarm['member']}'s log lost its row {alarm['row']} (seen by "
            f"{alarm['reporter']}): it was rewritten, or restored from a copy; ask its operator"
        )
    show(as_json, found, text)


def _write(out: Path, log: "Log") -> None:
    from tss.audit_file import lines
    from tss.files import sync_folder

    try:
        with out.open("x", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in lines(log))
            file.flush()
            os.fsync(file.fileno())
        sync_folder(out.absolute().parent)
    except FileExistsError as error:
        raise Failed(f"{out} exists: choose another name") from error
    except OSError as error:
        raise Failed(f"cannot write {out} ({error.strerror}): choose another place") from error


def _own(folder: Path, database: Path | None) -> "Log":
    from tss.audit_file import Whose, read_database
    from tss.dkg.committee import SignedCommittee
    from tss.dkg.faults import CommitteeFault
    from tss.identity import IdentityFault, passport

    try:
        me = passport(folder)
        committee = SignedCommittee.from_json(
            (folder / "committee.json").read_text(encoding="utf-8")
        ).committee
    except (OSError, ValueError, CommitteeFault, IdentityFault) as error:
        raise Failed(f"{folder} is no member's folder ({error}): give an operator's", 2) from error
    keys: tuple[tuple[str, bytes], ...] = tuple((m.name, m.host_key) for m in committee.members)
    index = next((i for i, (_name, key) in enumerate(keys, 1) if key == me.host_key), 0)
    if not index:
        raise Failed(f"{folder}/committee.json does not hold this node: put the right file back", 2)
    whose = Whose(keys[index - 1][0], index, committee.hash, keys)
    return read_database(database or folder / "signer.db", whose)


def _when(seconds: Any) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))
