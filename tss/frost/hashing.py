"""Tagged hashes (BIP340): one domain per use, so that no hash can be read as another's."""

from functools import lru_cache
from hashlib import sha256


@lru_cache(maxsize=256)
def _midstate(tag: str) -> bytes:
    return sha256(tag.encode()).digest() * 2


def tagged_hash(tag: str, *parts: bytes) -> bytes:
    """Return SHA256(SHA256(tag) ‖ SHA256(tag) ‖ parts…), 32 bytes.

    Parts are joined without separators: give all but the last a fixed length or a length in front.
    """
    digest = sha256(_midstate(tag))
    for part in parts:
        digest.update(part)
    return digest.digest()
