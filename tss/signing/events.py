"""What happens to a coordinator; messages come decoded, their signatures are checked by the coordinator."""

from dataclasses import dataclass

from tss.signing import messages


@dataclass(frozen=True, slots=True)
class Ready:
    """A member sent commitments."""

    offer: messages.Commitments


@dataclass(frozen=True, slots=True)
class Shares:
    """A member answered a session."""

    answer: messages.Shares


@dataclass(frozen=True, slots=True)
class Refusal:
    """A member refused commitments or shares."""

    refusal: messages.Refusal


@dataclass(frozen=True, slots=True)
class Silent:
    """A member did not answer in time, or cannot be reached: not ready, no fault. `why` follows its name."""

    member: int
    why: str = "is down"


@dataclass(frozen=True, slots=True)
class Late:
    """A member takes longer over one session than it usually does: no fault and not out, but others may begin."""

    member: int
    session: bytes


@dataclass(frozen=True, slots=True)
class Garbage:
    """A member answered, over its authenticated connection, with bytes that do not decode."""

    member: int
    why: str


Event = Ready | Shares | Refusal | Silent | Late | Garbage
