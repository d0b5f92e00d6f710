"""What everybody may know of a group: its key, its threshold, and each member's verifying share."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Self

from tss.frost import abi
from tss.frost.errors import CANONICAL, LENGTH, MEMBER, THRESHOLD, EncodingFault, EngineState
from tss.frost.hashing import tagged_hash
from tss.frost.package import MAX_MEMBERS
from tss.frost.path import SigningPath

POINT_BYTES: Final = 33
_VERSION: Final = b"\x01"
_HEAD: Final = 1 + 2 + POINT_BYTES + 2
_ENTRY: Final = 2 + POINT_BYTES


def encoded_bytes(members: int) -> int:
    """Length of the encoding of a group of so many members."""
    return _HEAD + members * _ENTRY


@dataclass(frozen=True, slots=True)
class GroupPublic:
    """A group's public side, as `part3` returns it.

    `group_key` is the internal key P: 33 bytes, compressed, with its parity. `verifying_shares` maps member
    numbers (1 to 128) to 33 bytes. Lengths and order are checked here, points by the engine at first use.
    `share_set` (33 bytes) is what signing messages name: this key with exactly these shares. A refresh keeps P
    and changes every share, so that a message about old shares says nothing about new ones.
    EncodingFault for malformed bytes, EngineState (301) for a threshold outside 2 <= t <= n, 1 of 1 excepted.
    """

    threshold: int
    group_key: bytes
    verifying_shares: Mapping[int, bytes]
    share_set: bytes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        shares = self.verifying_shares
        points = [self.group_key, *shares.values()]
        if any(len(point) != POINT_BYTES for point in points):
            raise EncodingFault(
                "a group's points have 33 bytes each: derive it again from its R1", code=LENGTH
            )
        if any(point[0] not in (2, 3) for point in points):
            raise EncodingFault(
                "a group's points begin with 02 or 03: derive it again from its R1", code=CANONICAL
            )
        if any(not 1 <= member <= MAX_MEMBERS for member in shares):
            raise EncodingFault(
                "members are numbered 1 to 128: derive the group again from its R1", code=MEMBER
            )
        if not 2 <= self.threshold <= len(shares) and (self.threshold, len(shares)) != (1, 1):
            message = f"{self.threshold} of {len(shares)} is no committee: take 2 <= t <= n, or 1 of 1"
            raise EngineState(message, code=THRESHOLD)
        ordered = {member: bytes(shares[member]) for member in sorted(shares)}
        object.__setattr__(self, "group_key", bytes(self.group_key))
        object.__setattr__(self, "verifying_shares", MappingProxyType(ordered))
        name = self.group_key[:1] + tagged_hash("holdfast/shares/v1", self.encode())
        object.__setattr__(self, "share_set", name)

    def __hash__(self) -> int:
        return hash(self.encode())

    def __reduce__(self) -> tuple[object, ...]:
        return type(self).decode, (self.encode(),)

    @property
    def x_only(self) -> bytes:
        """x(P), 32 bytes: the key of script leaves and certificates."""
        return self.group_key[1:]

    def output_key(self, path: SigningPath) -> tuple[bytes, int]:
        """Return the key under which the path's signatures verify: x-only 32 bytes, and 1 when its y is odd.

        BIP341: Q = lift_x(P) + H_TapTweak(x(P) ‖ root)·G; for the internal path P itself.
        """
        key, place = abi.result(32)
        odd = abi.flag_place()
        abi.call(
            abi.C.holdfast_frost_public_tweak,
            *abi.given(self.group_key),
            *abi.given(path.encode()),
            *place,
            odd,
        )
        return bytes(key), int(odd[0])

    def encode(self) -> bytes:
        """Return 01 ‖ t u16 ‖ P 33 ‖ count u16 ‖ (member u16 ‖ verifying share 33)…, members ascending."""
        counts = (self.threshold.to_bytes(2, "big"), len(self.verifying_shares).to_bytes(2, "big"))
        parts = [_VERSION, counts[0], self.group_key, counts[1]]
        for member, share in self.verifying_shares.items():
            parts += [member.to_bytes(2, "big"), share]
        return b"".join(parts)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read exactly one group; EncodingFault for anything but what `encode` writes."""
        data = bytes(data)
        count = int.from_bytes(data[_HEAD - 2 : _HEAD], "big")
        if len(data) != encoded_bytes(count):
            raise EncodingFault("a public group has missing or extra bytes: refuse its sender", code=LENGTH)
        if data[:1] != _VERSION:
            raise EncodingFault(
                "a public group of an unknown version: upgrade, or refuse its sender", code=CANONICAL
            )
        entries = [data[start : start + _ENTRY] for start in range(_HEAD, len(data), _ENTRY)]
        shares = {int.from_bytes(entry[:2], "big"): entry[2:] for entry in entries}
        try:
            group = cls(int.from_bytes(data[1:3], "big"), data[3 : 3 + POINT_BYTES], shares)
        except EngineState as error:  # here the threshold is somebody's bytes
            raise EncodingFault(str(error.args[0]), code=error.code) from error
        if group.encode() != data:
            raise EncodingFault(
                "a public group has members twice or out of order: refuse its sender", code=MEMBER
            )
        return group
