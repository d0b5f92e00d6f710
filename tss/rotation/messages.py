"""What travels in a refresh or repair; every message is signed by its sender under its own tag.

Sizes at n = t = 128: R1 8.4 kB, a deal 10.4 kB, a link 2.5 MB.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Generic, Self, TypeVar

from tss.dkg.committee import Committee
from tss.dkg.faults import ViewsDiffer, WrongSession
from tss.dkg.ports import ENCRYPTION_KEY_SIZE, SEALED_SHARE_SIZE, SEED_SIZE
from tss.dkg.signed import MAX_MEMBERS, UNSIGNED, Encoded, SignedMessage, read_member
from tss.frost.codec import DecodeError, Reader, Writer
from tss.frost.hashing import tagged_hash
from tss.rotation.plan import Roster

MAX_PACKAGE = 33 * MAX_MEMBERS
MAX_SET = 2 * 1024 * 1024
FIRST, SECOND = 2, 3  # the rounds in which values are dealt; the second one only in a repair


@dataclass(frozen=True, slots=True)
class R1(SignedMessage):
    """Commitments, and for every dealer an encryption key of this session alone, made from host secret and salt.

    `package`: in a refresh t - 1 points, in a repair a helper's commitments to its deltas, and nothing from the
    receiver.
    """

    KIND: ClassVar[int] = 83
    LIMIT: ClassVar[int] = 16 * 1024
    TAG: ClassVar[str] = "holdfast/rotation/r1/v1"
    sid: bytes
    sender: int
    package: bytes
    keys: tuple[bytes, ...]
    salt: bytes
    signature: bytes = UNSIGNED

    def write(self, writer: Writer) -> None:
        """sid, u16 sender, package, u16 count, keys of 32 bytes, salt."""
        writer.raw(self.sid, 32).u16(self.sender).var(self.package, MAX_PACKAGE).u16(len(self.keys))
        for key in self.keys:
            writer.raw(key, ENCRYPTION_KEY_SIZE)
        writer.raw(self.salt, 32)

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Take what `write` appended."""
        sid, sender, package = reader.raw(32), read_member(reader), reader.var(MAX_PACKAGE)
        count = reader.between(reader.u16(), 1, MAX_MEMBERS, "the number of keys")
        keys = tuple(reader.raw(ENCRYPTION_KEY_SIZE) for _ in range(count))
        return cls(sid, sender, package, keys, reader.raw(32))


@dataclass(frozen=True, slots=True)
class Deal(SignedMessage):
    """Values of one round, sealed to their receivers in the plan's order; `seen` hashes the round before."""

    KIND: ClassVar[int] = 84
    LIMIT: ClassVar[int] = 16 * 1024
    TAG: ClassVar[str] = "holdfast/rotation/deal/v1"
    sid: bytes
    sender: int
    round: int
    seen: bytes
    sealed: tuple[bytes, ...]
    signature: bytes = UNSIGNED

    def write(self, writer: Writer) -> None:
        """sid, u16 sender, u8 round, hash of the round before, u16 count, boxes of 80 bytes."""
        writer.raw(self.sid, 32).u16(self.sender).u8(self.round).raw(self.seen, 32).u16(len(self.sealed))
        for box in self.sealed:
            writer.raw(box, SEALED_SHARE_SIZE)

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Take what `write` appended."""
        sid, sender = reader.raw(32), read_member(reader)
        number, seen = reader.between(reader.u8(), FIRST, SECOND, "a round of deals"), reader.raw(32)
        count = reader.between(reader.u16(), 1, MAX_MEMBERS, "the number of boxes")
        return cls(sid, sender, number, seen, tuple(reader.raw(SEALED_SHARE_SIZE) for _ in range(count)))


@dataclass(frozen=True, slots=True)
class Assent(SignedMessage):
    """The sender holds what it should and signs the transcript hash T; never taken back."""

    KIND: ClassVar[int] = 85
    LIMIT: ClassVar[int] = 256
    TAG: ClassVar[str] = "holdfast/rotation/assent/v1"
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
    """Values of `accused` are bad; each seed makes the one key that opens what that one sealed to the sender.

    `seen` hashes the deals that the complaint is about. Nothing else can be opened with it.
    """

    KIND: ClassVar[int] = 86
    LIMIT: ClassVar[int] = 8 * 1024
    TAG: ClassVar[str] = "holdfast/rotation/complaint/v1"
    sid: bytes
    sender: int
    round: int
    seen: bytes
    accused: tuple[int, ...]
    seeds: tuple[bytes, ...]
    signature: bytes = UNSIGNED

    def write(self, writer: Writer) -> None:
        """sid, u16 sender, u8 round, hash of its deals, u16 count, then (u16 accused, seed) ascending."""
        writer.raw(self.sid, 32).u16(self.sender).u8(self.round).raw(self.seen, 32).u16(len(self.accused))
        for member, seed in zip(self.accused, self.seeds, strict=True):
            writer.u16(member).raw(seed, SEED_SIZE)

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Take what `write` appended; the accused ascend."""
        sid, sender = reader.raw(32), read_member(reader)
        number, seen = reader.between(reader.u8(), FIRST, SECOND, "a round of deals"), reader.raw(32)
        count = reader.between(reader.u16(), 1, MAX_MEMBERS, "the number of accused")
        rows = [(read_member(reader), reader.raw(SEED_SIZE)) for _ in range(count)]
        accused = tuple(member for member, _ in rows)
        if list(accused) != sorted(set(accused)):
            raise DecodeError("the accused are not in ascending order")
        return cls(sid, sender, number, seen, accused, tuple(seed for _, seed in rows))


