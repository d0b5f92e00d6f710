"""Evidence against a member, and the judge that anybody can run on it."""

from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar, Self

from tss.dkg.committee import Committee
from tss.dkg.faults import BadSignature
from tss.dkg.signed import Encoded, read_member
from tss.frost.codec import DecodeError, Reader, Writer
from tss.frost.engine import Engine, GroupPublic
from tss.frost.errors import EncodingFault, FrostError
from tss.frost.package import SigningPackage
from tss.frost.path import INTERNAL
from tss.signing.messages import MAX_REASON, Commitments, Shares, SharesRequest


class Kind(IntEnum):
    """What a piece of evidence shows."""

    BAD_SHARE = 1  # SharesRequest, Shares: the member signed shares for this session that do not verify
    REPLAYED_COMMITMENT = 2  # Commitments, Commitments: one commitment offered twice
    NONCE_REUSE = 3  # SharesRequest [, SharesRequest]: a coordinator put one commitment into two packages
    BAD_COMMITMENT = 4  # Commitments: not points


@dataclass(frozen=True, slots=True)
class Evidence(Encoded):
    """Signed messages that show what `culprit` did; `judge` says whether they prove it."""

    KIND: ClassVar[int] = 40
    LIMIT: ClassVar[int] = 1024 + MAX_REASON + 2 * (SharesRequest.LIMIT + 64)
    kind: Kind
    culprit: int
    reason: str
    messages: tuple[bytes, ...]

    def write(self, writer: Writer) -> None:
        """u8 kind, u16 culprit, reason, u16 count, encoded messages."""
        writer.u8(self.kind).u16(self.culprit).text(self.reason, MAX_REASON).u16(len(self.messages))
        for message in self.messages:
            writer.var(message, SharesRequest.LIMIT + 64)

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Take what `write` appended."""
        kind = Kind(reader.between(reader.u8(), 1, 4, "a kind of evidence"))
        culprit, reason = read_member(reader), reader.text(MAX_REASON)
        count = reader.between(reader.u16(), 1, 2, "the number of messages")
        return cls(kind, culprit, reason, tuple(reader.var(SharesRequest.LIMIT + 64) for _ in range(count)))


def judge(engine: Engine, public: GroupPublic, committee: Committee, evidence: Evidence) -> bool:
    """Whether the evidence convicts its culprit before a stranger who trusts nobody's word."""
    try:
        match evidence.kind:
            case Kind.BAD_SHARE:
                return _bad_share(engine, public, committee, evidence)
            case Kind.REPLAYED_COMMITMENT:
                return _replayed(public, committee, evidence)
            case Kind.NONCE_REUSE:
                return _nonce_reuse(public, committee, evidence)
            case Kind.BAD_COMMITMENT:
                return _bad_commitment(engine, public, committee, evidence)
    except (DecodeError, BadSignature, FrostError):
        return False


def share_holds(
    engine: Engine, public: GroupPublic, request: SharesRequest, member: int, shares: tuple[bytes, ...]
) -> bool:
    """Whether every share of one member verifies in its package."""
    if len(shares) != len(request.packages):
        return False
    return all(
        engine.session(public, package).verify_share(member, share)
        for package, share in zip(request.packages, shares, strict=True)
    )


def _bad_share(engine: Engine, public: GroupPublic, committee: Committee, evidence: Evidence) -> bool:
    if len(evidence.messages) != 2:
        return False
    # The request needs no signature here: the member signed its session id, which hashes all of it.
    request = SharesRequest.decode(evidence.messages[0])
    answer = Shares.decode(evidence.messages[1]).check(committee)
    if answer.sender != evidence.culprit or answer.session != request.session:
        return False
    if answer.key != public.share_set or request.key != answer.key or answer.sender not in request.members:
        return False
    return not share_holds(engine, public, request, answer.sender, answer.shares)


def _replayed(public: GroupPublic, committee: Committee, evidence: Evidence) -> bool:
    if len(evidence.messages) != 2:
        return False
    one, other = (Commitments.decode(message).check(committee) for message in evidence.messages)
    if {one.sender, other.sender} != {evidence.culprit} or {one.key, other.key} != {public.share_set}:
        return False
    if one.digest == other.digest:
        return len(set(one.commitments)) != len(one.commitments)
    return bool(set(one.commitments) & set(other.commitments)) or _place(one) == _place(other)


def _nonce_reuse(public: GroupPublic, committee: Committee, evidence: Evidence) -> bool:
    requests = [SharesRequest.decode(message).check(committee) for message in evidence.messages]
    if any(r.sender != evidence.culprit or r.key != public.share_set for r in requests):
        return False
    hashes: dict[tuple[int, bytes], set[bytes]] = {}
    for request in requests:
        for package in request.packages:
            for place in package.commitments.items():
                hashes.setdefault(place, set()).add(package.hash)
    return any(len(used) > 1 for used in hashes.values())


def _bad_commitment(engine: Engine, public: GroupPublic, committee: Committee, evidence: Evidence) -> bool:
    offer = Commitments.decode(evidence.messages[0]).check(committee)
    if offer.sender != evidence.culprit or offer.key != public.share_set:
        return False
    return any(not commitment_sound(engine, public, offer.sender, c) for c in offer.commitments)


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


def _place(offer: Commitments) -> tuple[bytes, int]:
    return offer.boot_id, offer.sequence
