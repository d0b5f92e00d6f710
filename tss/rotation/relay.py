"""What the driving member collects and checks in each round; it is trusted with nothing.

Answers come as {member: bytes}, the own ones included. Raises Missing, MalformedMessage, BadSignature,
WrongSession, ViewsDiffer with culprits.
"""

from collections.abc import Mapping, Sequence
from typing import TypeVar

from tss.dkg.committee import Committee
from tss.dkg.faults import BadSignature, MalformedMessage, Missing, ViewsDiffer, WrongSession
from tss.dkg.signed import SignedMessage
from tss.frost.codec import DecodeError
from tss.rotation.link import Certificate, Link
from tss.rotation.messages import R1, Ack, Assent, Complaint, Deal, DealSet, R1Set
from tss.rotation.plan import Entry, Plan, Roster

M = TypeVar("M", bound=SignedMessage)
S = TypeVar("S", R1, Deal, Assent, Complaint, Ack)
Answers = Mapping[int, bytes]


def roster(committee: Committee, plan: Plan, answers: Answers) -> Roster:
    """Collect all entries to one plan."""
    entries = _collect(committee, Entry, plan.members, answers)
    strangers = [entry.sender for entry in entries if entry.plan != plan.hash]
    if strangers:
        raise WrongSession(f"{committee.names_of(strangers)} agreed to another plan", strangers)
    return Roster(plan, entries)


def bundle_r1(committee: Committee, session: Roster, answers: Answers) -> R1Set:
    """Collect all R1 of this session."""
    return R1Set(_of_session(committee, session, R1, session.plan.members, answers))


def bundle_deals(
    committee: Committee, session: Roster, number: int, seen: bytes, answers: Answers
) -> DealSet | tuple[Complaint, ...]:
    """Collect all deals of one round, or the complaints about the round before when there are any."""
    complaints = _complaints(committee, session, answers)
    if complaints:
        return complaints
    deals = _of_session(committee, session, Deal, session.plan.dealers, answers)
    others = [deal.sender for deal in deals if deal.seen != seen]
    if others:
        names = committee.names_of(others)
        raise ViewsDiffer(f"{names} saw other messages in the round before than the relay sent", others)
    return DealSet(deals).check_deals(committee, session, number, seen)


def certificate(
    committee: Committee, session: Roster, transcript: bytes, answers: Answers
) -> Certificate | tuple[Complaint, ...]:
    """Collect all assents to T as the relay computes it itself; or the complaints, to be judged."""
    complaints = _complaints(committee, session, answers)
    if complaints:
        return complaints
    assents = _of_session(committee, session, Assent, session.plan.members, answers)
    others = [assent.sender for assent in assents if assent.transcript != transcript]
    if others:
        names = committee.names_of(others)
        raise ViewsDiffer(f"{names} signed another transcript than ours: compare R1 and deals", others)
    return Certificate(session.sid, transcript, tuple(assent.signature for assent in assents))


def acks(committee: Committee, link: Link, answers: Answers) -> tuple[Ack, ...]:
    """Collect all acks of this link."""
    collected = _of_session(committee, link.roster, Ack, link.roster.plan.members, answers)
    others = [ack.sender for ack in collected if ack.link_hash != link.hash]
    if others:
        raise WrongSession(f"{committee.names_of(others)} acknowledged another link than ours", others)
    return collected


def _complaints(committee: Committee, session: Roster, answers: Answers) -> tuple[Complaint, ...]:
    filed = {member: data for member, data in answers.items() if data[:1] == bytes([Complaint.KIND])}
    return _of_session(committee, session, Complaint, sorted(filed), filed)


def _of_session(
    committee: Committee, session: Roster, kind: type[S], wanted: Sequence[int], answers: Answers
) -> tuple[S, ...]:
    messages = _collect(committee, kind, wanted, answers)
    others = [message.sender for message in messages if message.sid != session.sid]
    if others:
        raise WrongSession(f"{committee.names_of(others)} answered for another session", others)
    return messages


def _collect(committee: Committee, kind: type[M], wanted: Sequence[int], answers: Answers) -> tuple[M, ...]:
    missing = [member for member in wanted if not answers.get(member)]
    if missing:
        raise Missing(
            f"{committee.names_of(missing)} did not send its {kind.__name__}: all who take part are needed; start "
            "again when they are up, or without them",
            missing,
        )
    return tuple(_decode(committee, kind, member, answers[member]) for member in wanted)


def _decode(committee: Committee, kind: type[M], sender: int, data: bytes) -> M:
    name = committee.name_of(sender)
    try:
        message = kind.decode(data)
    except DecodeError as error:
        raise MalformedMessage(f"{name} sent no valid {kind.__name__}: {error}", (sender,)) from error
    if message.sender != sender:
        raise MalformedMessage(f"{name} sent {kind.__name__} in the name of another member", (sender,))
    try:
        return message.check(committee)
    except BadSignature as error:
        raise BadSignature(f"{name} sent {kind.__name__} without its valid signature", (sender,)) from error
