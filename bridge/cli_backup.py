"""`holdfast node passphrase|backup|restore|rehearse`: so that a lost machine is no lost share."""

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from anchor.cli_tools import FOLDER, JSON, READABLE, Failed, show
from bridge.cli_words import read_words, show_words

if TYPE_CHECKING:
    from bridge.config import NodeSection
    from tss.dkg.committee import SignedCommittee
    from tss.identity import HostIdentity
    from tss.recovery import RecoveryChain, RecoveryFile

PASSPHRASE = click.option(
    "--passphrase-fd",
    type=click.IntRange(0),
    help="File descriptor to read the passphrase from, e.g. --passphrase-fd 3 3< FILE.",
)
WORDS = click.option("--words-fd", type=click.IntRange(0), help="File descriptor to read the words from.")
RECOVERY = click.option("--recovery", type=READABLE, required=True, help="The file that backup wrote.")
CHAINS = click.option(
    "--chains", "newer", type=READABLE, multiple=True, help="Another member's recovery file with newer keys."
)
_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command("passphrase")
@FOLDER
@PASSPHRASE
@click.option("--new-passphrase-fd", type=click.IntRange(0), help="File descriptor to read the new one from.")
@JSON
def passphrase_command(
    folder: Path, passphrase_fd: int | None, new_passphrase_fd: int | None, as_json: bool
) -> None:
    """Put the host key, and with it every share, under a new passphrase; one that lay open, under its first.

    One file is replaced as a whole; a running node goes on and asks for the new one at its next start. Copies of
    the old file still open with the old passphrase: destroy them.

    Example: holdfast node passphrase --dir ~/holdfast
    """
    from tss import identity, passphrase
    from tss.vault import cost_for

    network = _network(folder)
    try:
        was_sealed = identity.is_sealed(folder)
        old = passphrase.source(passphrase_fd, "Present passphrase")
        identity.reseal(folder, old, lambda: passphrase.new(new_passphrase_fd), cost_for(network))
    except (identity.IdentityFault, passphrase.PassphraseFault) as fault:
        raise Failed(str(fault), 2) from fault
    said = "is under the new passphrase" if was_sealed else "lay open and is under its passphrase now"
    show(as_json, {"dir": str(folder), "was_sealed": was_sealed}, f"the host key of {folder} {said}")


@click.command()
@FOLDER
@PASSPHRASE
@click.option("-o", "--out", type=_FILE, required=True, help="The recovery file to write; it may exist.")
@click.option(
    "--no-words", is_flag=True, help="Only write the file anew, as after a refresh; the words stay valid."
)
@click.option("--words-fd", type=click.IntRange(0), help="Write the words to this file descriptor.")
@JSON
def backup(
    folder: Path, out: Path, no_words: bool, words_fd: int | None, passphrase_fd: int | None, as_json: bool
) -> None:
    """Show the host key as 18 words, once, and write the public recovery file. Both together bring the node back.

    The words go to the terminal and nowhere else: write them on paper, in two places. The file holds no secret:
    keep copies with the other operators, and write it anew after every new or refreshed key.

    Example: holdfast node backup --dir ~/holdfast -o alice.recovery.json
    """
    from tss import backup as backups
    from tss.recovery import RecoveryFault

    network = _network(folder)
    identity = _identity(folder, passphrase_fd)
    try:
        chains = _run(backups.chains_of(folder))
        _check_whole(chains)
        file = backups.make(folder, identity, network, chains, time.time())
        file.write(out)
        if not no_words:
            show_words(identity, words_fd)
        backups.note(folder, "backup", backups.heads_of(chains), time.time(), words=not no_words)
    except (RecoveryFault, OSError, UnicodeDecodeError) as fault:
        raise Failed(f"no backup was made: {fault}") from fault
    finally:
        identity.forget()
    keys = [f"{chain.purpose} {chain.epoch}" for chain in chains]
    done = {"recovery": str(out), "name": file.name, "keys": keys, "words_shown": not no_words}
    text = (
        f"{out} holds {', '.join(keys) or 'no key yet'} and no secret: copy it to the other operators.\n"
        f"Now prove it: holdfast node rehearse --dir {folder} --recovery {out}"
    )
    show(as_json, done, text)


