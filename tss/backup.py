"""Makes the public half of a backup from a folder, and a folder from both halves; remembers when that was done.

The other half is the host key as words (`tss/words.py`). A restored node is a new start: it draws its own boot id,
so no commitment of the lost one can be signed with, and it never had the lost one's nonces.
"""

import json
import re
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tss.committee_files import path_of
from tss.dkg.committee import SignedCommittee
from tss.dkg.faults import DkgFault, RestoreFault
from tss.files import write_atomically
from tss.frost import bip340
from tss.frost.engine import Engine, GroupPublic
from tss.frost.errors import FrostError
from tss.hardening import LockedSecret
from tss.identity import HostIdentity, IdentityFault, TlsFiles, certificate_fingerprint, install, write_tls
from tss.keyring import OVER
from tss.recovery import RecoveryChain, RecoveryFault, RecoveryFile, open_tls, seal_tls
from tss.rotation_keys import row_of
from tss.rotation_store import RotationStore
from tss.store import KeyRow, Store
from tss.stored_keys import refreshes_to
from tss.vault import Cost, HpkeSealer, ShareVault, wipe

# What makes a folder a node's: its papers, and the committee files of earlier epochs.
DOCUMENTS: Final = re.compile(r"committee\.json|config\.toml|genesis\.json|committee-\d{1,10}\.json")
STANDING_FILE: Final = "backup.json"
REFRESH, REPAIR = "refresh", "repair"  # kinds of rows in `rotations`
REHEARSE_EVERY: Final = 90 * 86400.0


async def chains_of(folder: Path) -> tuple[RecoveryChain, ...]:
    """The keys of a folder's signer.db; () when there is none yet."""
    path = folder / "signer.db"
    if not path.exists():
        return ()
    store = Store(path, time.time)
    try:
        return await stored_chains(store)
    finally:
        await store.close()


async def stored_chains(store: Store) -> tuple[RecoveryChain, ...]:
    """Every key of a store with its chain, oldest first."""
    rotations, chains = RotationStore(store, time.time), []
    for row in await store.keys():
        proved = [r for r in await rotations.of_key(row.sid, "proved") if r.work == REFRESH]
        later = refreshes_to(GroupPublic.decode(row.public).share_set, proved)
        repairs = [r.body for r in await rotations.of_key(row.sid, "proved", "acked") if r.work == REPAIR]
        chain = RecoveryChain(
            row.sid,
            row.purpose,
            row.epoch,
            row.state,
            row.public,
            (row.recovery, *(refresh.body for refresh in later)),
            row.proof,
            row.at,
            tuple(repairs),
            tuple(refresh.proof for refresh in later),
        )
        chains.append(chain)
    return tuple(chains)


def leads_to_its_key(chain: RecoveryChain) -> bool:
    """Whether a chain is sound and ends with the group that its key has: only then it restores anything."""
    try:
        return chain.read().check(Engine()).encode() == chain.public
    except (RecoveryFault, DkgFault, FrostError):
        return False


def make(
    folder: Path, identity: HostIdentity, network: str, chains: Sequence[RecoveryChain], now: float
) -> RecoveryFile:
    """The recovery file of a folder, signed by its host key."""
    fingerprint = identity.tls.fingerprint
    key = identity.tls.key.read_bytes()
    return RecoveryFile(
        identity.name,
        identity.host_key,
        identity.peer_url,
        network,
        int(now),
        identity.tls.certificate.read_text("ascii"),
        seal_tls(identity, key, fingerprint, secrets.token_bytes(12)),
        {path.name: path.read_text("utf-8") for path in sorted(folder.iterdir()) if _is_document(path.name)},
        tuple(chains),
    ).signed(identity)


def _is_document(name: str) -> bool:
    return DOCUMENTS.fullmatch(name) is not None


def check_words(secret: bytearray, recovery: RecoveryFile) -> None:
    """RecoveryFault when the words are another member's than the file."""
    if not bip340.valid_secret(secret) or bip340.public_key(secret) != recovery.host_key:
        raise RecoveryFault(
            f"these words are not {recovery.name}'s host key: take the words and the file of one backup"
        )


