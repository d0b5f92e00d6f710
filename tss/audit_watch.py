"""Members hold each other to their audit logs: heads go round, and a log that lost a row it had is named.

Each asks every other from time to time: what is your newest row, what is your row with the number I remember, and
what do you remember of me? A rewritten, shortened or restored log shows by the next round. A member that runs other
software can keep two logs; then the heads it signed convict it once anybody compares them with the log it shows
(`holdfast tss audit verify`).
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import structlog

from tss.audit import Head
from tss.audit_store import AuditAlarm, AuditStore
from tss.dkg.committee import Committee
from tss.dkg.ports import Identity
from tss.frost.codec import DecodeError, Reader, Writer
from tss.peers import PeerError, Peers, Refuse
from tss.store import Store

HEAD = "tss.audit.head"
_SECONDS = 5.0


class TakeOutRefused(Exception):
    """Rows that must stay for now; the sentence names the next move."""


@dataclass(frozen=True, slots=True)
class HeadAnswer:
    """A member's head, its hash at the number asked for (empty: none), and what it remembers of who asks."""

    head: Head
    then: bytes
    yours: Head | None

    def encode(self) -> bytes:
        """Head, then var hash, then var head."""
        writer = Writer().raw(self.head.encode(), Head.SIZE).var(self.then, 32)
        return writer.var(b"" if self.yours is None else self.yours.encode(), Head.SIZE).done()

    @classmethod
    def decode(cls, data: bytes, member: int, asker: int) -> "HeadAnswer":
        """DecodeError for anything but what `encode` writes."""
        reader = Reader(data, 3 * Head.SIZE)
        head, then, yours = Head.read(member, reader), reader.var(32), reader.var(Head.SIZE)
        reader.finish()
        if not yours:
            return cls(head, then, None)
        inner = Reader(yours, Head.SIZE)
        said = Head.read(asker, inner)
        inner.finish()
        return cls(head, then, said)


