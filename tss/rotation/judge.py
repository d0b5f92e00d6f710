"""Who is guilty when a refresh or repair ends in a complaint; anybody can run it, holding no share."""

from dataclasses import dataclass

from tss.dkg.committee import Committee
from tss.dkg.faults import BadShare, Equivocation, ViewsDiffer, WrongSession
from tss.dkg.ports import Sealer
from tss.frost.engine import Engine
from tss.rotation import boxes
from tss.rotation.boxes import Round
from tss.rotation.messages import FIRST, R1, SECOND, Assent, Complaint, Deal, DealSet, R1Set
from tss.rotation.plan import Roster, Work
from tss.rotation.refresh import share_fits
from tss.rotation.repair import value_fits


@dataclass(frozen=True, slots=True)
class Judgement:
    """The guilty, by index, with one sentence; evidence is all that is signed about it."""

    culprits: tuple[int, ...]
    reason: str
    evidence: tuple[bytes, ...]

    def fault(self) -> BadShare:
        """The judgement as the error that ends the session."""
        return BadShare(self.reason, self.culprits, self.evidence)


def judge(
    engine: Engine,
    sealer: Sealer,
    committee: Committee,
    roster: Roster,
    r1s: R1Set,
    deals: DealSet,
    sigmas: DealSet | None,
    complaint: Complaint,
) -> Judgement:
    """Open with the revealed seeds what the accused sealed and signed, and say who lied.

    The R1 are taken as checked (`link.check_packages`): all members did before anything was dealt. Raises
    ViewsDiffer when the complaint is about other deals than these, WrongSession, BadSignature.
    """
    dealt = _round(committee, roster, r1s, deals, sigmas, complaint)
    name, me = committee.name_of(complaint.sender), complaint.sender
    guilty, slandered = set[int](), set[int]()
    for dealer, seed in zip(complaint.accused, complaint.seeds, strict=True):
        if dealer not in dealt.dealers_to(me) or sealer.derive(seed)[1] != dealt.key_of(dealer, me):
            slandered.add(dealer)
            continue
        value = boxes.open_with(sealer, dealt, dealer, me, seed)
        sound = value is not None and _fits(engine, dealt, dealer, me, value)
        (slandered if sound else guilty).add(dealer)
    what = {FIRST: "a refresh share" if roster.plan.work is Work.REFRESH else "a delta", SECOND: "a sigma"}
    reason = (
        f"{committee.names_of(guilty)} sealed to {name} {what[dealt.number]} that does not fit the signed R1"
    )
    if slandered:
        guilty.add(me)
        reason = f"{name} complained of {committee.names_of(slandered)} without a key that shows a fault"
    said = (complaint, roster, r1s, deals) if sigmas is None else (complaint, roster, r1s, deals, sigmas)
    return Judgement(tuple(sorted(guilty)), reason, tuple(one.encode() for one in said))


Said = R1 | Deal | Assent


def equivocation(committee: Committee, one: Said, other: Said) -> Equivocation | None:
    """The proof that one member signed two different messages for one place; None when they prove nothing."""
    place = (one.KIND, one.sender, one.sid, getattr(one, "round", 0))
    if (
        place != (other.KIND, other.sender, other.sid, getattr(other, "round", 0))
        or one.digest == other.digest
    ):
        return None
    one.check(committee)
    other.check(committee)
    return Equivocation(
        f"{committee.name_of(one.sender)} signed two different {type(one).__name__} in one session: "
        "start a new attempt only when that is explained",
        (one.sender,),
        (one.encode(), other.encode()),
    )


def _round(
    committee: Committee,
    roster: Roster,
    r1s: R1Set,
    deals: DealSet,
    sigmas: DealSet | None,
    complaint: Complaint,
) -> Round:
    roster.check(committee)
    r1s.check(committee, roster, roster.plan.members)
    deals.check_deals(committee, roster, FIRST, r1s.hash)
    complaint.check(committee)
    if complaint.sid != roster.sid or complaint.sender not in roster.plan.members:
        raise WrongSession("the complaint is about another session")
    dealt = Round(roster, r1s, FIRST, r1s.hash, deals)
    if complaint.round == SECOND:
        if sigmas is None:
            raise WrongSession("the complaint is about a round that was not dealt")
        sigmas.check_deals(committee, roster, SECOND, deals.hash)
        dealt = Round(roster, r1s, SECOND, deals.hash, sigmas)
    if complaint.seen != dealt.deals.hash:
        raise ViewsDiffer(
            "the complaint is about other deals than these: compare them to see who equivocated"
        )
    return dealt


def _fits(engine: Engine, dealt: Round, dealer: int, receiver: int, value: bytearray) -> bool:
    check = share_fits if dealt.roster.plan.work is Work.REFRESH else value_fits
    return check(engine, dealt, dealer, receiver, value)
