"""The committee's TLS certificates as they change: ours made anew, told and shown; the others' handed round.

Whoever is dialled shows its certificate, and that is enough between two that are up. Handing round is for the rest:
a member that was away hears from any other what was replaced while it was gone, and refuses the old from then on.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import structlog

from tss.allowance import Allowance
from tss.certificate import DAY, MAX_DER, YEARS, Certificate, CertificateFault
from tss.dkg.committee import Committee
from tss.dkg.signed import MAX_MEMBERS
from tss.frost.codec import DecodeError, Reader, Writer
from tss.identity import HostIdentity, rotate_tls
from tss.peers import PeerError, Peers, Refuse
from tss.store import Store

EXCHANGE: Final = "tss.certificates"

SOON: Final = (
    60 * DAY
)  # before a certificate ends its operator hears of it, at a third of its life the latest
OVERLAP_DAYS: Final = 7.0
_SECONDS = 5.0
_PER_MINUTE = 30  # of one member: a list may hold 129 certificates, each of them some work
_BEHIND = frozenset({"cert-old", "cert-expired", "cert-too-many"})  # no fault of who hands it on


class CertificateRefused(Exception):
    """A rotation that was not begun; the sentence names the next move."""


@dataclass(frozen=True, slots=True)
class Standing:
    """A member's certificate as this node knows it; None where it was never heard of."""

    name: str
    certificate: Certificate | None
    trouble: str | None


@dataclass(frozen=True, slots=True)
class Rotated:
    """A new certificate of ours, and who could not be told of it yet: name and why."""

    certificate: Certificate
    missing: dict[str, str]


