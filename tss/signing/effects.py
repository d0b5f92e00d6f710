"""What a coordinator wants done; messages come unsigned, the shell signs them with its identity."""

from dataclasses import dataclass, field

from tss.signing.faults import Finding
from tss.signing.messages import CommitRequest, SharesRequest


@dataclass(frozen=True, slots=True)
class AskCommitments:
    """Sign and send `message` to `member`; its answer is Ready or Refusal, none is Silent."""

    member: int
    count: int
    message: CommitRequest


@dataclass(frozen=True, slots=True)
class OpenSession:
    """Sign and send `request` to each of `members`; answers are Shares or Refusal, none is Silent."""

    session: bytes
    members: tuple[int, ...]
    request: SharesRequest = field(repr=False)


@dataclass(frozen=True, slots=True)
class Done:
    """All messages are signed: 64 bytes each (BIP340), in the order asked, verified. Nothing follows."""

    signatures: tuple[bytes, ...]
    session: bytes


@dataclass(frozen=True, slots=True)
class Failed:
    """No quorum is possible: the sentence names each reason. Nothing follows."""

    code: str
    reason: str
    retryable: bool


@dataclass(frozen=True, slots=True)
class Blame:
    """A member did wrong; keep the evidence (None for garbage, which only we saw)."""

    member: int
    reason: str
    evidence: Finding | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class Ignored:
    """A late or repeated event changed nothing."""

    reason: str


Effect = AskCommitments | OpenSession | Done | Failed | Blame | Ignored
