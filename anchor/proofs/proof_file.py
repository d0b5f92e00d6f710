"""The proof file: one statement, one spelling. Its bytes are JSON with sorted keys, two spaces, plain hex.

Reading encodes again and compares, so no byte of a file can change without the file being another one or none.
"""

from dataclasses import dataclass, fields
from typing import Any, Self

import msgspec

from anchor.btc.header import HEADER_SIZE

FORMAT = "holdfast anchor proof 1"
MAX_PROOF = 1 << 20  # bytes; a usual one has 4,000 to 5,000


class ProofFormatError(ValueError):
    """Bytes that are no proof file, or one that is spelled in another way."""


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    branch: list[str]
    coinbase: str
    coinbase_branch: list[str]
    commit: str
    count: int
    format: str
    header: str
    height: int
    index: int
    manifest: str
    manifest_branch: list[str]
    network: str
    record: str
    reveal: str
    tx_branch: list[str]
    tx_index: int


@dataclass(frozen=True, slots=True)
class AnchorProof:
    """Everything between a record and a block header, P excepted: that is the verifier's input.

    `record` is the encoded record, leaf `index` of `count`, with its tree `branch`; `manifest` the encoded
    manifest, leaf 0, with its own. `commit` is serialised without witness, `reveal` with it. The reveal is
    transaction `tx_index` of the block, `coinbase` (without witness) is transaction 0; their branches have one
    length, which shows that neither is an inner node of the block's tree. `header` has 80 bytes and stands at
    `height`. Hashes are in internal order.
    """

    network: str
    record: bytes
    index: int
    count: int
    branch: tuple[bytes, ...]
    manifest: bytes
    manifest_branch: tuple[bytes, ...]
    commit: bytes
    reveal: bytes
    tx_index: int
    tx_branch: tuple[bytes, ...]
    coinbase: bytes
    coinbase_branch: tuple[bytes, ...]
    header: bytes
    height: int

    def encode(self) -> bytes:
        """Return the file's bytes."""
        values: dict[str, object] = {"format": FORMAT}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, bytes):
                value = value.hex()
            elif isinstance(value, tuple):
                value = [item.hex() for item in value]
            values[field.name] = value
        compact = msgspec.json.encode(values, order="sorted")
        return msgspec.json.format(compact, indent=2) + b"\n"

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read a file of at most 1 MiB. ProofFormatError unless it is spelled as `encode` spells it."""
        if len(data) > MAX_PROOF:
            raise ProofFormatError(f"a proof has at most {MAX_PROOF} bytes, this has {len(data)}")
        try:
            file = msgspec.json.decode(data, type=_File)
            proof = cls(**{field.name: _value(file, field.name) for field in fields(cls)})
        except (ValueError, RecursionError) as error:
            raise ProofFormatError(f"not a proof file: {error}") from error
        if file.format != FORMAT:
            raise ProofFormatError(f"this program reads {FORMAT!r}, the file says {file.format[:60]!r}")
        if (
            len(proof.header) != HEADER_SIZE
            or min(proof.index, proof.count, proof.height, proof.tx_index) < 0
        ):
            raise ProofFormatError("a header has 80 bytes, and no number is negative")
        if proof.encode() != data:
            raise ProofFormatError("the file is not in its one spelling: a byte was changed or added")
        return proof


def _value(file: _File, name: str) -> Any:
    value = getattr(file, name)
    if isinstance(value, list):
        return tuple(bytes.fromhex(item) for item in value)
    return bytes.fromhex(value) if isinstance(value, str) and name != "network" else value
