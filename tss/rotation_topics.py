"""What members say to each other about a refresh or a repair: topics, and the bodies that nobody signs."""

from collections.abc import Sequence
from typing import Final

from tss.frost.codec import Reader, Writer
from tss.rotation.messages import DealSet

OFFER: Final = "tss.rotation.offer"
ROUND1: Final = "tss.rotation.r1"
DEAL: Final = "tss.rotation.deal"
SUM: Final = "tss.rotation.sum"
ASSENT: Final = "tss.rotation.assent"
ACCEPT: Final = "tss.rotation.accept"
PROOF: Final = "tss.rotation.proof"
FAIL: Final = "tss.rotation.fail"
LINKS: Final = "tss.rotation.links"

MOST_SHARE_SETS: Final = 16
_MAX_REASON = 1000


def deals_body(sid: bytes, deals: DealSet, sigmas: DealSet | None) -> bytes:
    """What a relay sends for the assent: sid, deals, and sigmas in a repair."""
    later = b"" if sigmas is None else sigmas.encode()
    return Writer().raw(sid, 32).var(deals.encode(), DealSet.LIMIT).var(later, DealSet.LIMIT).done()


def read_deals(body: bytes) -> tuple[DealSet, DealSet | None]:
    """Deals and sigmas, without the sid in front; DecodeError for anything else."""
    reader = Reader(body, 2 * DealSet.LIMIT + 64)
    deals, sigmas = reader.var(DealSet.LIMIT), reader.var(DealSet.LIMIT)
    reader.finish()
    return DealSet.decode(deals), DealSet.decode(sigmas) if sigmas else None


def failure(key: bytes, reason: str) -> bytes:
    """What a relay tells all when it gives up."""
    return Writer().raw(key, 32).text(reason[: _MAX_REASON // 4], _MAX_REASON).done()


def read_failure(body: bytes) -> tuple[bytes, str]:
    """The key's session and the reason; DecodeError for anything else."""
    reader = Reader(body, _MAX_REASON + 64)
    key, reason = reader.raw(32), reader.text(_MAX_REASON)
    reader.finish()
    return key, reason


def links_request(key: bytes, share_sets: Sequence[bytes]) -> bytes:
    """What asks a member for the refresh that follows the newest of these share sets that it knows."""
    writer = Writer().raw(key, 32).u16(len(share_sets))
    for share_set in share_sets:
        writer.raw(share_set, 33)
    return writer.done()


def read_links_request(body: bytes) -> tuple[bytes, list[bytes]]:
    """The key's session and 1 to 16 share sets, newest first; DecodeError for anything else."""
    reader = Reader(body, 32 + 2 + 33 * MOST_SHARE_SETS)
    key = reader.raw(32)
    count = reader.between(reader.u16(), 1, MOST_SHARE_SETS, "the number of share sets")
    share_sets = [reader.raw(33) for _ in range(count)]
    reader.finish()
    return key, share_sets
