"""Values sealed from one member to another, each under a key that nothing else is sealed to.

A complaint gives up the seed of the accused's box alone. One key for all boxes, as in a DKG, would be fatal in a
repair: a complaint about one bad sigma would open the others, and with them the share that is being repaired.
"""

from dataclasses import dataclass, field

from tss.dkg.committee import Committee
from tss.dkg.faults import BadProof
from tss.dkg.ports import Identity, SealBroken, Sealer
from tss.frost.codec import Writer
from tss.rotation.messages import SECOND, DealSet, R1Set
from tss.rotation.plan import Roster

SESSION_TAG = "holdfast/rotation/session/v1"
VALUE_SIZE = 32


@dataclass(frozen=True, slots=True)
class Round:
    """The deals of one round with what they are bound to."""

    roster: Roster
    r1s: R1Set
    number: int
    seen: bytes
    deals: DealSet

    def box(self, dealer: int, receiver: int) -> bytes:
        """What a dealer sealed to a receiver, 80 bytes."""
        place = 0 if self.number == SECOND else self.roster.plan.receivers(dealer).index(receiver)
        return self.deals.of(dealer).sealed[place]

    def info(self, dealer: int, receiver: int) -> bytes:
        """HPKE's info for that box."""
        return _info(self.roster.sid, self.number, dealer, receiver, self.seen)

    def key_of(self, dealer: int, receiver: int) -> bytes:
        """The receiver's encryption key for this dealer."""
        return self.r1s.of(receiver).keys[self.roster.plan.dealers.index(dealer)]

    def dealers_to(self, receiver: int) -> tuple[int, ...]:
        """Who sealed something to this member."""
        plan = self.roster.plan
        if self.number == SECOND:
            return plan.dealers if receiver == plan.receiver else ()
        return tuple(dealer for dealer in plan.dealers if receiver in plan.receivers(dealer))


@dataclass(slots=True)
class Opened:
    """Values that opened, by dealer, and the dealers whose box did not. `wipe` them."""

    values: dict[int, bytearray] = field(repr=False)
    bad: set[int]

    def fixed(self) -> dict[int, bytes]:
        """The values as the engine takes them."""
        return {dealer: bytes(value) for dealer, value in self.values.items()}

    def wipe(self) -> None:
        """Overwrite all values."""
        for value in self.values.values():
            value[:] = bytes(len(value))


def seed_for(identity: Identity, sid: bytes, salt: bytes, dealer: int) -> bytes:
    """The seed of our key for one dealer's boxes: from host secret and transcript, so that both restore."""
    return identity.derive(SESSION_TAG, sid, salt, dealer.to_bytes(2, "big"))


def public_keys(sealer: Sealer, identity: Identity, roster: Roster, salt: bytes) -> tuple[bytes, ...]:
    """Our encryption keys, one for each dealer, as R1 publishes them."""
    seeds = (seed_for(identity, roster.sid, salt, dealer) for dealer in roster.plan.dealers)
    return tuple(sealer.derive(seed)[1] for seed in seeds)


def seal(
    sealer: Sealer, committee: Committee, before: Round, dealer: int, receiver: int, value: bytes | bytearray
) -> bytes:
    """Seal one value, `before` any deals; BadProof when nothing can be sealed to the key in the receiver's R1."""
    try:
        return sealer.seal(before.key_of(dealer, receiver), before.info(dealer, receiver), bytes(value))
    except SealBroken as error:
        name = committee.name_of(receiver)
        raise BadProof(
            f"nothing can be sealed to the encryption key in {name}'s R1: settle it with {name}, "
            "then start a new attempt",
            (receiver,),
            (before.r1s.of(receiver).encode(),),
        ) from error


def open_all(sealer: Sealer, identity: Identity, dealt: Round) -> Opened:
    """Open what was sealed to us in one round."""
    me, salt = identity.index, dealt.r1s.of(identity.index).salt
    opened = Opened({}, set())
    for dealer in dealt.dealers_to(me):
        value = open_with(sealer, dealt, dealer, me, seed_for(identity, dealt.roster.sid, salt, dealer))
        if value is None:
            opened.bad.add(dealer)
        else:
            opened.values[dealer] = value
    return opened


def open_with(sealer: Sealer, dealt: Round, dealer: int, receiver: int, seed: bytes) -> bytearray | None:
    """Open one box with its seed, as a judge does; None when it does not open."""
    private, _ = sealer.derive(seed)
    try:
        value = sealer.open(private, dealt.info(dealer, receiver), dealt.box(dealer, receiver))
    except SealBroken:
        return None
    assert len(value) == VALUE_SIZE, "a box of 80 bytes holds 32"
    return value


def _info(sid: bytes, number: int, dealer: int, receiver: int, seen: bytes) -> bytes:
    writer = Writer().raw(b"holdfast/rotation/box/v1", 24).raw(sid, 32).u8(number).u16(dealer)
    return writer.u16(receiver).raw(seen, 32).done()
