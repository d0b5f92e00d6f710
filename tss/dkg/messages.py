"""What travels in a key generation; every message is signed by its sender under its own tag.

Sizes at n = t = 128: R1 4.4 kB, R2 10.4 kB, recovery data 2 MB. DESIGN section 4.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self, TypeVar

from tss.dkg.committee import Committee
from tss.dkg.faults import WrongSession
from tss.dkg.ports import ENCRYPTION_KEY_SIZE, SEALED_SHARE_SIZE
from tss.dkg.signed import (
    MAX_MEMBERS,
    UNSIGNED,
    Encoded,
    SignedMessage,
    read_member,
    read_purpose,
)
from tss.frost.codec import DecodeError, Reader, Writer
from tss.frost.hashing import tagged_hash

M = TypeVar("M", bound=SignedMessage)

MAX_PACKAGE = 33 * MAX_MEMBERS + 64  # t commitments and a proof of knowledge
MAX_SET = 2 * 1024 * 1024
MAX_RECOVERY = 4 * 1024 * 1024 - 64 * 1024  # a peer's body is at most 4 MiB


@dataclass(frozen=True, slots=True)
class RosterEntry(SignedMessage):
    """One member's fresh nonce for one attempt: `sid` cannot repeat while one member is honest."""

    KIND: ClassVar[int] = 2
    LIMIT: ClassVar[int] = 256
    TAG: ClassVar[str] = "holdfast/dkg/entry/v1"
    committee_hash: bytes
    purpose: str
    epoch: int
    attempt: int
    sender: int
    nonce: bytes
    signature: bytes = UNSIGNED

    def write(self, writer: Writer) -> None:
        """Committee hash, purpose, u32 epoch, u32 attempt, u16 sender, nonce."""
        writer.raw(self.committee_hash, 32).text(self.purpose, 32).u32(self.epoch).u32(self.attempt)
        writer.u16(self.sender).raw(self.nonce, 32)

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Take what `write` appended."""
        return cls(
            reader.raw(32),
            read_purpose(reader),
            reader.u32(),
            reader.u32(),
            read_member(reader),
            reader.raw(32),
        )


@dataclass(frozen=True, slots=True)
class Roster(Encoded):
    """All members' entries of one attempt; `sid` names the session."""

    KIND: ClassVar[int] = 3
    LIMIT: ClassVar[int] = 64 * 1024
    entries: tuple[RosterEntry, ...]

    @property
    def committee_hash(self) -> bytes:
        """The committee file that this attempt is for."""
        return self.entries[0].committee_hash

    @property
    def purpose(self) -> str:
        """What the key is for."""
        return self.entries[0].purpose

    @property
    def epoch(self) -> int:
        """The key epoch."""
        return self.entries[0].epoch

    @property
    def attempt(self) -> int:
        """The attempt's number."""
        return self.entries[0].attempt

    @property
    def sid(self) -> bytes:
        """The session id: the hash of all entries, signatures left out."""
        return tagged_hash("holdfast/dkg/sid/v1", *(entry.digest for entry in self.entries))

    def write(self, writer: Writer) -> None:
        """u16 n, then each entry with its signature, in order of index."""
        _write_all(writer, self.entries)

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Take what `write` appended; entries are complete, in order, and of one attempt."""
        entries = _read_all(reader, RosterEntry)
        first = entries[0]
        for entry in entries:
            if (entry.committee_hash, entry.purpose, entry.epoch, entry.attempt) != (
                first.committee_hash,
                first.purpose,
                first.epoch,
                first.attempt,
            ):
                raise DecodeError("a roster's entries are for different attempts")
        return cls(entries)

    def check(self, committee: Committee) -> Self:
        """Itself when it is for this committee and signed by all; else WrongSession or BadSignature."""
        if self.committee_hash != committee.hash or len(self.entries) != committee.size:
            raise WrongSession("the roster is for another committee file: compare its words with the others")
        for entry in self.entries:
            entry.check(committee)
        return self


@dataclass(frozen=True, slots=True)
class R1(SignedMessage):
    """Round 1: the part1 package and a one-session encryption key, made from host secret, sid and salt."""

    KIND: ClassVar[int] = 4
    LIMIT: ClassVar[int] = 8 * 1024
    TAG: ClassVar[str] = "holdfast/dkg/r1/v1"
    sid: bytes
    sender: int
    package: bytes
    encryption_key: bytes
    salt: bytes
    signature: bytes = UNSIGNED

    def write(self, writer: Writer) -> None:
        """sid, u16 sender, package, encryption key, salt."""
        writer.raw(self.sid, 32).u16(self.sender).var(self.package, MAX_PACKAGE)
        writer.raw(self.encryption_key, ENCRYPTION_KEY_SIZE).raw(self.salt, 32)

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Take what `write` appended."""
        return cls(
            reader.raw(32),
            read_member(reader),
            reader.var(MAX_PACKAGE),
            reader.raw(ENCRYPTION_KEY_SIZE),
            reader.raw(32),
        )


