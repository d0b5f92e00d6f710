"""What a coordinator or signer found wrong, as it happens; `tss/evidence` makes a portable proof of it."""

from dataclasses import dataclass, field
from enum import Enum

from tss.dkg.signed import SignedMessage
from tss.frost.engine import Engine, GroupPublic
from tss.frost.errors import EncodingFault
from tss.frost.package import SigningPackage
from tss.frost.path import INTERNAL


class Kind(Enum):
    """What a finding's messages are."""

    BAD_SHARE = "bad share"  # Order, Shares: shares for this session that do not verify
    REPLAYED_COMMITMENT = "replayed commitment"  # Commitments, Commitments: one commitment offered twice
    NONCE_REUSE = "nonce reuse"  # Order [, Order]: a coordinator put one commitment into two packages
    BAD_COMMITMENT = "bad commitment"  # Commitments: not points


@dataclass(frozen=True, slots=True)
class Finding:
    """Signed messages that show what `culprit` did, with one sentence for the log."""

    kind: Kind
    culprit: int
    reason: str
    messages: tuple[SignedMessage, ...] = field(repr=False)


def commitment_sound(engine: Engine, public: GroupPublic, member: int, commitment: bytes) -> bool:
    """Whether a commitment is two points that a session can be made of."""
    # The engine checks points when a session opens; the others' places may hold the same two points.
    others = [index for index in public.verifying_shares if index != member][: public.threshold - 1]
    try:
        engine.session(
            public, SigningPackage(bytes(32), dict.fromkeys([member, *others], commitment), INTERNAL)
        )
    except EncodingFault:
        return False
    return True
