"""A member's long-term identity: the host key, the TLS certificate and the public member.json of a folder.

`create` makes them once, `load` reads them at every start. The host secret never leaves this module except as
signatures and as secrets derived from it; with it and the public recovery data a lost share is restored. At rest
it is under a passphrase (`vault.Sealed`); only a play node on regtest keeps it plain, as hex. The TLS key is not:
it opens lines, but every message on them is signed by the host key. It is replaced by `rotate_tls`; where a folder
holds keys/tls.next, that was cut short, and the next `load` ends it.
"""

import hashlib
import hmac
import json
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from tss import certificate as certificates
from tss.certificate import Announcing, Certificate, CertificateFault, Notice
from tss.files import refuse_open_to_others, sync_folder, write_atomically
from tss.frost import bip340
from tss.frost.hashing import tagged_hash
from tss.hardening import LockedSecret
from tss.vault import Cost, Sealed, VaultFault, wipe

_NAME = re.compile(r"[a-z0-9-]{1,32}")
_END_OF_KEY = b"-----END PRIVATE KEY-----\n"


class IdentityFault(Exception):
    """An identity that cannot be made or read; the sentence names the next move."""


class _Member(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def host_key(self) -> bytes: ...
    @property
    def tls_fingerprint(self) -> bytes: ...


class _Committee(Protocol):
    @property
    def members(self) -> "tuple[_Member, ...]": ...
    @property
    def hash(self) -> bytes: ...


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Where the TLS key and certificate lie, and the folder of the peers' certificates learned so far."""

    key: Path
    certificate: Path
    learned: Path

    @property
    def fingerprint(self) -> bytes:
        """SHA-256 of the certificate's DER, 32 bytes, as the committee file pins it."""
        return certificate_fingerprint(self.certificate)


@dataclass(frozen=True, slots=True, repr=False)
class HostIdentity:
    """The host key with its uses; `index` is the seat in the committee, 1-based, 0 while it has none."""

    name: str
    host_key: bytes
    tls: TlsFiles
    peer_url: str
    index: int
    _secret: LockedSecret
    sealed: bool = False

    def sign(self, message32: bytes) -> bytes:
        """A 64-byte BIP340 signature over a 32-byte tagged hash, with fresh auxiliary randomness."""
        signature = bip340.sign(self._secret.view(), message32, secrets.token_bytes(32))
        bip340.made(self.host_key, message32, signature)
        return signature

    def derive(self, tag: str, *parts: bytes) -> bytes:
        """A 32-byte secret that only this host key yields: HMAC-SHA256 of the tagged hash of the parts."""
        return hmac.digest(self._secret.view(), tagged_hash(tag, *parts), hashlib.sha256)

    def secret(self) -> memoryview:
        """The host secret in place, for a backup or another seal; never copied into anything that lasts."""
        return self._secret.view()

    def forget(self) -> None:
        """Wipe the secret from memory; the identity is of no use after."""
        self._secret.close()

    def seated(self, committee: _Committee) -> "HostIdentity":
        """The same identity with its seat; IdentityFault when the committee file does not hold this node."""
        _seat(committee, self.host_key, self.tls.certificate)
        return self.placed(committee)

    def placed(self, committee: _Committee) -> "HostIdentity":
        """The same, whatever certificate the node shows: for whoever is about to replace it."""
        index = _place(committee, self.host_key)
        return replace(self, index=index, name=committee.members[index - 1].name)

    def __repr__(self) -> str:
        return f"HostIdentity({self.name!r}, host_key={self.host_key.hex()}, secret redacted)"


@dataclass(frozen=True, slots=True)
class Passport:
    """What is public of a folder's identity: member.json."""

    name: str
    host_key: bytes
    tls_fingerprint: bytes
    peer_url: str


def create(
    folder: Path, name: str, peer_url: str, passphrase: bytearray | None = None, cost: Cost | None = None
) -> HostIdentity:
    """Make host key, TLS key and certificate and member.json; refuses to replace an existing identity.

    The host key is sealed under the passphrase (wiped here); without one it lies plain, for regtest only.
    """
    if not _NAME.fullmatch(name):
        raise IdentityFault(f"{name!r} is no member name: use 1 to 32 of a-z, 0-9 and -")
    keys = folder / "keys"
    if (keys / "host.key").exists():
        raise IdentityFault(f"{keys / 'host.key'} exists: this folder already is a node; use another folder")
    keys.mkdir(parents=True, exist_ok=True)
    keys.chmod(0o700)
    write_tls(keys, *certificates.make(name, time.time()))
    secret = bytearray(secrets.token_bytes(32))
    while not bip340.valid_secret(secret):
        secret[:] = secrets.token_bytes(32)
    return install(folder, name, peer_url, secret, passphrase, cost)


def install(
    folder: Path,
    name: str,
    peer_url: str,
    secret: bytearray,
    passphrase: bytearray | None,
    cost: Cost | None,
) -> HostIdentity:
    """Write member.json and the host key of a folder that holds its TLS files; secret and passphrase are wiped."""
    keys = folder / "keys"
    try:
        host_key = bip340.public_key(secret)
        _write_passport(folder, Passport(name, host_key, certificate_fingerprint(keys / "tls.crt"), peer_url))
        # The host key comes last: with it the identity is complete, without it `create` may run again.
        _write_secret(keys / "host.key", secret, host_key, passphrase, cost)
        tls = TlsFiles(keys / "tls.key", keys / "tls.crt", keys / "peers")
        return HostIdentity(name, host_key, tls, peer_url, 0, LockedSecret(secret), passphrase is not None)
    finally:
        wipe(secret)
        if passphrase is not None:
            wipe(passphrase)


def load(folder: Path, passphrase: Callable[[], bytearray] | None = None) -> HostIdentity:
    """Read the identity of a folder; IdentityFault when it is missing, damaged or readable by others.

    `passphrase` is asked only when the host key is sealed, and what it gives is wiped.
    """
    keys = folder / "keys"
    _install_next_tls(folder)
    for path in (keys / "host.key", keys / "tls.key", keys / "tls.crt", folder / "member.json"):
        if not path.exists():
            raise IdentityFault(f"{path} is missing: run `holdfast node init` or restore it from a backup")
    for path in (keys / "host.key", keys / "tls.key"):
        refuse_open_to_others(path, IdentityFault)
    member = passport(folder)
    tls = TlsFiles(keys / "tls.key", keys / "tls.crt", keys / "peers")
    secret, sealed = _read_secret(keys / "host.key", passphrase)
    try:
        if not bip340.valid_secret(secret) or bip340.public_key(secret) != member.host_key:
            raise IdentityFault(f"{keys / 'host.key'} does not fit member.json: restore both from one backup")
        return HostIdentity(
            member.name, member.host_key, tls, member.peer_url, 0, LockedSecret(secret), sealed
        )
    finally:
        wipe(secret)


def passport(folder: Path) -> Passport:
    """Read member.json; needs no passphrase."""
    try:
        member = json.loads((folder / "member.json").read_text("utf-8"))
        name, peer_url = str(member["name"]), str(member["peer_url"])
        host_key, fingerprint = str(member["host_key"]), str(member["tls_fingerprint"])
        return Passport(name, bytes.fromhex(host_key), bytes.fromhex(fingerprint), peer_url)
    except FileNotFoundError as error:
        raise IdentityFault(
            f"{folder / 'member.json'} is missing: run `holdfast node init` or restore it from a backup"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise IdentityFault(
            f"{folder}: the identity files are damaged: restore them from a backup"
        ) from error


def check_seat(folder: Path, committee: _Committee) -> int:
    """The folder's seat in a committee, without its secret; IdentityFault when it has none."""
    return _seat(committee, passport(folder).host_key, folder / "keys" / "tls.crt")


def _seat(committee: _Committee, host_key: bytes, path: Path) -> int:
    index = _place(committee, host_key)
    member = committee.members[index - 1]
    if member.tls_fingerprint != certificate_fingerprint(path):
        try:
            certificates.read_file(path)[0].check(committee.hash, index, host_key)
        except CertificateFault as fault:
            raise IdentityFault(
                f"committee.json pins another TLS certificate for {member.name} than {path}, and that one was not "
                "announced to this committee: restore that file, or run `holdfast tss certificate rotate --offline`"
            ) from fault
    return index


def _place(committee: _Committee, host_key: bytes) -> int:
    for index, member in enumerate(committee.members, start=1):
        if member.host_key == host_key:
            return index
    raise IdentityFault(
        f"committee.json has no member with this node's host key {host_key.hex()}: "
        "use the committee file that was made from this folder's member.json"
    )


def rotate_tls(
    identity: HostIdentity, committee: _Committee, now: float, *, overlap: float, days: int
) -> Certificate:
    """Replace the TLS key and certificate by new ones that the host key announces to the committee.

    The present one stays good for `overlap` seconds, at 0 not at all. Durable when it returns; cut short at any
    write, it either never was or is ended by the next `load`. `identity` is seated.
    """
    keys, old = identity.tls.key.parent, certificates.read_file(identity.tls.certificate)[0]
    number = max(int(now), old.number + 1)
    before = old.number if overlap > 0 else number
    notice = Notice(committee.hash, identity.index, number, before, int(now + max(overlap, 0)))
    key, made = certificates.make(identity.name, now, Announcing(notice, identity.sign), days=days)
    write_atomically(keys / "tls.next", key + made)
    _install_next_tls(keys.parent)
    return certificates.read_file(identity.tls.certificate)[0]


def _install_next_tls(folder: Path) -> None:
    """End a rotation: key and certificate are two files, and what announces them is member.json."""
    keys = folder / "keys"
    try:
        both = (keys / "tls.next").read_bytes()
    except FileNotFoundError:
        return
    at = both.index(_END_OF_KEY) + len(_END_OF_KEY)
    write_tls(keys, both[:at], both[at:])
    member = passport(folder)
    _write_passport(folder, replace(member, tls_fingerprint=certificate_fingerprint(keys / "tls.crt")))
    (keys / "tls.next").unlink(missing_ok=True)
    sync_folder(keys)


def is_sealed(folder: Path) -> bool:
    """Whether the folder's host key is under a passphrase; IdentityFault when there is none."""
    try:
        return Sealed.is_one((folder / "keys" / "host.key").read_bytes())
    except OSError as error:
        raise IdentityFault(
            f"{folder / 'keys' / 'host.key'} cannot be read ({error.strerror}): "
            "run `holdfast node init` or restore it from a backup"
        ) from error


def reseal(folder: Path, old: Callable[[], bytearray], new: Callable[[], bytearray], cost: Cost) -> None:
    """Put the folder's host key under another passphrase, or a plain one under its first: one file changes."""
    identity = load(folder, old)
    passphrase, path = new(), folder / "keys" / "host.key"
    try:
        _write_secret(path, identity.secret(), identity.host_key, passphrase, cost)
    finally:
        wipe(passphrase)
        identity.forget()


def write_tls(keys: Path, key: bytes, certificate: bytes) -> None:
    """Put a TLS key (PEM) and its certificate (PEM) into a folder's keys/."""
    write_atomically(keys / "tls.key", key)
    write_atomically(keys / "tls.crt", certificate, 0o644)


def _write_secret(
    path: Path,
    secret: bytearray | memoryview,
    host_key: bytes,
    passphrase: bytearray | None,
    cost: Cost | None,
) -> None:
    if passphrase is None:
        write_atomically(path, bytes(secret).hex().encode() + b"\n")
        return
    assert cost is not None, "a seal has a cost"
    sealed = Sealed.make(secret, host_key, passphrase, cost)
    again = sealed.open(passphrase)
    try:
        assert hmac.compare_digest(again, secret), "a seal that does not open is never written"
    finally:
        wipe(again)
    write_atomically(path, sealed.encode())


def _read_secret(path: Path, passphrase: Callable[[], bytearray] | None) -> tuple[bytearray, bool]:
    data = path.read_bytes()
    if not Sealed.is_one(data):
        try:
            return bytearray.fromhex(data.decode("ascii").strip()), False
        except ValueError as error:
            raise IdentityFault(
                f"{path} is damaged: restore it from a copy, or the node from its words"
            ) from error
    if passphrase is None:
        raise IdentityFault(f"{path} is under a passphrase: this command cannot ask for it")
    try:
        sealed = Sealed.decode(data)
        given = passphrase()
        try:
            return sealed.open(given), True
        finally:
            wipe(given)
    except VaultFault as fault:
        raise IdentityFault(f"{path}: {fault}") from fault


def certificate_fingerprint(path: Path) -> bytes:
    """SHA-256 of a PEM certificate's DER."""
    try:
        return certificates.read_file(path)[0].fingerprint
    except CertificateFault as fault:
        raise IdentityFault(f"{fault.reason}: restore it from a backup") from fault


def _write_passport(folder: Path, member: Passport) -> None:
    form = {
        "name": member.name,
        "host_key": member.host_key.hex(),
        "tls_fingerprint": member.tls_fingerprint.hex(),
        "peer_url": member.peer_url,
    }
    write_atomically(folder / "member.json", (json.dumps(form, indent=2) + "\n").encode(), 0o644)
