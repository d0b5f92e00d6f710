"""`holdfast tss refresh|repair|rotate`: new shares, a lost share, and the next epoch's committee and keys."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tss.cli_tools import FOLDER, JSON, Admin, Failed, show

if TYPE_CHECKING:
    from tss.dkg.committee import Committee, Member

_FILE = click.Path(dir_okay=False, path_type=Path)
_PURPOSE = click.option(
    "--purpose", type=click.Choice(["treasury", "anchor", "mint"]), required=True, help="Which key."
)
_EPOCH = click.option("--epoch", type=click.IntRange(0), required=True, help="The key's epoch.")
_SECONDS = 180.0


@click.command()
@FOLDER
@_PURPOSE
@click.option("--without", multiple=True, metavar="NAME", help="Remove this member; may be repeated.")
@click.option("--consent", is_flag=True, help="Only agree to the removal that another operator drives.")
@JSON
def refresh(folder: Path, purpose: str, without: Sequence[str], consent: bool, as_json: bool) -> None:
    """Make all shares of a key new; the key, its addresses and its coins stay.

    All who hold a share take part. Shares stolen before are useless together with shares from after. A refresh
    does not help against whoever holds t old shares, which still sign for ever, nor against a stolen host key,
    which reads its member's share of every generation: against both make a new key (`holdfast tss rotate`).

    With --without the others make new shares and the members named hold none. Every other operator first agrees on
    his own node, by the same command with --consent. Their old shares are worth what old shares are worth.

    Example: holdfast tss refresh --dir ~/holdfast --purpose treasury
    """
    body = {"purpose": purpose, "without": list(without), "consent": consent}
    made = Admin(folder).post("/v1/tss/refresh", body, timeout=_SECONDS)
    if consent:
        names = ", ".join(made["removed"])
        text = f"this node agrees that {names} leaves the {purpose} key; one operator now runs it without --consent"
    else:
        removed = f", without {', '.join(made['removed'])}" if made["removed"] else ""
        text = (
            f"{purpose} key of epoch {made['epoch']}: refresh {made['generation']}, held by "
            f"{', '.join(made['members'])}{removed}\nin {made['seconds']} s; make a new backup "
            "(`holdfast node backup`): older ones end before this refresh"
        )
    show(as_json, made, text)


@click.command()
@FOLDER
@_PURPOSE
@click.option(
    "--helper", "helpers", multiple=True, metavar="NAME", help="A helper; t of them, or none named."
)
@JSON
def repair(folder: Path, purpose: str, helpers: Sequence[str], as_json: bool) -> None:
    """Make this node's lost share again with t other members, who learn nothing.

    A share file that is gone needs no repair: a node restores it from its recovery data when it starts. This is for
    a key that `holdfast tss keys` shows as lost. On a share that is there it changes nothing.

    Example: holdfast tss repair --dir ~/holdfast --purpose treasury
    """
    body = {"purpose": purpose, "helpers": list(helpers)}
    made = Admin(folder).post("/v1/tss/repair", body, timeout=_SECONDS)
    text = (
        f"{purpose} key of epoch {made['epoch']}: our share is there and fits its public share\n"
        f"with {', '.join(made['members'])} in {made['seconds']} s"
    )
    show(as_json, made, text)


@click.group()
def rotate() -> None:
    """The next epoch: a new committee file, new keys by a new DKG, and the end of the old keys.

    In order: `rotate propose`, all sign (`tss committee sign`, `merge`), `rotate accept` and a restart on every
    node, `tss dkg` for each key; then the coins move; then `rotate finish` wipes the old shares.

    tss makes and ends keys. It does not move coins: the bridge does (`holdfast bridge epoch propose`), marks the
    old keys as retiring when they have moved, and says when they may be finished. Without one: `rotate retire`.
    """


@rotate.command("propose")
@click.argument("committee_file", type=_FILE)
@click.option(
    "--replace", "replaced", nargs=2, multiple=True, metavar="NAME FILE", help="NAME's place is FILE's."
)
@click.option(
    "--add", "added", multiple=True, type=_FILE, metavar="FILE", help="A further member's member.json."
)
@click.option(
    "--drop", "dropped", multiple=True, metavar="NAME", help="Leave out NAME, from the end of the list."
)
@click.option("--threshold", type=click.IntRange(1, 128), help="Signers needed, t; as before by default.")
@click.option("-o", "--out", type=_FILE, required=True, help="The file to write; it must not exist.")
@JSON
def propose(
    committee_file: Path,
    replaced: Sequence[tuple[str, str]],
    added: Sequence[Path],
    dropped: Sequence[str],
    threshold: int | None,
    out: Path,
    as_json: bool,
) -> None:
    """Make the next epoch's unsigned committee file; it names the present one by its hash.

    Members who stay keep their places, and at least t of the old ones stay: they sign the move of the coins.

    Example: holdfast tss rotate propose committee.json --replace carol dave.json -o next.json
    """
    from tss.cli import read_committee, read_member
    from tss.dkg.committee import SignedCommittee
    from tss.dkg.faults import CommitteeFault
    from tss.rotation.succession import successor

    old = read_committee(committee_file).committee
    places: dict[str, Member] = {name: read_member(Path(file)) for name, file in replaced}
    try:
        new = successor(old, places, [read_member(path) for path in added], dropped, threshold)
    except CommitteeFault as fault:
        raise Failed(str(fault), 2) from fault
    try:
        with out.open("x", encoding="utf-8") as file:
            file.write(SignedCommittee.unsigned(new).to_json())
    except OSError as error:
        raise Failed(f"cannot write {out} ({error.strerror}): choose another name") from error
    text = f"{out}: epoch {new.epoch}, words {new.words}; every member now runs `holdfast tss committee sign`"
    show(as_json, _described(new), text)


@rotate.command("accept")
@FOLDER
@click.argument("file", type=_FILE)
@click.option(
    "--earlier",
    "given",
    multiple=True,
    type=_FILE,
    metavar="FILE",
    help="An earlier epoch's; may be repeated.",
)
@click.option("--instead", is_flag=True, help="In the place of another file of this epoch.")
@JSON
def accept(folder: Path, file: Path, given: Sequence[Path], instead: bool, as_json: bool) -> None:
    """Put the next epoch's signed committee file in the present one's place; it counts from the next start.

    The old file is kept as committee-EPOCH.json. Old keys stay with the members who stay, and sign under their
    epoch. A new member's folder has no old file: give all earlier ones, from any other operator's folder.

    A file that came to nothing, because a member died or refuses before the bridge was handed on, is replaced on
    all nodes by another of the same epoch with --instead. Its keys are abandoned, new ones are made. Replaced back,
    its keys serve again.

    Example: holdfast tss rotate accept --dir ~/holdfast next.json --earlier committee-1.json
    """
    from tss.cli import check_chain, read_committee
    from tss.committee_files import PRESENT, install
    from tss.dkg.faults import CommitteeFault
    from tss.identity import IdentityFault, passport
    from tss.stored_keys import without_quorum

    signed, before = read_committee(file), [read_committee(path) for path in given]
    check_chain(folder, signed.committee.chain)
    try:
        if (folder / "keys").exists() and signed.committee.index_of(passport(folder).host_key) is None:
            raise Failed(_left_out(folder, signed.committee))
        replaced = read_committee(folder / PRESENT).committee.hash if instead else b""
        stuck = without_quorum(folder, signed.committee, replaced)
        if stuck:
            raise Failed(stuck[0])
        install(folder, signed, before, instead=instead)
        rotated = _was_rotated(folder, signed.committee)
    except (CommitteeFault, IdentityFault) as fault:
        raise Failed(str(fault), 2) from fault
    except OSError as error:
        raise Failed(f"{folder} cannot be written ({error.strerror}): make room, then try again") from error
    epoch = signed.committee.epoch
    text = (
        f"{folder / PRESENT} is of epoch {epoch}: restart the node, then make the keys (`holdfast tss dkg`)"
    )
    if rotated:
        text += f"\nfirst run `holdfast tss certificate rotate --dir {folder} --offline`: the file pins another one"
    show(as_json, _described(signed.committee) | {"certificate_pinned": not rotated}, text)


def _was_rotated(folder: Path, committee: "Committee") -> bool:
    """Whether the node shows another certificate than the file pins, so that no other would let it in."""
    from tss.identity import certificate_fingerprint, passport

    if not (folder / "keys").exists():
        return False
    index = committee.index_of(passport(folder).host_key)
    shown = certificate_fingerprint(folder / "keys" / "tls.crt")
    return index is not None and committee.member(index).tls_fingerprint != shown


def _left_out(folder: Path, committee: "Committee") -> str:
    return (
        f"{folder} is not in the committee of epoch {committee.epoch}: its node has no part in it. Leave it as it "
        "is until the others say that the coins have moved, then stop it and keep a backup"
    )


@rotate.command("retire")
@FOLDER
@_PURPOSE
@_EPOCH
@click.option("--undo", is_flag=True, help="Back to active.")
@JSON
def retire(folder: Path, purpose: str, epoch: int, undo: bool, as_json: bool) -> None:
    """Mark an old key as retiring on this node: it signs on, but a later key of its purpose comes first.

    A bridge does that by itself when its coins have moved.

    Example: holdfast tss rotate retire --dir ~/holdfast --purpose treasury --epoch 1
    """
    _move(folder, purpose, epoch, "active" if undo else "retiring", as_json)


@rotate.command("finish")
@FOLDER
@_PURPOSE
@_EPOCH
@click.option("--yes", is_flag=True, help="Do not ask.")
@JSON
def finish(folder: Path, purpose: str, epoch: int, yes: bool, as_json: bool) -> None:
    """Retire an old key for good on this node: its share is wiped here, and nothing is signed with it again.

    Only when all its coins have moved and the move is final. A node that serves a bridge refuses as long as the key
    has a duty left, and says which; without a bridge look on Bitcoin first, for tss cannot. The recovery data in
    signer.db and in backups still gives the share to whoever has the host key.

    Example: holdfast tss rotate finish --dir ~/holdfast --purpose treasury --epoch 1
    """
    if not yes:
        click.confirm(
            f"Have all coins left the {purpose} key of epoch {epoch}, finally?", abort=True, err=True
        )
    _move(folder, purpose, epoch, "retired", as_json)


COMMANDS = (refresh, repair, rotate)


def _move(folder: Path, purpose: str, epoch: int, state: str, as_json: bool) -> None:
    body = {"purpose": purpose, "epoch": epoch, "state": state}
    made = Admin(folder).post("/v1/tss/key-state", body, timeout=30)
    show(as_json, made, f"{made['purpose']} key of epoch {made['epoch']}: {made['state']} on this node")


def _described(committee: "Committee") -> dict[str, Any]:
    return {
        "name": committee.name,
        "chain": committee.chain,
        "epoch": committee.epoch,
        "threshold": committee.threshold,
        "hash": committee.hash.hex(),
        "previous": committee.previous.hex(),
        "words": committee.words,
        "members": [member.name for member in committee.members],
    }
