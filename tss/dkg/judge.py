"""Who is guilty: judges that anybody can run over signed messages, holding no share."""

from dataclasses import dataclass

from tss.dkg.committee import Committee
from tss.dkg.faults import BadShare, Equivocation, ViewsDiffer, WrongSession
from tss.dkg.messages import R1, R2, R3, Complaint, R1Set, R2Set
from tss.dkg.participant import open_shares, share_fits
from tss.dkg.ports import Sealer
from tss.dkg.transcript import Transcript
from tss.frost.engine import Engine


@dataclass(frozen=True, slots=True)
class Judgement:
    """The guilty, by index, with one sentence; evidence is the complaint and the transcript."""

    culprits: tuple[int, ...]
    reason: str
    complaint: Complaint
    transcript: Transcript

    def fault(self) -> BadShare:
        """The judgement as the error that ends the session."""
        return BadShare(self.reason, self.culprits, (self.complaint.encode(), self.transcript.encode()))


def judge(engine: Engine, sealer: Sealer, transcript: Transcript, complaint: Complaint) -> Judgement:
    """Open with the revealed key what the accused sealed and signed, and say who lied.

    A share that does not open or does not fit convicts its sender; a complaint against a good share, or with
    a key that is not the complainant's, convicts the complainant. Raises ViewsDiffer when the complaint is
    about other messages than these, WrongSession, BadSignature.
    """
    transcript.check()
    committee = transcript.committee
    complaint.check(committee)
    if complaint.sid != transcript.roster.sid:
        raise WrongSession("the complaint is about another session")
    if (complaint.r1_hash, complaint.r2_hash) != (transcript.r1s.hash, transcript.r2s.hash):
        raise ViewsDiffer(
            "the complaint is about other R1 or R2 than these: compare them to see who equivocated"
        )
    name = committee.name_of(complaint.sender)
    private, encryption_key = sealer.derive(complaint.seed)
    if encryption_key != transcript.r1s.of(complaint.sender).encryption_key:
        reason = f"{name} complained with a key that is not the one in its own R1"
        return Judgement((complaint.sender,), reason, complaint, transcript)
    shares, bad = open_shares(sealer, transcript, complaint.sender, private)
    for sender, share in shares.items():
        if not share_fits(engine, transcript.r1s.of(sender), complaint.sender, share):
            bad.add(sender)
    slandered = set(complaint.accused) - bad
    guilty = bad & set(complaint.accused)
    if slandered:
        guilty.add(complaint.sender)
        reason = f"{name} complained of {committee.names_of(slandered)}, whose shares are good"
    else:
        reason = f"{committee.names_of(guilty)} sealed to {name} a share that does not fit the signed R1"
    return Judgement(tuple(sorted(guilty)), reason, complaint, transcript)


Said = R1 | R2 | R3


def equivocation(committee: Committee, one: Said, other: Said) -> Equivocation | None:
    """The proof that one member signed two different messages for one place; None when they prove nothing."""
    place, same = (one.KIND, one.sender, one.sid), (other.KIND, other.sender, other.sid)
    if place != same or one.digest == other.digest:
        return None
    one.check(committee)
    other.check(committee)
    return Equivocation(
        f"{committee.name_of(one.sender)} signed two different {type(one).__name__} in one session: "
        "start a new attempt only when that is explained",
        (one.sender,),
        (one.encode(), other.encode()),
    )


def compare(committee: Committee, ours: R1Set | R2Set, theirs: R1Set | R2Set) -> tuple[Equivocation, ...]:
    """Every equivocation that two members' sets prove together; the way out of ViewsDiffer."""
    found: list[Equivocation] = []
    for place in range(min(len(ours.messages), len(theirs.messages))):
        proof = equivocation(committee, ours.messages[place], theirs.messages[place])
        if proof is not None:
            found.append(proof)
    return tuple(found)
