"""Keys of rollup users and validators as files that only their owner can read."""

import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from anchor.btc.curve import is_secret, schnorr_sign, x_only_from_secret
from anchor.btc.ids import XOnlyKey
from anchor.rollup.tx import Lock, Transfer


class KeyFileError(Exception):
    """A key file that is missing, damaged, readable by others or in the way; names the next move."""


@dataclass(frozen=True, slots=True)
class RollupKey:
    """A BIP340 key pair of the rollup; its secret never shows."""

    secret: bytes = field(repr=False)
    public: XOnlyKey

    @classmethod
    def new(cls) -> "RollupKey":
        """A fresh key from the system's randomness."""
        while not is_secret(secret := secrets.token_bytes(32)):
            pass
        return cls(secret, x_only_from_secret(secret))

    @classmethod
    def of(cls, secret: bytes) -> "RollupKey":
        """The pair of a known secret; CurveError when it is none."""
        return cls(secret, x_only_from_secret(secret))

    def sign(self, message: bytes) -> bytes:
        """Sign 32 bytes with fresh auxiliary randomness."""
        return schnorr_sign(self.secret, message, secrets.token_bytes(32))

    def sign_tx(self, tx: Transfer, genesis_hash: bytes) -> Transfer:
        """Return the transfer with its sender's signature."""
        assert tx.sender == self.public, "a transaction is signed by its sender"
        return tx.signed(self.sign(tx.txid(genesis_hash)))

    def sign_lock(self, tx: Lock, genesis_hash: bytes) -> Lock:
        """Return the lock with its sender's signature."""
        assert tx.sender == self.public, "a transaction is signed by its sender"
        return tx.signed(self.sign(tx.txid(genesis_hash)))


class _Pair(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    public: str
    secret: str


class _KeyFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    keys: list[_Pair]


def save(path: Path, keys: list[RollupKey]) -> None:
    """Write keys into a new file of mode 0600, durably; KeyFileError when something is there already."""
    file = _KeyFile([_Pair(key.public.hex(), key.secret.hex()) for key in keys])
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise KeyFileError(f"{path} exists: keys are never overwritten, choose another name") from error
    except OSError as error:
        raise KeyFileError(f"cannot write {path} ({error.strerror}): choose another place") from error
    with os.fdopen(descriptor, "wb") as out:
        out.write(msgspec.json.format(msgspec.json.encode(file), indent=2) + b"\n")
        out.flush()
        os.fsync(out.fileno())


def load(path: Path) -> list[RollupKey]:
    """Read the keys of a file; KeyFileError unless it is whole and readable by its owner only."""
    try:
        if path.stat().st_mode & 0o077:
            raise KeyFileError(f"{path} can be read by others: run `chmod 600 {path}`")
        file = msgspec.json.decode(path.read_bytes(), type=_KeyFile)
        keys = [RollupKey.of(bytes.fromhex(pair.secret)) for pair in file.keys]
    except OSError as error:
        raise KeyFileError(
            f"cannot read {path} ({error.strerror}): make one with `holdfast rollup key new`"
        ) from error
    except ValueError as error:  # msgspec, fromhex, CurveError; none of their texts holds a secret
        raise KeyFileError(
            f"{path} is no key file: restore it, or make one with `holdfast rollup key new`"
        ) from error
    if not keys or any(key.public.hex() != pair.public for key, pair in zip(keys, file.keys, strict=True)):
        raise KeyFileError(f"{path} is damaged: a public key does not fit its secret")
    return keys


def load_one(path: Path) -> RollupKey:
    """Read a user's key; KeyFileError when the file holds several."""
    keys = load(path)
    if len(keys) != 1:
        raise KeyFileError(f"{path} holds {len(keys)} keys, one is wanted: give a user's key file")
    return keys[0]
