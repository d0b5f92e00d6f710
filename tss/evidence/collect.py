"""What a node noticed, made into evidence; whether it convicts is for the judge."""

from collections.abc import Iterable, Sequence

from tss.dkg.committee import Committee
from tss.dkg.faults import BadProof, DkgFault
from tss.dkg.messages import R1, R2, R3, Complaint, R1Set, R2Set, Roster
from tss.dkg.signed import SignedMessage
from tss.dkg.transcript import Transcript
from tss.evidence import key_faults
from tss.evidence.form import Body, Evidence, Kind
from tss.evidence.key_faults import Accusation, BadR2, Equivocation, FalseKey
from tss.evidence.signing_faults import (
    BadCommitment,
    BadSignatureShare,
    ReplayedCommitment,
    ShownOrder,
    TwoPackages,
)
from tss.evidence.work_faults import BadWork, FalseWork, WorkAccusation
from tss.frost.engine import Engine, GroupPublic
from tss.frost.errors import FrostError
from tss.rotation import messages as work
from tss.rotation import plan
from tss.signing import faults
from tss.signing.faults import commitment_sound
from tss.signing.messages import Commitments, Order, Shares

_Set = R1Set | R2Set | work.R1Set | work.DealSet


def bad_proof(committee: Committee, roster: Roster, r1: R1) -> Evidence:
    """An R1 that fails its check."""
    return _made(Kind.BAD_PROOF, r1.sender, committee, key_faults.BadProof(roster, r1))


def bad_r2(committee: Committee, roster: Roster, r2: R2) -> Evidence:
    """An R2 with a wrong number of sealed shares."""
    return _made(Kind.BAD_R2, r2.sender, committee, BadR2(roster, r2))


def of_fault(committee: Committee, roster: Roster, fault: DkgFault) -> tuple[Evidence, ...]:
    """What a round's error holds in the way of signed R1 and R2 that are bad in themselves."""
    found: list[Evidence] = []
    for message in fault.evidence:
        if message[:1] == bytes([R1.KIND]) and isinstance(fault, BadProof):
            found.append(bad_proof(committee, roster, R1.decode(message)))
        elif message[:1] == bytes([R2.KIND]):
            found.append(bad_r2(committee, roster, R2.decode(message)))
    return tuple(found)


def complaint(transcript: Transcript, made: Complaint) -> tuple[Evidence, ...]:
    """Two pieces per accused, one against it and one against the complainant: the judge convicts by one of them."""
    found: list[Evidence] = []
    for accused in made.accused:
        if accused > transcript.committee.size:
            continue
        body = Accusation(
            transcript.roster,
            tuple(message.digest for message in transcript.r1s.messages),
            tuple(message.digest for message in transcript.r2s.messages),
            transcript.r1s.of(made.sender),
            transcript.r1s.of(accused),
            transcript.r2s.of(accused),
            made,
        )
        found.append(_made(Kind.BAD_DKG_SHARE, accused, transcript.committee, body))
        found.append(_made(Kind.FALSE_COMPLAINT, made.sender, transcript.committee, body))
    return tuple(found)


def bad_work(committee: Committee, before: GroupPublic, roster: plan.Roster, r1: work.R1) -> Evidence:
    """An R1 of a refresh or repair that fails its check."""
    return _made(Kind.BAD_WORK, r1.sender, committee, BadWork(before, roster, r1))


def work_complaint(
    committee: Committee,
    roster: plan.Roster,
    r1s: work.R1Set,
    deals: work.DealSet,
    sigmas: work.DealSet | None,
    made: work.Complaint,
) -> tuple[Evidence, ...]:
    """One piece against each accused and one against the complainant; the judge convicts whom the keys show."""
    body = WorkAccusation(roster, r1s, deals, sigmas if made.round == work.SECOND else None, made)
    found = [
        _made(Kind.BAD_WORK_SHARE, accused, committee, body)
        for accused in made.accused
        if accused <= committee.size and accused != made.sender
    ]
    return (*found, _made(Kind.FALSE_WORK_COMPLAINT, made.sender, committee, body))


def equivocation(committee: Committee, one: SignedMessage, other: SignedMessage) -> Evidence:
    """Two messages of one member for one place."""
    first, second = sorted((one.encode(), other.encode()))
    return _made(Kind.EQUIVOCATION, one.sender, committee, Equivocation(first, second))


