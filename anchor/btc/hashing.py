"""Hashes as Bitcoin uses them."""

from functools import lru_cache
from hashlib import sha256 as _sha256


def sha256(data: bytes) -> bytes:
    """SHA-256, 32 bytes."""
    return _sha256(data).digest()


def sha256d(data: bytes) -> bytes:
    """SHA-256 twice, 32 bytes: txids, block hashes, Merkle nodes, base58 checksums."""
    return _sha256(_sha256(data).digest()).digest()


@lru_cache(maxsize=256)
def _prefix(tag: str) -> bytes:
    return sha256(tag.encode()) * 2


def tagged_hash(tag: str, *parts: bytes) -> bytes:
    """Hash the concatenated `parts` under `tag`, 32 bytes. BIP340: SHA256(SHA256(tag) ‖ SHA256(tag) ‖ x)."""
    state = _sha256(_prefix(tag))
    for part in parts:
        state.update(part)
    return state.digest()
