"""What remains of a key generation: transcript, certificate, recovery data."""

from dataclasses import dataclass
from typing import ClassVar, Self

from tss.dkg.committee import Committee
from tss.dkg.faults import ViewsDiffer, WrongSession
from tss.dkg.messages import MAX_RECOVERY, R2, R3, R1Set, R2Set, Roster
from tss.dkg.signed import MAX_MEMBERS, SIGNATURE_SIZE, Encoded
from tss.frost.codec import Reader, Writer
from tss.frost.engine import Engine, GroupPublic
from tss.frost.hashing import tagged_hash


@dataclass(frozen=True, slots=True)
class Transcript(Encoded):
    """Everything said before R3. Stored before R3 leaves, so that a late certificate still makes a key."""

    KIND: ClassVar[int] = 11
    LIMIT: ClassVar[int] = MAX_RECOVERY
    committee: Committee
    roster: Roster
    r1s: R1Set
    r2s: R2Set

    def write(self, writer: Writer) -> None:
        """committee, roster, all R1, all R2, each with its u32 length."""
        writer.var(self.committee.encode(), Committee.LIMIT).var(self.roster.encode(), Roster.LIMIT)
        writer.var(self.r1s.encode(), R1Set.LIMIT).var(self.r2s.encode(), R2Set.LIMIT)

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Take what `write` appended; see `check`."""
        return cls(
            Committee.decode(reader.var(Committee.LIMIT)),
            Roster.decode(reader.var(Roster.LIMIT)),
            R1Set.decode(reader.var(R1Set.LIMIT)),
            R2Set.decode(reader.var(R2Set.LIMIT)),
        )

    def hash(self, public: GroupPublic) -> bytes:
        """T: session, all R1, all R2, group key and verifying shares; what R3 and the certificate sign."""
        return transcript_hash(self.roster.sid, self.r1s.hash, self.r2s.hash, public.encode())

    def check(self) -> Self:
        """Itself when every message is signed, complete and of one session, and all saw the same R1."""
        self.roster.check(self.committee)
        self.r1s.check(self.committee, self.roster)
        self.r2s.check(self.committee, self.roster)
        expected = self.r1s.hash
        others = [message.sender for message in self.r2s.messages if message.r1_hash != expected]
        if others:
            raise ViewsDiffer(
                f"{self.committee.names_of(others)} saw other R1 messages than these: compare what each "
                "holds, two differing R1 of one member prove who equivocated"
            )
        return self


@dataclass(frozen=True, slots=True)
class Halfway(Encoded):
    """What a member stores before its R2 leaves: with the host secret it goes on after a restart."""

    KIND: ClassVar[int] = 14
    LIMIT: ClassVar[int] = MAX_RECOVERY
    roster: Roster
    r1s: R1Set
    r2: R2

    def write(self, writer: Writer) -> None:
        """roster, all R1, the own R2, each with its u32 length."""
        writer.var(self.roster.encode(), Roster.LIMIT).var(self.r1s.encode(), R1Set.LIMIT)
        writer.var(self.r2.encode(), R2.LIMIT + SIGNATURE_SIZE)

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Take what `write` appended; checked when it is resumed."""
        return cls(
            Roster.decode(reader.var(Roster.LIMIT)),
            R1Set.decode(reader.var(R1Set.LIMIT)),
            R2.decode(reader.var(R2.LIMIT + SIGNATURE_SIZE)),
        )


@dataclass(frozen=True, slots=True)
class Certificate(Encoded):
    """The R3 signatures of all n members on one T: the key exists for everybody."""

    KIND: ClassVar[int] = 12
    LIMIT: ClassVar[int] = 16 * 1024
    sid: bytes
    transcript: bytes
    signatures: tuple[bytes, ...]

    def write(self, writer: Writer) -> None:
        """sid, T, u16 n, n signatures of 64 bytes in order of index."""
        writer.raw(self.sid, 32).raw(self.transcript, 32).u16(len(self.signatures))
        for signature in self.signatures:
            writer.raw(signature, SIGNATURE_SIZE)

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Take what `write` appended."""
        sid, transcript = reader.raw(32), reader.raw(32)
        count = reader.between(reader.u16(), 1, MAX_MEMBERS, "the number of signatures")
        return cls(sid, transcript, tuple(reader.raw(SIGNATURE_SIZE) for _ in range(count)))

    def check(self, committee: Committee, sid: bytes, transcript: bytes) -> Self:
        """Itself when all n members signed this T; else WrongSession, ViewsDiffer or BadSignature."""
        if self.sid != sid or len(self.signatures) != committee.size:
            raise WrongSession("the certificate is for another session: ask for the one of this attempt")
        if self.transcript != transcript:
            raise ViewsDiffer(
                "the certificate is for another transcript than the one we hold: compare R1 and R2"
            )
        for index, signature in enumerate(self.signatures, 1):
            R3(sid, index, transcript, signature).check(committee)
        return self


@dataclass(frozen=True, slots=True)
class RecoveryData(Encoded):
    """Transcript and certificate: with a member's host secret it restores that member's share."""

    KIND: ClassVar[int] = 13
    LIMIT: ClassVar[int] = MAX_RECOVERY
    transcript: Transcript
    certificate: Certificate

    @property
    def hash(self) -> bytes:
        """What an Ack signs; the same whichever valid signatures the certificate holds."""
        certificate = self.certificate
        return tagged_hash("holdfast/dkg/recovery/v1", certificate.sid, certificate.transcript)

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

    def check(self, engine: Engine) -> GroupPublic:
        """The group's public key when everything in here is signed and fits; needs no secret."""
        transcript = self.transcript.check()
        public = engine.dkg_public(transcript.r1s.packages, transcript.committee.threshold)
        self.certificate.check(transcript.committee, transcript.roster.sid, transcript.hash(public))
        return public


def transcript_hash(sid: bytes, r1_hash: bytes, r2_hash: bytes, public: bytes) -> bytes:
    """T from its parts; `public` is an encoded GroupPublic."""
    return tagged_hash("holdfast/dkg/transcript/v1", sid, r1_hash, r2_hash, public)