def differing(committee: Committee, ours: _Set, theirs: _Set) -> tuple[Evidence, ...]:
    """Every pair of messages that makes two members' sets differ, where sender, session and round are equal."""
    there = {message.sender: message for message in theirs.messages}
    pairs = [(one, there[one.sender]) for one in ours.messages if one.sender in there]
    return tuple(
        equivocation(committee, one, other)
        for one, other in pairs
        if type(one) is type(other)
        and (one.sid, getattr(one, "round", None)) == (other.sid, getattr(other, "round", None))
        and one.digest != other.digest
    )


def false_key(
    committee: Committee, roster: Roster, r1s: R1Set, r2_hash: bytes, public: bytes, r3: R3
) -> Evidence:
    """An R3, alone or out of a certificate, on a T over another key than the R1 make."""
    return _made(Kind.FALSE_KEY, r3.sender, committee, FalseKey(roster, r1s, r2_hash, public, r3))


def false_work(
    committee: Committee,
    before: GroupPublic,
    roster: plan.Roster,
    r1s: work.R1Set,
    dealt: bytes,
    public: bytes,
    assent: work.Assent,
) -> Evidence:
    """An assent, alone or out of a certificate, on a T over another group than the R1 make."""
    kind = Kind.FALSE_REFRESH if roster.plan.work is plan.Work.REFRESH else Kind.FALSE_REPAIR
    return _made(kind, assent.sender, committee, FalseWork(before, roster, r1s, dealt, public, assent))


def signing(
    engine: Engine, committee: Committee, public: GroupPublic, finding: faults.Finding
) -> Evidence | None:
    """What a coordinator or signer found; None when the messages at hand do not show it."""
    match finding.kind, finding.messages:
        case faults.Kind.BAD_SHARE, (Order() as order, Shares() as answer):
            place = _bad_place(engine, public, order, answer)
            body: Body = BadSignatureShare(public, ShownOrder.of(order, place), answer)
            return _made(Kind.BAD_SIGNATURE_SHARE, finding.culprit, committee, body)
        case faults.Kind.NONCE_REUSE, orders:
            reused = _reused([order for order in orders if isinstance(order, Order)])
            return None if reused is None else _made(Kind.TWO_PACKAGES, finding.culprit, committee, reused)
        case faults.Kind.REPLAYED_COMMITMENT, (Commitments() as one, Commitments() as other):
            first, second = sorted((one, other), key=lambda offer: offer.encode())
            return _made(
                Kind.REPLAYED_COMMITMENT, finding.culprit, committee, ReplayedCommitment(first, second)
            )
        case faults.Kind.BAD_COMMITMENT, offers:
            return _unsound(engine, committee, public, finding.culprit, offers)
    return None


def _bad_place(engine: Engine, public: GroupPublic, order: Order, answer: Shares) -> int:
    """The first package whose share is bad; 0 when their number is."""
    if len(order.packages) == len(answer.shares):
        for place, (package, share) in enumerate(zip(order.packages, answer.shares, strict=True)):
            try:
                if not engine.session(public, package).verify_share(answer.sender, share):
                    return place
            except FrostError:
                continue
    return 0


def _reused(orders: Sequence[Order]) -> TwoPackages | None:
    first: dict[tuple[int, bytes], tuple[Order, int]] = {}
    for order in orders:
        for place, package in enumerate(order.packages):
            for member, commitment in package.commitments.items():
                seen, at = first.setdefault((member, commitment), (order, place))
                if seen.packages[at].hash != package.hash:
                    return TwoPackages(member, ShownOrder.of(seen, at), ShownOrder.of(order, place))
    return None


def _unsound(
    engine: Engine,
    committee: Committee,
    public: GroupPublic,
    culprit: int,
    offers: Iterable[SignedMessage],
) -> Evidence | None:
    for offer in offers:
        if not isinstance(offer, Commitments):
            continue
        for place, commitment in enumerate(offer.commitments):
            if not commitment_sound(engine, public, culprit, commitment):
                body = BadCommitment(public, place, offer)
                return _made(Kind.BAD_COMMITMENT, culprit, committee, body)
    return None


def _made(kind: Kind, culprit: int, committee: Committee, body: Body) -> Evidence:
    return Evidence(kind, culprit, committee, body.encode())
