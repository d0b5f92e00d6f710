"""Commitments that a coordinator holds in reserve, so that a request goes in one round trip.

One pool per key and node, shared by all its coordinators; memory only. A member's commitments carry its boot
id and are dropped when that changes.

Within one era a pool gives each commitment out once, whatever members send: so two orders of one era with one
commitment convict their signer, and no member can make an honest coordinator look guilty by offering an old
commitment again after a restart. What it must remember for that is bounded: a full memory begins a new era.
"""

from dataclasses import dataclass, field, replace

from tss.frost.hashing import tagged_hash
from tss.signing.faults import Finding, Kind
from tss.signing.messages import ERA_SIZE, MAX_COMMITMENTS, NO_ERA, Commitments

MAX_FREE = 2 * MAX_COMMITMENTS  # per member, the newest are left out
MAX_OFFERS = 64  # remembered per member to recognise replays
MAX_BOOTS = 16
MAX_USED = 32_768  # commitments given out in one era, of all members; about 3 MB


@dataclass(frozen=True, slots=True)
class Reserve:
    """What one member offered in its present boot."""

    boot_id: bytes
    offers: tuple[Commitments, ...] = ()
    free: tuple[bytes, ...] = ()
    past_boots: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Added:
    """New commitments are in the pool; `restarted` when the member's boot id changed."""

    count: int
    restarted: bool


@dataclass(frozen=True, slots=True)
class Late:
    """Nothing new: a repeated message, or one of a boot that has ended."""

    reason: str


@dataclass(slots=True)
class Pool:
    """Free commitments by member. Its user has checked the messages' signatures and key.

    `era` is 16 bytes that no other pool of this node ever had.
    """

    era: bytes = NO_ERA
    _reserves: dict[int, Reserve] = field(default_factory=dict, repr=False)
    _used: set[bytes] = field(default_factory=set, repr=False)

    def count(self, member: int) -> int:
        """How many commitments of a member are free."""
        reserve = self._reserves.get(member)
        return len(reserve.free) if reserve else 0

    def take(self, member: int, count: int) -> tuple[bytes, ...]:
        """Remove and give the oldest `count` commitments of a member; there must be that many."""
        assert self.count(member) >= count, "take no more than is there"
        reserve = self._reserves[member]
        self._reserves[member] = replace(reserve, free=reserve.free[count:])
        taken = reserve.free[:count]
        self._used.update(_mark(member, commitment) for commitment in taken)
        return taken

    def turn(self) -> None:
        """Begin a new era when this one's memory is full; called between sessions, never within one."""
        if len(self._used) < MAX_USED:
            return
        self.era = tagged_hash("holdfast/era/v1", self.era)[:ERA_SIZE]
        self._used.clear()
        for member in self._reserves:
            self.void(member)

    def void(self, member: int) -> None:
        """Forget a member's free commitments: it said that they are void."""
        reserve = self._reserves.get(member)
        if reserve is not None:
            self._reserves[member] = replace(reserve, free=())

    def saw_boot(self, member: int, boot_id: bytes) -> None:
        """Drop a member's commitments when its connection shows another boot id than they carry."""
        reserve = self._reserves.get(member)
        if reserve is not None and reserve.boot_id != boot_id and boot_id not in reserve.past_boots:
            self._reserves[member] = _rebooted(reserve, boot_id)

    def offer_of(self, member: int, commitment: bytes) -> Commitments | None:
        """The signed message that brought a commitment, while it is remembered."""
        reserve = self._reserves.get(member)
        offers = reserve.offers if reserve else ()
        return next((offer for offer in offers if commitment in offer.commitments), None)

    def add(self, offer: Commitments, era: bytes | None = None) -> Added | Late | Finding:
        """Take a checked message in; evidence when it repeats commitments or contradicts an earlier one.

        `era` is the one that was asked in, where it is known.
        """
        if era is not None and era != self.era:
            return Late("commitments for an era that has ended")
        reserve = self._reserves.get(offer.sender) or Reserve(offer.boot_id)
        if offer.boot_id in reserve.past_boots:
            return Late("commitments of a boot that has ended")
        restarted = offer.boot_id != reserve.boot_id
        if restarted:
            reserve = _rebooted(reserve, offer.boot_id)
        if any(known.sequence == offer.sequence and known.digest == offer.digest for known in reserve.offers):
            return Late("commitments that were already taken")
        if len(reserve.offers) >= MAX_OFFERS and offer.sequence < reserve.offers[0].sequence:
            return Late("commitments older than any remembered")
        proof = _contradicts(reserve, offer)
        if proof is not None:
            return proof
        if any(_mark(offer.sender, commitment) in self._used for commitment in offer.commitments):
            return Late("commitments that were used before: the message that brought them is forgotten")
        offers = (*reserve.offers, offer)[-MAX_OFFERS:]
        room = max(0, MAX_FREE - len(reserve.free))
        free = reserve.free + offer.commitments[:room]
        self._reserves[offer.sender] = replace(reserve, offers=offers, free=free)
        return Added(len(free) - len(reserve.free), restarted)


def _mark(member: int, commitment: bytes) -> bytes:
    """What is remembered of a used commitment: the end of the binding point's x, and whose it was."""
    return commitment[-15:] + bytes([member])


def _rebooted(reserve: Reserve, boot_id: bytes) -> Reserve:
    return Reserve(boot_id, past_boots=(*reserve.past_boots, reserve.boot_id)[-MAX_BOOTS:])


def _contradicts(reserve: Reserve, offer: Commitments) -> Finding | None:
    new = set(offer.commitments)
    if len(new) != len(offer.commitments):
        reason = "offered one commitment twice in one message"
        messages = (offer, offer)
        return Finding(Kind.REPLAYED_COMMITMENT, offer.sender, reason, messages)
    for known in reserve.offers:
        if known.sequence == offer.sequence:
            reason = "signed two different offers with one number"
        elif not new.isdisjoint(known.commitments):
            reason = "offered a commitment a second time"
        else:
            continue
        return Finding(Kind.REPLAYED_COMMITMENT, offer.sender, reason, (known, offer))
    return None
