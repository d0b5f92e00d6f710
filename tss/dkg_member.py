"""A member's answers while a key is generated: rounds in memory, the outcome in the store.

What a relay sends is checked by the pure steps of `tss/dkg`. A round's state lives in memory only: a member
that is killed lets that attempt fail, and a new one starts from nothing. After the certificate the recovery
data is enough, so any member may bring it at any time.
"""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import structlog

from tss.dkg import participant
from tss.dkg.committee import Committee
from tss.dkg.faults import DkgFault
from tss.dkg.messages import R1Set, R2Set, Roster, RosterEntry
from tss.dkg.participant import State1, State2
from tss.dkg.ports import Identity, Sealer
from tss.dkg.signed import read_purpose
from tss.dkg.transcript import RecoveryData
from tss.frost.codec import DecodeError, Reader, Writer
from tss.frost.engine import Engine
from tss.frost.errors import FrostError
from tss.keyring import KeyFault, Keyring
from tss.peers import Peers, Refuse
from tss.store import AttemptRow, Store

OFFER = "tss.dkg.offer"
ROUND1 = "tss.dkg.r1"
ROUND2 = "tss.dkg.r2"
ROUND3 = "tss.dkg.r3"
ACCEPT = "tss.dkg.accept"
FAIL = "tss.dkg.fail"

_OPEN_ATTEMPTS = 16
_ATTEMPT_SECONDS = 300.0
_MAX_BODY = 4 * 1024 * 1024


@dataclass(slots=True)
class _Attempt:
    entry: RosterEntry
    relay: int
    begun: float = field(default_factory=time.monotonic)
    roster: Roster | None = None
    first: State1 | None = None
    second: State2 | None = None

    def close(self) -> None:
        if self.first is not None:
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
    ) -> None:
        self._engine, self._sealer, self._identity = engine, sealer, identity
        self._committee, self._keyring, self._store, self._clock = committee, keyring, store, clock
        self._offers: dict[bytes, _Attempt] = {}
        self._running: dict[bytes, _Attempt] = {}
        self._log = structlog.get_logger("tss.dkg")

    def register(self, peers: Peers) -> None:
        """Answer the topics of a DKG."""
        for topic, answer in (
            (OFFER, self._offer),
            (ROUND1, self._round1),
            (ROUND2, self._round2),
            (ROUND3, self._round3),
            (ACCEPT, self._accept),
            (FAIL, self._fail),
        ):
            peers.handle(topic, _named(answer))

    async def _offer(self, relay: int, body: bytes) -> bytes:
        purpose, epoch, attempt = read_offer_request(body)
        if epoch != self._committee.epoch:
            raise Refuse("epoch", f"our committee file is for key epoch {self._committee.epoch}")
        if self._keyring.of(purpose, epoch):
            raise Refuse("key-held", f"we hold a certified {purpose} key of epoch {epoch}: finish that one")
        self._forget_old()
        nonce = secrets.token_bytes(32)
        entry = participant.offer(self._identity, self._committee, purpose, epoch, attempt, nonce)
        self._offers[nonce] = _Attempt(entry, relay)
        return entry.encode()

    async def _round1(self, relay: int, body: bytes) -> bytes:
        roster = Roster.decode(body)
        roster.check(self._committee)
        # The offer is used up first: one entry starts one session, whatever becomes of it.
        attempt = self._offers.pop(roster.entries[self._identity.index - 1].nonce, None)
        if attempt is None or attempt.relay != relay:
            raise Refuse("unknown-offer", "we made no such offer to you, or it was used: start a new attempt")
        attempt.roster = roster
        salt = secrets.token_bytes(32)
        attempt.first, r1 = participant.step1(
            self._engine, self._sealer, self._identity, self._committee, roster, attempt.entry, salt
        )
        self._running[roster.sid] = attempt
        await self._note(attempt, "open", "")
        return r1.encode()

    async def _round2(self, relay: int, body: bytes) -> bytes:
        attempt, rest = self._find(relay, body)
        r1s = R1Set.decode(rest)
        if attempt.first is None or attempt.second is not None:
            raise Refuse("order", "this round is over: start a new attempt")
        attempt.second, r2 = await asyncio.to_thread(
            participant.step2, self._engine, self._sealer, attempt.first, r1s
        )
        return r2.encode()

    async def _round3(self, relay: int, body: bytes) -> bytes:
        attempt, rest = self._find(relay, body)
        r2s = R2Set.decode(rest)
        if attempt.second is None or attempt.roster is None:
            raise Refuse("order", "round 2 comes first: start a new attempt")
        second, attempt.second = attempt.second, None
        done = await asyncio.to_thread(participant.step3, self._engine, self._sealer, second, r2s)
        self._running.pop(attempt.roster.sid, None)
        if not isinstance(done, tuple):
            await self._note(attempt, "failed", f"we complained about members {done.accused}")
            return done.encode()
        state, r3 = done
        # Before R3 leaves the transcript is durable: with it and the host key a late certificate is a key.
        await self._note(attempt, "signed", "", state.transcript.encode())
        state.key.close()
        return r3.encode()

    async def _accept(self, _relay: int, body: bytes) -> bytes:
        recovery = RecoveryData.decode(body)
        key = await self._keyring.accept(self._committee, recovery, self._clock())
        return participant.acknowledge(self._identity, key.recovery).encode()

    async def _fail(self, relay: int, body: bytes) -> bytes:
        attempt, rest = self._find(relay, body)
        reason = rest[:1000].decode("utf-8", "replace")
        if attempt.roster is not None:
            self._running.pop(attempt.roster.sid, None)
        attempt.close()
        await self._note(attempt, "failed", reason)
        return b""

    def _find(self, relay: int, body: bytes) -> tuple[_Attempt, bytes]:
        attempt = self._running.get(body[:32])
        if attempt is None or attempt.relay != relay:
            raise Refuse("unknown-attempt", "we are in no such attempt of yours: start a new one")
        return attempt, body[32:]

    def _forget_old(self) -> None:
        """Keep few attempts, and none for long: a relay that died must not hold secrets in our memory."""
        for table in (self._offers, self._running):
            for key, attempt in list(table.items()):
                late = time.monotonic() - attempt.begun > _ATTEMPT_SECONDS
                if late or len(table) >= _OPEN_ATTEMPTS:
                    del table[key]
                    attempt.close()

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


def offer_request(purpose: str, epoch: int, attempt: int) -> bytes:
    """What a relay asks first."""
    return Writer().text(purpose, 32).u32(epoch).u32(attempt).done()


def read_offer_request(body: bytes) -> tuple[str, int, int]:
    """Purpose, epoch and attempt; DecodeError for anything else."""
    reader = Reader(body, 64)
    purpose, epoch, attempt = read_purpose(reader), reader.u32(), reader.u32()
    reader.finish()
    return purpose, epoch, attempt


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
