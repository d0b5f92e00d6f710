"""What members saw of a key generation: compared when two of them disagree, so that who spoke twice is named."""

from collections import OrderedDict

import structlog

from tss.dkg.committee import Committee
from tss.dkg.messages import MAX_SET, R1Set, R2Set
from tss.evidence import collect
from tss.evidence.form import Evidence
from tss.evidence_gossip import EvidenceBook
from tss.frost.codec import DecodeError, Reader, Writer
from tss.peers import PeerError, Peers, Refuse

VIEWS = "tss.dkg.views"
_KEPT = 4  # sessions; up to 2 MB each at 128 members
_SECONDS = 5.0


class Views:
    """The R1 and R2 of the last sessions as this member saw them."""

    def __init__(self, committee: Committee, book: EvidenceBook) -> None:
        self._committee, self._book = committee, book
        self._seen: OrderedDict[bytes, tuple[R1Set, R2Set | None]] = OrderedDict()
        self._peers: Peers | None = None
        self._log = structlog.get_logger("tss.dkg")

    def register(self, peers: Peers) -> None:
        """Answer VIEWS."""
        self._peers = peers
        peers.handle(VIEWS, self._views)

    def saw(self, sid: bytes, r1s: R1Set, r2s: R2Set | None = None) -> None:
        """Remember a session's messages."""
        known = self._seen.get(sid)
        self._seen[sid] = r1s, r2s or (known[1] if known else None)
        self._seen.move_to_end(sid)
        while len(self._seen) > _KEPT:
            self._seen.popitem(last=False)

    async def compare(self, sid: bytes) -> list[Evidence]:
        """Ask all others what they saw of a session; every contradiction that convicts, kept and told to all."""
        ours = self._seen.get(sid)
        if ours is None or self._peers is None:
            return []
        found: list[Evidence] = []
        for member, answer in (await self._peers.gather(VIEWS, sid, timeout=_SECONDS)).items():
            if isinstance(answer, PeerError):
                continue
            try:
                theirs = _read(answer)
            except DecodeError as error:
                self._log.warning("a view is not readable", member=self._peers.name(member), why=str(error))
                continue
            for mine, other in zip(ours, theirs, strict=True):
                if mine is not None and other is not None:
                    found += collect.differing(self._committee, mine, other)
        return await self._book.report(found)

    async def _views(self, _member: int, body: bytes) -> bytes:
        seen = self._seen.get(body)
        if seen is None:
            raise Refuse("unknown-attempt", "we saw nothing of this session, or forgot it")
        r1s, r2s = seen
        writer = Writer().var(r1s.encode(), MAX_SET)
        return writer.var(b"" if r2s is None else r2s.encode(), MAX_SET).done()


def _read(body: bytes) -> tuple[R1Set, R2Set | None]:
    reader = Reader(body, 2 * MAX_SET + 8)
    r1s, r2s = reader.var(MAX_SET), reader.var(MAX_SET)
    reader.finish()
    return R1Set.decode(r1s), R2Set.decode(r2s) if r2s else None
