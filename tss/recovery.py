"""The public half of a backup: one file that, with the host key's words, makes a member's folder again.

It holds nothing that must be hidden: transcripts whose shares are sealed to members, certificates, the folder's
documents, and the TLS key under a key that only the host secret yields. The member's host key signs the whole.

A key's chain is its DKG's recovery data followed by one link per certified refresh, oldest first; a chain that
lacks a link that others hold restores a share that is no longer good.
"""

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Protocol, Self

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from tss.dkg.committee import Committee, SignedCommittee
from tss.dkg.faults import CommitteeFault
from tss.files import write_atomically
from tss.frost import bip340
from tss.frost.codec import DecodeError
from tss.frost.hashing import tagged_hash
from tss.rotation.chain import Chain

FORMAT: Final = "holdfast-recovery-1"
MAX_FILE: Final = 256 << 20
_NONCE: Final = 12


class RecoveryFault(Exception):
    """A recovery file that cannot be used; the sentence names the next move."""


class Host(Protocol):
    """The identity as a recovery file needs it."""

    @property
    def host_key(self) -> bytes:
        """X-only, 32 bytes."""

    def sign(self, message32: bytes) -> bytes:
        """BIP340."""

    def derive(self, tag: str, *parts: bytes) -> bytes:
        """32 secret bytes."""


@dataclass(frozen=True, slots=True)
class RecoveryChain:
    """One key: `links[0]` is the DKG's encoded RecoveryData, each further one a certified refresh."""

    sid: bytes
    purpose: str
    epoch: int
    state: str
    public: bytes
    links: tuple[bytes, ...]
    proof: bytes
    at: float
    repairs: tuple[bytes, ...] = ()
    proofs: tuple[bytes, ...] = ()  # the test signature of each refresh, where it is known

    @property
    def head(self) -> bytes:
        """A hash that names the whole chain, 32 bytes; the same at every member that holds the same links."""
        return chain_head(self.links)

    def read(self) -> Chain:
        """The chain itself; RecoveryFault when a link is damaged, or it is another key's than it says."""
        try:
            chain = Chain.decode(self.links, self.repairs)
        except DecodeError as error:
            raise RecoveryFault(f"a key's recovery data is damaged ({error}): take another copy") from error
        roster = chain.base.transcript.roster
        if (roster.sid, roster.purpose, roster.epoch) != (self.sid, self.purpose, self.epoch):
            raise RecoveryFault(
                f"what is called the {self.purpose} key of epoch {self.epoch} is the {roster.purpose} key of epoch "
                f"{roster.epoch}: take another member's file"
            )
        return chain

    def extends(self, other: "RecoveryChain") -> bool:
        """Whether this is the other chain with more links; RecoveryFault when either is damaged."""
        ours, theirs = self.read().names, other.read().names
        return len(ours) > len(theirs) and ours[: len(theirs)] == theirs


@dataclass(frozen=True, slots=True)
class RecoveryFile:
    """What a backup holds beside the words; `tls_key` is sealed, documents are the folder's files by name."""

    name: str
    host_key: bytes
    peer_url: str
    network: str
    written: int
    tls_certificate: str
    tls_key: bytes
    documents: dict[str, str]
    chains: tuple[RecoveryChain, ...]
    signature: bytes = field(default=b"", repr=False)

    @property
    def digest(self) -> bytes:
        """What the host key signs."""
        return tagged_hash("holdfast/recovery-file/v1", _canonical(self._form()))

    def signed(self, identity: Host) -> Self:
        """The same with its signature."""
        return replace(self, signature=identity.sign(self.digest))

    def committee(self) -> SignedCommittee | None:
        """The committee file that was in the folder, all signatures checked."""
        text = self.documents.get("committee.json")
        if text is None:
            return None
        try:
            committee = SignedCommittee.from_json(text)
            committee.verify()
        except CommitteeFault as fault:
            raise RecoveryFault(f"the recovery file's committee.json cannot be used: {fault}") from fault
        return committee

    def write(self, path: Path) -> None:
        """Write it as JSON, readable by all; returns when it is durable."""
        form = self._form() | {"signature": self.signature.hex()}
        write_atomically(path, (json.dumps(form, indent=1, sort_keys=True) + "\n").encode(), 0o644)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a file and check its signature; RecoveryFault otherwise."""
        try:
            if path.stat().st_size > MAX_FILE:
                raise RecoveryFault(f"{path} is too long for a recovery file: give the one that backup wrote")
            form = msgspec.json.decode(path.read_bytes(), type=_Form)
            found = cls(
                form.name,
                bytes.fromhex(form.host_key),
                form.peer_url,
                form.network,
                form.written,
                form.tls_certificate,
                bytes.fromhex(form.tls_key),
                form.documents,
                tuple(_chain(row) for row in form.chains),
                bytes.fromhex(form.signature),
            )
        except OSError as error:
            raise RecoveryFault(
                f"{path} cannot be read ({error.strerror}): give the recovery file"
            ) from error
        except (msgspec.MsgspecError, ValueError) as error:
            raise RecoveryFault(
                f"{path} is no recovery file ({error}): give the one that backup wrote"
            ) from error
        if form.format != FORMAT:
            raise RecoveryFault(f"{path} has the form {form.format!r}: use the release that wrote it")
        if not bip340.verify(found.host_key, found.digest, found.signature):
            raise RecoveryFault(f"{path} was changed after {found.name} wrote it: take another copy")
        return found

    def _form(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "name": self.name,
            "host_key": self.host_key.hex(),
            "peer_url": self.peer_url,
            "network": self.network,
            "written": self.written,
            "tls_certificate": self.tls_certificate,
            "tls_key": self.tls_key.hex(),
            "documents": self.documents,
            "chains": [_row(chain) for chain in self.chains],
        }


class _ChainForm(msgspec.Struct, forbid_unknown_fields=True):
    sid: str
    purpose: str
    epoch: int
    state: str
    public: str
    links: list[str]
    proof: str
    at: float
    repairs: list[str]
    proofs: list[str]


class _Form(msgspec.Struct, forbid_unknown_fields=True):
    format: str
    name: str
    host_key: str
    peer_url: str
    network: str
    written: int
    tls_certificate: str
    tls_key: str
    documents: dict[str, str]
    chains: list[_ChainForm]
    signature: str


def chain_head(links: Sequence[bytes]) -> bytes:
    """The hash that names a chain: each link goes in by what it certifies, not by its signatures' bytes."""
    try:
        names = Chain.decode(links).names
    except DecodeError as error:
        raise RecoveryFault(f"a key's recovery data is damaged ({error}): take another copy") from error
    return tagged_hash("holdfast/recovery-chain/v1", *names)


