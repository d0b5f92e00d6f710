"""The form of the audit log: rows chained by hash, and heads by which members hold each other to their logs.

Every row's hash covers the row before it, so a head (the number and hash of the newest row) stands for the whole
log. Members sign their heads and remember those of the others: who rewrites his log cannot take his signature back.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from tss.frost import bip340
from tss.frost.codec import Reader, Writer
from tss.frost.hashing import tagged_hash

TAKEN_OUT: Final = "taken-out"


class AuditFault(Exception):
    """The log is not what was written; the sentence names the row."""


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One row: `number` from 1, `at` Unix seconds, `previous` and `hash` 32 bytes."""

    number: int
    at: float
    kind: str
    detail: str
    previous: bytes
    hash: bytes

    @property
    def expected(self) -> bytes:
        """The hash that this row must have."""
        return row_hash(self.number, self.at, self.kind, self.detail, self.previous)


@dataclass(frozen=True, slots=True)
class Head:
    """The newest row of a member's log at a time (Unix milliseconds), signed by its host key."""

    SIZE = 8 + 32 + 8 + 64

    member: int
    number: int
    hash: bytes
    at_ms: int
    signature: bytes = b""

    def digest(self, committee: bytes) -> bytes:
        """What is signed: committee hash, u16 member, u64 number, hash, u64 time."""
        body = Writer().raw(committee, 32).u16(self.member).u64(self.number).raw(self.hash, 32)
        return tagged_hash("holdfast/audit-head/v1", body.u64(self.at_ms).done())

    def signed_by(self, host_key: bytes, committee: bytes) -> bool:
        """Whether the member really said so."""
        return bip340.verify(host_key, self.digest(committee), self.signature)

    def with_signature(self, signature: bytes) -> "Head":
        """The same head, signed."""
        return replace(self, signature=signature)

    def encode(self) -> bytes:
        """u64 number, hash, u64 time, signature; whose it is, the context says."""
        body = Writer().u64(self.number).raw(self.hash, 32).u64(self.at_ms)
        return body.raw(self.signature, 64).done()

    @classmethod
    def read(cls, member: int, reader: Reader) -> "Head":
        """DecodeError for anything but what `encode` writes."""
        return cls(member, reader.u64(), reader.raw(32), reader.u64(), reader.raw(64))


def row_hash(number: int, at: float, kind: str, detail: str, previous: bytes) -> bytes:
    """The tagged hash of a row and the one before it, 32 bytes."""
    body = f"{number}\0{int(at * 1000)}\0{kind}\0{detail}".encode()
    return tagged_hash("holdfast/audit/v1", previous, body)


def taken_out(through: int, digest: bytes) -> str:
    """The detail of the row that says that all up to row `through`, with this hash, lie elsewhere."""
    return f"all up to row {through} with hash {digest.hex()}"


def check(rows: Iterable[AuditRow]) -> tuple[int, bytes]:
    """The head (number, hash) of a log; AuditFault at the first row that does not follow.

    A log begins with row 1, or with the row after those that one of its own rows says were taken out.
    """
    base: tuple[int, bytes] | None = None
    number, previous, said = 0, bytes(32), False
    for row in rows:
        if base is None:
            later = row.number > 1 and row.hash == row.expected
            base = (row.number - 1, row.previous) if later else (0, bytes(32))
            number, previous = base
        number += 1
        if (row.number, row.previous, row.hash) != (number, previous, row.expected):
            raise AuditFault(f"the audit log was changed at row {number}")
        said = said or (row.kind == TAKEN_OUT and row.detail == taken_out(*base))
        previous = row.hash
    if base is not None and base[0] and not said:
        raise AuditFault(
            f"the audit log was changed at row 1: all up to row {base[0]} are gone, and no row says that they were "
            "taken out"
        )
    return number, previous
