"""`holdfast tss`: the committee file, key generation, test signatures, and what the signers are doing."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tss import cli_evidence, cli_ops, cli_rotation
from tss.cli_tools import CHAINS, FOLDER, JSON, Admin, Failed, setting, show, table

if TYPE_CHECKING:
    from tss.dkg.committee import Member, SignedCommittee

_FILE = click.Path(dir_okay=False, path_type=Path)
_OUT = click.option("-o", "--out", type=_FILE, required=True, help="The file to write; it must not exist.")
_PURPOSE = click.Choice(["treasury", "anchor", "mint"])
_ORIGINAL = "get the original from whoever proposed it, and compare the words by voice"
_DKG_SECONDS = 180.0
_SIGN_SECONDS = 60.0


@click.group()
def tss() -> None:
    """The committee and its keys: committee file, DKG, test signatures."""


for _command in (*cli_evidence.COMMANDS, *cli_rotation.COMMANDS, *cli_ops.COMMANDS):
    tss.add_command(_command)


@tss.group()
def committee() -> None:
    """Make the committee file: proposed by one, signed by each, accepted by each."""


@committee.command()
@click.option("--name", required=True, help="The committee's name: 1 to 32 of a-z, 0-9 and -.")
@click.option("--threshold", type=click.IntRange(1, 128), required=True, help="Signers needed, t.")
@click.option("--chain", type=click.Choice(CHAINS), required=True, help="The Bitcoin network.")
@click.option("--epoch", type=click.IntRange(1), default=1, show_default=True, help="The key epoch.")
@click.argument("members", nargs=-1, required=True, type=_FILE)
@_OUT
@JSON
def propose(
    name: str, threshold: int, chain: str, epoch: int, members: Sequence[Path], out: Path, as_json: bool
) -> None:
    """Make an unsigned committee file from the members' member.json, in the order given.

    Example: holdfast tss committee propose --name demo --threshold 3 --chain regtest alice.json bob.json
    carol.json dave.json erin.json -o committee.json
    """
    from tss.dkg.committee import Committee, SignedCommittee
    from tss.dkg.faults import CommitteeFault

    try:
        made = Committee(name, chain, epoch, threshold, tuple(read_member(path) for path in members))
    except CommitteeFault as fault:
        raise Failed(str(fault), 2) from fault
    signed = SignedCommittee.unsigned(made)
    _write_new(out, signed)
    _describe(
        as_json, signed, f"{out}: every member now runs `holdfast tss committee sign`; read the words aloud"
    )


@committee.command()
@FOLDER
@click.option("--passphrase-fd", type=click.IntRange(0), help="File descriptor to read the passphrase from.")
@click.argument("file", type=_FILE)
@click.option("-o", "--out", type=_FILE, help="Write the signed copy there, and leave FILE as it is.")
@JSON
def sign(folder: Path, file: Path, out: Path | None, as_json: bool, passphrase_fd: int | None) -> None:
    """Add this node's signature to a committee file, in place or with -o to a copy.

    Each signs his own copy and all copies are joined by `holdfast tss committee merge`; or one file goes round and
    each signs it in place.

    Example: holdfast tss committee sign --dir ~/holdfast committee.json -o by-alice.json
    """
    from tss.files import write_atomically
    from tss.identity import IdentityFault, load, passport
    from tss.passphrase import PassphraseFault, source

    read = read_committee(file)
    check_chain(folder, read.committee.chain)
    try:
        if read.committee.previous and read.committee.index_of(passport(folder).host_key) is None:
            raise Failed(
                f"{file} has no place for this node: those sign it who are in it, who leaves does not"
            )
        identity = load(folder, source(passphrase_fd)).placed(read.committee)
        if (
            read.committee.previous
            and identity.tls.fingerprint != read.committee.member(identity.index).tls_fingerprint
        ):
            raise Failed(
                f"{file} pins another TLS certificate of {identity.name} than this node shows, which was rotated "
                "since: propose it anew with `holdfast tss rotate propose` and `--replace "
                f"{identity.name} {folder / 'member.json'}`"
            )
        identity = identity.seated(read.committee)
    except (IdentityFault, PassphraseFault) as fault:
        raise Failed(str(fault), 2) from fault
    signed = read.with_signature(identity.index, identity.sign(read.committee.hash))
    if out is None:
        write_atomically(file, signed.to_json().encode(), 0o644)
    else:
        _write_new(out, signed)
    said = f"{identity.name} has signed {out or file}; compare its words with the others by voice"
    _describe(as_json, signed, said)


@committee.command()
@click.argument("files", nargs=-1, required=True, type=_FILE)
@_OUT
@JSON
def merge(files: Sequence[Path], out: Path, as_json: bool) -> None:
    """Join the signatures of several copies of one committee file.

    Example: holdfast tss committee merge alice.json bob.json carol.json -o committee.json
    """
    from tss.dkg.faults import CommitteeFault

    merged = read_committee(files[0])
    for path in files[1:]:
        try:
            merged = merged.merge(read_committee(path))
        except CommitteeFault as fault:
            raise Failed(f"{path}: {fault}") from fault
    _write_new(out, merged)
    missing = merged.committee.names_of(merged.missing) if merged.missing else ""
    word = "rotate accept" if merged.committee.previous else "committee accept"
    left = (
        f"still to be signed by {missing}" if missing else f"signed by all: each runs `holdfast tss {word}`"
    )
    _describe(as_json, merged, f"{out}: {left}")


@committee.command("show")
@click.argument("file", type=_FILE)
@JSON
def show_committee(file: Path, as_json: bool) -> None:
    """Show a committee file and its words, for comparing by voice.

    Example: holdfast tss committee show committee.json
    """
    _describe(as_json, read_committee(file), "")


@committee.command()
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
@JSON
def accept(folder: Path, file: Path, given: Sequence[Path], as_json: bool) -> None:
    """Check a committee file that all have signed and put it into the node's folder.

    Of a later epoch all earlier files are needed too: those that lie there as committee-EPOCH.json, or are given.

    Example: holdfast tss committee accept --dir ~/holdfast committee.json
    """
    from tss.committee_files import install
    from tss.dkg.faults import CommitteeFault
    from tss.identity import IdentityFault, check_seat

    signed, before = read_committee(file), [read_committee(path) for path in given]
    target = folder / "committee.json"
    if not folder.is_dir():
        raise Failed(f"{folder} does not exist: make the node with `holdfast node init` first", 2)
    check_chain(folder, signed.committee.chain)
    try:
        signed.verify()
        if (folder / "keys").exists():  # an observer has no keys and no seat
            check_seat(folder, signed.committee)
    except (CommitteeFault, IdentityFault) as fault:
        raise Failed(str(fault), 2) from fault
    if target.exists() and read_committee(target).committee.hash != signed.committee.hash:
        raise Failed(
            f"{target} is another committee ({read_committee(target).committee.words}): a node serves one; "
            "use a new folder; the next epoch's file is taken by `holdfast tss rotate accept`"
        )
    try:
        install(folder, signed, before)
    except CommitteeFault as fault:
        raise Failed(str(fault), 2) from fault
    _describe(as_json, signed, f"{target} is in place")


@tss.command()
@FOLDER
@click.option("--purpose", type=_PURPOSE, required=True, help="What the key is for.")
@JSON
def dkg(folder: Path, purpose: str, as_json: bool) -> None:
    """Make a key with all members, or finish one that was begun; this node relays.

    Example: holdfast tss dkg --dir ~/holdfast --purpose treasury
    """
    made = Admin(folder).post("/v1/tss/dkg", {"purpose": purpose}, timeout=_DKG_SECONDS)
    key = f"{made['threshold']} of {made['members']}\n{made['group_key']}"
    if made["existed"]:
        text = (
            f"nothing was made: the {purpose} key of epoch {made['epoch']} is {made['state']} already, {key}"
        )
    else:
        text = f"{purpose} key of epoch {made['epoch']}: {made['state']}, {key}\nin {made['seconds']} s"
    show(as_json, made, text)


@tss.command()
@FOLDER
@JSON
def keys(folder: Path, as_json: bool) -> None:
    """List the keys that this node holds a share of.

    Example: holdfast tss keys --dir ~/holdfast
    """
    admin = Admin(folder)
    found = admin.get("/v1/tss/keys")
    rows = [
        (
            *(k["purpose"], k["epoch"], k["state"], f"{k['threshold']} of {k['members']}"),
            *(k["generation"], k["group_key"]),
        )
        for k in found["keys"]
    ]
    none = "no keys yet: make them with `holdfast tss dkg --purpose treasury`, anchor and mint"
    if not rows and admin.is_active():
        raise Failed(
            "the bridge is active, but the shares are lost here (signer.db is new or empty): make no new keys; "
            "stop the node, put signer.db back or build a folder anew with `holdfast node restore`"
        )
    show(
        as_json, found, table(("purpose", "epoch", "state", "signers", "refreshes", "group key"), rows, none)
    )


@tss.command()
@FOLDER
@JSON
def sessions(folder: Path, as_json: bool) -> None:
    """List the signing sessions that this node coordinates, and the last that ended.

    Example: holdfast tss sessions --dir ~/holdfast
    """
    found = Admin(folder).get("/v1/tss/sessions")
    rows = [
        (s["id"][:16], s["purpose"], s["epoch"], s["state"], ", ".join(s["members"]), ", ".join(s["pending"]))
        for s in found["sessions"]
    ]
    columns = ("session", "purpose", "epoch", "state", "members", "waiting for")
    show(as_json, found, table(columns, rows, "this node has coordinated nothing since its start"))


@tss.command()
@FOLDER
@JSON
def peers(folder: Path, as_json: bool) -> None:
    """List the other members: who answers, how fast, and how far the clocks differ.

    Example: holdfast tss peers --dir ~/holdfast
    """
    found = Admin(folder).get("/v1/tss/peers")
    rows = [
        (
            p["name"],
            "up" if p["up"] else p["why"],
            _milliseconds(p["rtt"]),
            _milliseconds(p["skew"]),
            p["boot_id"],
        )
        for p in found["peers"]
    ]
    show(
        as_json, found, table(("member", "state", "round trip", "clock", "boot id"), rows, "no other members")
    )


@tss.command("sign-test")
@FOLDER
@click.option("--key", "purpose", type=_PURPOSE, default="anchor", show_default=True, help="Which key signs.")
@click.option("--epoch", type=click.IntRange(0), help="The key's epoch; the newest that serves by default.")
@click.argument("text")
@JSON
def sign_test(folder: Path, purpose: str, epoch: int | None, text: str, as_json: bool) -> None:
    """Have t members sign a test message that can mean nothing else.

    Example: holdfast tss sign-test --dir ~/holdfast --key anchor "hello"
    """
    body = {"key": purpose, "epoch": epoch, "text": text}
    made = Admin(folder).post("/v1/tss/sign-test", body, timeout=_SIGN_SECONDS)
    text = "\n".join(
        (
            f"key        {made['key']} of epoch {made['epoch']}",
            f"message    {made['message']}",
            f"public key {made['public_key']}",
            f"signature  {made['signature']}",
            f"in {made['seconds']} s",
        )
    )
    show(as_json, made, text)


def _milliseconds(seconds: float | None) -> str | None:
    return None if seconds is None else f"{seconds * 1000:.0f} ms"


def read_member(path: Path) -> "Member":
    """A member.json; Failed when it is none."""
    from tss.dkg.committee import Member

    try:
        m = json.loads(path.read_text(encoding="utf-8"))
        host_key, fingerprint = bytes.fromhex(m["host_key"]), bytes.fromhex(m["tls_fingerprint"])
        return Member(m["name"], host_key, fingerprint, m["peer_url"])
    except OSError as error:
        raise Failed(f"cannot read {path} ({error.strerror}): give each member's member.json", 2) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Failed(f"{path} is no member.json: take the one that `holdfast node init` made", 2) from error


def read_committee(path: Path) -> "SignedCommittee":
    """A committee file whose signatures hold, as far as there are any; Failed otherwise."""
    from tss.dkg.committee import SignedCommittee
    from tss.dkg.faults import CommitteeFault

    try:
        signed = SignedCommittee.from_json(path.read_text(encoding="utf-8"))
        signed.verify(partial=True)
    except OSError as error:
        raise Failed(f"cannot read {path} ({error.strerror}): give a committee file", 2) from error
    except (CommitteeFault, ValueError) as fault:
        raise Failed(f"{path}: {fault}; {_ORIGINAL}", 2) from fault
    return signed


def check_chain(folder: Path, chain: str) -> None:
    """Refuse a committee file of another network than the node's."""
    network = setting(folder, "network")
    if network not in (None, chain):
        raise Failed(
            f"the committee file is for {chain}, {folder}/config.toml says {network}: take the file of {network}",
            2,
        )


