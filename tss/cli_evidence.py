"""`holdfast tss judge|evidence|nonces|requests`: who did wrong, what became of the nonces, what may be led."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tss.cli_tools import FOLDER, JSON, Admin, Failed, show, table

if TYPE_CHECKING:
    from tss.dkg.committee import Committee
    from tss.evidence.form import Evidence

_FILE = click.Path(dir_okay=False, path_type=Path)
_LEAD_SECONDS = 60.0


@click.command()
@click.argument("file", type=_FILE)
@click.option("--committee", "committee_file", type=_FILE, help="The committee file that you trust.")
@JSON
def judge(file: Path, committee_file: Path | None, as_json: bool) -> None:
    """Decide a piece of evidence with public data alone: no node, no key, nobody's word.

    Exit status: 0 proven, 1 not proven, 2 unreadable. Without --committee compare the words by voice.

    Example: holdfast tss judge bob.evidence --committee committee.json
    """
    from tss.evidence.judge import judge as decide
    from tss.frost.engine import Engine
    from tss.vault import HpkeSealer

    evidence = _read_evidence(file)
    trusted = None if committee_file is None else _read_committee(committee_file)
    judgement = decide(Engine(), HpkeSealer(), evidence, trusted)
    c = evidence.committee
    value = {
        "proven": judgement.proven,
        "reason": judgement.reason,
        "proves": judgement.proves,
        "open": judgement.open,
        "id": evidence.id.hex(),
        "kind": evidence.kind.slug,
        "culprit": {
            "name": evidence.culprit_name,
            "index": evidence.culprit,
            "host_key": c.member(evidence.culprit).host_key.hex(),
        },
        "committee": {
            "name": c.name,
            "chain": c.chain,
            "epoch": c.epoch,
            "hash": c.hash.hex(),
            "words": c.words,
        },
        "committee_checked": trusted is not None and trusted.hash == c.hash,
    }
    show(as_json, value, _said(evidence, value, trusted))
    if not judgement.proven:
        raise SystemExit(1)


@click.command()
@FOLDER
@click.argument("evidence_id", required=False)
@click.option("-o", "--out", type=_FILE, help="Write this piece to a file, for `holdfast tss judge`.")
@JSON
def evidence(folder: Path, evidence_id: str | None, out: Path | None, as_json: bool) -> None:
    """List the proven faults that this node knows of, or take one out.

    An id may be shortened. Example: holdfast tss evidence --dir ~/holdfast 3fa9 -o bob.evidence
    """
    admin = Admin(folder)
    found = admin.get("/v1/tss/evidence")
    if evidence_id is None:
        if out is not None:
            raise Failed("which piece? Name its id before -o", 2)
        rows = [
            (e["id"][:16], e["member"], e["kind"], _when(e["at"]), e["reason"]) for e in found["evidence"]
        ]
        none = "no member was proven to have done wrong"
        show(as_json, found, table(("evidence", "member", "kind", "since", "what"), rows, none))
        return
    ids = [e["id"] for e in found["evidence"] if e["id"].startswith(evidence_id.lower())]
    if len(ids) != 1:
        many = "more than one piece begins so: write more of its id" if ids else "list it without an id"
        raise Failed(f"{evidence_id} names no one piece of evidence: {many}")
    piece = admin.get(f"/v1/tss/evidence/{ids[0]}")
    text = "\n".join(f"{name:<9} {piece[name]}" for name in ("id", "member", "kind", "reason", "reporter"))
    if out is not None:
        _write_new(out, bytes.fromhex(piece["evidence"]))
        text += f"\n{out}: judge it anywhere with `holdfast tss judge {out} --committee committee.json`"
    show(as_json, piece, text)


@click.command()
@FOLDER
@JSON
def nonces(folder: Path, as_json: bool) -> None:
    """Count the nonces of each key and start: made, spent, voided, refused; and tell of copies of a node.

    Example: holdfast tss nonces --dir ~/holdfast
    """
    found = Admin(folder).get("/v1/tss/nonces")
    rows = [
        (
            f"{b['purpose']} {b['epoch']}" if b["purpose"] else f"replaced {b['share_set'][:16]}",
            f"{b['boot']}{' (now)' if b['running'] else ''}",
            *(b[name] for name in ("made", "spent", "voided", "refused", "unused")),
        )
        for b in found["boots"]
    ]
    columns = ("key", "start", "made", "spent", "voided", "refused", "unused")
    text = table(columns, rows, "no nonces were made yet")
    for clone in found["clones"]:
        text += "\n" + (
            f"two copies of {clone['member']} were seen on {_when(clone['at'])}: let both be stopped, one started"
            if clone["left"]
            else f"{clone['member']} saw another copy of this node on {_when(clone['at'])}: stop both, start one"
        )
    show(as_json, found, text)


@click.command()
@FOLDER
@click.option(
    "--lead",
    "request_id",
    help="The request that this node is to lead now: its id, or 8 or more of its first digits.",
)
@JSON
def requests(folder: Path, request_id: str | None, as_json: bool) -> None:
    """List requests that were not brought to their end here, or lead one that another member began.

    Example: holdfast tss requests --dir ~/holdfast --lead 5b1f09c4
    """
    admin = Admin(folder)
    if request_id is not None:
        made = admin.post(f"/v1/tss/requests/{request_id}", {}, timeout=_LEAD_SECONDS)
        show(as_json, made, "\n".join(made["signatures"]))
        return
    found = admin.get("/v1/tss/requests")
    rows = [(r["id"], r["purpose"], r["epoch"], r["coordinator"], _when(r["at"])) for r in found["requests"]]
    none = "nothing waits: every request of the last day was brought to its end here"
    show(as_json, found, table(("request", "purpose", "epoch", "brought by", "since"), rows, none))


def _read_evidence(path: Path) -> "Evidence":
    from tss.evidence.form import Evidence
    from tss.frost.codec import DecodeError

    try:
        with path.open("rb") as file:
            return Evidence.decode(file.read(Evidence.LIMIT + 1))
    except OSError as error:
        raise Failed(
            f"cannot read {path} ({error.strerror}): give a file of `holdfast tss evidence -o`", 2
        ) from error
    except DecodeError as error:
        raise Failed(
            f"{path} is no evidence ({error}): take it anew with `holdfast tss evidence -o`", 2
        ) from error


def _read_committee(path: Path) -> "Committee":
    from tss.dkg.committee import SignedCommittee
    from tss.dkg.faults import CommitteeFault

    try:
        signed = SignedCommittee.from_json(path.read_text(encoding="utf-8"))
        signed.verify()
    except OSError as error:
        raise Failed(f"cannot read {path} ({error.strerror}): give a committee file", 2) from error
    except (CommitteeFault, ValueError) as fault:
        raise Failed(f"{path}: {fault}", 2) from fault
    return signed.committee


def _said(evidence: "Evidence", value: dict[str, Any], trusted: "Committee | None") -> str:
    c = evidence.committee
    whose = "compare these words with a committee file you trust"
    if trusted is not None:
        whose = "as in the file given" if trusted.hash == c.hash else f"the file given is {trusted.words}"
    culprit = value["culprit"]
    lines = [
        f"{'proven' if value['proven'] else 'not proven'}: {value['reason']}",
        f"kind       {value['kind']}",
        f"against    {culprit['name']}, member {culprit['index']}, host key {culprit['host_key']}",
        f"committee  {c.name} on {c.chain}, epoch {c.epoch}: {c.words} ({whose})",
        f"it proves  {value['proves']}",
    ]
    return "\n".join([*lines, f"but        {value['open']}"] if value["proven"] else lines)


def _write_new(path: Path, data: bytes) -> None:
    try:
        with path.open("xb") as file:
            file.write(data)
    except FileExistsError as error:
        raise Failed(f"{path} exists: choose another name") from error
    except OSError as error:
        raise Failed(f"cannot write {path} ({error.strerror}): choose another place") from error


def _when(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))


COMMANDS = (judge, evidence, nonces, requests)
