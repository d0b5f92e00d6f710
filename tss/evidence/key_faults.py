"""Faults in a key generation: what each body holds, and when it convicts."""

from dataclasses import dataclass
from typing import ClassVar, Self, TypeVar

from tss.dkg.messages import (
    R1,
    R2,
    R3,
    Ack,
    Complaint,
    R1Set,
    Roster,
    RosterEntry,
    r1_set_hash,
    r2_set_hash,
)
from tss.dkg.participant import share_fits, share_info
from tss.dkg.ports import SealBroken
from tss.dkg.signed import MAX_MEMBERS, Encoded, SignedMessage
from tss.dkg.transcript import transcript_hash
from tss.evidence.form import Body, Court, Kind, NotProven
from tss.frost.codec import DecodeError, Reader, Writer
from tss.frost.errors import EncodingFault, FrostError, ProofFault
from tss.rotation import messages as work

_MESSAGE = 20 * 1024  # more than any message of a key generation
_MAX_PUBLIC = 8 * 1024
_PROBE = bytes(32)

E = TypeVar("E", bound=Encoded)


def _put(writer: Writer, *values: Encoded) -> None:
    for value in values:
        writer.var(value.encode(), value.LIMIT + 64)


def _take(reader: Reader, kind: type[E]) -> E:
    return kind.decode(reader.var(kind.LIMIT + 64))


def _digests(writer: Writer, digests: tuple[bytes, ...]) -> None:
    writer.u16(len(digests))
    for digest in digests:
        writer.raw(digest, 32)


def _take_digests(reader: Reader) -> tuple[bytes, ...]:
    count = reader.between(reader.u16(), 1, MAX_MEMBERS, "the number of digests")
    return tuple(reader.raw(32) for _ in range(count))


def _in_session(court: Court, roster: Roster, *messages: SignedMessage) -> None:
    """The roster binds the session to this committee, its n and its t: a host key may sit in several."""
    roster.check(court.committee)
    for message in messages:
        message.check(court.committee)
        if getattr(message, "sid", None) != roster.sid:
            raise NotProven("its messages are of different sessions")


def _of(message: SignedMessage, culprit: int) -> None:
    if message.sender != culprit:
        raise NotProven("its message is not the culprit's")


@dataclass(frozen=True, slots=True)
class BadProof(Body):
    """A signed R1 with an invalid package, proof of knowledge or encryption key."""

    KIND: ClassVar[int] = 65
    LIMIT: ClassVar[int] = 64 + Roster.LIMIT + R1.LIMIT
    roster: Roster
    r1: R1

    def write(self, writer: Writer) -> None:
        """roster, R1."""
        _put(writer, self.roster, self.r1)

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Take what `write` appended."""
        return cls(_take(reader, Roster), _take(reader, R1))

    def convict(self, court: Court, culprit: int) -> str:
        """The R1 fails its check, or nothing can be sealed to its key."""
        _in_session(court, self.roster, self.r1)
        _of(self.r1, culprit)
        committee = court.committee
        try:
            court.engine.dkg_check_r1(culprit, committee.size, committee.threshold, self.r1.package)
        except (EncodingFault, ProofFault):
            return "signed an R1 that holds no valid package and proof of knowledge"
        try:
            court.sealer.seal(self.r1.encryption_key, b"", _PROBE)
        except SealBroken:
            return "signed an R1 with a key that nothing can be sealed to"
        raise NotProven("the R1 in it is good")


@dataclass(frozen=True, slots=True)
class BadR2(Body):
    """A signed R2 that does not hold one sealed share per member."""

    KIND: ClassVar[int] = 66
    LIMIT: ClassVar[int] = 64 + Roster.LIMIT + R2.LIMIT
    roster: Roster
    r2: R2

    def write(self, writer: Writer) -> None:
        """roster, R2."""
        _put(writer, self.roster, self.r2)

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Take what `write` appended."""
        return cls(_take(reader, Roster), _take(reader, R2))

    def convict(self, court: Court, culprit: int) -> str:
        """The number of sealed shares is not n."""
        _in_session(court, self.roster, self.r2)
        _of(self.r2, culprit)
        sealed, size = len(self.r2.sealed), court.committee.size
        if sealed == size:
            raise NotProven("the R2 in it holds a share for every member: only a complaint shows a bad one")
        return f"signed an R2 with {sealed} sealed shares for {size} members"


