"""What the engine refuses, and whose fault it was."""

from tss.frost.codec import DecodeError


class FrostError(Exception):
    """The engine refused.

    `code` is the C interface's number (native/src/error.rs); `culprits` are member numbers, ascending, empty
    where nobody can be blamed. The text names the next move and never holds a secret.
    """

    def __init__(self, message: str, *, code: int, culprits: tuple[int, ...] = ()) -> None:
        super().__init__(message)
        self.code = code
        self.culprits = culprits

    def __str__(self) -> str:
        names = ", ".join(str(member) for member in self.culprits)
        return f"{self.args[0]} (members {names})" if names else str(self.args[0])


class EncodingFault(FrostError, DecodeError):
    """Bytes are not the one canonical form of what they should be (1xx); the sender is named where known."""


class ProofFault(FrostError):
    """A proof of knowledge in an R1 package is wrong (200). It proves its sender faulty or the relay lying."""


class ShareFault(FrostError):
    """A key share does not fit its sender's commitments (201). The sender's signed R1 and R2 prove it."""


class SignatureShareFault(FrostError):
    """A signature share is wrong (202). It proves a fault only against a signed (package, path)."""


class NonceSpent(FrostError):
    """The nonce is unknown, was used, or is burnt by a package with another commitment (4xx)."""


class EngineState(FrostError):
    """Ours to mend: wrong order, t or n, unknown member, closed handle, forked process, panic (3xx, 403, 5xx)."""


LENGTH = 101
CANONICAL = 103
MEMBER = 104
THRESHOLD = 301
_FORKED = 403


def from_code(code: int, message: str, culprits: tuple[int, ...] = ()) -> FrostError:
    """Give a code of the C interface its exception."""
    kind = _BY_CODE.get(code) or _BY_HUNDRED.get(code // 100, EngineState)
    return kind(message, code=code, culprits=culprits)


_BY_CODE: dict[int, type[FrostError]] = {
    200: ProofFault,
    201: ShareFault,
    202: SignatureShareFault,
    _FORKED: EngineState,  # the process must end, not just the nonce
}
_BY_HUNDRED: dict[int, type[FrostError]] = {1: EncodingFault, 4: NonceSpent}