@dataclass(frozen=True, slots=True)
class R1Set(Encoded):
    """The R1 of all members, in order of index."""

    KIND: ClassVar[int] = 5
    LIMIT: ClassVar[int] = MAX_SET
    messages: tuple[R1, ...]

    @property
    def hash(self) -> bytes:
        """The hash of all R1, signatures left out; every R2 repeats it."""
        return r1_set_hash(message.digest for message in self.messages)

    @property
    def packages(self) -> dict[int, bytes]:
        """The part1 packages by member, as the engine takes them."""
        return {message.sender: message.package for message in self.messages}

    def of(self, index: int) -> R1:
        """The message of one member."""
        return self.messages[index - 1]

    def write(self, writer: Writer) -> None:
        """u16 n, then each message."""
        _write_all(writer, self.messages)

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Take what `write` appended; complete and in order."""
        return cls(_read_all(reader, R1))

    def check(self, committee: Committee, roster: Roster) -> Self:
        """Itself when complete, of this session, and signed by all."""
        _check_set(committee, roster, self.messages)
        return self


@dataclass(frozen=True, slots=True)
class R2(SignedMessage):
    """Round 2: a sealed share for every member including oneself, so the transcript is the backup."""

    KIND: ClassVar[int] = 6
    LIMIT: ClassVar[int] = 16 * 1024
    TAG: ClassVar[str] = "holdfast/dkg/r2/v1"
    sid: bytes
    sender: int
    r1_hash: bytes
    sealed: tuple[bytes, ...]
    signature: bytes = UNSIGNED

    def write(self, writer: Writer) -> None:
        """sid, u16 sender, hash of all R1, u16 n, then n sealed shares of 80 bytes."""
        writer.raw(self.sid, 32).u16(self.sender).raw(self.r1_hash, 32).u16(len(self.sealed))
        for box in self.sealed:
            writer.raw(box, SEALED_SHARE_SIZE)

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Take what `write` appended."""
        sid, sender, r1_hash = reader.raw(32), read_member(reader), reader.raw(32)
        count = reader.between(reader.u16(), 1, MAX_MEMBERS, "the number of sealed shares")
        return cls(sid, sender, r1_hash, tuple(reader.raw(SEALED_SHARE_SIZE) for _ in range(count)))


@dataclass(frozen=True, slots=True)
class R2Set(Encoded):
    """The R2 of all members, in order of index."""

    KIND: ClassVar[int] = 7
    LIMIT: ClassVar[int] = MAX_SET
    messages: tuple[R2, ...]

    @property
    def hash(self) -> bytes:
        """The hash of all R2, signatures left out."""
        return r2_set_hash(message.digest for message in self.messages)

    def of(self, index: int) -> R2:
        """The message of one member."""
        return self.messages[index - 1]

    def write(self, writer: Writer) -> None:
        """u16 n, then each message."""
        _write_all(writer, self.messages)

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Take what `write` appended; complete and in order."""
        return cls(_read_all(reader, R2))

    def check(self, committee: Committee, roster: Roster) -> Self:
        """Itself when complete, of this session, and signed by all. The R1 hashes: see `participant.step3`."""
        _check_set(committee, roster, self.messages)
        for message in self.messages:
            if len(message.sealed) != committee.size:
                raise WrongSession(
                    f"{committee.name_of(message.sender)} sealed {len(message.sealed)} shares for "
                    f"{committee.size} members",
                    (message.sender,),
                    (message.encode(),),
                )
        return self


@dataclass(frozen=True, slots=True)
class R3(SignedMessage):
    """Round 3: the sender holds a good share and signs the transcript hash T; never taken back."""

    KIND: ClassVar[int] = 8
    LIMIT: ClassVar[int] = 256
    TAG: ClassVar[str] = "holdfast/dkg/r3/v1"
    sid: bytes
    sender: int
    transcript: bytes
    signature: bytes = UNSIGNED

    def write(self, writer: Writer) -> None:
        """sid, u16 sender, T."""
        writer.raw(self.sid, 32).u16(self.sender).raw(self.transcript, 32)

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Take what `write` appended."""
        return cls(reader.raw(32), read_member(reader), reader.raw(32))


