"""What members saw of a session: compared when two of them disagree, so that who spoke twice is named.

Key generation, refresh and repair alike. Whoever notices asks all others for the messages they were shown, and for
what their signature on the end was over; two signed messages of one member for one place convict it, and so does a
signature over a key that the session did not make.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

import structlog

from tss.dkg.committee import Committee
from tss.dkg.faults import Equivocation
from tss.dkg.messages import MAX_SET, R1Set, R2Set
from tss.dkg.signed import SignedMessage
from tss.evidence import collect
from tss.evidence.form import Evidence, Kind
from tss.evidence_gossip import EvidenceBook
from tss.frost.codec import DecodeError, Reader, Writer
from tss.peers import PeerError, Peers, Refuse
from tss.rotation import messages as work

VIEWS: Final = "tss.views"

Set = R1Set | R2Set | work.R1Set | work.DealSet

_KEPT = 4  # sessions; up to 2 MB each at 128 members
_SETS = 4  # of a session: R1, deals and sigmas of a repair
_SECONDS = 5.0
_MAX_PUBLIC = 16 * 1024
_LIES = {
    Kind.FALSE_KEY: "a key that the session did not make",
    Kind.FALSE_REFRESH: "shares that the refresh did not make",
    Kind.FALSE_REPAIR: "shares that the repair was not for",
}
_KINDS: dict[int, type[Set]] = {kind.KIND: kind for kind in (R1Set, R2Set, work.R1Set, work.DealSet)}


@dataclass(frozen=True, slots=True)
class Signed:
    """What a member's R3 or assent is over, besides the R1: the hash of what was dealt, and the encoded group.

    `dealt` is the hash of all R2, or the hashes of all deals and all sigmas (zeros in a refresh).
    """

    dealt: bytes
    public: bytes


Lie = Callable[
    [Set, Signed, SignedMessage], Evidence
]  # a session's R1, what was said to be signed, the signature


@dataclass(slots=True)
class View:
    """One session as one member saw it."""

    sets: list[Set] = field(default_factory=list)
    signed: Signed | None = None

    def encode(self) -> bytes:
        """u16 count, then each set with its length; then nothing twice, or what was dealt and the group."""
        writer = Writer().u16(len(self.sets))
        for one in self.sets:
            writer.var(one.encode(), MAX_SET)
        signed = self.signed or Signed(b"", b"")
        return writer.var(signed.dealt, 64).var(signed.public, _MAX_PUBLIC).done()

    @classmethod
    def decode(cls, data: bytes) -> "View":
        """DecodeError for anything but what `encode` writes."""
        reader = Reader(data, _SETS * MAX_SET)
        count = reader.between(reader.u16(), 0, _SETS, "the number of sets")
        sets = [_read_set(reader.var(MAX_SET)) for _ in range(count)]
        dealt, public = reader.var(64), reader.var(_MAX_PUBLIC)
        reader.finish()
        if len(dealt) not in (0, 32, 64) or bool(dealt) is not bool(public):
            raise DecodeError("what was dealt is one or two hashes, and a group with them")
        return cls(sets, Signed(dealt, public) if dealt else None)


class Views:
    """The last sessions as this member saw them."""

    def __init__(self, committee: Committee, book: EvidenceBook) -> None:
        self._committee, self._book = committee, book
        self._seen: OrderedDict[bytes, View] = OrderedDict()
        self._peers: Peers | None = None
        self._log = structlog.get_logger("tss.views")

    def register(self, peers: Peers) -> None:
        """Answer VIEWS."""
        self._peers = peers
        peers.handle(VIEWS, self._views)

    def saw(self, sid: bytes, *sets: Set | None) -> None:
        """Remember messages of a session; what was seen first counts."""
        view = self._of(sid)
        for one in sets:
            if one is not None and len(view.sets) < _SETS and one not in view.sets:
                view.sets.append(one)

    def signed(self, sid: bytes, dealt: bytes, public: bytes) -> None:
        """Remember what our R3 or assent is over."""
        self._of(sid).signed = Signed(dealt, public)

    async def compare(
        self, sid: bytes, lie: Lie | None = None, said: Iterable[SignedMessage] = ()
    ) -> list[Evidence]:
        """Ask all others what they saw of a session; whatever convicts is kept, told to all, and given.

        With `lie`, which makes evidence of one, the signatures on the session's end are judged too.
        """
        ours = self._seen.get(sid)
        if ours is None or self._peers is None:
            return []
        found, signatures = list[Evidence](), {message.sender: message for message in said}
        for member, answer in (await self._peers.gather(VIEWS, sid, timeout=_SECONDS)).items():
            if isinstance(answer, PeerError):
                continue
            try:
                theirs = View.decode(answer)
            except DecodeError as error:
                self._log.warning("a view is not readable", member=self._peers.name(member), why=str(error))
                continue
            found += self._differing(ours, theirs)
            if lie is not None and member in signatures:
                found += _false(lie, ours, theirs, signatures[member])
        return await self._book.report(found)

    def _differing(self, ours: View, theirs: View) -> Iterable[Evidence]:
        for mine in ours.sets:
            for other in theirs.sets:
                if type(mine) is type(other):
                    yield from collect.differing(self._committee, mine, other)

    def _of(self, sid: bytes) -> View:
        view = self._seen.setdefault(sid, View())
        self._seen.move_to_end(sid)
        while len(self._seen) > _KEPT:
            self._seen.popitem(last=False)
        return view

    async def _views(self, _member: int, body: bytes) -> bytes:
        seen = self._seen.get(body)
        if seen is None:
            raise Refuse("unknown-attempt", "we saw nothing of this session, or forgot it")
        return seen.encode()


def _false(lie: Lie, ours: View, theirs: View, signature: SignedMessage) -> Iterable[Evidence]:
    r1s = next((one for one in ours.sets if isinstance(one, R1Set | work.R1Set)), None)
    if r1s is None or theirs.signed is None:
        return
    if ours.signed is None or theirs.signed.public != ours.signed.public:
        yield lie(r1s, theirs.signed, signature)


def blame(committee: Committee, proven: Iterable[Evidence]) -> Equivocation:
    """The fault that takes the place of "views differ" once it is proven who made them differ."""
    pieces = list(proven)
    culprits = {evidence.culprit for evidence in pieces}
    lies = [_LIES[evidence.kind] for evidence in pieces if evidence.kind in _LIES]
    what = lies[0] if lies else "two different messages for one round"
    return Equivocation(
        f"{committee.names_of(culprits)} signed {what}: start a new attempt only when that is explained; "
        "`holdfast tss evidence` shows the proof",
        culprits,
    )


def _read_set(data: bytes) -> Set:
    kind = _KINDS.get(data[0]) if data else None
    if kind is None:
        raise DecodeError("no set of messages that members compare")
    return kind.decode(data)