@dataclass(frozen=True, slots=True)
class Ack(SignedMessage):
    """The sender has stored the link durably and restored its share from it once."""

    KIND: ClassVar[int] = 87
    LIMIT: ClassVar[int] = 256
    TAG: ClassVar[str] = "holdfast/rotation/ack/v1"
    sid: bytes
    sender: int
    link_hash: bytes
    signature: bytes = UNSIGNED

    def write(self, writer: Writer) -> None:
        """sid, u16 sender, hash of the link."""
        writer.raw(self.sid, 32).u16(self.sender).raw(self.link_hash, 32)

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Take what `write` appended."""
        return cls(reader.raw(32), read_member(reader), reader.raw(32))


T = TypeVar("T", R1, Deal)


@dataclass(frozen=True, slots=True)
class MessageSet(Encoded, Generic[T]):
    """The messages of one round, by ascending sender."""

    LIMIT: ClassVar[int] = MAX_SET
    ITEM: ClassVar[type[SignedMessage]]
    TAG: ClassVar[str]
    messages: tuple[T, ...]

    @property
    def hash(self) -> bytes:
        """The hash of all messages, signatures left out."""
        return tagged_hash(self.TAG, *(message.digest for message in self.messages))

    @property
    def senders(self) -> tuple[int, ...]:
        """Who sent them."""
        return tuple(message.sender for message in self.messages)

    def of(self, member: int) -> T:
        """The message of one member."""
        return self.messages[self.senders.index(member)]

    def write(self, writer: Writer) -> None:
        """u16 count, then each message with its u32 length."""
        writer.u16(len(self.messages))
        for message in self.messages:
            writer.var(message.encode(), self.ITEM.LIMIT)

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Take what `write` appended; senders ascend."""
        count = reader.between(reader.u16(), 1, MAX_MEMBERS, "the number of messages")
        messages: Sequence[T] = [cls.ITEM.decode(reader.var(cls.ITEM.LIMIT)) for _ in range(count)]  # type: ignore[misc]  # ITEM is T's class
        senders = [message.sender for message in messages]
        if senders != sorted(set(senders)):
            raise DecodeError("messages are not in order of their senders")
        return cls(tuple(messages))

    def check(self, committee: Committee, roster: Roster, senders: tuple[int, ...]) -> Self:
        """Itself when all of these senders, and no others, signed for this session."""
        if self.senders != senders:
            raise WrongSession("messages do not come from the members of the plan: the relay mixed them up")
        for message in self.messages:
            message.check(committee)
            if message.sid != roster.sid:
                raise WrongSession(
                    f"a message of {committee.name_of(message.sender)} is from another session"
                )
        return self


class R1Set(MessageSet[R1]):
    """The R1 of all who take part."""

    __slots__ = ()
    KIND: ClassVar[int] = 88
    ITEM: ClassVar[type[SignedMessage]] = R1
    TAG: ClassVar[str] = "holdfast/rotation/all-r1/v1"

    @property
    def packages(self) -> dict[int, bytes]:
        """The packages by member, as the engine takes them."""
        return {message.sender: message.package for message in self.messages if message.package}


class DealSet(MessageSet[Deal]):
    """The deals of all dealers in one round."""

    __slots__ = ()
    KIND: ClassVar[int] = 89
    ITEM: ClassVar[type[SignedMessage]] = Deal
    TAG: ClassVar[str] = "holdfast/rotation/all-deals/v1"

    def check_deals(self, committee: Committee, roster: Roster, number: int, seen: bytes) -> Self:
        """Itself when complete, of this round, with a box for each receiver, and made after `seen`."""
        self.check(committee, roster, roster.plan.dealers)
        for deal in self.messages:
            boxes = 1 if number == SECOND else len(roster.plan.receivers(deal.sender))
            name = committee.name_of(deal.sender)
            if deal.round != number or len(deal.sealed) != boxes:
                reason = f"{name} sealed {len(deal.sealed)} values in round {deal.round} where {boxes} belong"
                raise WrongSession(reason, (deal.sender,), (deal.encode(),))
        others = [deal.sender for deal in self.messages if deal.seen != seen]
        if others:
            names = committee.names_of(others)
            raise ViewsDiffer(
                f"{names} saw other messages in the round before: compare what each holds, two differing ones of "
                "one member prove who equivocated"
            )
        return self
