"""The port that decides what is signed; tss knows no transactions and never decides itself."""

from dataclasses import dataclass
from typing import Protocol

from tss.frost.hashing import tagged_hash
from tss.frost.path import SigningPath


@dataclass(frozen=True, slots=True)
class Approved:
    """Sign exactly these (message of 32 bytes, path), in this order."""

    messages: tuple[tuple[bytes, SigningPath], ...]

    @property
    def digest(self) -> bytes:
        """What a stored verdict says was approved, 32 bytes."""
        parts = (message + _sized(path.encode()) for message, path in self.messages)
        return tagged_hash("holdfast/approved/v1", *parts)


@dataclass(frozen=True, slots=True)
class Refused:
    """Sign nothing; `retryable` when the reason may pass (not deep enough yet, paused, out of sync)."""

    reason: str
    retryable: bool


class ApprovalPort(Protocol):
    """Asked when a request arrives and again before shares leave."""

    async def approve(self, purpose: str, payload: bytes, epoch: int) -> Approved | Refused:
        """Rebuild from the payload and one's own sources what is to be signed, or say why not.

        `epoch` is that of the key which would sign: a payload that is right for one may be wrong for another.
        """


def _sized(data: bytes) -> bytes:
    return bytes([len(data)]) + data
