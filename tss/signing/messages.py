"""What travels in signing; every message is signed by its sender under its own tag and names the key.

`key` is `GroupPublic.share_set`, 33 bytes: a message for one key, or for its shares before a refresh, says
nothing about another.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Self

from tss.dkg.signed import MAX_MEMBERS, UNSIGNED, SignedMessage, read_member, read_purpose
from tss.frost.codec import DecodeError, Reader, Writer
from tss.frost.hashing import tagged_hash
from tss.frost.package import SigningPackage
from tss.signing.slots import request_id

KEY_SIZE = 33
COMMITMENT_SIZE = 66  # two points
SHARE_SIZE = 32
BOOT_ID_SIZE = 16
MAX_MESSAGES = 256  # in one request: a fee ladder, or a sweep's inputs
MAX_COMMITMENTS = 512  # in one answer
MAX_PAYLOAD = 1024 * 1024 + 16 * 1024  # a batch of 1 MiB with its head
MAX_PACKAGE = 128 + MAX_MEMBERS * (2 + COMMITMENT_SIZE)
MAX_REASON = 1024
NO_SESSION = bytes(32)
ERA_SIZE = 16
NO_ERA = bytes(ERA_SIZE)


@dataclass(frozen=True, slots=True)
class CommitRequest(SignedMessage):
    """A coordinator asks a member for `count` fresh commitments, for use in `era` of its pool only."""

    KIND: ClassVar[int] = 32
    LIMIT: ClassVar[int] = 256
    TAG: ClassVar[str] = "holdfast/sign/commit-request/v1"
    key: bytes
    sender: int
    count: int
    era: bytes = NO_ERA
    signature: bytes = UNSIGNED

    def write(self, writer: Writer) -> None:
        """Key, u16 sender, u16 count, era 16."""
        writer.raw(self.key, KEY_SIZE).u16(self.sender).u16(self.count).raw(self.era, ERA_SIZE)

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Take what `write` appended."""
        key, sender = reader.raw(KEY_SIZE), read_member(reader)
        count = reader.between(reader.u16(), 1, MAX_COMMITMENTS, "a count of commitments")
        return cls(key, sender, count, reader.raw(ERA_SIZE))


@dataclass(frozen=True, slots=True)
class Commitments(SignedMessage):
    """Fresh commitments of one boot of one member, in issue order; void when the boot ends."""

    KIND: ClassVar[int] = 33
    LIMIT: ClassVar[int] = 256 + MAX_COMMITMENTS * COMMITMENT_SIZE
    TAG: ClassVar[str] = "holdfast/sign/commitments/v1"
    key: bytes
    sender: int
    boot_id: bytes
    sequence: int
    commitments: tuple[bytes, ...]
    signature: bytes = UNSIGNED

    def write(self, writer: Writer) -> None:
        """Key, u16 sender, boot id 16, u64 sequence, u16 count, commitments of 66 bytes."""
        writer.raw(self.key, KEY_SIZE).u16(self.sender).raw(self.boot_id, BOOT_ID_SIZE).u64(self.sequence)
        writer.u16(len(self.commitments))
        for commitment in self.commitments:
            writer.raw(commitment, COMMITMENT_SIZE)

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Take what `write` appended; the points are checked when a session is made."""
        key, sender, boot_id = reader.raw(KEY_SIZE), read_member(reader), reader.raw(BOOT_ID_SIZE)
        sequence = reader.u64()
        count = reader.between(reader.u16(), 0, MAX_COMMITMENTS, "the number of commitments")
        return cls(key, sender, boot_id, sequence, tuple(reader.raw(COMMITMENT_SIZE) for _ in range(count)))


class Opening(SignedMessage):
    """What opens a session, with the payload or without; its ids are computed once."""

    __slots__ = ("_request_id", "_session")
    _request_id: bytes
    _session: bytes

    def _once(self, key: bytes, request: bytes, packages: tuple[SigningPackage, ...]) -> bytes:
        try:
            return self._session
        except AttributeError:
            object.__setattr__(self, "_session", session_id(key, request, (p.hash for p in packages)))
            return self._session


@dataclass(frozen=True, slots=True)
class SharesRequest(Opening):
    """A coordinator opens a session: the whole request, one package per message, `want` next commitments.

    `epoch` is that of the key, which the request id binds; `era` that of the pool which the commitments came from.
    The signature covers all of it through the session id, so that it can be shown without the payload (`order`).
    """

    KIND: ClassVar[int] = 34
    LIMIT: ClassVar[int] = 1024 + MAX_PAYLOAD + MAX_MESSAGES * (4 + MAX_PACKAGE)
    TAG: ClassVar[str] = "holdfast/sign/shares-request/v1"
    key: bytes
    sender: int
    purpose: str
    payload: bytes
    packages: tuple[SigningPackage, ...]
    want: int
    era: bytes = NO_ERA
    epoch: int = 0
    signature: bytes = UNSIGNED

    @property
    def session(self) -> bytes:
        """The session id: binds key, request and every package (message, commitments, path)."""
        return self._once(self.key, self.request, self.packages)

    def hashed(self) -> bytes:
        """Compute the digest: of sender, era, session id and `want`."""
        return order_digest(self.sender, self.era, self.session, self.want)

    @property
    def order(self) -> "Order":
        """The same without the payload, as a signer keeps it."""
        return Order(self.key, self.sender, self.request, self.packages, self.want, self.era, self.signature)

    @property
    def request(self) -> bytes:
        """The id of what is to be signed."""
        try:
            return self._request_id
        except AttributeError:
            object.__setattr__(self, "_request_id", request_id(self.purpose, self.payload, self.epoch))
            return self._request_id

    @property
    def members(self) -> tuple[int, ...]:
        """Who is to sign, ascending."""
        return tuple(self.packages[0].commitments)

    def write(self, writer: Writer) -> None:
        """Key, u16 sender, u32 epoch, purpose, payload, u16 count, packages, u16 want, era 16."""
        writer.raw(self.key, KEY_SIZE).u16(self.sender).u32(self.epoch).text(self.purpose, 32)
        writer.var(self.payload, MAX_PAYLOAD)
        _write_packages(writer, self.packages)
        writer.u16(self.want).raw(self.era, ERA_SIZE)

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Take what `write` appended; all packages are for the same members."""
        key, sender, epoch = reader.raw(KEY_SIZE), read_member(reader), reader.u32()
        purpose, payload, packages = read_purpose(reader), reader.var(MAX_PAYLOAD), _read_packages(reader)
        want = reader.between(reader.u16(), 0, MAX_COMMITMENTS, "a count of commitments")
        return cls(key, sender, purpose, payload, packages, want, reader.raw(ERA_SIZE), epoch)


