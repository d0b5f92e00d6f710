"""What remains of a refresh or repair: its transcript and its certificate, together one link of a chain."""

from dataclasses import dataclass
from typing import ClassVar, Self

from tss.dkg.committee import Committee
from tss.dkg.faults import BadProof, ViewsDiffer, WrongSession
from tss.dkg.messages import MAX_RECOVERY
from tss.dkg.ports import Identity
from tss.dkg.signed import MAX_MEMBERS, SIGNATURE_SIZE, Encoded
from tss.frost.codec import Reader, Writer
from tss.frost.engine import Engine, GroupPublic
from tss.frost.errors import EncodingFault
from tss.frost.hashing import tagged_hash
from tss.rotation.boxes import Round
from tss.rotation.messages import FIRST, R1, SECOND, Ack, Assent, DealSet, R1Set
from tss.rotation.plan import Roster, Work

PROOF_BYTES = 32 * 1024


@dataclass(frozen=True, slots=True)
class Transcript(Encoded):
    """Everything said before the assents; `sigmas` only in a repair. Stored before our assent leaves."""

    KIND: ClassVar[int] = 90
    LIMIT: ClassVar[int] = MAX_RECOVERY
    roster: Roster
    r1s: R1Set
    deals: DealSet
    sigmas: DealSet | None = None

    @property
    def first(self) -> Round:
        """The first deal: refresh shares or deltas."""
        return Round(self.roster, self.r1s, FIRST, self.r1s.hash, self.deals)

    @property
    def second(self) -> Round:
        """The second deal of a repair: sigmas."""
        assert self.sigmas is not None, "only a repair deals twice"
        return Round(self.roster, self.r1s, SECOND, self.deals.hash, self.sigmas)

    def write(self, writer: Writer) -> None:
        """roster, all R1, all deals, all sigmas (empty in a refresh), each with its u32 length."""
        writer.var(self.roster.encode(), Roster.LIMIT).var(self.r1s.encode(), R1Set.LIMIT)
        writer.var(self.deals.encode(), DealSet.LIMIT)
        writer.var(b"" if self.sigmas is None else self.sigmas.encode(), DealSet.LIMIT)

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Take what `write` appended; see `check`."""
        roster = Roster.decode(reader.var(Roster.LIMIT))
        r1s, deals = R1Set.decode(reader.var(R1Set.LIMIT)), DealSet.decode(reader.var(DealSet.LIMIT))
        sigmas = reader.var(DealSet.LIMIT)
        return cls(roster, r1s, deals, DealSet.decode(sigmas) if sigmas else None)

    def hash(self, public: GroupPublic) -> bytes:
        """T: session, everything said, and the group afterwards; what assents and certificate sign."""
        return transcript_hash(self.roster.sid, self.r1s.hash, self.dealt, public.encode())

    @property
    def dealt(self) -> bytes:
        """The hashes of all deals and of all sigmas (zeros in a refresh), 64 bytes."""
        return self.deals.hash + (bytes(32) if self.sigmas is None else self.sigmas.hash)

    def check(self, engine: Engine, committee: Committee, before: GroupPublic) -> GroupPublic:
        """The group afterwards, when every message is signed, complete, and fits the group before.

        Raises DkgFault (culprits where somebody can be blamed) or FrostError.
        """
        plan = self.roster.check(committee).plan
        check_packages(engine, committee, before, self.roster, self.r1s)
        self.deals.check_deals(committee, self.roster, FIRST, self.r1s.hash)
        if (self.sigmas is None) is not (plan.work is Work.REFRESH):
            raise WrongSession(
                "a repair has a second deal and a refresh has none: the transcript is mixed up"
            )
        if self.sigmas is not None:
            self.sigmas.check_deals(committee, self.roster, SECOND, self.deals.hash)
            return before
        return engine.refresh_public(before, self.r1s.packages)


@dataclass(frozen=True, slots=True)
class Certificate(Encoded):
    """The assents of all who took part to one T, in the plan's order."""

    KIND: ClassVar[int] = 91
    LIMIT: ClassVar[int] = 16 * 1024
    sid: bytes
    transcript: bytes
    signatures: tuple[bytes, ...]

    def write(self, writer: Writer) -> None:
        """sid, T, u16 count, signatures of 64 bytes."""
        writer.raw(self.sid, 32).raw(self.transcript, 32).u16(len(self.signatures))
        for signature in self.signatures:
            writer.raw(signature, SIGNATURE_SIZE)

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Take what `write` appended."""
        sid, transcript = reader.raw(32), reader.raw(32)
        count = reader.between(reader.u16(), 1, MAX_MEMBERS, "the number of signatures")
        return cls(sid, transcript, tuple(reader.raw(SIGNATURE_SIZE) for _ in range(count)))

    def check(self, committee: Committee, roster: Roster, transcript: bytes) -> Self:
        """Itself when all who took part assented to this T; else WrongSession, ViewsDiffer or BadSignature."""
        if self.sid != roster.sid or len(self.signatures) != len(roster.plan.members):
            raise WrongSession("the certificate is for another session: ask for the one of this attempt")
        if self.transcript != transcript:
            raise ViewsDiffer("the certificate is for another transcript than ours: compare R1 and deals")
        for member, signature in zip(roster.plan.members, self.signatures, strict=True):
            Assent(self.sid, member, transcript, signature).check(committee)
        return self


@dataclass(frozen=True, slots=True)
class Link(Encoded):
    """Transcript and certificate of one refresh or repair; `hash` is what an Ack signs."""

    KIND: ClassVar[int] = 92
    LIMIT: ClassVar[int] = MAX_RECOVERY
    transcript: Transcript
    certificate: Certificate

    @property
    def roster(self) -> Roster:
        """The session's roster, with its plan."""
        return self.transcript.roster

    @property
    def sid(self) -> bytes:
        """The session id."""
        return self.certificate.sid

    @property
    def hash(self) -> bytes:
        """The same whichever valid signatures the certificate holds."""
        return tagged_hash("holdfast/rotation/link/v1", self.certificate.sid, self.certificate.transcript)

    def write(self, writer: Writer) -> None:
        """transcript, certificate, each with its u32 length."""
        writer.var(self.transcript.encode(), MAX_RECOVERY)
        writer.var(self.certificate.encode(), Certificate.LIMIT)

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Take what `write` appended; see `check`."""
        return cls(
            Transcript.decode(reader.var(MAX_RECOVERY)), Certificate.decode(reader.var(Certificate.LIMIT))
        )

    def check(self, engine: Engine, committee: Committee, before: GroupPublic) -> GroupPublic:
        """The group afterwards when everything in here is signed and fits; needs no secret."""
        public = self.transcript.check(engine, committee, before)
        self.certificate.check(committee, self.roster, self.transcript.hash(public))
        return public


@dataclass(frozen=True, slots=True)
class HeldLink:
    """A link as a member hands it on, with its proof when it has one."""

    link: bytes
    proof: bytes

    def encode(self) -> bytes:
        """Both with their u32 lengths."""
        return Writer().var(self.link, Link.LIMIT).var(self.proof, PROOF_BYTES).done()

    @classmethod
    def decode(cls, data: bytes) -> "HeldLink":
        """DecodeError for anything but what `encode` writes; the contents are still to be checked."""
        reader = Reader(data, Link.LIMIT + PROOF_BYTES + 64)
        held = cls(reader.var(Link.LIMIT), reader.var(PROOF_BYTES))
        reader.finish()
        return held


def transcript_hash(sid: bytes, r1_hash: bytes, dealt: bytes, public: bytes) -> bytes:
    """T over what it is made of; `dealt` is the hash of all deals and that of all sigmas (zeros in a refresh)."""
    return tagged_hash("holdfast/rotation/transcript/v1", sid, r1_hash, dealt, public)


def acknowledge(identity: Identity, link: Link) -> Ack:
    """Sign that the link is stored durably and our share was restored from it once."""
    return Ack(link.sid, identity.index, link.hash).signed(identity)


def check_packages(
    engine: Engine, committee: Committee, before: GroupPublic, roster: Roster, r1s: R1Set
) -> None:
    """Check that all R1 are there and fit plan and group; BadProof names who sent bad ones, with their R1."""
    plan = roster.plan
    if plan.base != before.share_set:
        raise WrongSession(
            "the plan starts from other shares than these: catch up first, or start a new attempt"
        )
    r1s.check(committee, roster, plan.members)
    bad = [message for message in r1s.messages if not r1_holds(engine, before, roster, message)]
    if bad:
        culprits = [message.sender for message in bad]
        raise BadProof(
            f"the R1 of {committee.names_of(culprits)} holds no valid commitments: settle it with them, then start "
            "a new attempt",
            culprits,
            [message.encode() for message in bad],
        )


def r1_holds(engine: Engine, before: GroupPublic, roster: Roster, message: R1) -> bool:
    """Whether one R1's keys and commitments fit plan and group."""
    enough = len(message.keys) == len(roster.plan.dealers)
    return enough and _package_holds(engine, before, roster, message.sender, message.package)


def _package_holds(engine: Engine, before: GroupPublic, roster: Roster, sender: int, package: bytes) -> bool:
    plan = roster.plan
    if sender == plan.receiver:
        return package == b""
    if plan.work is Work.REPAIR:
        return engine.repair_commitments_ok(before, plan.receiver, sender, plan.dealers, package)
    if len(package) != 33 * (before.threshold - 1):
        return False
    try:
        engine.refresh_share_ok(package, sender, b"")
    except EncodingFault:
        return False
    return True
