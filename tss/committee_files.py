"""The committee files of a folder: committee.json, and those of earlier epochs beside it as committee-EPOCH.json.

Each file names the one it succeeds by its hash, so who trusts one trusts all before it. Earlier ones say whose an
older key is; a node that serves a rollup needs them all, back to the one that genesis.json names.
"""

from collections.abc import Sequence
from pathlib import Path

from tss.dkg.committee import Committee, SignedCommittee
from tss.dkg.faults import CommitteeFault
from tss.files import write_atomically
from tss.rotation.succession import check_successor

PRESENT = "committee.json"


def path_of(folder: Path, epoch: int) -> Path:
    """Where the committee file of an epoch that is over lies."""
    return folder / f"committee-{epoch}.json"


def read(path: Path) -> SignedCommittee:
    """A committee file that all its members signed; CommitteeFault names the path, OSError when there is none."""
    try:
        signed = SignedCommittee.from_json(path.read_text(encoding="utf-8"))
        signed.verify()
    except (CommitteeFault, ValueError) as fault:
        raise CommitteeFault(f"{path}: {fault}") from fault
    return signed


def earlier(folder: Path, present: Committee) -> tuple[SignedCommittee, ...]:
    """The files before `present` that lie in the folder, oldest first, back to the first one that is missing.

    CommitteeFault for one that is damaged, or that `present` does not come from.
    """
    found: list[SignedCommittee] = []
    at = present
    while at.previous:
        path = path_of(folder, at.epoch - 1)
        if not path.exists():
            break
        before = read(path)
        _check_link(path, before.committee, at)
        found.insert(0, before)
        at = before.committee
    return tuple(found)


def known(folder: Path, present: Committee) -> tuple[Committee, ...]:
    """The committees of all epochs that the folder's files vouch for, oldest first, `present` the last.

    What is damaged counts as missing: a node needs earlier files only for earlier keys.
    """
    try:
        before = earlier(folder, present)
    except (CommitteeFault, OSError):
        before = ()
    return (*(signed.committee for signed in before), present)


def not_taken_up(folder: Path, running: Committee) -> str | None:
    """What a process that runs with `running` has to say when committee.json is another one since it began."""
    try:
        found = read(folder / PRESENT).committee
    except (CommitteeFault, OSError):
        return None  # the next start says what is wrong with it
    if found.hash == running.hash:
        return None
    return (
        f"committee.json is of epoch {found.epoch} ({found.words}), and this process still runs with the file of "
        f"epoch {running.epoch}: restart the node"
    )


def install(
    folder: Path, signed: SignedCommittee, given: Sequence[SignedCommittee] = (), *, instead: bool = False
) -> None:
    """Put a committee file in its place, and every earlier one that is known beside it.

    Earlier ones come from the folder and from `given`. The present file comes last: cut short before it, the folder
    is as good as it was. CommitteeFault, and nothing is written, when a signature is missing, or the files are no
    chain from the folder's present committee to this one (in a folder without one: from the first committee).

    With `instead` it takes the place of another file of its epoch, which came to nothing and is kept by its hash.
    """
    signed.verify()
    here = read(folder / PRESENT) if (folder / PRESENT).exists() else None
    replaced = None
    if instead and here is not None and here.committee.hash != signed.committee.hash:
        _check_instead(here.committee, signed.committee)
        replaced, here = here, None
    if here is not None and here.committee.epoch > signed.committee.epoch:
        raise CommitteeFault(
            f"this folder serves epoch {here.committee.epoch} already, and epoch {signed.committee.epoch} is over"
        )
    chain = _chain(folder, signed, here, given)
    for one in chain:
        path = path_of(folder, one.committee.epoch)
        if not path.exists() or read(path).committee.hash != one.committee.hash:
            write_atomically(path, one.to_json().encode(), 0o644)
    if replaced is not None:
        kept = folder / f"committee-{replaced.committee.epoch}-{replaced.committee.hash.hex()[:16]}.json"
        write_atomically(kept, replaced.to_json().encode(), 0o644)
    if here is None or here.committee.hash != signed.committee.hash:
        write_atomically(folder / PRESENT, signed.to_json().encode(), 0o644)


def _chain(
    folder: Path, signed: SignedCommittee, here: SignedCommittee | None, given: Sequence[SignedCommittee]
) -> list[SignedCommittee]:
    """The files before `signed`, oldest first."""
    by_hash = {one.committee.hash: one for one in given}
    if here is not None:
        by_hash[here.committee.hash] = here
    chain: list[SignedCommittee] = []
    at, met = signed.committee, here is None or here.committee.hash == signed.committee.hash
    while at.previous:
        before = by_hash.get(at.previous) or _in_folder(folder, at)
        if before is None:
            break
        before.verify()
        _check_link(folder / PRESENT, before.committee, at)
        chain.insert(0, before)
        at, met = before.committee, met or before is here
    if not met and here is not None:
        raise CommitteeFault(_strangers(here.committee, at, signed.committee))
    if here is None and at.previous:
        raise CommitteeFault(
            f"the committee file of epoch {at.epoch} succeeds another: give that of epoch {at.epoch - 1} too, with "
            f"`--earlier FILE`, from any other operator's folder (committee-{at.epoch - 1}.json)"
        )
    return chain


def _check_instead(here: Committee, signed: Committee) -> None:
    same = (signed.epoch, signed.previous, signed.name) == (here.epoch, here.previous, here.name)
    if not same or not here.previous:
        raise CommitteeFault(
            f"--instead is for another file of epoch {here.epoch} that succeeds the same committee: this is none"
        )


def _in_folder(folder: Path, later: Committee) -> SignedCommittee | None:
    path = path_of(folder, later.epoch - 1)
    if not path.exists():
        return None
    found = read(path)
    return found if found.committee.hash == later.previous else None


def _strangers(here: Committee, at: Committee, wanted: Committee) -> str:
    """Why a chain that ends at `at` does not go on from ours."""
    if at.epoch > here.epoch + 1:
        return (
            f"this folder serves epoch {here.epoch}, and the file of epoch {at.epoch - 1} is missing between: give "
            "it with `--earlier FILE`, from any other operator's folder"
        )
    if here.previous and (wanted.epoch, wanted.previous) == (here.epoch, here.previous):
        return (
            f"another file of epoch {here.epoch} is here ({here.words}): when that one came to nothing, put this "
            "one in its place with --instead"
        )
    return (
        f"this committee file does not succeed ours ({here.words}): propose it with `holdfast tss rotate "
        "propose`"
    )


def _check_link(path: Path, before: Committee, later: Committee) -> None:
    try:
        check_successor(before, later)
    except CommitteeFault as fault:
        raise CommitteeFault(
            f"{path}: the committee of epoch {later.epoch} cannot follow: {fault}"
        ) from fault