@dataclass(frozen=True, slots=True)
class Order(Opening):
    """A SharesRequest without its payload: all that its signature covers, and what a signer keeps of it."""

    KIND: ClassVar[int] = 38
    LIMIT: ClassVar[int] = 512 + MAX_MESSAGES * (4 + MAX_PACKAGE)
    TAG: ClassVar[str] = SharesRequest.TAG
    key: bytes
    sender: int
    request: bytes
    packages: tuple[SigningPackage, ...]
    want: int
    era: bytes = NO_ERA
    signature: bytes = UNSIGNED

    @property
    def session(self) -> bytes:
        """The session id, as in SharesRequest."""
        return self._once(self.key, self.request, self.packages)

    def hashed(self) -> bytes:
        """Compute the digest, as in SharesRequest."""
        return order_digest(self.sender, self.era, self.session, self.want)

    def write(self, writer: Writer) -> None:
        """Key, u16 sender, request id, u16 count, packages, u16 want, era 16."""
        writer.raw(self.key, KEY_SIZE).u16(self.sender).raw(self.request, 32)
        _write_packages(writer, self.packages)
        writer.u16(self.want).raw(self.era, ERA_SIZE)

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Take what `write` appended."""
        key, sender, request = reader.raw(KEY_SIZE), read_member(reader), reader.raw(32)
        packages = _read_packages(reader)
        want = reader.between(reader.u16(), 0, MAX_COMMITMENTS, "a count of commitments")
        return cls(key, sender, request, packages, want, reader.raw(ERA_SIZE))


@dataclass(frozen=True, slots=True)
class Shares(SignedMessage):
    """A member's signature shares for one session, one per package, with its next commitments."""

    KIND: ClassVar[int] = 35
    LIMIT: ClassVar[int] = 1024 + MAX_MESSAGES * SHARE_SIZE + Commitments.LIMIT
    TAG: ClassVar[str] = "holdfast/sign/shares/v1"
    key: bytes
    sender: int
    session: bytes
    shares: tuple[bytes, ...]
    following: Commitments
    signature: bytes = UNSIGNED

    def write(self, writer: Writer) -> None:
        """Key, u16 sender, session, u16 count, shares of 32 bytes, next commitments."""
        writer.raw(self.key, KEY_SIZE).u16(self.sender).raw(self.session, 32).u16(len(self.shares))
        for share in self.shares:
            writer.raw(share, SHARE_SIZE)
        writer.var(self.following.encode(), Commitments.LIMIT)

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Take what `write` appended; the next commitments are of the same member and key."""
        key, sender, session = reader.raw(KEY_SIZE), read_member(reader), reader.raw(32)
        count = reader.between(reader.u16(), 1, MAX_MESSAGES, "the number of shares")
        shares = tuple(reader.raw(SHARE_SIZE) for _ in range(count))
        following = Commitments.decode(reader.var(Commitments.LIMIT))
        if (following.key, following.sender) != (key, sender):
            raise DecodeError("the next commitments are of another member or key")
        return cls(key, sender, session, shares, following)


@dataclass(frozen=True, slots=True)
class Refusal(SignedMessage):
    """A member does not answer a session with shares, and why; NO_SESSION when asked for commitments."""

    KIND: ClassVar[int] = 36
    LIMIT: ClassVar[int] = 512 + MAX_REASON
    TAG: ClassVar[str] = "holdfast/sign/refusal/v1"
    key: bytes
    sender: int
    session: bytes
    code: str
    reason: str
    retryable: bool
    signature: bytes = UNSIGNED

    def write(self, writer: Writer) -> None:
        """Key, u16 sender, session, code, reason (cut to 1024 bytes by `cut`), flag."""
        writer.raw(self.key, KEY_SIZE).u16(self.sender).raw(self.session, 32)
        writer.text(self.code, 32).text(self.reason, MAX_REASON).flag(self.retryable)

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Take what `write` appended."""
        key, sender, session = reader.raw(KEY_SIZE), read_member(reader), reader.raw(32)
        return cls(key, sender, session, read_purpose(reader), reader.text(MAX_REASON), reader.flag())


