"""The words of `peers.py`: what a call may end in, what is known of a member, what a committee must offer."""

import logging
from dataclasses import dataclass
from typing import Protocol

# aiohttp's own lines are about bytes that are no HTTP: a member's fault, and a traceback each.
NOISE = logging.getLogger("tss.peers.http")
NOISE.disabled = True


class PeerError(Exception):
    """A call that brought no answer; `member` is the index, `code` stable, `reason` a sentence."""

    def __init__(self, member: int, code: str, reason: str) -> None:
        super().__init__(reason)
        self.member, self.code, self.reason = member, code, reason


class PeerDown(PeerError):
    """The member cannot be reached, or did not answer in time; `why` reads after its name."""

    def __init__(self, member: int, why: str, name: str = "") -> None:
        super().__init__(member, "down", f"{name or f'member {member}'} {why}")
        self.why = why


class PeerRefused(PeerError):
    """The member answered that it will not."""


class Refuse(Exception):
    """What a handler raises to refuse a call: a stable code and a sentence for the caller."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code, self.reason = code, reason


class CommitteeMember(Protocol):
    """A member as the committee file describes it."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def host_key(self) -> bytes:
        """X-only BIP340 key, 32 bytes."""

    @property
    def tls_fingerprint(self) -> bytes:
        """SHA-256 of its certificate's DER."""

    @property
    def peer_url(self) -> str:
        """https://host:port."""


class CommitteeLike(Protocol):
    """The committee as peers need it."""

    @property
    def members(self) -> tuple[CommitteeMember, ...]:
        """In order; a member's index is its position + 1."""

    @property
    def hash(self) -> bytes:
        """32 bytes that both ends must share."""

    @property
    def words(self) -> str:
        """The hash as words to compare aloud."""


class Signer(Protocol):
    """The identity as peers need it."""

    @property
    def index(self) -> int:
        """Our seat, 1-based."""

    def sign(self, message32: bytes) -> bytes:
        """BIP340 under our host key."""


@dataclass(slots=True)
class PeerInfo:
    """What is known of a member: Unix seconds, seconds, boot id, clock skew in seconds, its release.

    `down` is None while it answers our calls, else what is wrong, as it reads after the name.
    """

    name: str
    last_seen: float | None = None
    rtt: float | None = None
    boot_id: bytes = b""
    skew: float | None = None
    down: str | None = "was not reached yet"
    version: str | None = None