class AuditWatch:
    """Exchanges heads with the other members."""

    def __init__(
        self,
        committees: Sequence[Committee],
        identity: Identity,
        store: Store,
        clock: Callable[[], float],
        *,
        every: float = 60.0,
    ) -> None:
        """`committees` are those of all epochs that the folder vouches for, the present one the last."""
        self._committees, self._committee = tuple(committees), committees[-1]
        self._identity, self._clock, self._every = identity, clock, every
        self._peers: Peers | None = None
        self._task: asyncio.Task[None] | None = None
        self._log = structlog.get_logger("tss.audit")
        self.store = AuditStore(store, clock)

    def register(self, peers: Peers) -> None:
        """Answer HEAD."""
        self._peers = peers
        peers.handle(HEAD, self._asked)

    def start(self) -> None:
        """Begin to compare with the others."""
        self._task = asyncio.get_running_loop().create_task(self._go_round())

    async def close(self) -> None:
        """Stop comparing."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def compare(self, member: int) -> list[AuditAlarm]:
        """Exchange heads with one member; gives new alarms. PeerError when it does not answer or talks nonsense."""
        known = (await self.store.remembered()).get(member)
        if known is not None and not self._said(known):
            known = None  # of whoever had the seat before
        answer = await self._ask(member, 0 if known is None else known.number)
        found = []
        if known is not None and answer.then != known.hash:
            found.append(AuditAlarm(member, self._identity.index, known.number, known.hash, answer.then, 0.0))
        if known is None or (known.number, known.hash) != (answer.head.number, answer.head.hash):
            await self.store.remember(answer.head)
        alarms = [alarm for alarm in found if known is not None and await self._raise(alarm, known)]
        return alarms + await self._look_at_own(member, answer.yours)

    async def take_out(self, through: int, digest: bytes) -> int:
        """Take our rows up to one of this hash out of signer.db; how many went.

        Only once every other member remembers a later head of ours: what it holds us to stays here. TakeOutRefused
        says who does not. Who calls has the rows elsewhere, durably.
        """
        if through >= (await self.store.head())[0]:
            raise TakeOutRefused("the newest row stays: take out fewer")
        others = [index for index in range(1, self._committee.size + 1) if index != self._identity.index]
        for member in others:
            name = self._committee.name_of(member)
            try:
                yours = (await self._ask(member, 0)).yours
            except PeerError as error:
                raise TakeOutRefused(f"{error.reason}: take rows out when all members are up") from error
            if yours is None or not self._said(yours) or yours.number <= through:
                raise TakeOutRefused(
                    f"{name} does not remember a row of ours after {through} yet: heads go round every minute, try "
                    "again then"
                )
            await self._look_at_own(member, yours)
        if not (gone := await self.store.take_out(through, digest)):
            raise TakeOutRefused(f"row {through} is not what the file says: export the log anew")
        self._log.info("audit rows taken out", through=through)
        return gone

    async def _ask(self, member: int, number: int) -> HeadAnswer:
        assert self._peers is not None, "register first"
        data = await self._peers.call(member, HEAD, Writer().u64(number).done(), timeout=_SECONDS)
        try:
            answer = HeadAnswer.decode(data, member, self._identity.index)
        except DecodeError as error:
            raise PeerError(member, "garbage", f"{self._peers.name(member)}: {error}") from error
        if not self._said(answer.head):
            raise PeerError(member, "garbage", f"{self._peers.name(member)} sent a head it did not sign")
        return answer

    async def _look_at_own(self, reporter: int, said: Head | None) -> list[AuditAlarm]:
        """Whether our log still holds what we once signed; another's word alone counts for nothing."""
        if said is None or not self._said(said):
            return []
        found = await self.store.hash_at(said.number)
        if found == said.hash or said.number < await self.store.first():
            return []  # a row that our operator took out is in his file
        alarm = AuditAlarm(self._identity.index, reporter, said.number, said.hash, found, 0.0)
        return [alarm] if await self._raise(alarm, said) else []

    async def _raise(self, alarm: AuditAlarm, old: Head) -> bool:
        name = self._committee.name_of(alarm.member)
        now = AuditAlarm(alarm.member, alarm.reporter, alarm.row, alarm.expected, alarm.found, self._clock())
        if not await self.store.alarm(now, old, name):
            return False
        said = "an audit log lost a row that its member had signed: it was rewritten, or restored from a copy"
        self._log.error(said, member=name, row=alarm.row, seen_by=self._committee.name_of(alarm.reporter))
        return True

    def _said(self, head: Head) -> bool:
        """Whether who sits there now signed this head, in this epoch or, in the same seat, in an earlier one."""
        key, seat = self._committee.member(head.member).host_key, head.member
        served = [one for one in self._committees if seat <= one.size and one.member(seat).host_key == key]
        return any(head.signed_by(key, one.hash) for one in reversed(served))

    async def _asked(self, member: int, body: bytes) -> bytes:
        try:
            reader = Reader(body, 8)
            number = reader.u64()
            reader.finish()
        except DecodeError as error:
            raise Refuse("malformed", str(error)) from error
        newest, newest_hash = await self.store.head()
        head = Head(self._identity.index, newest, newest_hash, int(self._clock() * 1000))
        head = head.with_signature(self._identity.sign(head.digest(self._committee.hash)))
        then = await self.store.hash_at(number) if number else b""
        yours = (await self.store.remembered()).get(member)
        return HeadAnswer(head, then, yours).encode()

    async def _go_round(self) -> None:
        others = [index for index in range(1, self._committee.size + 1) if index != self._identity.index]
        while True:
            await asyncio.sleep(self._every)
            for member in others:
                try:
                    await self.compare(member)
                except PeerError as error:
                    self._log.debug("audit heads not compared", why=error.reason)
                except Exception:
                    self._log.exception("comparing audit heads failed")
