"""Faults in signing: what each body holds, and when it convicts.

Signing messages name the key together with its members' public shares (`GroupPublic.share_set`), and only such a
message is signed by the culprit: so the group that is shown here is the one that the culprit meant.
"""

from dataclasses import dataclass
from typing import ClassVar, Self

from tss.dkg.signed import MAX_MEMBERS, read_member
from tss.evidence.form import Body, Court, NotProven
from tss.frost import bip340
from tss.frost.codec import DecodeError, Reader, Writer
from tss.frost.engine import GroupPublic
from tss.frost.package import SigningPackage
from tss.signing.faults import commitment_sound
from tss.signing.messages import (
    ERA_SIZE,
    KEY_SIZE,
    MAX_COMMITMENTS,
    MAX_MESSAGES,
    MAX_PACKAGE,
    Commitments,
    Order,
    Shares,
    order_digest,
    session_id,
)

_MAX_PUBLIC = 40 + 35 * MAX_MEMBERS


@dataclass(frozen=True, slots=True)
class ShownOrder:
    """A coordinator's signed order with all packages but one as hashes: `package` is the one at `place`."""

    key: bytes
    sender: int
    request: bytes
    era: bytes
    want: int
    hashes: tuple[bytes, ...]
    signature: bytes
    place: int
    package: SigningPackage

    @classmethod
    def of(cls, order: Order, place: int) -> Self:
        """Show one package of an order."""
        hashes = tuple(package.hash for package in order.packages)
        return cls(
            order.key,
            order.sender,
            order.request,
            order.era,
            order.want,
            hashes,
            order.signature,
            place,
            order.packages[place],
        )

    @property
    def session(self) -> bytes:
        """The session that the order opens."""
        return session_id(self.key, self.request, self.hashes)

    def write(self, writer: Writer) -> None:
        """Key, u16 sender, request id, era, u16 want, u16 count, hashes, signature, u16 place, package."""
        writer.raw(self.key, KEY_SIZE).u16(self.sender).raw(self.request, 32).raw(self.era, ERA_SIZE)
        writer.u16(self.want).u16(len(self.hashes))
        for one in self.hashes:
            writer.raw(one, 32)
        writer.raw(self.signature, 64).u16(self.place).var(self.package.encode(), MAX_PACKAGE)

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Take what `write` appended."""
        key, sender, request = reader.raw(KEY_SIZE), read_member(reader), reader.raw(32)
        era, want = reader.raw(ERA_SIZE), reader.between(reader.u16(), 0, MAX_COMMITMENTS, "a count")
        count = reader.between(reader.u16(), 1, MAX_MESSAGES, "the number of packages")
        hashes = tuple(reader.raw(32) for _ in range(count))
        signature, place = reader.raw(64), reader.between(reader.u16(), 0, count - 1, "a package's place")
        package = SigningPackage.decode(reader.var(MAX_PACKAGE))
        return cls(key, sender, request, era, want, hashes, signature, place, package)

    def check_place(self) -> None:
        """The package is the one that the hashes name, else NotProven."""
        if self.package.hash != self.hashes[self.place]:
            raise NotProven("the package in it is not the session's")

    def check(self, court: Court) -> None:
        """The package is in the order and the order is signed, else NotProven."""
        self.check_place()
        if self.sender > court.committee.size:
            raise NotProven("the order's sender is no member")
        digest = order_digest(self.sender, self.era, self.session, self.want)
        if not bip340.verify(court.committee.member(self.sender).host_key, digest, self.signature):
            raise NotProven(f"the order is not signed by {court.committee.name_of(self.sender)}")


@dataclass(frozen=True, slots=True)
class BadSignatureShare(Body):
    """A signed answer to a session with a share that does not verify, or with a wrong number of shares.

    The order needs no signature: the culprit signed the session id, which hashes all of it.
    """

    KIND: ClassVar[int] = 70
    LIMIT: ClassVar[int] = 1024 + _MAX_PUBLIC + 32 * MAX_MESSAGES + MAX_PACKAGE + Shares.LIMIT
    public: GroupPublic
    order: ShownOrder
    answer: Shares

    def write(self, writer: Writer) -> None:
        """Public group, order with the package at issue, the culprit's answer."""
        writer.var(self.public.encode(), _MAX_PUBLIC)
        self.order.write(writer)
        writer.var(self.answer.encode(), Shares.LIMIT + 64)

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Take what `write` appended."""
        public = GroupPublic.decode(reader.var(_MAX_PUBLIC))
        return cls(public, ShownOrder.read(reader), Shares.decode(reader.var(Shares.LIMIT + 64)))

    def convict(self, court: Court, culprit: int) -> str:
        """The share at the package's place fails under the culprit's public share."""
        order, answer = self.order, self.answer
        answer.check(court.committee)
        order.check_place()
        if answer.sender != culprit:
            raise NotProven("the answer in it is not the culprit's")
        if {self.public.share_set, order.key} != {answer.key} or answer.session != order.session:
            raise NotProven("the answer is for another session or key")
        if culprit not in order.package.commitments:
            raise NotProven("the session did not ask the culprit")
        if len(answer.shares) != len(order.hashes):
            return f"signed {len(answer.shares)} shares for a session of {len(order.hashes)} messages"
        session = court.engine.session(self.public, order.package)
        if session.verify_share(culprit, answer.shares[order.place]):
            raise NotProven("the share in it is good")
        return "signed a share of a signature that does not verify"


@dataclass(frozen=True, slots=True)
class TwoPackages(Body):
    """A coordinator's two packages for one nonce commitment of one member, in one era of its pool.

    A member that offers an old commitment again cannot make an honest coordinator look like this: in one era a
    pool gives each commitment out once.
    """

    KIND: ClassVar[int] = 71
    LIMIT: ClassVar[int] = 512 + 2 * (512 + 32 * MAX_MESSAGES + MAX_PACKAGE)
    member: int
    one: ShownOrder
    other: ShownOrder

    def write(self, writer: Writer) -> None:
        """u16 member, two orders."""
        writer.u16(self.member)
        self.one.write(writer)
        self.other.write(writer)

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Take what `write` appended."""
        return cls(read_member(reader), ShownOrder.read(reader), ShownOrder.read(reader))

    def convict(self, court: Court, culprit: int) -> str:
        """Two different packages with the same commitment of the same member, both ordered by the culprit."""
        one, other, member = self.one, self.other, self.member
        for order in (one, other):
            order.check(court)
            if order.sender != culprit:
                raise NotProven("an order in it is not the culprit's")
            if member not in order.package.commitments:
                raise NotProven("a package in it has no commitment of that member")
        if one.key != other.key or one.era != other.era:
            raise NotProven("its orders are for different keys, or from before and after a restart")
        if one.package.commitments[member] != other.package.commitments[member]:
            raise NotProven("its packages hold different commitments")
        if one.package.hash == other.package.hash:
            raise NotProven("its packages are the same")
        return f"ordered two signatures with one nonce commitment of {court.committee.name_of(member)}"


