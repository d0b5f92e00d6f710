"""Second voices of members: boot ids that a member's running node announced for a rehearsal.

A guest speaks beside its member's real boot without displacing it: for ten minutes, on the few topics that were
allowed, and only where the rule of the topic finds the body harmless. Memory only, bounded per member.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from tss.envelope import Envelope, ReplayWindow
from tss.frost.errors import FrostError

LIFE_MS = 600_000
_PER_MEMBER = 64  # remembered, over or not

Rule = Callable[[bytes], bool]


@dataclass(slots=True)
class Guest:
    """One announced boot id."""

    boot_id: bytes
    until_ms: int
    window: ReplayWindow = field(default_factory=ReplayWindow)


class Guests:
    """Who was announced, and what they may ask."""

    def __init__(self) -> None:
        self._rules: dict[str, Rule] = {"peer.ping": lambda _body: True}
        self._guests: dict[int, list[Guest]] = {}

    def allow(self, topic: str, rule: Rule) -> None:
        """Let guests call a topic with the bodies that `rule` finds harmless; a rule that fails says no."""
        self._rules[topic] = rule

    def announce(self, member: int, boot_id: bytes, now_ms: int) -> None:
        """Let a boot id of a member in; the oldest of too many is forgotten. A second time changes nothing."""
        if self.find(member, boot_id) is not None:
            return
        there = self._guests.get(member, [])
        self._guests[member] = [*there, Guest(boot_id, now_ms + LIFE_MS)][-_PER_MEMBER:]

    def find(self, member: int, boot_id: bytes) -> Guest | None:
        """The guest with this boot id, also when its time is over: it never becomes a member's boot."""
        return next((g for g in self._guests.get(member, []) if g.boot_id == boot_id), None)

    def refusal(self, guest: Guest, envelope: Envelope, now_ms: int) -> tuple[str, str] | None:
        """None when the guest may ask this, else a code and a reason."""
        if now_ms > guest.until_ms:
            return "rehearsal", "this rehearsal is over: announce a new one"
        rule = self._rules.get(envelope.topic)
        if rule is None or not _holds(rule, envelope.body):
            return "rehearsal", "a rehearsal may ask for test signatures only"
        return guest.window.refusal(envelope, now_ms)


def _holds(rule: Rule, body: bytes) -> bool:
    try:
        return rule(body)
    except (ValueError, FrostError):
        return False
