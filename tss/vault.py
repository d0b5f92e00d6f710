"""Secrets at rest and in transit: the HPKE sealer of DKG shares, and key shares as files of mode 0600."""

import re
import secrets
from pathlib import Path
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from tss.dkg.ports import SealBroken
from tss.files import refuse_open_to_others, write_atomically

_SUITE = hpke.Suite(hpke.KEM.X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.CHACHA20_POLY1305)
_MAGIC = b"HFSHARE1"
_NONCE = 12
_PURPOSE = re.compile(r"[a-z0-9-]{1,32}")


class VaultFault(Exception):
    """A share file that cannot be read; the sentence names the next move."""


class _Deriver(Protocol):
    def derive(self, tag: str, *parts: bytes) -> bytes: ...


class HpkeSealer:
    """RFC 9180 base mode with X25519, HKDF-SHA256 and ChaCha20-Poly1305: a 32-byte share becomes 80 bytes."""

    def derive(self, seed32: bytes, /) -> tuple[bytes, bytes]:
        """The key pair (private, public; 32 bytes each) of a 32-byte secret seed."""
        private = X25519PrivateKey.from_private_bytes(seed32)
        return seed32, private.public_key().public_bytes_raw()

    def seal(self, public32: bytes, info: bytes, plaintext: bytes, /) -> bytes:
        """Encrypt to a public key; `info` binds the context and must be repeated to open."""
        try:
            return _SUITE.encrypt(bytes(plaintext), X25519PublicKey.from_public_bytes(public32), info)
        except ValueError as error:
            raise SealBroken("the receiver's session key is no X25519 key") from error

    def open(self, private32: bytes, info: bytes, sealed: bytes, /) -> bytearray:
        """Decrypt or raise SealBroken; the caller wipes the answer."""
        try:
            key = X25519PrivateKey.from_private_bytes(private32)
            return bytearray(_SUITE.decrypt(sealed, key, info))
        except (InvalidTag, ValueError) as error:
            raise SealBroken("the sealed share does not open under this key and context") from error


class ShareVault:
    """Key shares in `keys/<purpose>-<epoch>.share`, under a key derived from the host secret.

    Whoever holds the whole folder holds the share: the passphrase (Argon2id) of DESIGN section 4 is not there
    yet. A share file copied alone is useless.
    """

    def __init__(self, folder: Path, identity: _Deriver) -> None:
        """`folder` is the node's keys/ folder."""
        self._folder = folder
        self._identity = identity

    def save(self, purpose: str, epoch: int, secret: bytearray) -> None:
        """Write the 32-byte share; returns when it is durable. The caller wipes `secret`."""
        head = self._head(purpose, epoch)
        nonce = secrets.token_bytes(_NONCE)
        sealed = self._cipher(head).encrypt(nonce, bytes(secret), head)
        write_atomically(self.path(purpose, epoch), head + nonce + sealed)

    def load(self, purpose: str, epoch: int) -> bytearray | None:
        """The 32-byte share, None when there is no file; VaultFault when it is damaged. The caller wipes it."""
        path = self.path(purpose, epoch)
        if not path.exists():
            return None
        refuse_open_to_others(path, VaultFault)
        head = self._head(purpose, epoch)
        data = path.read_bytes()
        try:
            if data[: len(head)] != head:
                raise ValueError
            nonce, sealed = data[len(head) : len(head) + _NONCE], data[len(head) + _NONCE :]
            return bytearray(self._cipher(head).decrypt(nonce, sealed, head))
        except (InvalidTag, ValueError) as error:
            raise VaultFault(
                f"{path} is damaged or from another folder: delete it and start again, the share is then "
                "restored from the recovery data in signer.db"
            ) from error

    def path(self, purpose: str, epoch: int) -> Path:
        """The file of a share."""
        if not _PURPOSE.fullmatch(purpose):
            raise VaultFault(f"{purpose!r} is no purpose")
        return self._folder / f"{purpose}-{epoch}.share"

    def _head(self, purpose: str, epoch: int) -> bytes:
        return _MAGIC + epoch.to_bytes(4, "big") + len(purpose).to_bytes(1, "big") + purpose.encode()

    def _cipher(self, head: bytes) -> ChaCha20Poly1305:
        return ChaCha20Poly1305(self._identity.derive("holdfast/vault/v1", head))


def wipe(secret: bytearray) -> None:
    """Overwrite a secret in place; copies that Python made on the way are out of reach."""
    secret[:] = bytes(len(secret))
