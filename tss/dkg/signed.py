"""The form of every message that a host key signs: kind ‖ body ‖ signature."""

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Self

from tss.dkg.faults import BadSignature
from tss.dkg.ports import Identity
from tss.frost import bip340
from tss.frost.codec import DecodeError, Reader, Writer
from tss.frost.hashing import tagged_hash

if TYPE_CHECKING:
    from tss.dkg.committee import Committee

MAX_MEMBERS = 128
SIGNATURE_SIZE = 64
UNSIGNED = bytes(SIGNATURE_SIZE)


class Encoded(ABC):
    """A value with one canonical encoding, opened by its kind byte."""

    __slots__ = ()
    KIND: ClassVar[int]
    LIMIT: ClassVar[int]

    @abstractmethod
    def write(self, writer: Writer) -> None:
        """Append everything after the kind byte (and before a signature)."""

    @classmethod
    @abstractmethod
    def read(cls, reader: Reader) -> Self:
        """Take what `write` appended."""

    def encode(self) -> bytes:
        """The canonical bytes."""
        writer = Writer().u8(self.KIND)
        self.write(writer)
        return writer.done()

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read canonical bytes; DecodeError on any others."""
        reader = Reader(data, cls.LIMIT)
        if reader.u8() != cls.KIND:
            raise DecodeError(f"this is no {cls.__name__}")
        value = cls.read(reader)
        reader.finish()
        return value


class SignedMessage(Encoded):
    """An encoded value signed by its sender's host key under the message's own tag.

    Messages never change, so a digest is computed once; the signature is no part of it.
    """

    __slots__ = ("_digest",)
    TAG: ClassVar[str]
    _digest: bytes
    sender: int
    signature: bytes

    @property
    def digest(self) -> bytes:
        """What is signed, 32 bytes."""
        try:
            return self._digest
        except AttributeError:
            digest = self.hashed()
            object.__setattr__(self, "_digest", digest)
            return digest

    def hashed(self) -> bytes:
        """Compute the digest: the tagged hash of kind and body."""
        writer = Writer().u8(self.KIND)
        self.write(writer)
        return tagged_hash(self.TAG, writer.done())

    def signed(self, identity: Identity) -> Self:
        """The same message with `identity`'s signature."""
        assert identity.index == self.sender, "a member signs only its own messages"
        return self.with_signature(identity.sign(self.digest))

    def check(self, committee: "Committee") -> Self:
        """Itself when the sender's signature holds; else BadSignature."""
        if not 1 <= self.sender <= committee.size:
            raise BadSignature(f"a {type(self).__name__} claims member {self.sender} of {committee.size}")
        host_key = committee.member(self.sender).host_key
        if not bip340.verify(host_key, self.digest, self.signature):
            raise BadSignature(f"a {type(self).__name__} is not signed by {committee.name_of(self.sender)}")
        return self

    def encode(self) -> bytes:
        """Kind ‖ body ‖ signature."""
        return Encoded.encode(self) + Writer().raw(self.signature, SIGNATURE_SIZE).done()

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read kind ‖ body ‖ signature; the signature is not yet checked. DecodeError on anything else."""
        if len(data) < SIGNATURE_SIZE:
            raise DecodeError("truncated before the signature")
        return super().decode(data[:-SIGNATURE_SIZE]).with_signature(bytes(data[-SIGNATURE_SIZE:]))

    def with_signature(self, signature: bytes) -> Self:
        """The same message with these 64 bytes as its signature, unchecked."""
        other = replace(self, signature=signature)  # type: ignore[type-var]  # every subclass is a dataclass
        if hasattr(self, "_digest"):
            object.__setattr__(other, "_digest", self._digest)
        return other


def read_member(reader: Reader) -> int:
    """Take a member index, 1 to 128."""
    return reader.between(reader.u16(), 1, MAX_MEMBERS, "a member index")


def read_purpose(reader: Reader) -> str:
    """Take a purpose: 1 to 32 characters of a-z, 0-9 and the hyphen."""
    purpose = reader.text(32)
    if not is_slug(purpose):
        raise DecodeError("a purpose is 1 to 32 characters of a-z, 0-9 and -")
    return purpose


def is_slug(text: str) -> bool:
    """Whether `text` is 1 to 32 characters of a-z, 0-9 and the hyphen."""
    return 1 <= len(text) <= 32 and all(c in "abcdefghijklmnopqrstuvwxyz0123456789-" for c in text)