@dataclass(frozen=True, slots=True)
class Complaint(SignedMessage):
    """Instead of R3: shares of `accused` are bad; `seed` makes the one-session key, so anyone can judge."""

    KIND: ClassVar[int] = 9
    LIMIT: ClassVar[int] = 1024
    TAG: ClassVar[str] = "holdfast/dkg/complaint/v1"
    sid: bytes
    sender: int
    accused: tuple[int, ...]
    r1_hash: bytes
    r2_hash: bytes
    seed: bytes
    signature: bytes = UNSIGNED

    def write(self, writer: Writer) -> None:
        """sid, u16 sender, u16 count, accused ascending, hash of all R1, hash of all R2, seed."""
        writer.raw(self.sid, 32).u16(self.sender).u16(len(self.accused))
        for index in self.accused:
            writer.u16(index)
        writer.raw(self.r1_hash, 32).raw(self.r2_hash, 32).raw(self.seed, 32)

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Take what `write` appended; the accused ascend."""
        sid, sender = reader.raw(32), read_member(reader)
        count = reader.between(reader.u16(), 1, MAX_MEMBERS, "the number of accused")
        accused = tuple(read_member(reader) for _ in range(count))
        if list(accused) != sorted(set(accused)):
            raise DecodeError("the accused are not in ascending order")
        return cls(sid, sender, accused, reader.raw(32), reader.raw(32), reader.raw(32))


@dataclass(frozen=True, slots=True)
class Ack(SignedMessage):
    """The sender has stored the recovery data durably and restored its share from it once."""

    KIND: ClassVar[int] = 10
    LIMIT: ClassVar[int] = 256
    TAG: ClassVar[str] = "holdfast/dkg/ack/v1"
    sid: bytes
    sender: int
    recovery_hash: bytes
    signature: bytes = UNSIGNED

    def write(self, writer: Writer) -> None:
        """sid, u16 sender, hash of the recovery data."""
        writer.raw(self.sid, 32).u16(self.sender).raw(self.recovery_hash, 32)

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Take what `write` appended."""
        return cls(reader.raw(32), read_member(reader), reader.raw(32))


def r1_set_hash(digests: Iterable[bytes]) -> bytes:
    """The hash of all R1 from their digests alone, in order of index."""
    return tagged_hash("holdfast/dkg/all-r1/v1", *digests)


def r2_set_hash(digests: Iterable[bytes]) -> bytes:
    """The hash of all R2 from their digests alone, in order of index."""
    return tagged_hash("holdfast/dkg/all-r2/v1", *digests)


def _write_all(writer: Writer, messages: Sequence[SignedMessage]) -> None:
    writer.u16(len(messages))
    for message in messages:
        writer.var(message.encode(), message.LIMIT)


def _read_all(reader: Reader, kind: type[M]) -> tuple[M, ...]:
    count = reader.between(reader.u16(), 1, MAX_MEMBERS, "the number of messages")
    messages = tuple(kind.decode(reader.var(kind.LIMIT)) for _ in range(count))
    if [message.sender for message in messages] != list(range(1, count + 1)):
        raise DecodeError("messages are not one per member in order of index")
    return messages


def _check_set(committee: Committee, roster: Roster, messages: tuple[R1, ...] | tuple[R2, ...]) -> None:
    if len(messages) != committee.size:
        raise WrongSession(f"{len(messages)} messages for {committee.size} members: the relay left some out")
    sid = roster.sid
    for message in messages:
        message.check(committee)
        if message.sid != sid:
            raise WrongSession(f"a message of {committee.name_of(message.sender)} is from another session")