@dataclass(frozen=True, slots=True)
class Accusation(Body):
    """A complaint with what it is about: who lied, the accused or the accuser, is for the judge to say.

    Of all R1 and R2 only those at issue are whole; the digests of the rest bind them to what the complainant
    signed, and to the hash of all R1 that the accused signed.
    """

    KIND: ClassVar[int] = 67
    LIMIT: ClassVar[int] = 512 + Roster.LIMIT + 2 * 32 * MAX_MEMBERS + 2 * R1.LIMIT + R2.LIMIT + 1024
    roster: Roster
    r1_digests: tuple[bytes, ...]
    r2_digests: tuple[bytes, ...]
    complainants_r1: R1
    accused_r1: R1
    accused_r2: R2
    complaint: Complaint

    def write(self, writer: Writer) -> None:
        """roster, digests of all R1 and all R2, the complainant's R1, R1 and R2 of the accused, complaint."""
        _put(writer, self.roster)
        _digests(writer, self.r1_digests)
        _digests(writer, self.r2_digests)
        _put(writer, self.complainants_r1, self.accused_r1, self.accused_r2, self.complaint)

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Take what `write` appended."""
        return cls(
            _take(reader, Roster),
            _take_digests(reader),
            _take_digests(reader),
            _take(reader, R1),
            _take(reader, R1),
            _take(reader, R2),
            _take(reader, Complaint),
        )

    def convict(self, court: Court, culprit: int) -> str:
        """Open with the revealed one-session key what the accused sealed; whoever lied is guilty."""
        self._bind(court)
        committee, accuser, accused = court.committee, self.complaint.sender, self.accused_r1.sender
        lie = self._lie(court)
        guilty = accused if lie is None else accuser
        found = Kind.BAD_DKG_SHARE if lie is None else Kind.FALSE_COMPLAINT
        if (guilty, found) != (culprit, court.kind):
            raise NotProven(f"it convicts {committee.name_of(guilty)} of {found.slug}")
        if lie is not None:
            return f"complained of {committee.name_of(accused)} {lie}"
        return (
            f"sealed to {committee.name_of(accuser)} a share that does not open or does not fit its signed R1"
        )

    def _bind(self, court: Court) -> None:
        about, accused = self.complaint, self.accused_r1.sender
        _in_session(court, self.roster, about, self.complainants_r1, self.accused_r1, self.accused_r2)
        if self.complainants_r1.sender != about.sender or self.accused_r2.sender != accused:
            raise NotProven("its messages are not those of accuser and accused")
        if accused not in about.accused:
            raise NotProven("the complaint does not name the accused")
        size = court.committee.size
        if {len(self.r1_digests), len(self.r2_digests), len(self.accused_r2.sealed)} != {size}:
            raise NotProven("it is not about all members")
        places = (
            (self.r1_digests, self.complainants_r1),
            (self.r1_digests, self.accused_r1),
            (self.r2_digests, self.accused_r2),
        )
        if any(digests[message.sender - 1] != message.digest for digests, message in places):
            raise NotProven("its messages are not those that the complaint is about")
        r1_hash = r1_set_hash(self.r1_digests)
        if {about.r1_hash, self.accused_r2.r1_hash} != {r1_hash} or about.r2_hash != r2_set_hash(
            self.r2_digests
        ):
            raise NotProven("accuser and accused saw different messages: look for who equivocated")

    def _lie(self, court: Court) -> str | None:
        """What is false in the complaint; None when it is true."""
        accuser, accused = self.complaint.sender, self.accused_r1.sender
        private, encryption_key = court.sealer.derive(self.complaint.seed)
        if encryption_key != self.complainants_r1.encryption_key:
            return "with a key that is not the one in its own R1"
        info = share_info(self.roster.sid, accused, accuser, self.accused_r2.r1_hash)
        try:
            share = court.sealer.open(private, info, self.accused_r2.sealed[accuser - 1])
        except SealBroken:
            return None
        return "whose share is good" if share_fits(court.engine, self.accused_r1, accuser, share) else None


# A member speaks once in each of these places of one session, also of a refresh or repair. An entry for the roster
# is none of them: any relay may ask for an attempt anew, and attempts are counted by each relay for itself.
_PLACES: dict[int, tuple[type[SignedMessage], str]] = {
    R1.KIND: (R1, "R1"),
    R2.KIND: (R2, "R2"),
    R3.KIND: (R3, "end of round 3"),
    Complaint.KIND: (Complaint, "end of round 3"),
    Ack.KIND: (Ack, "ack"),
    work.R1.KIND: (work.R1, "R1"),
    work.Deal.KIND: (work.Deal, "deal"),
    work.Assent.KIND: (work.Assent, "assent"),
    work.Ack.KIND: (work.Ack, "ack"),
}


@dataclass(frozen=True, slots=True)
class Equivocation(Body):
    """Two different messages that one member signed for one place in one session."""

    KIND: ClassVar[int] = 68
    LIMIT: ClassVar[int] = 64 + 2 * _MESSAGE
    one: bytes
    other: bytes

    def write(self, writer: Writer) -> None:
        """Two encoded messages, the smaller first."""
        for message in sorted((self.one, self.other)):
            writer.var(message, _MESSAGE)

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Take what `write` appended."""
        one, other = reader.var(_MESSAGE), reader.var(_MESSAGE)
        if one > other:
            raise DecodeError("the two messages are not in order")
        return cls(one, other)

    def convict(self, court: Court, culprit: int) -> str:
        """Same sender, session and place; another content; both signatures hold."""
        (one, place), (other, second) = _said(self.one), _said(self.other)
        for message in (one, other):
            _of(message, culprit)
            message.check(court.committee)
        if place != second or _session(one) != _session(other):
            raise NotProven("its two messages are for different places or sessions")
        if one.digest == other.digest:
            raise NotProven("its two messages say the same")
        if type(one) is not type(other):
            return "signed in one session both that its shares are good and that one is bad"
        if isinstance(one, Complaint):
            return "signed two different complaints in one session"
        return f"signed two different {place} in one session"


