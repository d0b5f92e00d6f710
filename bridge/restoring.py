"""Brings a node's folder back, for good or for a rehearsal, with the other members' word on what is newest."""

import asyncio
import os
import shutil
import time
from collections.abc import Sequence
from contextlib import suppress
from enum import Enum
from pathlib import Path

from anchor.cli_http import HttpClient
from anchor.cli_tools import Failed
from tss import backup as backups
from tss import rehearsal
from tss.certificate import YEARS
from tss.dkg.committee import Committee, SignedCommittee
from tss.files import FolderInUse, FolderLock
from tss.identity import HostIdentity, rotate_tls
from tss.peers import Peers
from tss.recovery import RecoveryChain, RecoveryFile, committees_of, newest
from tss.vault import REGTEST, Cost

_ASK_SECONDS = 6.0


class Ask(Enum):
    """What a restore asks the others: nothing, whether they hold newer keys, or those keys."""

    NOBODY = "nobody"
    WHETHER_NEWEST = "whether newest"
    NEWEST = "newest"


async def restore(
    folder: Path,
    secret: bytearray,
    file: RecoveryFile,
    committee: SignedCommittee,
    chains: Sequence[RecoveryChain],
    seal: tuple[bytearray, Cost] | None,
    ask: Ask,
) -> tuple[Sequence[RecoveryChain], list[str]]:
    """Build the folder beside its place, ask the others, only then put it there; a refusal leaves nothing.

    Gives the keys that are there now, and a sentence for each whose share is lost.
    """
    building = folder.with_name(f"{folder.name}.restoring")
    _clear(building)
    try:
        identity = backups.build_identity(building, secret, file, committee, seal)
        try:
            epochs = committees_of(committee.committee, file)
            kept = chains if ask is Ask.NOBODY else await _newest(epochs, identity, chains, ask)
            lost = await backups.add_keys(building, identity, kept)
            # Whoever finds the lost machine finds a TLS key that opens no line any more.
            rotate_tls(identity, committee.committee, time.time(), overlap=0, days=365 * YEARS)
        finally:
            identity.forget()
        building.rename(folder)
    except BaseException:
        _clear(building)
        raise
    return kept, lost


async def _newest(
    committees: Sequence[Committee], identity: HostIdentity, chains: Sequence[RecoveryChain], ask: Ask
) -> Sequence[RecoveryChain]:
    """Our chains, or on NEWEST those that the others hold; Failed for older ones, or when none answers."""
    peers = Peers(committees[-1], identity.index, identity.tls, identity, ping_every=0.5)
    others = list(peers.seen)
    try:
        peers.dial(others)
        up = await rehearsal.until_some_heard(peers, others, len(others), _ASK_SECONDS)
        newer = await rehearsal.newer_chains(peers, up, committees, chains)
    except rehearsal.NobodyAnswers:
        raise Failed(
            "no other member answers, so nobody can say whether this backup is the newest: try again when one is "
            "up, or give --offline if you know that it is (they answer no backup from before the last certificate)"
        ) from None
    finally:
        await peers.close()
    if newer and ask is not Ask.NEWEST:
        raise Failed(
            f"{newer[0].reason}; take a newer file, another member's newest one with --chains FILE, or what the "
            "others hold now with --newest"
        )
    return newest(chains, [found.chain for found in newer])


async def rehearse(
    folder: Path,
    client: HttpClient,
    secret: bytearray,
    file: RecoveryFile,
    committee: SignedCommittee,
    chains: Sequence[RecoveryChain],
) -> dict[str, bytes]:
    """Signatures by purpose, from a folder that is thrown away; the running node announces and notes it."""
    place = folder / "rehearsal"
    boots: list[str] = []

    async def announce(boot_id: bytes) -> Sequence[int]:
        boots.append(boot_id.hex())
        heard = await asyncio.to_thread(client.post, "/v1/tss/rehearsals", {"boot_id": boot_id.hex()})
        names = [member.name for member in committee.committee.members]
        return [names.index(name) + 1 for name in heard["announced"] if name in names]

    said = "it failed"
    try:
        lock = FolderLock(folder, "rehearsal.lock").acquire()
    except FolderInUse as busy:
        raise Failed(f"another rehearsal is under way here: {busy}") from busy
    try:
        _clear(place)  # of one that was killed
        # Nobody ever opens this seal: the passphrase is drawn here and gone, so the folder is worth nothing.
        throw_away = (bytearray(os.urandom(32)), REGTEST)
        identity = await backups.build(place, secret, file, committee, chains, throw_away)
        try:
            signatures = await rehearsal.rehearse(place, committee, identity, chains, announce)
        finally:
            identity.forget()
        said = f"the restored share signed under {', '.join(sorted(signatures))}"
        return signatures
    finally:
        _clear(place)
        lock.release()
        for boot_id in boots:
            ended = {"boot_id": boot_id, "said": said}
            with suppress(Failed):  # the node has gone: what was proved stays proved
                await asyncio.to_thread(client.post, "/v1/tss/rehearsals/ended", ended)


def _clear(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
