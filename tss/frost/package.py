"""What one signature is made of: message, signers' commitments, and the path."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Self

from tss.frost.errors import CANONICAL, LENGTH, MEMBER, EncodingFault
from tss.frost.hashing import tagged_hash
from tss.frost.path import SigningPath

MAX_MEMBERS: Final = 128
COMMITMENT_BYTES: Final = 66
_VERSION: Final = b"\x01"
_ROOT_MARK: Final = 2


@dataclass(frozen=True, slots=True)
class SigningPackage:
    """One signing session's public input, the same for coordinator and signers.

    `message` has 32 bytes; `commitments` maps member numbers (1 to 128) to 66 bytes (hiding point 33, binding
    point 33). The path belongs to it: under another path the same nonces would be used twice. Points are checked
    by the engine, lengths and order here. EncodingFault (with culprits where a member sent the wrong bytes).
    """

    message: bytes
    commitments: Mapping[int, bytes]
    path: SigningPath
    _encoded: bytes = field(init=False, repr=False, compare=False)
    _hashed: bytes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if len(self.message) != 32:
            message = f"a message has 32 bytes, not {len(self.message)}: sign a tagged hash or a sighash"
            raise EncodingFault(message, code=LENGTH)
        if not 1 <= len(self.commitments) <= MAX_MEMBERS:
            message = (
                f"a package names 1 to {MAX_MEMBERS} signers, not {len(self.commitments)}: choose others"
            )
            raise EncodingFault(message, code=LENGTH)
        strangers = tuple(sorted(m for m in self.commitments if not 1 <= m <= MAX_MEMBERS))
        if strangers:
            message = f"members are numbered 1 to {MAX_MEMBERS}: refuse the sender"
            raise EncodingFault(message, code=MEMBER, culprits=strangers)
        wrong = tuple(sorted(m for m, c in self.commitments.items() if len(c) != COMMITMENT_BYTES))
        if wrong:
            message = f"a commitment has {COMMITMENT_BYTES} bytes: ask its sender for a whole one"
            raise EncodingFault(message, code=LENGTH, culprits=wrong)
        # Sorted copies of immutable bytes: nobody changes a package after its hash was stored.
        ordered = {member: bytes(self.commitments[member]) for member in sorted(self.commitments)}
        object.__setattr__(self, "message", bytes(self.message))
        object.__setattr__(self, "commitments", MappingProxyType(ordered))
        parts = [_VERSION, self.message, self.path.encode(), len(ordered).to_bytes(2, "big")]
        for member, commitment in ordered.items():
            parts += [member.to_bytes(2, "big"), commitment]
        object.__setattr__(self, "_encoded", b"".join(parts))
        object.__setattr__(self, "_hashed", tagged_hash("holdfast/package/v1", self._encoded))

    def __hash__(self) -> int:
        return hash(self.encode())

    def __reduce__(self) -> tuple[object, ...]:
        return type(self).decode, (self.encode(),)

    def encode(self) -> bytes:
        """Return 01 ‖ message ‖ path ‖ count u16 ‖ (member u16 ‖ commitment)…, members ascending."""
        return self._encoded

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read exactly one package; EncodingFault for anything but what `encode` writes."""
        data = bytes(data)
        if data[:1] != _VERSION:
            raise EncodingFault(
                "a signing package of an unknown version: upgrade, or refuse its sender", code=CANONICAL
            )
        path_end = 66 if data[33:34] == bytes([_ROOT_MARK]) else 34
        count = int.from_bytes(data[path_end : path_end + 2], "big")
        entry = 2 + COMMITMENT_BYTES
        if len(data) != path_end + 2 + count * entry:
            raise EncodingFault(
                "a signing package has missing or extra bytes: refuse its sender", code=LENGTH
            )
        path = SigningPath.decode(data[33:path_end])
        commitments: dict[int, bytes] = {}
        for start in range(path_end + 2, len(data), entry):
            commitments[int.from_bytes(data[start : start + 2], "big")] = data[start + 2 : start + entry]
        package = cls(data[1:33], commitments, path)
        if package.encode() != data:
            raise EncodingFault(
                "a signing package has members twice or out of order: refuse its sender", code=MEMBER
            )
        return package

    @property
    def hash(self) -> bytes:
        """The 32 bytes that the nonce rule stores: message, commitments and path (DESIGN section 4, nonces)."""
        return self._hashed