def committees_of(present: Committee, *files: RecoveryFile) -> tuple[Committee, ...]:
    """The committees of all epochs that `present` comes from, as far as these files hold them; oldest first.

    Each names the one before by its hash, so it does not matter whose file brings it.
    """
    found: dict[bytes, Committee] = {}
    for file in files:
        for name, text in file.documents.items():
            if name.startswith("committee"):
                with suppress(CommitteeFault, ValueError):  # what is damaged is missing
                    one = SignedCommittee.from_json(text).committee
                    found[one.hash] = one
    chain = [present]
    while (before := found.get(chain[0].previous)) is not None:
        chain.insert(0, before)
    return tuple(chain)


def of_member(file: RecoveryFile, committees: Sequence[Committee]) -> tuple[RecoveryChain, ...]:
    """What another member's file may add: keys that this committee, the last of these, or one before it made.

    RecoveryFault when a stranger wrote it. A stranger could make keys with others of his kind, every signature
    good, and have them taken for the committee's.
    """
    committee = committees[-1]
    if committee.index_of(file.host_key) is None:
        raise RecoveryFault(
            f"{file.name} wrote this recovery file and is no member of the committee {committee.words}: take a "
            "member's file"
        )
    made_by = {committee.previous, *(one.hash for one in committees)}
    return tuple(chain for chain in file.chains if chain.read().committee.hash in made_by)


def newest(own: Sequence[RecoveryChain], others: Sequence[RecoveryChain]) -> tuple[RecoveryChain, ...]:
    """Our chains, each with the links that another file has more; keys that only the others know come as acked.

    Our own word on a key's state counts, a stranger's does not. RecoveryFault when two chains part ways.
    """
    found = {chain.sid: chain for chain in own}
    for other in others:
        mine = found.get(other.sid)
        if mine is None:
            found[other.sid] = replace(other, state="acked", proof=b"", repairs=())
        elif other.extends(mine):
            found[other.sid] = replace(mine, links=other.links, public=other.public, proofs=other.proofs)
        elif not (mine.head == other.head or mine.extends(other)):
            raise RecoveryFault(
                f"the files tell two histories of the {mine.purpose} key of epoch {mine.epoch}: "
                "ask the other members which refresh they hold"
            )
    return tuple(found.values())


def seal_tls(identity: Host, key: bytes, fingerprint: bytes, nonce: bytes) -> bytes:
    """A TLS key (PEM) under a key that only the host secret yields; `nonce` is 12 fresh bytes, kept in front."""
    return nonce + ChaCha20Poly1305(identity.derive(_TLS_TAG, fingerprint)).encrypt(nonce, key, fingerprint)


def open_tls(identity: Host, sealed: bytes, fingerprint: bytes) -> bytes:
    """The TLS key; RecoveryFault when it is of another host key or certificate."""
    try:
        cipher = ChaCha20Poly1305(identity.derive(_TLS_TAG, fingerprint))
        return cipher.decrypt(sealed[:_NONCE], sealed[_NONCE:], fingerprint)
    except (InvalidTag, ValueError) as error:
        raise RecoveryFault(
            "the file's TLS key does not open under these words: take another copy"
        ) from error


_TLS_TAG: Final = "holdfast/backup/tls/v1"


def _row(chain: RecoveryChain) -> dict[str, Any]:
    return {
        "sid": chain.sid.hex(),
        "purpose": chain.purpose,
        "epoch": chain.epoch,
        "state": chain.state,
        "public": chain.public.hex(),
        "links": [link.hex() for link in chain.links],
        "proof": chain.proof.hex(),
        "at": chain.at,
        "repairs": [link.hex() for link in chain.repairs],
        "proofs": [proof.hex() for proof in chain.proofs],
    }


def _chain(row: _ChainForm) -> RecoveryChain:
    links = tuple(bytes.fromhex(link) for link in row.links)
    if not links:
        raise ValueError("a key without recovery data")
    sid, public, proof = (bytes.fromhex(text) for text in (row.sid, row.public, row.proof))
    repairs, proofs = (tuple(bytes.fromhex(text) for text in texts) for texts in (row.repairs, row.proofs))
    return RecoveryChain(
        sid, row.purpose, row.epoch, row.state, public, links, proof, row.at, repairs, proofs
    )


def _canonical(form: dict[str, Any]) -> bytes:
    return json.dumps(form, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()
