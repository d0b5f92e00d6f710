"""What a session is about, and the roster of one attempt at it."""

from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar, Self

from tss.dkg.committee import Committee
from tss.dkg.faults import WrongSession
from tss.dkg.signed import MAX_MEMBERS, UNSIGNED, Encoded, SignedMessage, read_member
from tss.frost.codec import DecodeError, Reader, Writer
from tss.frost.group import GroupPublic
from tss.frost.hashing import tagged_hash

SHARE_SET_SIZE = 33


class Work(IntEnum):
    """What is done to the shares."""

    REFRESH = 1
    REPAIR = 2


@dataclass(frozen=True, slots=True)
class Plan(Encoded):
    """The work, the key's DKG session, the share set it starts from, the attempt, and who takes part.

    `members` ascend. In a refresh they are who holds a share afterwards: leaving one out removes it. In a repair
    they are the helpers and `receiver`, whose share was lost; in a refresh `receiver` is 0.
    """

    KIND: ClassVar[int] = 80
    LIMIT: ClassVar[int] = 512
    work: Work
    committee_hash: bytes
    key: bytes
    base: bytes
    attempt: int
    members: tuple[int, ...]
    receiver: int = 0

    @property
    def dealers(self) -> tuple[int, ...]:
        """Who deals values: all members of a refresh, the helpers of a repair."""
        return tuple(member for member in self.members if member != self.receiver)

    @property
    def hash(self) -> bytes:
        """What every entry of the roster signs."""
        return tagged_hash("holdfast/rotation/plan/v1", self.encode())

    def receivers(self, dealer: int) -> tuple[int, ...]:
        """Whom a dealer seals values to in the first deal.

        In a refresh also oneself, for the transcript is the backup. In a repair never: a helper's delta for itself
        is what keeps its share secret from all other helpers together.
        """
        return tuple(m for m in self.dealers if self.work is Work.REFRESH or m != dealer)

    def removed(self, public: GroupPublic) -> tuple[int, ...]:
        """Who holds a share now and will hold none."""
        return tuple(m for m in public.verifying_shares if m not in self.members)

    def write(self, writer: Writer) -> None:
        """u8 work, committee hash, key's sid, share set, u32 attempt, u16 receiver, u16 count, members."""
        writer.u8(self.work).raw(self.committee_hash, 32).raw(self.key, 32).raw(self.base, SHARE_SET_SIZE)
        writer.u32(self.attempt).u16(self.receiver).u16(len(self.members))
        for member in self.members:
            writer.u16(member)

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Take what `write` appended; members ascend, a repair has a receiver among them, a refresh has none."""
        work = Work(reader.between(reader.u8(), 1, 2, "a kind of key work"))
        committee, key, base = reader.raw(32), reader.raw(32), reader.raw(SHARE_SET_SIZE)
        attempt, receiver = reader.u32(), reader.u16()
        count = reader.between(reader.u16(), 2, MAX_MEMBERS, "the number of members")
        members = tuple(read_member(reader) for _ in range(count))
        if list(members) != sorted(set(members)):
            raise DecodeError("the members of a plan are not in ascending order")
        if (receiver in members) is not (work is Work.REPAIR) or (work is Work.REFRESH and receiver):
            raise DecodeError("a repair has one receiver among its members, a refresh has none")
        return cls(work, committee, key, base, attempt, members, receiver)


@dataclass(frozen=True, slots=True)
class Entry(SignedMessage):
    """One member's fresh nonce for one attempt at one plan."""

    KIND: ClassVar[int] = 81
    LIMIT: ClassVar[int] = 256
    TAG: ClassVar[str] = "holdfast/rotation/entry/v1"
    plan: bytes
    sender: int
    nonce: bytes
    signature: bytes = UNSIGNED

    def write(self, writer: Writer) -> None:
        """Hash of the plan, u16 sender, nonce."""
        writer.raw(self.plan, 32).u16(self.sender).raw(self.nonce, 32)

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Take what `write` appended."""
        return cls(reader.raw(32), read_member(reader), reader.raw(32))


@dataclass(frozen=True, slots=True)
class Roster(Encoded):
    """A plan with the entries of all its members; `sid` names the session."""

    KIND: ClassVar[int] = 82
    LIMIT: ClassVar[int] = 64 * 1024
    plan: Plan
    entries: tuple[Entry, ...]

    @property
    def sid(self) -> bytes:
        """The session id: plan and all entries, signatures left out."""
        digests = (entry.digest for entry in self.entries)
        return tagged_hash("holdfast/rotation/sid/v1", self.plan.hash, *digests)

    def entry_of(self, member: int) -> Entry:
        """The entry of one member."""
        return self.entries[self.plan.members.index(member)]

    def write(self, writer: Writer) -> None:
        """The plan with its u32 length, then each entry in order of index."""
        writer.var(self.plan.encode(), Plan.LIMIT)
        for entry in self.entries:
            writer.var(entry.encode(), Entry.LIMIT)

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Take what `write` appended; one entry for each member of the plan, in order."""
        plan = Plan.decode(reader.var(Plan.LIMIT))
        entries = tuple(Entry.decode(reader.var(Entry.LIMIT)) for _ in plan.members)
        if tuple(entry.sender for entry in entries) != plan.members:
            raise DecodeError("a roster's entries are not one per member in order of index")
        if any(entry.plan != plan.hash for entry in entries):
            raise DecodeError("a roster's entries are for different plans")
        return cls(plan, entries)

    def check(self, committee: Committee) -> Self:
        """Itself when it is for this committee and signed by all who take part."""
        if self.plan.committee_hash != committee.hash:
            raise WrongSession("the plan is for another committee file: compare its words with the others")
        for entry in self.entries:
            entry.check(committee)
        return self
