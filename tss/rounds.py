"""Who is waited for while a key is made, refreshed or repaired: told by the member that drives it, to whoever asks.

For the eyes of operators only; nothing is decided by it, and a driving member could say anything.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from tss.dkg.committee import Committee
from tss.dkg.signed import MAX_MEMBERS, read_member
from tss.frost.codec import DecodeError, Reader, Writer
from tss.peers import PeerError, Peers, Refuse

ROUNDS: Final = "tss.rounds"

Answered = Callable[[int], object]

_ALL = b"all"
_MOST = 8  # at once: one key generation and one piece of key work, in truth
_SECONDS = 2.0
_TEXT = 64


@dataclass(slots=True)
class Round:
    """One question to several members: `work` is key generation, refresh or repair; `step` reads after "waits"."""

    work: str
    purpose: str
    step: str
    waiting: set[int] = field(default_factory=set)
    begun: float = field(default_factory=time.monotonic)


class Rounds:
    """The rounds that this node drives now, and those that others say they drive."""

    def __init__(self, committee: Committee, index: int) -> None:
        self._committee, self._index = committee, index
        self._now: list[Round] = []
        self._peers: Peers | None = None

    def register(self, peers: Peers) -> None:
        """Answer ROUNDS."""
        self._peers = peers
        peers.handle(ROUNDS, self._asked)

    @contextmanager
    def asking(self, work: str, purpose: str, step: str, members: Iterable[int]) -> Iterator[Answered]:
        """While the block runs this round is under way; the block is given what is called with who answered."""
        this = Round(work, purpose, step, set(members))
        self._now.append(this)
        try:
            yield this.waiting.discard
        finally:
            self._now.remove(this)

    def now(self) -> list[Round]:
        """What this node drives."""
        return list(self._now)

    async def of(self, members: Iterable[int]) -> dict[int, list[Round]]:
        """What these members say that they drive; our own with them. Who does not answer is left out."""
        found = {self._index: self.now()} if self._now else {}
        wanted = {member for member in members if member != self._index}
        if self._peers is None or not wanted:
            return found
        answers = await self._peers.gather(ROUNDS, _ALL, timeout=_SECONDS, members=sorted(wanted))
        for member, answer in answers.items():
            if isinstance(answer, PeerError):
                continue
            try:
                told = decode(answer)
            except DecodeError:
                continue
            known = [round_ for round_ in told if max(round_.waiting, default=1) <= self._committee.size]
            if known:
                found[member] = known
        return found

    async def _asked(self, _member: int, body: bytes) -> bytes:
        if body != _ALL:
            raise Refuse("malformed", "only all rounds can be asked for")
        return encode(self._now[:_MOST])


def encode(rounds: Iterable[Round]) -> bytes:
    """u16 count, then per round: work, purpose, step, u16 count, u16 members."""
    listed = list(rounds)
    writer = Writer().u16(len(listed))
    for one in listed:
        writer.text(one.work, _TEXT).text(one.purpose, _TEXT).text(one.step, _TEXT)
        writer.u16(len(one.waiting))
        for member in sorted(one.waiting):
            writer.u16(member)
    return writer.done()


def decode(data: bytes) -> list[Round]:
    """DecodeError for anything but what `encode` writes in printable words."""
    reader = Reader(data, _MOST * (4 * _TEXT + 2 * MAX_MEMBERS))
    found = []
    for _ in range(reader.between(reader.u16(), 0, _MOST, "the number of rounds")):
        work, purpose, step = reader.text(_TEXT), reader.text(_TEXT), reader.text(_TEXT)
        if not (work + purpose + step).isprintable():
            raise DecodeError("a round's words are printable")
        count = reader.between(reader.u16(), 0, MAX_MEMBERS, "the number of members")
        waiting = [read_member(reader) for _ in range(count)]
        if waiting != sorted(set(waiting)):
            raise DecodeError("members are not in ascending order")
        found.append(Round(work, purpose, step, set(waiting)))
    reader.finish()
    return found
