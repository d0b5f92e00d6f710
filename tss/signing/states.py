"""What a coordinator knows: its task, its open sessions, and who is out."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from tss.dkg.committee import Committee
from tss.frost.engine import Engine, GroupPublic, Session
from tss.frost.path import SigningPath
from tss.signing.messages import MAX_COMMITMENTS, MAX_MESSAGES, SharesRequest


@dataclass(frozen=True, slots=True)
class Task:
    """One request to be signed, as the coordinating member's own approval port approved it.

    quorum: signers per session, t, or n for the test of a new key; order: members by preference, the
    coordinator's own choice (nearest first); spare: commitments to keep in reserve per member; must: members
    without whom no session is opened (a rehearsal's own); reach: who can be asked at all, where that is not all
    who hold a share (after a rotation those who stayed).
    """

    engine: Engine = field(repr=False)
    public: GroupPublic = field(repr=False)
    committee: Committee = field(repr=False)
    coordinator: int
    purpose: str
    payload: bytes = field(repr=False)
    messages: tuple[tuple[bytes, SigningPath], ...] = field(repr=False)
    quorum: int
    order: tuple[int, ...] = ()
    spare: int = 0
    must: frozenset[int] = frozenset()
    reach: frozenset[int] | None = None

    def __post_init__(self) -> None:
        assert 1 <= len(self.messages) <= MAX_MESSAGES, "a request has 1 to 256 messages"
        assert self.public.threshold <= self.quorum <= len(self.public.verifying_shares), (
            "no quorum for this key"
        )

    @property
    def need(self) -> int:
        """Commitments that one session takes of each signer."""
        return len(self.messages)

    @property
    def target(self) -> int:
        """Commitments to hold of each member."""
        return min(max(self.need, self.spare), MAX_COMMITMENTS)

    @property
    def candidates(self) -> tuple[int, ...]:
        """All who hold a share and can be asked, by preference: the given order, then oneself, then the rest."""
        shares = self.public.verifying_shares
        holders = shares.keys() if self.reach is None else shares.keys() & self.reach
        ordered = dict.fromkeys((*self.order, self.coordinator, *sorted(holders)))
        return tuple(member for member in ordered if member in holders)


@dataclass(slots=True)
class OpenSession:
    """A session that waits for shares; dead once a member it needs is out for good.

    `late` are members that took longer over it than they usually do; some may have answered since.
    """

    request: SharesRequest
    checkers: tuple[Session, ...] = field(repr=False)
    shares: dict[int, tuple[bytes, ...]] = field(default_factory=dict, repr=False)
    dead: bool = False
    late: set[int] = field(default_factory=set)

    @property
    def pending(self) -> tuple[int, ...]:
        """Members that have not answered, ascending."""
        return tuple(member for member in self.request.members if member not in self.shares)


@dataclass(frozen=True, slots=True)
class SessionView:
    """An open session as operators see it."""

    session: bytes
    members: tuple[int, ...]
    pending: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Out:
    """Why a member is not asked any more: down (may come back), refused, or blamed."""

    why: str
    down: bool
    retryable: bool


Outs = Mapping[int, Out]
