"""The file of a lane's rotations: how its key went from the activation record's to the newest one.

Bytes are JSON with sorted keys, two spaces, plain hex; reading encodes again and compares, as for a proof of an
anchor. Between two rotations stand the lane's *steps*: what each anchor or void did with the lane's coin, enough to
build its transactions again, so that their txids lead from coin to coin and no other rotation fits.
"""

from dataclasses import dataclass
from typing import Self

import msgspec

from anchor.btc.amounts import MAX_MONEY, Sats
from anchor.btc.header import HEADER_SIZE

FORMAT = "holdfast rotation proofs 1"
MAX_FILE = 1 << 26  # bytes; a step has some 300, a rotation some 4,000 and 130 for each operator


class RotationFormatError(ValueError):
    """Bytes that are no file of rotations, or one that is spelled in another way."""


@dataclass(frozen=True, slots=True)
class Step:
    """An anchor or a void: the commit's value and the value of the tip that it leaves, in satoshis.

    `payload` are the bytes that the anchor carries; empty for a void, whose commit's scriptPubKey is then `void`.
    """

    commit_value: Sats
    value: Sats
    payload: bytes = b""
    void: bytes = b""

    def __post_init__(self) -> None:
        if bool(self.payload) == bool(self.void):
            raise RotationFormatError("a step is an anchor or a void")
        if not all(0 <= value <= MAX_MONEY for value in (self.commit_value, self.value)):
            raise RotationFormatError("a step's values are amounts")


@dataclass(frozen=True, slots=True)
class RotationProof:
    """One rotation: the steps since the one before, its transactions in their block, and who decided it.

    Fields of commit, reveal and block as in AnchorProof; `succession` are the bytes of the SignedSuccession that
    the rotation's record names.
    """

    steps: tuple[Step, ...]
    succession: bytes
    commit: bytes
    reveal: bytes
    tx_index: int
    tx_branch: tuple[bytes, ...]
    coinbase: bytes
    coinbase_branch: tuple[bytes, ...]
    header: bytes
    height: int

    def __post_init__(self) -> None:
        if len(self.header) != HEADER_SIZE or min(self.height, self.tx_index) < 0:
            raise RotationFormatError("a header has 80 bytes, and no number is negative")


@dataclass(frozen=True, slots=True)
class RotationProofs:
    """All rotations of one lane, oldest first."""

    network: str
    lane: int
    rotations: tuple[RotationProof, ...]

    def encode(self) -> bytes:
        """Return the file's bytes."""
        file = _File(FORMAT, self.lane, self.network, [_to_file(rotation) for rotation in self.rotations])
        return msgspec.json.format(msgspec.json.encode(file, order="sorted"), indent=2) + b"\n"

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read a file of at most 64 MiB. RotationFormatError unless it is spelled as `encode` spells it."""
        if len(data) > MAX_FILE:
            raise RotationFormatError(f"rotations have at most {MAX_FILE} bytes, these have {len(data)}")
        try:
            file = msgspec.json.decode(data, type=_File)
            proofs = cls(file.network, file.lane, tuple(map(_from_file, file.rotations)))
        except (ValueError, RecursionError) as error:
            raise RotationFormatError(f"not a file of rotations: {error}") from error
        if file.format != FORMAT:
            raise RotationFormatError(f"this program reads {FORMAT!r}, the file says {file.format[:60]!r}")
        if proofs.encode() != data:
            raise RotationFormatError("the file is not in its one spelling: a byte was changed or added")
        return proofs


class _Step(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    commit_value: int
    payload: str
    value: int
    void: str


class _Rotation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    coinbase: str
    coinbase_branch: list[str]
    commit: str
    header: str
    height: int
    reveal: str
    steps: list[_Step]
    succession: str
    tx_branch: list[str]
    tx_index: int


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: str
    lane: int
    network: str
    rotations: list[_Rotation]


def _to_file(r: RotationProof) -> _Rotation:
    return _Rotation(
        coinbase=r.coinbase.hex(),
        coinbase_branch=[item.hex() for item in r.coinbase_branch],
        commit=r.commit.hex(),
        header=r.header.hex(),
        height=r.height,
        reveal=r.reveal.hex(),
        steps=[_Step(s.commit_value, s.payload.hex(), s.value, s.void.hex()) for s in r.steps],
        succession=r.succession.hex(),
        tx_branch=[item.hex() for item in r.tx_branch],
        tx_index=r.tx_index,
    )


def _from_file(r: _Rotation) -> RotationProof:
    return RotationProof(
        steps=tuple(_step(step) for step in r.steps),
        succession=bytes.fromhex(r.succession),
        commit=bytes.fromhex(r.commit),
        reveal=bytes.fromhex(r.reveal),
        tx_index=r.tx_index,
        tx_branch=tuple(bytes.fromhex(item) for item in r.tx_branch),
        coinbase=bytes.fromhex(r.coinbase),
        coinbase_branch=tuple(bytes.fromhex(item) for item in r.coinbase_branch),
        header=bytes.fromhex(r.header),
        height=r.height,
    )


def _step(step: _Step) -> Step:
    payload, void = bytes.fromhex(step.payload), bytes.fromhex(step.void)
    return Step(Sats(step.commit_value), Sats(step.value), payload, void)
