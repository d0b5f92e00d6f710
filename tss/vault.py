"""Secrets at rest and in transit: the passphrase's seal, key shares as files, the HPKE sealer of DKG shares.

One secret is under the passphrase: the host key. All else hangs on it: a share file is under a key derived from
the host secret, and with the host secret and public recovery data every share is restored.

    passphrase --Argon2id--> key --ChaCha20-Poly1305--> host secret --HMAC--> key of a share file --> share

So the passphrase is stretched once at start, changing it rewrites one file, and no crash leaves a folder half
under the old one.
"""

import re
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol, Self

from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from tss.dkg.ports import SealBroken
from tss.files import refuse_open_to_others, write_atomically
from tss.frost.codec import DecodeError, Reader, Writer
from tss.frost.hashing import tagged_hash

_SUITE = hpke.Suite(hpke.KEM.X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.CHACHA20_POLY1305)
_MAGIC = b"HFSHARE1"
_NONCE = 12
_PURPOSE = re.compile(r"[a-z0-9-]{1,32}")

_SEAL_MAGIC: Final = b"HFVAULT1"
_SALT = 16
_CHECK = 8
_MAX_MEMORY_KIB = 4 << 20
_MAX_PASSES = 64
_MAX_LANES = 64


class VaultFault(Exception):
    """A sealed file that cannot be read; the sentence names the next move."""


class WrongPassphrase(VaultFault):
    """The passphrase does not open the seal; nothing was changed."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What one guess at the passphrase costs: Argon2id's memory in KiB, passes and lanes (RFC 9106)."""

    memory_kib: int
    passes: int
    lanes: int


PRODUCTION: Final = Cost(256 * 1024, 3, 4)  # 0.8 s of four cores, 256 MiB for as long
REGTEST: Final = Cost(19 * 1024, 2, 1)  # no money is there; a demo runs five nodes on a laptop


def cost_for(network: str) -> Cost:
    """How hard the seal of a node on this network is made."""
    return REGTEST if network == "regtest" else PRODUCTION


@dataclass(frozen=True, slots=True)
class Sealed:
    """The file of a 32-byte secret under a passphrase.

    Layout, big-endian: magic HFVAULT1, public key 32, memory KiB u32, passes u32, lanes u8, salt 16, nonce 12,
    which is the AAD; then 48 sealed bytes; then 8 bytes of a tagged hash of all before, so that a damaged file is
    told from a wrong passphrase.
    """

    public: bytes
    cost: Cost
    salt: bytes
    nonce: bytes
    box: bytes = b""

    @staticmethod
    def is_one(data: bytes) -> bool:
        """Whether a file is sealed, by its first bytes."""
        return data[: len(_SEAL_MAGIC)] == _SEAL_MAGIC

    @classmethod
    def make(
        cls, secret: bytes | bytearray | memoryview, public: bytes, passphrase: bytearray, cost: Cost
    ) -> Self:
        """Seal a secret whose public key is `public`, with fresh salt and nonce."""
        head = cls(public, cost, secrets.token_bytes(_SALT), secrets.token_bytes(_NONCE))
        key = head.stretch(passphrase)
        try:
            box = ChaCha20Poly1305(key).encrypt(head.nonce, secret, head.head())
        finally:
            wipe(key)
        return cls(public, cost, head.salt, head.nonce, box)

    def open(self, passphrase: bytearray) -> bytearray:
        """The secret; WrongPassphrase otherwise. The caller wipes it and the passphrase."""
        key, secret = self.stretch(passphrase), bytearray(32)
        try:
            ChaCha20Poly1305(key).decrypt_into(self.nonce, self.box, self.head(), secret)
        except InvalidTag as error:
            raise WrongPassphrase("the passphrase is wrong: nothing was changed, try again") from error
        finally:
            wipe(key)
        return secret

    def stretch(self, passphrase: bytearray) -> bytearray:
        """Argon2id version 1.3, 32 bytes; takes the cost's time and memory."""
        key = bytearray(32)
        cost = self.cost
        try:
            kdf = Argon2id(
                salt=self.salt,
                length=32,
                iterations=cost.passes,
                lanes=cost.lanes,
                memory_cost=cost.memory_kib,
            )
            kdf.derive_into(passphrase, key)  # type: ignore[arg-type]  # any buffer, says its documentation
        except (MemoryError, UnsupportedAlgorithm, ValueError) as error:
            raise VaultFault(
                f"the passphrase cannot be stretched here (it takes {cost.memory_kib // 1024} MiB): "
                "give the node more memory"
            ) from error
        return key

    def head(self) -> bytes:
        """What the seal is bound to."""
        writer = Writer().raw(_SEAL_MAGIC, 8).raw(self.public, 32).u32(self.cost.memory_kib)
        writer.u32(self.cost.passes).u8(self.cost.lanes).raw(self.salt, _SALT)
        return writer.raw(self.nonce, _NONCE).done()

    def encode(self) -> bytes:
        """The file's bytes."""
        body = self.head() + self.box
        return body + _check(body)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read a file; VaultFault when it is damaged or of a later release."""
        try:
            reader = Reader(data, 256)
            if reader.raw(8) != _SEAL_MAGIC:
                raise DecodeError("no seal of this release")
            public = reader.raw(32)
            cost = Cost(
                reader.between(reader.u32(), 8, _MAX_MEMORY_KIB, "the seal's memory"),
                reader.between(reader.u32(), 1, _MAX_PASSES, "the seal's passes"),
                reader.between(reader.u8(), 1, _MAX_LANES, "the seal's lanes"),
            )
            sealed = cls(public, cost, reader.raw(_SALT), reader.raw(_NONCE), reader.raw(48))
            check = reader.raw(_CHECK)
            reader.finish()
        except DecodeError as error:
            raise VaultFault(
                f"it is damaged ({error}): restore it from a copy, or the node from its words"
            ) from error
        if check != _check(data[:-_CHECK]):
            raise VaultFault("it is damaged: restore it from a copy, or the node from its words")
        return sealed


def _check(body: bytes) -> bytes:
    return tagged_hash("holdfast/vault/check/v1", body)[:_CHECK]


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

    The host secret is under the passphrase, so the shares are, too. A share file copied alone is useless.
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
