"""`holdfast tss certificate list|rotate`: the TLS certificates of the lines between members."""

import time
from pathlib import Path
from typing import Any

import click

from tss.cli_tools import FOLDER, JSON, Admin, Failed, show, table

_SECONDS = 30.0


@click.group()
def certificate() -> None:
    """The TLS certificates of the lines between members."""


@certificate.command("list")
@FOLDER
@JSON
def list_certificates(folder: Path, as_json: bool) -> None:
    """Show every member's certificate as this node knows it, and when it ends.

    Number 0 is the one that committee.json pins; later ones were announced by the member's host key.

    Example: holdfast tss certificate list --dir ~/holdfast
    """
    found = Admin(folder).get("/v1/tss/certificates")
    rows = [
        (c["name"], c["number"], _day(c["ends"]), c["trouble"] or "ok", c["fingerprint"])
        if c["known"]
        else (c["name"], None, None, "not heard of yet", None)
        for c in found["certificates"]
    ]
    show(as_json, found, table(("member", "number", "ends", "state", "fingerprint"), rows, "no members"))


@certificate.command()
@FOLDER
@click.option(
    "--overlap",
    type=click.FloatRange(0, 365),
    default=7.0,
    show_default=True,
    help="Days for which the present certificate stays good; 0 when its key was stolen.",
)
@click.option(
    "--days",
    type=click.IntRange(1, 3650),
    default=3650,
    show_default=True,
    help="How long the new one lasts.",
)
@click.option(
    "--offline", is_flag=True, help="The node is stopped: make it in the folder, for the next start."
)
@click.option("--passphrase-fd", type=int, help="With --offline: read the passphrase here.")
@JSON
def rotate(
    folder: Path, overlap: float, days: int, offline: bool, passphrase_fd: int | None, as_json: bool
) -> None:
    """Make a new TLS key and certificate and tell the committee; the node runs on, no committee file changes.

    Members that are away hear of it from any other when they are back. Make a new backup afterwards.

    Example: holdfast tss certificate rotate --dir ~/holdfast
    """
    if offline:
        made = _in_folder(folder, overlap, days, passphrase_fd)
    else:
        body = {"overlap": overlap, "days": days}
        made = Admin(folder).post("/v1/tss/certificates/rotate", body, timeout=_SECONDS)
    text = f"certificate {made['number']} of {made['name']}, good until {_day(made['ends'])}\n"
    text += f"fingerprint {made['fingerprint']}\n"
    for name, why in sorted(made["missing"].items()):
        text += f"{name} was not told and will hear of it later: {why}\n"
    text += "all are told when the node starts\n" if offline else ""
    backup = f"now make a new backup: `holdfast node backup --dir {folder} -o FILE --no-words`"
    show(as_json, made, text + backup)


def _in_folder(folder: Path, overlap: float, days: int, passphrase_fd: int | None) -> dict[str, Any]:
    from tss import identity, passphrase
    from tss.certificate import DAY, CertificateFault
    from tss.cli import read_committee
    from tss.files import FolderInUse, FolderLock

    committee = read_committee(folder / "committee.json").committee
    try:
        with FolderLock(folder, "signer.lock").acquire():
            me = identity.load(folder, passphrase.source(passphrase_fd))
            try:
                made = identity.rotate_tls(
                    me.placed(committee), committee, time.time(), overlap=overlap * DAY, days=days
                )
            finally:
                me.forget()
    except FolderInUse as busy:
        raise Failed(f"{busy}; or leave out --offline") from busy
    except (identity.IdentityFault, passphrase.PassphraseFault, CertificateFault) as fault:
        raise Failed(str(fault), 2) from fault
    except OSError as error:
        raise Failed(f"{folder} cannot be written ({error.strerror}): make room, then try again") from error
    ends = {"ends": made.not_after, "fingerprint": made.fingerprint.hex()}
    return {"name": me.name, "number": made.number, **ends, "missing": {}}


def _day(seconds: int) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(seconds))