@click.command()
@FOLDER
@RECOVERY
@CHAINS
@click.option("--committee", type=READABLE, required=True, help="The committee file, as the others hold it.")
@WORDS
@PASSPHRASE
@click.option("--no-passphrase", is_flag=True, help="Leave the host key open on disk; on regtest only.")
@click.option(
    "--newest", is_flag=True, help="Take newer keys from the others, each checked to the last signature."
)
@click.option("--offline", is_flag=True, help="Do not ask the others whether they hold newer keys.")
@JSON
def restore(
    folder: Path, recovery: Path, newer: tuple[Path, ...], committee: Path, as_json: bool, **given: Any
) -> None:
    """Make a lost node's folder again from its 18 words and its recovery file.

    Every share comes from the transcripts. The lost machine must never run again: stop it for good first. The
    others are asked whether they hold newer keys; an older state is not restored.

    Example: holdfast node restore --dir ~/holdfast --recovery alice.recovery.json --committee committee.json
    """
    from bridge import restoring
    from tss import backup as backups
    from tss import hardening

    hardening.harden()
    file, signed = _file(recovery), _committee(committee)
    _check_committee(file, signed, [_file(path) for path in newer])
    if folder.exists():
        raise Failed(f"{folder} exists: a restore makes a new folder, choose another name", 2)
    chains = _with_newer(file, newer, signed)
    if given["offline"] and given["newest"]:
        raise click.UsageError("--newest asks the others, --offline does not: give one of them")
    ask = restoring.Ask.NOBODY if given["offline"] else restoring.Ask.WHETHER_NEWEST
    ask = restoring.Ask.NEWEST if given["newest"] else ask
    if given["no_passphrase"] and file.network != "regtest":
        raise click.UsageError("--no-passphrase is for regtest only: elsewhere the host key guards money")
    secret = read_words(given["words_fd"])
    with _sorry():
        backups.check_words(secret, file)
    seal = None if given["no_passphrase"] else _new_seal(given["passphrase_fd"], file.network)
    with _sorry():
        chains, lost = _run(restoring.restore(folder, secret, file, signed, chains, seal, ask))
    keys = [f"{chain.purpose} {chain.epoch}" for chain in chains]
    text = (
        f"{folder} is {file.name} again, with {', '.join(keys) or 'no key'}. Look through config.toml (bitcoind, "
        f"ports), then `holdfast node run --dir {folder}`.\nThe old machine must never run again."
    )
    for sentence in lost:
        text += f"\nNo share of the {sentence}; have it repaired, if this member still belongs to the key."
    show(as_json, {"dir": str(folder), "name": file.name, "keys": keys, "lost": lost}, text)


@click.command()
@FOLDER
@RECOVERY
@CHAINS
@WORDS
@PASSPHRASE
@click.option(
    "--without-words", is_flag=True, help="Take the host key of the folder: proves less, needs no paper."
)
@JSON
def rehearse(
    folder: Path,
    recovery: Path,
    newer: tuple[Path, ...],
    words_fd: int | None,
    passphrase_fd: int | None,
    without_words: bool,
    as_json: bool,
) -> None:
    """Prove that the backup works: restore it into a throw-away folder and sign a test with the others.

    The node must run: it announces the rehearsal to the others, who then let it ask for test signatures and for
    nothing else. The node itself is not disturbed.

    Example: holdfast node rehearse --dir ~/holdfast --recovery alice.recovery.json
    """
    from bridge import restoring
    from bridge.admin_client import admin
    from tss import backup as backups
    from tss import hardening

    hardening.harden()
    client, file = admin(folder), _file(recovery)
    _check_own(folder, file)
    signed = _committee(folder / "committee.json")
    _check_committee(file, signed)
    chains = _with_newer(file, newer, signed)
    if without_words:
        identity = _identity(folder, passphrase_fd)
        secret = bytearray(identity.secret())
        identity.forget()
    else:
        secret = read_words(words_fd)
    with _sorry():
        backups.check_words(secret, file)
        signatures = _run(restoring.rehearse(folder, client, secret, file, signed, chains))
        backups.note(folder, "rehearsal", backups.heads_of(chains), time.time(), words=not without_words)
    done = {"name": file.name, "keys": sorted(signatures), "words": not without_words}
    what = "the file brings" if without_words else "words and file bring"
    under = ", ".join(sorted(signatures))
    text = f"{what} {file.name} back: its restored share signed with the others under {under}"
    show(as_json, done, text)


def _run(work: Any) -> Any:
    import structlog

    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(40)
    )  # a command speaks for itself
    return asyncio.run(work)