class CertificateWatch:
    """Rotates our certificate and keeps up with the others'."""

    def __init__(
        self,
        committee: Committee,
        identity: HostIdentity,
        peers: Peers,
        store: Store,
        clock: Callable[[], float],
        *,
        every: float = 30.0,
    ) -> None:
        self._committee, self._identity, self._peers = committee, identity, peers
        self._store, self._clock, self._every = store, clock, every
        self._task: asyncio.Task[None] | None = None
        self._one_at_a_time = asyncio.Lock()
        self._allowances: dict[int, Allowance] = {}
        self._log = structlog.get_logger("tss.certificates")
        self.counts: Counter[str] = Counter()

    def register(self, peers: Peers) -> None:
        """Answer EXCHANGE."""
        peers.handle(EXCHANGE, self._asked)

    def start(self) -> None:
        """Begin to compare with the others."""
        self._task = asyncio.get_running_loop().create_task(self._go_round())

    async def close(self) -> None:
        """Stop comparing."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def rotate(self, *, overlap: float = OVERLAP_DAYS * DAY, days: int = 365 * YEARS) -> Rotated:
        """Make a new key and certificate, tell all, and show it on every new connection; no restart.

        Durable before anybody hears of it. `overlap` is how many seconds the present one stays good beside it.
        """
        check_terms(overlap, days)
        async with self._one_at_a_time:
            made = rotate_tls(self._identity, self._committee, self._clock(), overlap=overlap, days=days)
            await self._note(self._peers.index, made)
            body = encode([made, *self._handed_on()])
            answers = await self._peers.gather(EXCHANGE, body, timeout=_SECONDS)
            self._peers.pins.renew()
        missing = {self._peers.name(m): a.reason for m, a in answers.items() if isinstance(a, PeerError)}
        self._log.info("certificate rotated", number=made.number, told=len(answers) - len(missing))
        return Rotated(made, missing)

    async def compare(self, member: int) -> None:
        """Hand a member all we know and take what it knows; PeerError when it does not answer."""
        answer = await self._peers.call(member, EXCHANGE, encode(self._handed_on()), timeout=_SECONDS)
        try:
            fault = await self._take(decode(answer))
        except DecodeError as error:
            raise PeerError(member, "garbage", f"{self._peers.name(member)}: {error}") from error
        if fault is not None:
            self._peers.refusals.add(member, self._peers.name(member), fault.code, fault.reason)

    @property
    def ends(self) -> int:
        """When our certificate ends, Unix seconds."""
        return self._peers.pins.own.not_after

    def trouble(self) -> str | None:
        """What the operator must do about his own certificate."""
        if self._peers.pins.overtaken():
            return (
                "the others know a later certificate of this node than it shows: if it was restored, run "
                "`holdfast tss certificate rotate`; if not, somebody has its host key"
            )
        return _ending(self._peers.pins.own, self._clock())

    def standings(self) -> list[Standing]:
        """Every member's certificate, our own too, in the committee's order."""
        rows = []
        for index, member in enumerate(self._committee.members, 1):
            own = index == self._peers.index
            one = self._peers.pins.own if own else self._peers.pins.newest(index)
            ending = None if one is None else _ending(one, self._clock())
            trouble = self.trouble() if own else ending
            rows.append(Standing(member.name, one, trouble))
        return rows

    def _handed_on(self) -> list[Certificate]:
        return self._peers.pins.announced()

    async def _asked(self, member: int, body: bytes) -> bytes:
        if not self._allowances.setdefault(member, Allowance(_PER_MINUTE)).take():
            raise Refuse("too-many", f"at most {_PER_MINUTE} exchanges of certificates a minute: ask later")
        try:
            told = decode(body)
        except DecodeError as error:
            raise Refuse("malformed", str(error)) from error
        fault = await self._take(told)
        if fault is not None:
            raise Refuse(fault.code, f"{self._peers.name(member)} {fault.reason}")
        return encode(self._handed_on())

    async def _take(self, told: Sequence[bytes]) -> CertificateFault | None:
        """Admit what is good; gives the first fault that speaks against who told it."""
        first: CertificateFault | None = None
        pins = self._peers.pins
        for der in told:
            try:
                pins.take(der)
            except CertificateFault as fault:
                self.counts["behind" if fault.code in _BEHIND else "refused"] += 1
                if fault.code not in _BEHIND:
                    first = first or fault
        await self._write_down()
        return first

    async def _write_down(self) -> None:
        news, self._peers.pins.news = self._peers.pins.news, []
        for member, one in news:
            self.counts["taken"] += 1
            if member != self._peers.index:
                await self._note(member, one)

    async def _note(self, member: int, one: Certificate) -> None:
        name = self._committee.name_of(member)
        async with self._store.transaction() as db:
            await self._store.audit(db, "certificate", f"{name}: number {one.number} {one.fingerprint.hex()}")
        self._log.info("certificate announced", member=name, number=one.number)

    async def _go_round(self) -> None:
        """One member after the other; at the start all that are up, for who was away is behind."""
        others = [index for index in range(1, self._committee.size + 1) if index != self._peers.index]
        turn, told = 0, None
        while others:
            before, told = told, self.trouble()
            if told not in (None, before):
                self._log.warning("this node's certificate", trouble=told)
            try:
                await self._write_down()
                await self.compare(others[turn % len(others)])
            except PeerError as error:
                self._log.debug("certificates not compared", why=error.reason)
            except Exception:
                self._log.exception("comparing certificates failed")
            turn += 1
            await asyncio.sleep(self._every if turn >= len(others) else min(self._every, 1.0))


def check_terms(overlap: float, days: int) -> None:
    """CertificateRefused when a certificate of so many days with such an overlap makes no sense."""
    if not 1 <= days <= 365 * YEARS:
        raise CertificateRefused(f"a certificate lasts 1 to {365 * YEARS} days: give --days in between")
    if not 0 <= overlap <= 365 * DAY:
        raise CertificateRefused("the overlap is 0 to 365 days: give --overlap in between")


def encode(certificates: Sequence[Certificate]) -> bytes:
    """u16 count, then each certificate (DER) with a u32 length."""
    writer = Writer().u16(len(certificates))
    for one in certificates:
        writer.var(one.der, MAX_DER)
    return writer.done()


def decode(data: bytes) -> list[bytes]:
    """DecodeError for anything but what `encode` writes."""
    reader = Reader(data, 2 + (MAX_MEMBERS + 1) * (MAX_DER + 4))
    count = reader.between(reader.u16(), 0, MAX_MEMBERS + 1, "the number of certificates")
    found = [reader.var(MAX_DER) for _ in range(count)]
    reader.finish()
    return found


def _ending(one: Certificate, now: float) -> str | None:
    left, life = one.not_after - now, one.not_after - one.not_before
    days = int(left // DAY)
    if left > min(SOON, life / 3):
        return None
    when = f"ends in {days} days" if days >= 0 else "has ended"
    return f"the TLS certificate {when}: run `holdfast tss certificate rotate`"
