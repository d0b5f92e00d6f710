"""`make show-evidence [FOLDER=…]`: one piece of evidence of every kind, made by members that really cheat, judged.

Each is written to FOLDER/KIND.evidence and decided by the real command, `holdfast tss judge`, in its own process,
with the committee file beside it; so is a copy that accuses somebody else. Exit status 1: one was judged wrongly.
"""

import subprocess
import sys
import sysconfig
import tempfile
from dataclasses import replace
from pathlib import Path

import click

from tests.tss.evidence.cases import true_case
from tests.tss.simnet import make_committee
from tss.dkg.committee import SignedCommittee
from tss.evidence.form import Kind

COMMAND = Path(sysconfig.get_path("scripts")) / "holdfast"
INNOCENT = 1  # alice, in every case


def committee_file(folder: Path) -> Path:
    """The file of the committee in which all this happened, signed by its members."""
    committee, identities = make_committee(3, 2)
    signed = SignedCommittee.unsigned(committee)
    for one in identities:
        signed = signed.with_signature(one.index, one.sign(committee.hash))
    file = folder / "committee.json"
    file.write_text(signed.to_json())
    return file


def judged(file: Path, committee: Path) -> tuple[int, str]:
    """Exit status and first line of the real command."""
    words = [str(COMMAND), "tss", "judge", str(file), "--committee", str(committee)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    return done.returncode, (done.stdout + done.stderr).partition("\n")[0]


def show(folder: Path, kind: Kind, committee: Path) -> bool:
    """Write and judge a true piece and a slander; whether both came out right."""
    evidence, file = true_case(kind), folder / f"{kind.slug}.evidence"
    file.write_bytes(evidence.encode())
    status, said = judged(file, committee)
    false = folder / f"{kind.slug}.slander"
    false.write_bytes(replace(evidence, culprit=INNOCENT).encode())
    refused, why = judged(false, committee)
    click.echo(f"$ holdfast tss judge {file.name} --committee {committee.name}\n{said}  [{status}]")
    click.echo(f"  of another member: {why}  [{refused}]")
    return (status, refused) == (0, 1)


def main(folder: Path) -> int:
    """All kinds into a folder; the exit status."""
    folder.mkdir(parents=True, exist_ok=True)
    committee = committee_file(folder)
    right = [show(folder, kind, committee) for kind in Kind]
    click.echo(f"{sum(right)} of {len(right)} kinds judged rightly; the files are in {folder}")
    return 0 if all(right) else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp(prefix="evidence-"))))
