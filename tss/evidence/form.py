"""The envelope of a piece of evidence: version, kind, culprit, committee, body."""

from abc import abstractmethod
from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar, Self

from tss.dkg.committee import Committee
from tss.dkg.ports import Sealer
from tss.dkg.signed import Encoded, read_member
from tss.frost.codec import DecodeError, Reader, Writer
from tss.frost.engine import Engine
from tss.frost.hashing import tagged_hash

VERSION = 1
MAX_BODY = 3 * 1024 * 1024  # all that was dealt in key work of 128 members; other bodies are below 1 MB


class Kind(IntEnum):
    """What a piece of evidence shows; the numbers are on the wire and never change."""

    BAD_PROOF = 1
    BAD_R2 = 2
    BAD_DKG_SHARE = 3
    FALSE_COMPLAINT = 4
    EQUIVOCATION = 5
    FALSE_KEY = 6
    BAD_SIGNATURE_SHARE = 7
    TWO_PACKAGES = 8
    REPLAYED_COMMITMENT = 9
    BAD_COMMITMENT = 10
    BAD_WORK = 11
    BAD_WORK_SHARE = 12
    FALSE_WORK_COMPLAINT = 13
    FALSE_REFRESH = 14
    FALSE_REPAIR = 15

    @property
    def slug(self) -> str:
        """The kind for tables and programs: bad-proof, two-packages, …"""
        return self.name.lower().replace("_", "-")


class NotProven(Exception):
    """The evidence does not convict; the sentence says why."""


@dataclass(frozen=True, slots=True)
class Court:
    """What a body is judged with: public arithmetic, the committee, and the kind of fault that is alleged."""

    engine: Engine
    sealer: Sealer
    committee: Committee
    kind: Kind


class Body(Encoded):
    """The messages of one kind of fault, with the rule that they break."""

    __slots__ = ()

    @abstractmethod
    def convict(self, court: Court, culprit: int) -> str:
        """The sentence that says what the culprit did; NotProven when the messages do not show it.

        BadSignature, WrongSession and FrostError of what is in the messages count as not proven too.
        """


@dataclass(frozen=True, slots=True)
class Evidence(Encoded):
    """Signed messages against one member. Equal faults have equal bytes: `id` names them."""

    KIND: ClassVar[int] = 64
    LIMIT: ClassVar[int] = 64 + Committee.LIMIT + MAX_BODY
    kind: Kind
    culprit: int
    committee: Committee
    body: bytes

    @property
    def id(self) -> bytes:
        """32 bytes: the tagged hash of the encoding."""
        return tagged_hash("holdfast/evidence/v1", self.encode())

    @property
    def culprit_name(self) -> str:
        """The culprit's name in the committee file."""
        return self.committee.name_of(self.culprit)

    def write(self, writer: Writer) -> None:
        """u8 version, u8 kind, u16 culprit, committee, body."""
        writer.u8(VERSION).u8(self.kind).u16(self.culprit)
        writer.var(self.committee.encode(), Committee.LIMIT).var(self.body, MAX_BODY)

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Take what `write` appended; the body is read by its judge."""
        version = reader.u8()
        if version != VERSION:
            raise DecodeError(f"this is evidence of version {version}: use a release that knows it")
        kind = Kind(reader.between(reader.u8(), 1, max(Kind), "a kind of evidence"))
        culprit = read_member(reader)
        committee = Committee.decode(reader.var(Committee.LIMIT))
        if culprit > committee.size:
            raise DecodeError(f"the culprit is member {culprit} of {committee.size}")
        return cls(kind, culprit, committee, reader.var(MAX_BODY))
