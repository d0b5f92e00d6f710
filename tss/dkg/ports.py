"""What the shells pass in: a member's identity and the sealing of shares."""

from typing import Protocol

SEED_SIZE = 32
ENCRYPTION_KEY_SIZE = 32  # X25519
SEALED_SHARE_SIZE = 80  # HPKE base mode: X25519 encapsulation 32, share 32, Poly1305 tag 16


class SealBroken(Exception):
    """A sealed share does not open, or a public key cannot be sealed to."""


class Identity(Protocol):
    """A member's long-term identity; the secret stays inside."""

    @property
    def index(self) -> int:
        """The member's index in the committee, from 1."""

    @property
    def host_key(self) -> bytes:
        """The x-only public key, 32 bytes (BIP340)."""

    def sign(self, message32: bytes, /) -> bytes:
        """Sign 32 bytes, always a tagged hash; gives 64 bytes (BIP340)."""

    def derive(self, tag: str, /, *parts: bytes) -> bytes:
        """Derive 32 secret bytes from the host secret; same arguments, same bytes."""


class Sealer(Protocol):
    """HPKE base mode with X25519, HKDF-SHA256 and ChaCha20-Poly1305 (RFC 9180)."""

    def derive(self, seed32: bytes, /) -> tuple[bytes, bytes]:
        """Derive (private, public), 32 bytes each, from a 32-byte seed; same seed, same pair."""

    def seal(self, public32: bytes, info: bytes, plaintext: bytes, /) -> bytes:
        """Seal to `public32`: encapsulation ‖ ciphertext; SealBroken when the key is unusable."""

    def open(self, private32: bytes, info: bytes, sealed: bytes, /) -> bytearray:
        """Open what was sealed; SealBroken on anything else. The caller wipes the result."""
