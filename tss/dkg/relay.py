"""What the driving member collects in each round; it is trusted with nothing.

Each collector takes the answers by the member that sent them over its authenticated connection, undecoded, so
garbage is blamed on its sender. Each gives what goes to all members next.
"""

from collections.abc import Iterable, Mapping
from typing import TypeVar

from tss.dkg.committee import Committee
from tss.dkg.faults import BadSignature, MalformedMessage, Missing, ViewsDiffer, WrongSession
from tss.dkg.messages import R1, R2, R3, Ack, Complaint, R1Set, R2Set, Roster, RosterEntry
from tss.dkg.signed import SignedMessage
from tss.dkg.transcript import Certificate, RecoveryData
from tss.frost.codec import DecodeError

M = TypeVar("M", bound=SignedMessage)
Answers = Mapping[int, bytes]


def roster(committee: Committee, purpose: str, epoch: int, attempt: int, entries: Answers) -> Roster:
    """Collect all entries. Raises Missing, MalformedMessage, BadSignature, WrongSession with culprits."""
    collected = _collect(committee, RosterEntry, entries)
    wanted = (committee.hash, purpose, epoch, attempt)
    strangers = [e.sender for e in collected if (e.committee_hash, e.purpose, e.epoch, e.attempt) != wanted]
    if strangers:
        raise WrongSession(
            f"{committee.names_of(strangers)} agreed to another attempt, or holds another committee file "
            f"than ours ({committee.words}): compare the words",
            strangers,
        )
    return Roster(collected)


def bundle_r1(committee: Committee, session: Roster, answers: Answers) -> R1Set:
    """Collect all R1 of this session; raises as `roster` does."""
    return R1Set(_of_session(committee, session.sid, _collect(committee, R1, answers)))


def bundle_r2(committee: Committee, session: Roster, r1s: R1Set, answers: Answers) -> R2Set:
    """Collect all R2 of this session; raises as `roster` does, and ViewsDiffer naming who saw other R1."""
    collected = _of_session(committee, session.sid, _collect(committee, R2, answers))
    others = [message.sender for message in collected if message.r1_hash != r1s.hash]
    if others:
        raise ViewsDiffer(f"{committee.names_of(others)} saw other R1 messages than the relay sent", others)
    return R2Set(collected).check(committee, session)


def certificate(
    committee: Committee, session: Roster, transcript: bytes, answers: Answers
) -> Certificate | tuple[Complaint, ...]:
    """Collect all R3 on our own T; or the complaints, to be judged, when there are any.

    `transcript` is T as the relaying member signed it itself. Raises as `roster` does, and ViewsDiffer naming
    who signed another T.
    """
    complaints = [data for data in answers.values() if data[:1] == bytes([Complaint.KIND])]
    if complaints:
        senders = {sender: data for sender, data in answers.items() if data in complaints}
        filed = _collect(committee, Complaint, senders, of=senders)
        return _of_session(committee, session.sid, filed)
    collected = _of_session(committee, session.sid, _collect(committee, R3, answers))
    others = [message.sender for message in collected if message.transcript != transcript]
    if others:
        raise ViewsDiffer(
            f"{committee.names_of(others)} signed another transcript than ours: compare R1 and R2", others
        )
    return Certificate(session.sid, transcript, tuple(message.signature for message in collected))


def acks(committee: Committee, recovery: RecoveryData, answers: Answers) -> tuple[Ack, ...]:
    """Collect all acks of this recovery data; then the key's state is `acked`. Raises as `roster` does."""
    collected = _of_session(committee, recovery.certificate.sid, _collect(committee, Ack, answers))
    others = [ack.sender for ack in collected if ack.recovery_hash != recovery.hash]
    if others:
        raise WrongSession(f"{committee.names_of(others)} acknowledged other recovery data than ours", others)
    return collected


def _collect(
    committee: Committee, kind: type[M], answers: Answers, of: Iterable[int] | None = None
) -> tuple[M, ...]:
    wanted = range(1, committee.size + 1) if of is None else sorted(of)
    missing = [index for index in wanted if index not in answers]
    if missing:
        raise Missing(
            f"{committee.names_of(missing)} did not send {_article(kind)}: key generation needs all "
            f"{committee.size} members; start again when they are up",
            missing,
        )
    return tuple(_decode(committee, kind, index, answers[index]) for index in wanted)


def _decode(committee: Committee, kind: type[M], sender: int, data: bytes) -> M:
    name = committee.name_of(sender)
    try:
        message = kind.decode(data)
    except DecodeError as error:
        raise MalformedMessage(f"{name} sent no valid {kind.__name__}: {error}", (sender,)) from error
    if message.sender != sender:
        raise MalformedMessage(f"{name} sent a {kind.__name__} in the name of another member", (sender,))
    try:
        return message.check(committee)
    except BadSignature as error:
        raise BadSignature(f"{name} sent a {kind.__name__} without its valid signature", (sender,)) from error


S = TypeVar("S", R1, R2, R3, Complaint, Ack)


def _of_session(committee: Committee, sid: bytes, messages: tuple[S, ...]) -> tuple[S, ...]:
    others = [message.sender for message in messages if message.sid != sid]
    if others:
        raise WrongSession(f"{committee.names_of(others)} answered for another session", others)
    return messages


def _article(kind: type[SignedMessage]) -> str:
    return f"{'an' if kind.__name__[0] in 'AR' else 'a'} {kind.__name__}"
