"""A member's answers while a key is generated: rounds in memory, the outcome in the store.

What a relay sends is checked by the pure steps of `tss/dkg`. Until R2 a round's state lives in memory only: a
member that is killed lets that attempt fail, and a new one starts from nothing. Before R2 leaves, what is needed to
go on is stored, and a member that is killed later answers the relay's next call. After the certificate the recovery
data is enough, so any member may bring it at any time.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Container
from dataclasses import dataclass, field, replace

import structlog

from tss.dkg import participant
from tss.dkg.committee import Committee
from tss.dkg.faults import DkgFault, ViewsDiffer
from tss.dkg.key_states import PURPOSES
from tss.dkg.messages import R3, Complaint, R1Set, R2Set, Roster, RosterEntry
from tss.dkg.participant import State1, State2
from tss.dkg.ports import Identity, Sealer
from tss.dkg.signed import read_purpose
from tss.dkg.transcript import Halfway, RecoveryData, Transcript
from tss.evidence import collect
from tss.evidence_gossip import EvidenceBook
from tss.frost.codec import DecodeError, Reader, Writer
from tss.frost.engine import Engine
from tss.frost.errors import FrostError
from tss.keyring import KeyFault, Keyring
from tss.peers import Peers, Refuse
from tss.store import AttemptRow, Store
from tss.turns import Turns
from tss.views import Views

OFFER = "tss.dkg.offer"
ROUND1 = "tss.dkg.r1"
ROUND2 = "tss.dkg.r2"
ROUND3 = "tss.dkg.r3"
ACCEPT = "tss.dkg.accept"
FAIL = "tss.dkg.fail"

_ATTEMPT_SECONDS = 90.0
_MAX_REASON = 1000


@dataclass(slots=True)
class _Attempt:
    """What is in memory of one attempt; there is at most one per purpose."""

    entry: RosterEntry
    relay: int
    roster: Roster | None = None
    first: State1 | None = None
    second: State2 | None = None
    said: tuple[bytes, R3 | Complaint] | None = None  # hash of all R2, and our answer to them: one for ever
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)  # two calls at once must not end in two answers

    def close(self) -> None:
        if self.first is not None and self.first.secret is not None:
            self.first.secret.close()


class DkgMember:
    """Registers the DKG topics and answers them."""

    def __init__(
        self,
        engine: Engine,
        sealer: Sealer,
        identity: Identity,
        committee: Committee,
        keyring: Keyring,
        store: Store,
        clock: Callable[[], float],
        book: EvidenceBook,
    ) -> None:
        self._engine, self._sealer, self._identity = engine, sealer, identity
        self._committee, self._keyring, self._store, self._clock = committee, keyring, store, clock
        self._book, self.views = book, Views(committee, book)
        self.purposes: Container[str] = (
            PURPOSES  # else one member has us store a key for every word it thinks of
        )
        self._attempts: dict[str, _Attempt] = {}
        self.turns = Turns(committee)
        self._log = structlog.get_logger("tss.dkg")

    @property
    def relays(self) -> set[int]:
        """Who drives what this member takes part in just now."""
        return {place.driver for place in self.turns.places()}

    def register(self, peers: Peers) -> None:
        """Answer the topics of a DKG."""
        self.turns.register(peers)
        self.views.register(peers)
        for topic, answer in (
            (OFFER, self._offer),
            (ROUND1, self._round1),
            (ROUND2, self._round2),
            (ROUND3, self._round3),
            (ACCEPT, self._accept),
            (FAIL, self._fail),
        ):
            peers.handle(topic, _named(answer))

    async def load(self) -> None:
        """Take up what a restart left: go on where R2 is out, give up where it is not."""
        for row in await self._store.begun_attempts(self._committee.epoch):
            ours = row.relay == self._identity.index  # a relay's own rounds died with it
            if row.state == "open" or (row.state == "sent" and ours):
                reason = f"this node was restarted {'while it drove this' if ours else 'before it sent R2'}"
                await self._store.save_attempt(replace(row, state="failed", reason=reason))
                continue
            fresh = not ours and self._clock() - row.at < _ATTEMPT_SECONDS
            if fresh and not self._keyring.of(row.purpose, row.epoch):
                self._resume(row)

    def _resume(self, row: AttemptRow) -> None:
        try:
            if row.state == "sent":
                halfway = Halfway.decode(row.transcript)
                said = None
            else:
                transcript = Transcript.decode(row.transcript)
                own = transcript.r2s.of(self._identity.index)
                halfway, said = Halfway(transcript.roster, transcript.r1s, own), self._said(transcript)
            second = participant.resume(self._sealer, self._identity, self._committee, halfway)
        except (DecodeError, DkgFault, FrostError) as error:
            self._log.warning("a key generation cannot go on", purpose=row.purpose, why=str(error))
            return
        entry = halfway.roster.entries[self._identity.index - 1]
        attempt = _Attempt(entry, row.relay, roster=halfway.roster, first=second.first, second=second)
        attempt.said = said
        self._attempts[row.purpose] = attempt
        self.turns.resumed(row.purpose, _work(row.purpose), row.relay)
        self.views.saw(halfway.roster.sid, halfway.r1s)
        self._log.info("key generation goes on", purpose=row.purpose, attempt=row.attempt, state=row.state)

    def _said(self, transcript: Transcript) -> tuple[bytes, R3]:
        """The R3 that was stored as said: the same T, signed again."""
        public = self._engine.dkg_public(transcript.r1s.packages, self._committee.threshold)
        r3 = R3(transcript.roster.sid, self._identity.index, transcript.hash(public))
        return transcript.r2s.hash, r3.signed(self._identity)

    async def _offer(self, relay: int, body: bytes) -> bytes:
        purpose, epoch, attempt = read_offer_request(body)
        if epoch != self._committee.epoch:
            raise Refuse("epoch", f"our committee file is for key epoch {self._committee.epoch}")
        if purpose not in self.purposes:
            raise Refuse("purpose", f"no key is for {purpose}: use one of {', '.join(sorted(PURPOSES))}")
        if self._keyring.of(purpose, epoch):
            raise Refuse("key-held", f"we hold a certified {purpose} key of epoch {epoch}: finish that one")
        self._make_room(purpose, relay)
        nonce = secrets.token_bytes(32)
        entry = participant.offer(self._identity, self._committee, purpose, epoch, attempt, nonce)
        self._attempts[purpose] = _Attempt(entry, relay)
        return entry.encode()

    def _make_room(self, purpose: str, relay: int) -> None:
        """One attempt at a purpose at a time: two would end in two keys, each verified by some members only."""
        self.turns.take(purpose, _work(purpose), relay)
        for other in [name for name in self._attempts if name == purpose or not self.turns.holds(name)]:
            self._attempts.pop(other).close()

    async def _round1(self, relay: int, body: bytes) -> bytes:
        roster = Roster.decode(body)
        roster.check(self._committee)
        attempt = self._attempts.get(roster.purpose)
        # One entry starts one session, whatever becomes of it.
        if attempt is None or attempt.relay != relay or attempt.roster is not None:
            raise Refuse("unknown-offer", "we made no such offer to you, or it was used: start a new attempt")
        attempt.roster = roster
        salt = secrets.token_bytes(32)
        attempt.first, r1 = participant.step1(
            self._engine, self._sealer, self._identity, self._committee, roster, attempt.entry, salt
        )
        await self._note(attempt, "open", "")
        return r1.encode()

    async def _round2(self, relay: int, body: bytes) -> bytes:
        attempt, rest = self._find(relay, body)
        async with attempt.turn:
            return await self._dealt(attempt, body[:32], R1Set.decode(rest))

    async def _dealt(self, attempt: _Attempt, sid: bytes, r1s: R1Set) -> bytes:
        if attempt.first is None:
            raise Refuse("order", "this round is over: start a new attempt")
        if attempt.second is not None:  # asked again, perhaps after a restart: the same R2, never another
            if attempt.second.r1s.hash != r1s.hash:
                raise Refuse("order", "we sent R2 for other R1 than these: start a new attempt")
            return attempt.second.r2.encode()
        self.views.saw(sid, r1s)
        try:
            second, r2 = await asyncio.to_thread(
                participant.step2, self._engine, self._sealer, attempt.first, r1s
            )
        except DkgFault as fault:
            await self._book.report(collect.of_fault(self._committee, attempt.first.roster, fault))
            raise
        attempt.second = second
        # Before R2 leaves it is durable: whoever saw it finds us again after a restart.
        await self._note(attempt, "sent", "", Halfway(attempt.first.roster, r1s, r2).encode())
        return r2.encode()

    async def _round3(self, relay: int, body: bytes) -> bytes:
        attempt, rest = self._find(relay, body)
        r2s = R2Set.decode(rest)
        if attempt.second is None:
            raise Refuse("order", "round 2 comes first: start a new attempt")
        if attempt.said is not None:
            if attempt.said[0] != r2s.hash:
                raise Refuse("order", "we ended round 3 on other R2 than these: start a new attempt")
            return attempt.said[1].encode()
        self.views.saw(body[:32], attempt.second.r1s, r2s)
        async with attempt.turn:
            if attempt.said is None:
                attempt.said = r2s.hash, await self._end(attempt, attempt.second, r2s)
        return attempt.said[1].encode()

    async def _end(self, attempt: _Attempt, second: State2, r2s: R2Set) -> R3 | Complaint:
        try:
            done = await asyncio.to_thread(participant.step3, self._engine, self._sealer, second, r2s)
        except DkgFault as fault:
            await self._book.report(collect.of_fault(self._committee, second.first.roster, fault))
            if isinstance(fault, ViewsDiffer):
                await self.views.compare(second.first.roster.sid)
            raise
        if isinstance(done, Complaint):
            await self._note(attempt, "failed", f"we complained about members {done.accused}")
            transcript = Transcript(self._committee, second.first.roster, second.r1s, r2s)
            await self._book.report(collect.complaint(transcript, done))
            return done
        state, r3 = done
        # Before R3 leaves the transcript is durable: with it and the host key a late certificate is a key.
        await self._note(attempt, "signed", "", state.transcript.encode())
        self.views.signed(r3.sid, r2s.hash, state.key.public.encode())
        state.key.close()
        return r3

    async def _accept(self, _relay: int, body: bytes) -> bytes:
        recovery = RecoveryData.decode(body)
        key = await self._keyring.accept(self._committee, recovery, self._clock())
        done = self._attempts.get(key.info.purpose)
        if done is not None and done.roster is not None and done.roster.sid == key.sid:
            del self._attempts[key.info.purpose]
            self.turns.end(key.info.purpose)
        return participant.acknowledge(self._identity, key.recovery).encode()

    async def _fail(self, relay: int, body: bytes) -> bytes:
        purpose, reason = read_failure(body)
        attempt = self._attempts.get(purpose)
        if attempt is None or attempt.relay != relay:
            return b""
        del self._attempts[purpose]
        self.turns.end(purpose)
        attempt.close()
        row = None if attempt.roster is None else await self._store.attempt(attempt.roster.sid)
        if row is not None and row.state in ("open", "sent"):  # what we signed may still become a key
            await self._note(attempt, "failed", reason)
        return b""

    def _find(self, relay: int, body: bytes) -> tuple[_Attempt, bytes]:
        for attempt in self._attempts.values():
            if attempt.roster is not None and attempt.roster.sid == body[:32] and attempt.relay == relay:
                self.turns.moved(attempt.roster.purpose)
                return attempt, body[32:]
        raise Refuse("unknown-attempt", "we are in no such attempt of yours: start a new one")

    async def _note(self, attempt: _Attempt, state: str, reason: str, transcript: bytes = b"") -> None:
        roster = attempt.roster
        if roster is None:
            return
        row = AttemptRow(
            roster.sid,
            roster.purpose,
            roster.epoch,
            roster.attempt,
            attempt.relay,
            state,
            reason,
            transcript or roster.encode(),
            self._clock(),
        )
        await self._store.save_attempt(row)
        self._log.info("dkg", purpose=roster.purpose, attempt=roster.attempt, state=state, reason=reason)


def _work(purpose: str) -> str:
    return f"making the {purpose} key"


def offer_request(purpose: str, epoch: int, attempt: int) -> bytes:
    """What a relay asks first."""
    return Writer().text(purpose, 32).u32(epoch).u32(attempt).done()


def read_offer_request(body: bytes) -> tuple[str, int, int]:
    """Purpose, epoch and attempt; DecodeError for anything else."""
    reader = Reader(body, 64)
    purpose, epoch, attempt = read_purpose(reader), reader.u32(), reader.u32()
    reader.finish()
    return purpose, epoch, attempt


def failure(purpose: str, reason: str) -> bytes:
    """What a relay tells all when it gives up."""
    return Writer().text(purpose, 32).text(reason[: _MAX_REASON // 4], _MAX_REASON).done()


def read_failure(body: bytes) -> tuple[str, str]:
    """Purpose and reason; DecodeError for anything else."""
    reader = Reader(body, _MAX_REASON + 64)
    purpose, reason = read_purpose(reader), reader.text(_MAX_REASON)
    reader.finish()
    return purpose, reason


def _named(answer: Callable[[int, bytes], Awaitable[bytes]]) -> Callable[[int, bytes], Awaitable[bytes]]:
    """Turn what the pure steps raise into refusals that name the fault."""

    async def guarded(member: int, body: bytes) -> bytes:
        try:
            return await answer(member, body)
        except DecodeError as error:
            raise Refuse("malformed", str(error)) from error
        except DkgFault as fault:
            raise Refuse(fault.code, fault.reason) from fault
        except KeyFault as fault:
            raise Refuse("key", str(fault)) from fault
        except FrostError as error:
            raise Refuse("engine", str(error)) from error

    return guarded
