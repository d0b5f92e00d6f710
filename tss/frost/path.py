"""Which key a signature is for, seen from the group's internal key P (BIP341)."""

from dataclasses import dataclass
from typing import Final, Literal, Self

from tss.frost.errors import CANONICAL, LENGTH, EncodingFault

_MAX_BYTES: Final = 33


@dataclass(frozen=True, slots=True)
class SigningPath:
    """P itself, or an output key Q made from it.

    `internal`: signs under x(P), for certificates and script leaves. `key`: signs under
    Q = lift_x(P) + H_TapTweak(x(P) ‖ root)·G, where `root` is the script root (32 bytes) or None for an output
    without scripts. Encoded as 00, 01, or 02 ‖ root.
    """

    kind: Literal["internal", "key"]
    root: bytes | None = None

    def __post_init__(self) -> None:
        if self.kind not in ("internal", "key"):
            message = f"a path's kind is 'internal' or 'key', not {self.kind!r}: take INTERNAL or KEY_ONLY"
            raise EncodingFault(message, code=CANONICAL)
        if self.root is not None and self.kind == "internal":
            raise EncodingFault("the internal path has no script root: use key_with_root", code=CANONICAL)
        if self.root is not None and len(self.root) != 32:
            message = f"a script root has 32 bytes, not {len(self.root)}: pass the Merkle root of the leaves"
            raise EncodingFault(message, code=LENGTH)

    def encode(self) -> bytes:
        """Return 1 or 33 bytes."""
        if self.kind == "internal":
            return b"\x00"
        return b"\x01" if self.root is None else b"\x02" + self.root

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read exactly one path; EncodingFault for anything else."""
        if len(data) > _MAX_BYTES:
            raise EncodingFault(
                f"a path has at most 33 bytes, not {len(data)}: refuse its sender", code=LENGTH
            )
        match data[:1], data[1:]:
            case b"\x00", b"":
                return cls("internal")
            case b"\x01", b"":
                return cls("key")
            case b"\x02", root:
                return cls("key", bytes(root))
        raise EncodingFault("a path is 00, 01, or 02 and a root: refuse its sender", code=CANONICAL)


INTERNAL: Final = SigningPath("internal")
KEY_ONLY: Final = SigningPath("key")


def key_with_root(root: bytes) -> SigningPath:
    """Return the key path of an output with scripts; `root` is their 32-byte Merkle root (BIP341)."""
    return SigningPath("key", bytes(root))