async def build(
    folder: Path,
    secret: bytearray,
    recovery: RecoveryFile,
    committee: SignedCommittee,
    chains: Sequence[RecoveryChain],
    seal: tuple[bytearray, Cost] | None,
) -> HostIdentity:
    """Make a node's folder whole: `build_identity`, then `add_keys`. RecoveryFault when a share is lost."""
    identity = build_identity(folder, secret, recovery, committee, seal)
    lost = await add_keys(folder, identity, chains)
    if lost:
        raise RecoveryFault("; ".join(lost))
    return identity


def build_identity(
    folder: Path,
    secret: bytearray,
    recovery: RecoveryFile,
    committee: SignedCommittee,
    seal: tuple[bytearray, Cost] | None,
) -> HostIdentity:
    """Make a folder that must not exist, with identity and documents; wipes secret and passphrase.

    `seal` is passphrase and cost, None leaves the host key open. Raises RecoveryFault, IdentityFault (no seat).
    """
    check_words(secret, recovery)
    _restore_tls(_private_folder(folder), secret, recovery)
    passphrase, cost = seal if seal is not None else (None, None)
    identity = install(folder, recovery.name, recovery.peer_url, secret, passphrase, cost)
    for name, text in recovery.documents.items():
        if _is_document(name):
            write_atomically(folder / name, text.encode(), 0o644)
    before = recovery.committee()  # of an earlier epoch, where the backup is older than a rotation
    if before is not None and before.committee.epoch < committee.committee.epoch:
        write_atomically(path_of(folder, before.committee.epoch), before.to_json().encode(), 0o644)
    write_atomically(folder / "committee.json", committee.to_json().encode(), 0o644)
    return identity.seated(committee.committee)


def _private_folder(folder: Path) -> Path:
    keys = folder / "keys"
    folder.mkdir(mode=0o700)
    keys.mkdir(mode=0o700)
    return keys


def _restore_tls(keys: Path, secret: bytearray, recovery: RecoveryFile) -> None:
    write_atomically(keys / "tls.crt", recovery.tls_certificate.encode(), 0o644)
    tls = TlsFiles(keys / "tls.key", keys / "tls.crt", keys / "peers")
    bare = HostIdentity(
        recovery.name, recovery.host_key, tls, recovery.peer_url, 0, LockedSecret(bytearray(secret))
    )
    try:
        key = open_tls(bare, recovery.tls_key, certificate_fingerprint(keys / "tls.crt"))
    finally:
        bare.forget()
    write_tls(keys, key, recovery.tls_certificate.encode())


async def add_keys(folder: Path, identity: HostIdentity, chains: Sequence[RecoveryChain]) -> list[str]:
    """Make signer.db with these keys and every share from its transcripts; a sentence for each share that is lost.

    Raises DkgFault, FrostError or RecoveryFault for a chain that is not sound.
    """
    store, vault, lost = Store(folder / "signer.db", time.time), ShareVault(folder / "keys", identity), []
    try:
        for chain in chains:
            groups = chain.read().publics(Engine())
            if groups[-1].encode() != chain.public:
                raise RecoveryFault(
                    f"the {chain.purpose} key of epoch {chain.epoch} does not come out of its own recovery data: "
                    "take another member's file with --chains"
                )
            if chain.state not in OVER:
                lost += _restore_share(vault, identity, chain)
            await store.insert_key(_key_row(chain))
            await _store_later(store, chain, groups)
    finally:
        await store.close()
    return lost


def _key_row(chain: RecoveryChain) -> KeyRow:
    first = chain.links[0]
    return KeyRow(
        chain.sid, chain.purpose, chain.epoch, chain.state, chain.public, first, chain.proof, chain.at
    )


def _restore_share(vault: ShareVault, identity: HostIdentity, chain: RecoveryChain) -> list[str]:
    """Rebuild our share of a sound chain and seal it; why there is none, where there is none."""
    try:
        share = chain.read().restore(Engine(), HpkeSealer(), identity)
    except RestoreFault as fault:
        return [f"{chain.purpose} key of epoch {chain.epoch}: {fault}"]
    secret = share.export_secret()
    try:
        vault.save(chain.purpose, chain.epoch, secret)
    finally:
        wipe(secret)
        share.close()
    return []