class _sorry:  # noqa: N801 reads as a statement
    """Turn what a backup may refuse into one sentence."""

    def __enter__(self) -> None:
        """Nothing to do."""

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        from tss.dkg.faults import DkgFault
        from tss.frost.errors import FrostError
        from tss.identity import IdentityFault
        from tss.keyring import KeyFault
        from tss.passphrase import PassphraseFault
        from tss.recovery import RecoveryFault
        from tss.rehearsal import RehearsalFailed
        from tss.vault import VaultFault

        if isinstance(error, RecoveryFault | RehearsalFailed | IdentityFault | PassphraseFault | VaultFault):
            raise Failed(str(error)) from error
        if isinstance(error, DkgFault | FrostError | KeyFault | ValueError):
            raise Failed(f"the recovery file is not sound ({error}): take another copy") from error
        if isinstance(error, OSError):
            raise Failed(
                f"{error.filename or 'a file'} cannot be used ({error.strerror or error})"
            ) from error


def _check_own(folder: Path, file: "RecoveryFile") -> None:
    name = _node(folder).name
    if file.name != name:
        raise Failed(
            f"{file.name} wrote this recovery file, and {folder} is {name}'s: a member's own running node tells "
            f"of its rehearsal, so give {name}'s file, or run this on {file.name}'s machine",
            2,
        )


def _network(folder: Path) -> str:
    return _node(folder).network


def _node(folder: Path) -> "NodeSection":
    from bridge.config import ConfigFault, load

    try:
        config = load(folder)
    except ConfigFault as fault:
        raise Failed(str(fault), 2) from fault
    if config.node.role != "operator":
        raise Failed(f"{folder} is an observer's: it holds no key, so there is nothing to keep safe", 2)
    return config.node


def _identity(folder: Path, passphrase_fd: int | None) -> "HostIdentity":
    from tss import hardening, identity, passphrase

    hardening.harden()
    try:
        return identity.load(folder, passphrase.source(passphrase_fd))
    except (identity.IdentityFault, passphrase.PassphraseFault) as fault:
        raise Failed(str(fault), 2) from fault


def _new_seal(passphrase_fd: int | None, network: str) -> Any:
    from tss import passphrase
    from tss.vault import cost_for

    try:
        return passphrase.new(passphrase_fd), cost_for(network)
    except passphrase.PassphraseFault as fault:
        raise Failed(str(fault), 2) from fault


def _file(path: Path) -> "RecoveryFile":
    from tss.recovery import RecoveryFault, RecoveryFile

    try:
        return RecoveryFile.read(path)
    except RecoveryFault as fault:
        raise Failed(str(fault), 2) from fault


def _check_whole(chains: "Sequence[RecoveryChain]") -> None:
    """Refuse to write what would not restore, the more so over a file that would."""
    from tss.backup import leads_to_its_key
    from tss.keyring import OVER

    damaged = [c.purpose for c in chains if c.state not in OVER and not leads_to_its_key(c)]
    if damaged:
        raise Failed(
            f"no backup was made: the recovery data of {', '.join(damaged)} in signer.db is damaged; run the node "
            "while another is up, it fetches what is missing, then repeat this"
        )


def _with_newer(
    file: "RecoveryFile", newer: Sequence[Path], committee: "SignedCommittee"
) -> "tuple[RecoveryChain, ...]":
    from tss.recovery import committees_of, newest, of_member

    chains, others = file.chains, [_file(path) for path in newer]
    with _sorry():
        known = committees_of(committee.committee, file, *others)
        for other in others:
            chains = newest(chains, of_member(other, known))
    return chains


def _committee(path: Path) -> "SignedCommittee":
    from tss.dkg.committee import SignedCommittee
    from tss.dkg.faults import CommitteeFault

    try:
        committee = SignedCommittee.from_json(path.read_text(encoding="utf-8"))
        committee.verify()
    except (OSError, CommitteeFault, ValueError) as fault:
        raise Failed(
            f"{path} cannot be used ({fault}): give the committee file that all signed", 2
        ) from fault
    return committee


def _check_committee(
    file: "RecoveryFile", committee: "SignedCommittee", others: "Sequence[RecoveryFile]" = ()
) -> None:
    """Refuse a file of another committee than this one and those that it comes from."""
    from tss.recovery import committees_of

    with _sorry():
        known = file.committee()
    epochs = {one.hash for one in committees_of(committee.committee, file, *others)}
    if known is not None and known.committee.hash not in epochs:
        raise Failed(
            f"the recovery file is of the committee {known.committee.words}, the committee file says "
            f"{committee.committee.words}: compare the words with the other operators; of a committee two epochs "
            "later give another member's newest recovery file too, with --chains",
            2,
        )
