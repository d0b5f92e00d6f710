"""Faults in key work, refresh and repair: what each body holds, and when it convicts."""

from dataclasses import dataclass
from typing import ClassVar, Self

from tss.dkg.signed import MAX_MEMBERS
from tss.evidence.form import MAX_BODY, Body, Court, Kind, NotProven
from tss.frost.codec import Reader, Writer
from tss.frost.engine import GroupPublic
from tss.rotation.judge import judge
from tss.rotation.link import r1_holds, transcript_hash
from tss.rotation.messages import R1, Assent, Complaint, DealSet, R1Set
from tss.rotation.plan import Roster, Work

_MAX_PUBLIC = 40 + 35 * MAX_MEMBERS


@dataclass(frozen=True, slots=True)
class BadWork(Body):
    """A signed R1 of a refresh or repair whose commitments or keys do not fit plan and group."""

    KIND: ClassVar[int] = 74
    LIMIT: ClassVar[int] = 64 + Roster.LIMIT + R1.LIMIT + _MAX_PUBLIC
    before: GroupPublic
    roster: Roster
    r1: R1

    def write(self, writer: Writer) -> None:
        """The group before, roster, R1."""
        writer.var(self.before.encode(), _MAX_PUBLIC).var(self.roster.encode(), Roster.LIMIT)
        writer.var(self.r1.encode(), R1.LIMIT + 64)

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Take what `write` appended."""
        before = GroupPublic.decode(reader.var(_MAX_PUBLIC))
        return cls(before, Roster.decode(reader.var(Roster.LIMIT)), R1.decode(reader.var(R1.LIMIT + 64)))

    def convict(self, court: Court, culprit: int) -> str:
        """The plan names the group by its share set, so the culprit knew what its R1 had to fit."""
        plan = self.roster.check(court.committee).plan
        self.r1.check(court.committee)
        if self.r1.sender != culprit or self.r1.sid != self.roster.sid or culprit not in plan.members:
            raise NotProven("its message is not the culprit's, or of another session")
        if plan.base != self.before.share_set:
            raise NotProven("the plan starts from other shares than these")
        if r1_holds(court.engine, self.before, self.roster, self.r1):
            raise NotProven("the R1 in it is good")
        return "signed an R1 of a refresh or repair whose commitments do not hold"


@dataclass(frozen=True, slots=True)
class WorkAccusation(Body):
    """A complaint in a refresh or repair with all that was dealt; `sigmas` only where they are what it is about."""

    KIND: ClassVar[int] = 75
    LIMIT: ClassVar[int] = MAX_BODY
    roster: Roster
    r1s: R1Set
    deals: DealSet
    sigmas: DealSet | None
    complaint: Complaint

    def write(self, writer: Writer) -> None:
        """roster, all R1, all deals, sigmas or nothing, complaint, each with its u32 length."""
        writer.var(self.roster.encode(), Roster.LIMIT).var(self.r1s.encode(), R1Set.LIMIT)
        writer.var(self.deals.encode(), DealSet.LIMIT)
        writer.var(b"" if self.sigmas is None else self.sigmas.encode(), DealSet.LIMIT)
        writer.var(self.complaint.encode(), Complaint.LIMIT + 64)

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Take what `write` appended."""
        roster, r1s = Roster.decode(reader.var(Roster.LIMIT)), R1Set.decode(reader.var(R1Set.LIMIT))
        deals, sigmas = DealSet.decode(reader.var(DealSet.LIMIT)), reader.var(DealSet.LIMIT)
        complaint = Complaint.decode(reader.var(Complaint.LIMIT + 64))
        return cls(roster, r1s, deals, DealSet.decode(sigmas) if sigmas else None, complaint)

    def convict(self, court: Court, culprit: int) -> str:
        """Open with the revealed keys what the accused sealed; whoever lied is guilty."""
        said = (self.roster, self.r1s, self.deals, self.sigmas, self.complaint)
        found = judge(court.engine, court.sealer, court.committee, *said)
        accuser = self.complaint.sender
        if accuser in self.complaint.accused:
            raise NotProven("its complainant accuses itself")
        wanted = Kind.FALSE_WORK_COMPLAINT if culprit == accuser else Kind.BAD_WORK_SHARE
        if culprit not in found.culprits or court.kind is not wanted:
            raise NotProven(f"it convicts {court.committee.names_of(found.culprits)}: {found.reason}")
        if culprit == accuser:
            return "complained of members without a key that shows a fault"
        return f"sealed to {court.committee.name_of(accuser)} a value that does not fit its signed R1"


@dataclass(frozen=True, slots=True)
class FalseWork(Body):
    """A signature under a certificate over a lie: the group that T names is not the one that the R1 make.

    `dealt` and `public` are what T was said to be over; whoever shows a certificate for it has them.
    """

    KIND: ClassVar[int] = 76
    LIMIT: ClassVar[int] = MAX_BODY
    before: GroupPublic
    roster: Roster
    r1s: R1Set
    dealt: bytes
    public: bytes
    assent: Assent

    def write(self, writer: Writer) -> None:
        """The group before, roster, all R1, hashes of all deals and all sigmas, the group after, the assent."""
        writer.var(self.before.encode(), _MAX_PUBLIC).var(self.roster.encode(), Roster.LIMIT)
        writer.var(self.r1s.encode(), R1Set.LIMIT).raw(self.dealt, 64).var(self.public, _MAX_PUBLIC)
        writer.var(self.assent.encode(), Assent.LIMIT + 64)

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Take what `write` appended."""
        before = GroupPublic.decode(reader.var(_MAX_PUBLIC))
        roster, r1s = Roster.decode(reader.var(Roster.LIMIT)), R1Set.decode(reader.var(R1Set.LIMIT))
        dealt, public = reader.raw(64), reader.var(_MAX_PUBLIC)
        return cls(before, roster, r1s, dealt, public, Assent.decode(reader.var(Assent.LIMIT + 64)))

    def convict(self, court: Court, culprit: int) -> str:
        """T holds another group than the session's R1 make of the one before; a repair leaves that as it was."""
        plan = self.roster.check(court.committee).plan
        self.assent.check(court.committee)
        if self.assent.sender != culprit or self.assent.sid != self.roster.sid or culprit not in plan.members:
            raise NotProven("its message is not the culprit's, or of another session")
        if court.kind is not (Kind.FALSE_REFRESH if plan.work is Work.REFRESH else Kind.FALSE_REPAIR):
            raise NotProven(f"it is about a {plan.work.name.lower()}")
        if plan.base != self.before.share_set:
            raise NotProven("the plan starts from other shares than these")
        self.r1s.check(court.committee, self.roster, plan.members)
        said = (self.roster.sid, self.r1s.hash, self.dealt, self.public)
        if self.assent.transcript != transcript_hash(*said):
            raise NotProven("the signature is over something else")
        what = plan.work.name.lower()
        if not all(r1_holds(court.engine, self.before, self.roster, r1) for r1 in self.r1s.messages):
            return f"signed a certificate for a {what} whose R1 do not hold"
        if self._made(court, plan.work).encode() == self.public:
            raise NotProven("the certified group is the one that the R1 make")
        return f"signed a certificate for a group that its {what} did not make"

    def _made(self, court: Court, work: Work) -> GroupPublic:
        if work is Work.REPAIR:
            return self.before
        return court.engine.refresh_public(self.before, self.r1s.packages)