async def _store_later(store: Store, chain: RecoveryChain, groups: Sequence[GroupPublic]) -> None:
    """Put the refreshes and repairs back as this node would have stored them itself."""
    rotations, read = RotationStore(store, time.time), chain.read()
    proofs = (*chain.proofs, *([b""] * len(read.links)))
    for link, public, proof in zip(read.links, groups[1:], proofs, strict=False):
        await rotations.save(row_of(link, 0, "proved", public, time.time(), proof))
    for link in read.repairs:
        public = next((g for g in groups if g.share_set == link.roster.plan.base), groups[-1])
        await rotations.save(row_of(link, 0, "proved", public, time.time()))


# When it was last done


@dataclass(frozen=True, slots=True)
class Standing:
    """Whether this node could come back: one line for backup and one for rehearsal, each with its next move."""

    backup_ok: bool
    backup: str
    rehearsal_ok: bool
    rehearsal: str
    rehearsed_at: float | None


def note(folder: Path, what: str, heads: Mapping[str, str], now: float, **more: object) -> None:
    """Remember a backup or a rehearsal, with the chain heads (hex by session id) it covered.

    Words that were once shown stay good, so a backup that only writes the file anew keeps that.
    """
    known = _noted(folder)
    shown = what == "backup" and bool(known.get("backup", {}).get("words"))
    covered = {"at": int(now), "keys": dict(heads), "certificate": _certificate(folder)}
    known[what] = covered | more | ({"words": True} if shown else {})
    write_atomically(folder / STANDING_FILE, (json.dumps(known, indent=1) + "\n").encode(), 0o600)


def heads_of(chains: Sequence[RecoveryChain]) -> dict[str, str]:
    """Chain heads by session id, hex."""
    return {chain.sid.hex(): chain.head.hex() for chain in chains}


def standing(
    folder: Path, heads: Mapping[str, str], now: float, *, clock: Callable[[float], str] = str
) -> Standing:
    """How a folder stands against the keys it holds now; `clock` writes a Unix time."""
    known = _noted(folder)
    made, tried = known.get("backup", {}), known.get("rehearsal", {})
    new = {sid for sid, head in heads.items() if made.get("keys", {}).get(sid) != head}
    other = made.get("certificate", _certificate(folder)) != _certificate(folder)
    backup_ok, backup = (
        bool(made) and not new and not other,
        "every key is in the backup of " + clock(made.get("at", 0)),
    )
    if not made:
        backup = f"never made: run `holdfast node backup --dir {folder} -o FILE`"
    elif not made.get("words"):
        backup_ok, backup = (
            False,
            f"the words were never shown: run `holdfast node backup --dir {folder} -o FILE`",
        )
    elif other:
        backup = (
            f"the TLS certificate was rotated since the backup of {clock(made['at'])}: run `holdfast node backup "
            f"--dir {folder} -o FILE --no-words`"
        )
    elif new:
        backup = (
            f"{len(new)} keys changed since the backup of {clock(made['at'])}: run `holdfast node backup "
            f"--dir {folder} -o FILE --no-words`"
        )
    at = float(tried["at"]) if tried else None
    how = f"run `holdfast node rehearse --dir {folder} --recovery FILE`"
    if at is None:
        return Standing(backup_ok, backup, rehearsal_ok=False, rehearsal=f"never: {how}", rehearsed_at=None)
    days = int((now - at) // 86400)
    words = "" if tried.get("words") else ", without the words"
    text, ok = f"last on {clock(at)}, {days} days ago{words}", now - at <= REHEARSE_EVERY
    return Standing(backup_ok, backup, ok, text if ok else f"{text}: {how}", at)


def _certificate(folder: Path) -> str:
    """The fingerprint of the certificate that the folder shows, hex; empty when it has none to read."""
    try:
        return certificate_fingerprint(folder / "keys" / "tls.crt").hex()
    except (IdentityFault, OSError):
        return ""


def _noted(folder: Path) -> dict[str, Any]:
    try:
        known = json.loads((folder / STANDING_FILE).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    sound = isinstance(known, dict) and all(isinstance(v, dict) and "at" in v for v in known.values())
    return known if sound else {}
