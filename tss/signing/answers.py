"""A member's answer read as the event that it is; whatever does not answer what was asked is garbage."""

from tss.dkg.committee import Committee
from tss.dkg.faults import BadSignature
from tss.frost.codec import DecodeError
from tss.signing import events
from tss.signing.messages import (
    NO_SESSION,
    Commitments,
    CommitRequest,
    Shares,
    SharesRequest,
    read_answer,
    read_offer,
)


def read_event(
    committee: Committee, member: int, asked: CommitRequest | SharesRequest, data: bytes
) -> events.Event:
    """What `member` answered over its authenticated connection to what it was asked.

    An answer that nobody signed, for another key or session, or in another's name would otherwise be ignored, and
    the coordinator would wait for ever.
    """
    session = asked.session if isinstance(asked, SharesRequest) else NO_SESSION
    try:
        answer = read_answer(data) if isinstance(asked, SharesRequest) else read_offer(data)
        answer.check(committee)
    except (DecodeError, BadSignature) as error:
        return events.Garbage(member, str(error))
    if (answer.sender, answer.key) != (member, asked.key):
        return events.Garbage(member, "it speaks for another member or key")
    if isinstance(answer, Commitments):
        return events.Ready(answer)
    if answer.session != session:
        return events.Garbage(member, "it answers another session")
    return events.Shares(answer) if isinstance(answer, Shares) else events.Refusal(answer)
