"""A member's long-term identity: the host key, the TLS certificate and the public member.json of a folder.

`create` makes them once, `load` reads them at every start. The host secret never leaves this module except as
signatures and as secrets derived from it; with it and the public recovery data a lost share is restored.
"""

import datetime as dt
import hashlib
import hmac
import json
import re
import secrets
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tss.files import refuse_open_to_others, write_atomically
from tss.frost import bip340
from tss.frost.hashing import tagged_hash

_NAME = re.compile(r"[a-z0-9-]{1,32}")
_CERTIFICATE_YEARS = 10


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
    _secret: bytes

    def sign(self, message32: bytes) -> bytes:
        """A 64-byte BIP340 signature over a 32-byte tagged hash, with fresh auxiliary randomness."""
        return bip340.sign(self._secret, message32, secrets.token_bytes(32))

    def derive(self, tag: str, *parts: bytes) -> bytes:
        """A 32-byte secret that only this host key yields: HMAC-SHA256 of the tagged hash of the parts."""
        return hmac.digest(self._secret, tagged_hash(tag, *parts), hashlib.sha256)

    def seated(self, committee: _Committee) -> "HostIdentity":
        """The same identity with its seat; IdentityFault when the committee file does not hold this node."""
        for index, member in enumerate(committee.members, start=1):
            if member.host_key == self.host_key:
                if member.tls_fingerprint != self.tls.fingerprint:
                    raise IdentityFault(
                        f"committee.json pins another TLS certificate for {member.name} than "
                        f"{self.tls.certificate}: restore that file or have the committee file made anew"
                    )
                return replace(self, index=index, name=member.name)
        raise IdentityFault(
            f"committee.json has no member with this node's host key {self.host_key.hex()}: "
            "use the committee file that was made from this folder's member.json"
        )

    def __repr__(self) -> str:
        return f"HostIdentity({self.name!r}, host_key={self.host_key.hex()}, secret redacted)"


def create(folder: Path, name: str, peer_url: str) -> HostIdentity:
    """Make host key, TLS key and certificate and member.json; refuses to replace an existing identity."""
    if not _NAME.fullmatch(name):
        raise IdentityFault(f"{name!r} is no member name: use 1 to 32 of a-z, 0-9 and -")
    keys = folder / "keys"
    if (keys / "host.key").exists():
        raise IdentityFault(f"{keys / 'host.key'} exists: this folder already is a node; use another folder")
    keys.mkdir(parents=True, exist_ok=True)
    keys.chmod(0o700)
    tls_key, certificate = _make_certificate(name)
    write_atomically(keys / "tls.key", tls_key)
    write_atomically(keys / "tls.crt", certificate, 0o644)
    secret = secrets.token_bytes(32)
    while not bip340.valid_secret(secret):
        secret = secrets.token_bytes(32)
    member = {
        "name": name,
        "host_key": bip340.public_key(secret).hex(),
        "tls_fingerprint": certificate_fingerprint(keys / "tls.crt").hex(),
        "peer_url": peer_url,
    }
    write_atomically(folder / "member.json", (json.dumps(member, indent=2) + "\n").encode(), 0o644)
    # The host key comes last: with it the identity is complete, without it `create` may run again.
    write_atomically(keys / "host.key", secret.hex().encode() + b"\n")
    return load(folder)


def load(folder: Path) -> HostIdentity:
    """Read the identity of a folder; IdentityFault when it is missing, damaged or readable by others."""
    keys = folder / "keys"
    for path in (keys / "host.key", keys / "tls.key", keys / "tls.crt", folder / "member.json"):
        if not path.exists():
            raise IdentityFault(f"{path} is missing: run `holdfast node init` or restore it from a backup")
    for path in (keys / "host.key", keys / "tls.key"):
        refuse_open_to_others(path, IdentityFault)
    try:
        secret = bytes.fromhex((keys / "host.key").read_text("ascii").strip())
        member = json.loads((folder / "member.json").read_text("utf-8"))
        name, peer_url, host_key = str(member["name"]), str(member["peer_url"]), str(member["host_key"])
    except (ValueError, KeyError, TypeError) as error:
        raise IdentityFault(
            f"{folder}: the identity files are damaged: restore them from a backup"
        ) from error
    if not bip340.valid_secret(secret) or bip340.public_key(secret).hex() != host_key:
        raise IdentityFault(f"{keys / 'host.key'} does not fit member.json: restore both from one backup")
    tls = TlsFiles(keys / "tls.key", keys / "tls.crt", keys / "peers")
    return HostIdentity(name, bip340.public_key(secret), tls, peer_url, 0, secret)


def certificate_fingerprint(path: Path) -> bytes:
    """SHA-256 of a PEM certificate's DER."""
    try:
        return x509.load_pem_x509_certificate(path.read_bytes()).fingerprint(hashes.SHA256())
    except ValueError as error:
        raise IdentityFault(f"{path} is no PEM certificate: restore it from a backup") from error


def _make_certificate(name: str) -> tuple[bytes, bytes]:
    """A P-256 key and a self-signed certificate, both PEM: pinned by fingerprint, so no authority is needed."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=365 * _CERTIFICATE_YEARS))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return pem, certificate.public_bytes(serialization.Encoding.PEM)
