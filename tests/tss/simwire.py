"""Virtual time and a network that drops, delays, reorders, duplicates, corrupts and parts; a seed decides all.

A message between two members travels in the product's own signed envelope, so that damage is noticed where the
product notices it. An exchange (a question and its answer) is said again every `again` seconds until its answer is
there or its time is up: that is what TCP and the peers' tries do. At 0 nothing is ever said twice.
"""

import heapq
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from random import Random
from typing import Protocol

from tss.envelope import Envelope, Kind
from tss.frost.codec import DecodeError


class Speaker(Protocol):
    """A member with a host key."""

    @property
    def index(self) -> int: ...
    @property
    def host_key(self) -> bytes: ...
    def sign(self, message32: bytes) -> bytes: ...


@dataclass(order=True)
class Timer:
    at: float
    order: int
    act: Callable[[], None] = field(compare=False)


@dataclass(frozen=True)
class Part:
    """From `begin` until `end` nothing passes between those on the side and the rest.

    `one_way`: what comes from the side is lost, what goes to it arrives.
    """

    side: frozenset[int]
    begin: float = 0.0
    end: float = float("inf")
    one_way: bool = False

    def cuts(self, sender: int, receiver: int, now: float) -> bool:
        if not self.begin <= now < self.end:
            return False
        inside = (sender in self.side, receiver in self.side)
        return inside == (True, False) if self.one_way else inside[0] != inside[1]


@dataclass
class Net:
    """Six faults; who speaks to oneself has none of them."""

    seed: int = 0
    drop: float = 0.0
    duplicate: float = 0.0
    corrupt: float = 0.0
    delay: float = 0.01
    again: float = 0.0
    now: float = 0.0
    parts: list[Part] = field(default_factory=list)
    slow: dict[int, float] = field(default_factory=dict)  # seconds more until a member answers
    timers: list[Timer] = field(default_factory=list)
    mute: set[int] = field(default_factory=set)  # with whom an exchange was not over in its time
    seen: Counter[str] = field(default_factory=Counter)
    count: int = 0

    def __post_init__(self) -> None:
        self.random = Random(self.seed)

    def heal(self) -> None:
        """From now on everything arrives; what is under way stays under way."""
        self.drop = self.duplicate = self.corrupt = 0.0
        self.parts, self.slow, self.mute = [], {}, set()

    def part(self, side: Iterable[int], seconds: float = float("inf"), *, one_way: bool = False) -> None:
        """Cut these members off from the rest, from now on."""
        self.parts.append(Part(frozenset(side), self.now, self.now + seconds, one_way))

    def later(self, seconds: float, act: Callable[[], None]) -> None:
        self.count += 1
        heapq.heappush(self.timers, Timer(self.now + seconds, self.count, act))

    def send(self, act: Callable[[], None]) -> None:
        """Something without sender, receiver and bytes: delayed, doubled, lost."""
        for _ in range(2 if self.random.random() < self.duplicate else 1):
            if self.random.random() >= self.drop:
                self.later(self.random.random() * self.delay, act)

    def exchange(
        self,
        asker: Speaker,
        member: Speaker,
        body: bytes,
        answer: Callable[[bytes], bytes | None],
        take: Callable[[bytes], None],
        timeout: float,
        late: Callable[[], None] = lambda: None,
    ) -> None:
        """Ask; `take` gets every answer that arrives (twice, when it was doubled), `late` tells of none in time."""
        answered: list[bool] = []

        def hear(question: bytes) -> None:
            made = answer(question)
            if made is not None:
                self.later(self.slow.get(member.index, 0.0), lambda: self._carry(member, asker, made, back))

        def back(got: bytes) -> None:
            answered.append(True)
            take(got)

        def say() -> None:
            if answered or self.now >= ends:
                return
            self._carry(asker, member, body, hear)
            if self.again:
                self.later(self.again, say)

        def expire() -> None:
            if not answered:
                self.mute.add(member.index)
                late()

        ends = self.now + timeout
        say()
        self.later(timeout, expire)

    def run(self, until: Callable[[], bool]) -> None:
        for _ in range(200_000):
            if until() or not self.timers:
                return
            timer = heapq.heappop(self.timers)
            self.now = max(self.now, timer.at)
            timer.act()
        raise AssertionError("the simulation does not come to an end")

    def _carry(self, sender: Speaker, receiver: Speaker, body: bytes, take: Callable[[bytes], None]) -> None:
        oneself = sender.index == receiver.index
        wire = self._sealed(sender, receiver, body) if self.corrupt and not oneself else b""
        copies = 2 if self.random.random() < self.duplicate and not oneself else 1
        self.seen["duplicated"] += copies - 1
        for _ in range(copies):
            if self.random.random() < self.drop and not oneself:
                self.seen["dropped"] += 1
                continue
            damaged = self._damaged(wire)
            wait = self.random.random() * self.delay
            self.later(wait, lambda damaged=damaged: self._arrive(sender, receiver, body, damaged, take))

    def _arrive(
        self, sender: Speaker, receiver: Speaker, body: bytes, wire: bytes, take: Callable[[bytes], None]
    ) -> None:
        if any(part.cuts(sender.index, receiver.index, self.now) for part in self.parts):
            self.seen["parted"] += 1
            return
        if wire:
            try:
                envelope = Envelope.decode(wire)
            except DecodeError:
                return
            if (envelope.sender, envelope.receiver) != (sender.index, receiver.index):
                return
            if not envelope.signed_by(sender.host_key):
                return
            assert envelope.body == body, "a damaged envelope passed"
        take(body)

    def _sealed(self, sender: Speaker, receiver: Speaker, body: bytes) -> bytes:
        self.count += 1
        when = int(self.now * 1000)
        bare = Envelope(
            Kind.REQUEST,
            bytes(32),
            sender.index,
            receiver.index,
            bytes(16),
            self.count,
            when,
            "sim",
            bytes(32),
            "",
            body,
        )
        return bare.with_signature(sender.sign(bare.digest)).encode()

    def _damaged(self, wire: bytes) -> bytes:
        """One flipped bit, or an end cut off, or noise in its place; most often nothing."""
        if not wire or self.random.random() >= self.corrupt:
            return wire
        self.seen["corrupted"] += 1
        match self.random.randrange(3):
            case 0:
                at, spoiled = self.random.randrange(len(wire)), bytearray(wire)
                spoiled[at] ^= 1 << self.random.randrange(8)
                return bytes(spoiled)
            case 1:
                return wire[: self.random.randrange(1, len(wire))]
            case _:
                return self.random.randbytes(min(len(wire), 400))