def _session(message: SignedMessage) -> tuple[object, object]:
    """The session, and the round of a deal."""
    return getattr(message, "sid", None), getattr(message, "round", None) if isinstance(
        message, work.Deal
    ) else None


def _said(data: bytes) -> tuple[SignedMessage, str]:
    if data[:1] == bytes([RosterEntry.KIND]):
        raise NotProven("two entries for a roster are no fault: an attempt may be asked for again")
    if not data or data[0] not in _PLACES:
        raise NotProven("its messages are none of a key generation")
    kind, place = _PLACES[data[0]]
    return kind.decode(data), place


@dataclass(frozen=True, slots=True)
class FalseKey(Body):
    """A signature under a certificate over a lie: the key that T names is not the one that the R1 make.

    `public` is what T was said to be over; whoever shows a certificate for it has it.
    """

    KIND: ClassVar[int] = 69
    LIMIT: ClassVar[int] = 512 + Roster.LIMIT + MAX_MEMBERS * (4 + 5 * 1024) + _MAX_PUBLIC
    roster: Roster
    r1s: R1Set
    r2_hash: bytes
    public: bytes
    r3: R3

    def write(self, writer: Writer) -> None:
        """roster, all R1, hash of all R2, the encoded public key, the culprit's R3."""
        _put(writer, self.roster, self.r1s)
        writer.raw(self.r2_hash, 32).var(self.public, _MAX_PUBLIC)
        _put(writer, self.r3)

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Take what `write` appended."""
        roster, r1s = _take(reader, Roster), _take(reader, R1Set)
        return cls(roster, r1s, reader.raw(32), reader.var(_MAX_PUBLIC), _take(reader, R3))

    def convict(self, court: Court, culprit: int) -> str:
        """T holds another public key than the session's R1 make."""
        _in_session(court, self.roster, self.r3)
        _of(self.r3, culprit)
        self.r1s.check(court.committee, self.roster)
        if self.r3.transcript != transcript_hash(self.roster.sid, self.r1s.hash, self.r2_hash, self.public):
            raise NotProven("the signature is over something else")
        try:
            made = court.engine.dkg_public(self.r1s.packages, court.committee.threshold).encode()
        except FrostError:
            return "signed a certificate for a session whose R1 make no key"
        if made == self.public:
            raise NotProven("the certified key is the one that the R1 make")
        return "signed a certificate for a key that its session did not make"