def _write_new(path: Path, signed: "SignedCommittee") -> None:
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(signed.to_json())
    except FileExistsError as error:
        raise Failed(f"{path} exists: a committee file is never overwritten, choose another name") from error
    except OSError as error:
        raise Failed(f"cannot write {path} ({error.strerror}): choose another place") from error


def _describe(as_json: bool, signed: "SignedCommittee", said: str) -> None:
    c = signed.committee
    value: dict[str, Any] = {
        "name": c.name,
        "chain": c.chain,
        "epoch": c.epoch,
        "threshold": c.threshold,
        "hash": c.hash.hex(),
        "words": c.words,
        "complete": signed.complete,
        "members": [
            {
                "index": i,
                "name": m.name,
                "host_key": m.host_key.hex(),
                "tls_fingerprint": m.tls_fingerprint.hex(),
                "peer_url": m.peer_url,
                "signed": i not in signed.missing,
            }
            for i, m in enumerate(c.members, 1)
        ],
    }
    rows = [(m["index"], m["name"], "yes" if m["signed"] else "no", m["peer_url"]) for m in value["members"]]
    listing = table(("", "member", "signed", "peer URL"), rows, "no members")
    head = f"{c.name} on {c.chain}, epoch {c.epoch}: {c.threshold} of {c.size}\nwords  {c.words}\n"
    show(as_json, value, f"{head}{listing}" + (f"\n{said}" if said else ""))