@dataclass(frozen=True, slots=True)
class Verdict(SignedMessage):
    """A signer's stored yes or no to one request; `digest_approved` is Approved.digest, zero for a no."""

    KIND: ClassVar[int] = 37
    LIMIT: ClassVar[int] = 512 + MAX_REASON
    TAG: ClassVar[str] = "holdfast/sign/verdict/v1"
    key: bytes
    sender: int
    request: bytes
    approved: bool
    digest_approved: bytes
    reason: str
    retryable: bool
    signature: bytes = UNSIGNED

    def write(self, writer: Writer) -> None:
        """Key, u16 sender, request, flag approved, digest, reason, flag retryable."""
        writer.raw(self.key, KEY_SIZE).u16(self.sender).raw(self.request, 32).flag(self.approved)
        writer.raw(self.digest_approved, 32).text(self.reason, MAX_REASON).flag(self.retryable)

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Take what `write` appended."""
        key, sender, request = reader.raw(KEY_SIZE), read_member(reader), reader.raw(32)
        approved, digest = reader.flag(), reader.raw(32)
        return cls(key, sender, request, approved, digest, reader.text(MAX_REASON), reader.flag())


def read_answer(data: bytes) -> Shares | Refusal:
    """Decode a member's answer to a SharesRequest; DecodeError on anything else."""
    return Refusal.decode(data) if data[:1] == bytes([Refusal.KIND]) else Shares.decode(data)


def read_offer(data: bytes) -> Commitments | Refusal:
    """Decode a member's answer to a CommitRequest; DecodeError on anything else."""
    return Refusal.decode(data) if data[:1] == bytes([Refusal.KIND]) else Commitments.decode(data)


def cut(reason: str) -> str:
    """A reason short enough to travel."""
    return reason.encode()[:MAX_REASON].decode(errors="ignore")


def session_id(key: bytes, request: bytes, package_hashes: Iterable[bytes]) -> bytes:
    """The 32-byte id of a session: key with its shares, request id, hash of each package in order."""
    return tagged_hash("holdfast/session/v1", key, request, *package_hashes)


def order_digest(sender: int, era: bytes, session: bytes, want: int) -> bytes:
    """What a coordinator signs when it opens a session."""
    return tagged_hash(
        SharesRequest.TAG, Writer().u16(sender).raw(era, ERA_SIZE).raw(session, 32).u16(want).done()
    )


def _write_packages(writer: Writer, packages: tuple[SigningPackage, ...]) -> None:
    writer.u16(len(packages))
    for package in packages:
        writer.var(package.encode(), MAX_PACKAGE)


def _read_packages(reader: Reader) -> tuple[SigningPackage, ...]:
    count = reader.between(reader.u16(), 1, MAX_MESSAGES, "the number of packages")
    packages = tuple(SigningPackage.decode(reader.var(MAX_PACKAGE)) for _ in range(count))
    if any(tuple(p.commitments) != tuple(packages[0].commitments) for p in packages):
        raise DecodeError("the packages of one session are for different members")
    return packages