@dataclass(frozen=True, slots=True)
class ReplayedCommitment(Body):
    """Two signed offers with one commitment, or with one number; or one offer that holds a commitment twice."""

    KIND: ClassVar[int] = 72
    LIMIT: ClassVar[int] = 64 + 2 * (Commitments.LIMIT + 68)
    one: Commitments
    other: Commitments

    def write(self, writer: Writer) -> None:
        """Two offers, the smaller first."""
        for offer in sorted((self.one.encode(), self.other.encode())):
            writer.var(offer, Commitments.LIMIT + 64)

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Take what `write` appended."""
        one, other = (reader.var(Commitments.LIMIT + 64) for _ in range(2))
        if one > other:
            raise DecodeError("the two offers are not in order")
        return cls(Commitments.decode(one), Commitments.decode(other))

    def convict(self, court: Court, culprit: int) -> str:
        """A nonce made for one use was offered for two."""
        one, other = self.one, self.other
        for offer in (one, other):
            offer.check(court.committee)
            if offer.sender != culprit:
                raise NotProven("an offer in it is not the culprit's")
        if one.key != other.key:
            raise NotProven("its offers are for different keys")
        if one.digest == other.digest:
            if len(set(one.commitments)) == len(one.commitments):
                raise NotProven("its two offers are the same, and hold no commitment twice")
            return "offered one commitment twice in one message"
        if not set(one.commitments).isdisjoint(other.commitments):
            return "offered one commitment in two messages"
        if (one.boot_id, one.sequence) == (other.boot_id, other.sequence):
            return "signed two different offers with one number"
        raise NotProven("its offers have nothing in common")


@dataclass(frozen=True, slots=True)
class BadCommitment(Body):
    """A signed offer with a commitment that is no pair of points."""

    KIND: ClassVar[int] = 73
    LIMIT: ClassVar[int] = 128 + _MAX_PUBLIC + Commitments.LIMIT
    public: GroupPublic
    place: int
    offer: Commitments

    def write(self, writer: Writer) -> None:
        """Public group, u16 place of the bad one, offer."""
        writer.var(self.public.encode(), _MAX_PUBLIC).u16(self.place)
        writer.var(self.offer.encode(), Commitments.LIMIT + 64)

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Take what `write` appended."""
        public = GroupPublic.decode(reader.var(_MAX_PUBLIC))
        return cls(public, reader.u16(), Commitments.decode(reader.var(Commitments.LIMIT + 64)))

    def convict(self, court: Court, culprit: int) -> str:
        """No session can be opened with it."""
        offer = self.offer.check(court.committee)
        if offer.sender != culprit or offer.key != self.public.share_set:
            raise NotProven("the offer is not the culprit's, or for another key")
        if self.place >= len(offer.commitments):
            raise NotProven("the offer has no such commitment")
        if commitment_sound(court.engine, self.public, culprit, offer.commitments[self.place]):
            raise NotProven("the commitment in it is good")
        return "offered a commitment that is no pair of points"
