"""A member's answers while shares are refreshed or repaired: rounds in memory, the outcome in the store.

What a relay sends is checked by the pure steps of `tss/rotation`. A member that is killed before its assent lets
that attempt fail, and the old shares serve on. After the certificate the link alone is enough, whoever brings it.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace

import structlog

from tss.dkg.committee import Committee
from tss.dkg.faults import BadProof, DkgFault, ViewsDiffer
from tss.dkg.ports import Identity, Sealer
from tss.evidence import collect
from tss.evidence_gossip import EvidenceBook
from tss.frost.codec import DecodeError
from tss.frost.engine import Engine
from tss.frost.errors import FrostError
from tss.key_proof import KeyProof
from tss.keyring import Key, KeyFault, Keyring, LostKey
from tss.peers import Peers, Refuse
from tss.rotation import refresh, repair, rules
from tss.rotation.link import Link, acknowledge
from tss.rotation.messages import Complaint, DealSet, R1Set
from tss.rotation.plan import Entry, Plan, Roster, Work
from tss.rotation.refresh import Done
from tss.rotation_keys import RotationKeys
from tss.rotation_store import RotationRow, RotationStore
from tss.rotation_topics import (
    ACCEPT,
    ASSENT,
    DEAL,
    FAIL,
    LINKS,
    OFFER,
    PROOF,
    ROUND1,
    SUM,
    read_deals,
    read_failure,
    read_links_request,
)
from tss.store import StoreFault
from tss.turns import Turns
from tss.views import Views

_Answer = Callable[[int, bytes], Awaitable[bytes]]

# Attempts are numbered by the clock, so that the later one counts, and nobody books the future. But clocks that
# were an hour ahead, and attempts that we have seen ourselves, must not keep a key from being refreshed.
_EARLY_SECONDS = 7200
_MORE_ATTEMPTS = 16


_DOING = {Work.REFRESH: "refreshing", Work.REPAIR: "repairing its share of"}


@dataclass(slots=True)
class _Attempt:
    """What is in memory of one attempt; there is at most one per key."""

    plan: Plan
    entry: Entry
    relay: int
    roster: Roster | None = None
    first: refresh.State1 | repair.State1 | None = None
    second: refresh.State2 | repair.State2 | None = None
    third: repair.State3 | None = None
    turn: asyncio.Lock = field(
        default_factory=asyncio.Lock
    )  # one step at a time, and none while it is closed

    def close(self) -> None:
        if self.first is not None:
            self.first.close()


class RotationMember:
    """Registers the topics of key work and answers them."""

    def __init__(
        self,
        engine: Engine,
        sealer: Sealer,
        identity: Identity,
        committee: Committee,
        keyring: Keyring,
        keys: RotationKeys,
        store: RotationStore,
        clock: Callable[[], float],
        book: EvidenceBook,
        views: Views,
    ) -> None:
        self._engine, self._sealer, self._identity, self._views = engine, sealer, identity, views
        self._committee, self._keyring, self._keys = committee, keyring, keys
        self._store, self._clock, self._book = store, clock, book
        self._attempts: dict[bytes, _Attempt] = {}
        self.turns = Turns(committee)
        self.catch_up: Callable[[bytes], Awaitable[None]] = _nothing
        self._log = structlog.get_logger("tss.rotation")

    @property
    def relays(self) -> set[int]:
        """Who drives what this member takes part in just now."""
        return {place.driver for place in self.turns.places()}

    def register(self, peers: Peers) -> None:
        """Answer the topics of key work."""
        self.turns.register(peers)
        for topic, answer in (
            (OFFER, self._offer),
            (ROUND1, self._round1),
            (DEAL, self._seen(self._deal)),
            (SUM, self._seen(self._sum)),
            (ASSENT, self._seen(self._assent)),
            (ACCEPT, self._accept),
            (PROOF, self._proof),
            (FAIL, self._fail),
            (LINKS, self._links),
        ):
            peers.handle(topic, _named(answer))

    def _seen(self, answer: _Answer) -> _Answer:
        """One step at a time: asked twice at once, we must not sign two. Compare when others saw otherwise."""

        async def comparing(relay: int, body: bytes) -> bytes:
            try:
                async with self._find(relay, body)[0].turn:
                    return await answer(relay, body)
            except ViewsDiffer:
                await self._views.compare(body[:32])
                raise

        return comparing

    async def load(self) -> None:
        """Give up what a restart ended; what we assented to may still be certified."""
        for row in await self._store.open():
            await self._store.save(replace(row, state="failed", reason="this node was restarted"))

    async def _offer(self, relay: int, body: bytes) -> bytes:
        plan = Plan.decode(body)
        try:
            await self._check(plan, relay)
        except rules.Behind:  # whoever is behind, if it is us a moment is enough
            await self.catch_up(plan.key)
            await self._check(plan, relay)
        work = f"{_DOING[plan.work]} the {self._held(plan.key).info.purpose} key"
        self.turns.take(plan.key, work, relay)
        if plan.key in self._attempts:
            await self._forget(plan.key)
        entry = refresh.offer(self._identity, self._committee, plan, secrets.token_bytes(32))
        self._attempts[plan.key] = _Attempt(plan, entry, relay)
        return entry.encode()

    async def _check(self, plan: Plan, relay: int) -> None:
        key = self._held(plan.key)
        standing = rules.Standing(
            key.info.public,
            await self._store.highest_attempt(plan.base),
            await self._store.consents(plan.base),
        )
        state = key.info.state
        if isinstance(key, LostKey) and plan.receiver == self._identity.index:
            state = "verified"  # it was, before it was lost; the helpers know
        rules.check_plan(self._committee, plan, standing, state, relay)
        if plan.attempt > max(self._clock() + _EARLY_SECONDS, standing.attempt + _MORE_ATTEMPTS):
            raise Refuse("attempt", "the attempt's number lies in the future: set the clocks by NTP")

    async def _close(self, key: bytes) -> None:
        self.turns.end(key)
        await self._forget(key)

    async def _forget(self, key: bytes) -> None:
        """Forget an attempt, once a step under way is done with its secrets: half wiped, they would be signed."""
        attempt = self._attempts.pop(key)
        async with attempt.turn:
            attempt.close()

    def _held(self, sid: bytes) -> Key | LostKey:
        key: Key | LostKey | None = self._keyring.get(sid) or self._keyring.find_lost(sid)
        if key is None:
            raise Refuse("unknown-key", "we hold no such key: run the key's `holdfast tss dkg` again")
        return key

    async def _round1(self, relay: int, body: bytes) -> bytes:
        roster = Roster.decode(body)
        attempt = self._attempts.get(roster.plan.key)
        # One entry starts one session, whatever becomes of it.
        if (
            attempt is None
            or attempt.relay != relay
            or attempt.roster is not None
            or roster.plan != attempt.plan
        ):
            raise Refuse("unknown-offer", "we made no such offer to you, or it was used: start a new attempt")
        attempt.roster = roster
        key, salt = self._held(roster.plan.key), secrets.token_bytes(32)
        common = (self._engine, self._sealer, self._identity, self._committee, roster, attempt.entry)
        if roster.plan.work is Work.REFRESH:
            if isinstance(key, LostKey):
                raise Refuse("lost", "our share is lost: repair it before the key is refreshed")
            attempt.first, r1 = await asyncio.to_thread(refresh.step1, *common, key.share, salt)
        else:
            share = None if isinstance(key, LostKey) else key.share
            attempt.first, r1 = await asyncio.to_thread(repair.step1, *common, key.info.public, share, salt)
        await self._note(attempt, "open", "")
        return r1.encode()

    async def _deal(self, relay: int, body: bytes) -> bytes:
        attempt, rest = self._find(relay, body)
        r1s = R1Set.decode(rest)
        if attempt.first is None or attempt.second is not None:
            raise Refuse("order", "this round is over: start a new attempt")
        self._views.saw(body[:32], r1s)
        try:
            return await self._dealt(attempt, attempt.first, r1s)
        except BadProof as fault:
            before, roster = self._held(attempt.plan.key).info.public, attempt.first.roster
            pieces = [collect.bad_work(self._committee, before, roster, r1s.of(c)) for c in fault.culprits]
            await self._book.report(pieces)
            raise

    async def _dealt(self, attempt: _Attempt, first: refresh.State1 | repair.State1, r1s: R1Set) -> bytes:
        if isinstance(first, refresh.State1):
            steps = (self._engine, self._sealer, first, r1s)
            attempt.second, deal = await asyncio.to_thread(refresh.step2, *steps)
            return deal.encode()
        second = await asyncio.to_thread(repair.step2, self._engine, self._sealer, first, r1s)
        attempt.second = second
        return b"" if second.deal is None else second.deal.encode()

    async def _sum(self, relay: int, body: bytes) -> bytes:
        attempt, rest = self._find(relay, body)
        second = attempt.second
        if not isinstance(second, repair.State2) or attempt.third is not None:
            raise Refuse("order", "this round is over, or there is none in a refresh: start a new attempt")
        if second.deal is None:
            return b""
        deals = DealSet.decode(rest)
        self._views.saw(body[:32], deals)
        made = await asyncio.to_thread(repair.step3, self._engine, self._sealer, second, deals)
        if isinstance(made, Complaint):
            attempt.second = None  # our deltas are gone
            return await self._complained(attempt, made, second.r1s, deals, None)
        attempt.third = made
        return made.sigma.encode()

    async def _assent(self, relay: int, body: bytes) -> bytes:
        attempt, rest = self._find(relay, body)
        deals, sigmas = read_deals(rest)
        self._views.saw(body[:32], deals, sigmas)
        second, attempt.second = attempt.second, None  # one assent, whatever becomes of it
        if second is None:
            raise Refuse("order", "the deals come first: start a new attempt")
        made = await asyncio.to_thread(self._last_step, attempt, second, deals, sigmas)
        if isinstance(made, Complaint):
            return await self._complained(attempt, made, second.r1s, deals, sigmas)
        # Before the assent leaves the transcript is durable: with it and the host key a late certificate counts.
        await self._note(attempt, "signed", "", made.transcript.encode())
        public = self._held(attempt.plan.key).info.public
        if made.key is not None:
            public = made.key.public
            made.key.close()
        self._views.signed(body[:32], made.transcript.dealt, public.encode())
        return made.assent.encode()

    def _last_step(
        self,
        attempt: _Attempt,
        second: refresh.State2 | repair.State2,
        deals: DealSet,
        sigmas: DealSet | None,
    ) -> Done | Complaint:
        if isinstance(second, refresh.State2):
            return refresh.step3(self._engine, self._sealer, second, deals)
        if sigmas is None:
            raise Refuse("order", "a repair ends with sigmas: start a new attempt")
        if attempt.third is not None:
            return repair.assent(self._engine, attempt.third, sigmas)
        if second.deal is not None:
            raise Refuse("order", "our sigma comes first: start a new attempt")
        return repair.receive(self._engine, self._sealer, second, deals, sigmas)

    async def _complained(
        self,
        attempt: _Attempt,
        complaint: Complaint,
        r1s: R1Set,
        deals: DealSet,
        sigmas: DealSet | None,
    ) -> bytes:
        names = self._committee.names_of(complaint.accused)
        await self._note(attempt, "failed", f"we complained of {names}")
        if attempt.roster is not None:
            said = (attempt.roster, r1s, deals, sigmas, complaint)
            await self._book.report(collect.work_complaint(self._committee, *said))
        return complaint.encode()

    async def _accept(self, relay: int, body: bytes) -> bytes:
        link = Link.decode(body)
        await self._keys.accept(link, relay)
        done = self._attempts.get(link.roster.plan.key)
        if done is not None and done.roster is not None and done.roster.sid == link.sid:
            await self._close(link.roster.plan.key)
        return (
            acknowledge(self._identity, link).encode()
            if self._identity.index in link.roster.plan.members
            else b""
        )

    async def _proof(self, _relay: int, body: bytes) -> bytes:
        await self._keys.adopt(body[:32], KeyProof.decode(body[32:]))
        return b""

    async def _fail(self, relay: int, body: bytes) -> bytes:
        key, reason = read_failure(body)
        attempt = self._attempts.get(key)
        if attempt is None or attempt.relay != relay:
            return b""
        await self._close(key)
        row = None if attempt.roster is None else await self._store.get(attempt.roster.sid)
        if row is not None and row.state == "open":  # what we assented to may still be certified
            await self._note(attempt, "failed", reason)
        return b""

    async def _links(self, _member: int, body: bytes) -> bytes:
        """The refresh that follows the newest of the given share sets that is ours too; nothing without one."""
        held = await self._keys.following(*read_links_request(body))
        return b"" if held is None else held.encode()

    def _find(self, relay: int, body: bytes) -> tuple[_Attempt, bytes]:
        for attempt in self._attempts.values():
            if attempt.roster is not None and attempt.roster.sid == body[:32] and attempt.relay == relay:
                self.turns.moved(attempt.plan.key)
                return attempt, body[32:]
        raise Refuse("unknown-attempt", "we are in no such attempt of yours: start a new one")

    async def _note(self, attempt: _Attempt, state: str, reason: str, transcript: bytes = b"") -> None:
        roster = attempt.roster
        assert roster is not None, "an attempt is noted once it has a roster"
        plan, work = roster.plan, roster.plan.work.name.lower()
        body, public = transcript or roster.encode(), b""
        row = RotationRow(
            roster.sid,
            plan.key,
            work,
            plan.base,
            plan.attempt,
            attempt.relay,
            state,
            reason,
            body,
            public,
            b"",
            self._clock(),
        )
        await self._store.save(row)
        self._log.info("key work", work=work, attempt=plan.attempt, state=state, reason=reason)


async def _nothing(_key: bytes) -> None:
    """Nobody to ask."""


def _named(answer: _Answer) -> _Answer:
    """Turn what the pure steps raise into refusals that name the fault."""

    async def guarded(member: int, body: bytes) -> bytes:
        try:
            return await answer(member, body)
        except DecodeError as error:
            raise Refuse("malformed", str(error)) from error
        except DkgFault as fault:
            raise Refuse(fault.code, fault.reason) from fault
        except (KeyFault, StoreFault) as fault:
            raise Refuse("key", str(fault)) from fault
        except FrostError as error:
            raise Refuse("engine", str(error)) from error

    return guarded
