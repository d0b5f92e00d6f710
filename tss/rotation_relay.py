"""Drives refreshes and repairs from any member, trusted with nothing.

`refresh` is safe to repeat: it finishes a certified refresh of the same members before it begins another. What
fails leaves the serving shares as they are.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TypeVar

import structlog

from tss import rotation_topics as topics
from tss.dkg.committee import Committee
from tss.dkg.faults import DkgFault, ViewsDiffer
from tss.dkg.ports import Sealer
from tss.dkg.signed import SignedMessage
from tss.dkg_relay import DkgFailed
from tss.evidence import collect
from tss.evidence.form import Evidence
from tss.evidence_gossip import EvidenceBook
from tss.frost.engine import Engine, GroupPublic
from tss.frost.errors import FrostError
from tss.key_proof import KeyProof
from tss.keyring import Key, Keyring, LostKey
from tss.peers import PeerError, PeerRefused, Peers
from tss.rotation import relay, rules
from tss.rotation.judge import judge
from tss.rotation.link import Link, Transcript
from tss.rotation.messages import FIRST, SECOND, Assent, Complaint, DealSet, R1Set
from tss.rotation.plan import Plan, Roster, Work
from tss.rotation_catch_up import CatchUp
from tss.rotation_keys import RotationKeys, proof_payload
from tss.rotation_store import RotationStore
from tss.rounds import Answered, Rounds
from tss.signing_runner import SigningFailed
from tss.views import Set, Signed, Views, blame

_ROUND_SECONDS = 30.0
_LATER = (1, 2, 4, 8)  # members take numbers up to 16 above the highest they saw

AnyKey = TypeVar("AnyKey", Key, LostKey, Key | LostKey)
Prove = Callable[[Key, bytes], Awaitable[KeyProof]]


@dataclass(frozen=True, slots=True)
class KeyWorkInfo:
    """What a refresh or repair came to: member numbers, and how many refreshes the key has seen."""

    work: str
    purpose: str
    epoch: int
    generation: int
    members: tuple[int, ...]
    removed: tuple[int, ...]
    share_set: bytes


class RotationRelay:
    """One member's driving of key work, one piece at a time."""

    def __init__(
        self,
        engine: Engine,
        sealer: Sealer,
        committee: Committee,
        peers: Peers,
        keyring: Keyring,
        keys: RotationKeys,
        catch_up: CatchUp,
        store: RotationStore,
        clock: Callable[[], float],
        prove: Prove,
        book: EvidenceBook,
        views: Views,
        rounds: Rounds,
    ) -> None:
        self._engine, self._sealer, self._committee, self._peers = engine, sealer, committee, peers
        self._keyring, self._keys, self._catch_up = keyring, keys, catch_up
        self._store, self._clock = store, clock
        self._prove, self._book, self._views, self._waits = prove, book, views, rounds
        self._one_at_a_time = asyncio.Lock()
        self._log = structlog.get_logger("tss.rotation")

    async def refresh(self, purpose: str, without: Iterable[int] = ()) -> KeyWorkInfo:
        """Make all shares of a serving key new, leaving some members out; DkgFailed says who and why not."""
        async with self._one_at_a_time:
            await self._catch_up.all(purpose)
            key = self._present(self._serving(purpose))
            if key.info.public.threshold == 1:
                reason = "a key of 1 of 1 is one share, and nobody is there to make it new with"
                raise DkgFailed("alone", reason, retryable=False)
            members, removed = self._split(key, frozenset(without))
            pending = [
                held
                for held in self._keyring.pending(key.sid)
                if held.links[-1].roster.plan.members == members
            ]
            if pending:
                link = pending[-1].links[-1]
            else:
                if removed:
                    await self._store.consent(key.info.public.share_set, removed)
                link = await self._certified(await self._plan(key, Work.REFRESH, members), key.info.public)
            await self._finish_refresh(key.info.purpose, link)
            made = self._serving(purpose)
            return self._info("refresh", made, members, removed)

    async def consent(self, purpose: str, without: Iterable[int]) -> KeyWorkInfo:
        """Agree that these members are removed from the present shares, whichever member drives it."""
        key = self._present(self._serving(purpose))
        members, removed = self._split(key, frozenset(without))
        if not removed:
            raise DkgFailed(
                "removal", "consent names the members to remove: add --without NAME", retryable=False
            )
        await self._store.consent(key.info.public.share_set, removed)
        return self._info("consent", key, members, removed)

    async def repair(self, purpose: str, helpers: Iterable[int] = ()) -> KeyWorkInfo:
        """Make our own share again with t helpers; DkgFailed says who and why not."""
        async with self._one_at_a_time:
            await self._catch_up.all(purpose)
            key = self._present(self._keyring.lost(purpose) or self._serving(purpose))
            public, me = key.info.public, self._peers.index
            wanted = tuple(helpers)
            up = wanted or sorted(self._peers.seen, key=lambda m: self._peers.seen[m].down is not None)
            chosen = rules.choose_helpers(public.verifying_shares, me, public.threshold, up)
            if len(chosen) < public.threshold or (wanted and set(wanted) != set(chosen)):
                raise DkgFailed(
                    "helpers",
                    f"a repair needs exactly {public.threshold} other members who hold a share: name those",
                    retryable=False,
                )
            members = tuple(sorted((*chosen, me)))
            link = await self._certified(await self._plan(key, Work.REPAIR, members, me), public)
            await self._ask(topics.ACCEPT, link.encode(), link.roster.plan, "to store it")
            return self._info("repair", self._serving(purpose), members, ())

    def _serving(self, purpose: str) -> Key:
        key = self._keyring.serving(purpose)
        if key is None:
            raise DkgFailed("no-key", self._keyring.why_none(purpose), retryable=False)
        return key

    def _present(self, key: AnyKey) -> AnyKey:
        """The same key, if this committee made it; DkgFailed for one of an earlier epoch."""
        if key.committee.hash == self._committee.hash:
            return key
        info, now = key.info, self._committee.epoch
        raise DkgFailed(
            "old-key",
            f"the {info.purpose} key of epoch {info.epoch} is of an earlier committee, which is no more: its "
            f"shares are neither refreshed nor repaired. Make the key of epoch {now} (`holdfast tss dkg`) and let "
            "the coins move; a lost old share comes back with `holdfast node restore`",
            retryable=False,
        )

    def _split(self, key: Key, without: frozenset[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        holders = tuple(key.info.public.verifying_shares)
        strangers = without - set(holders)
        if strangers:
            names = self._committee.names_of(set(strangers))
            raise DkgFailed(
                "removal", f"{names} holds no share of this key", tuple(strangers), retryable=False
            )
        if self._peers.index in without:
            raise DkgFailed(
                "removal", "a member cannot remove itself: let another one drive", retryable=False
            )
        members = tuple(member for member in holders if member not in without)
        threshold = key.info.public.threshold
        if len(members) < threshold:
            reason = f"{len(members)} members would be left of a key that needs {threshold}: make a new key instead"
            raise DkgFailed("removal", reason, retryable=False)
        return members, tuple(sorted(without))

    async def _plan(
        self, key: Key | LostKey, work: Work, members: tuple[int, ...], receiver: int = 0
    ) -> Plan:
        base = key.info.public.share_set
        attempt = max(int(self._clock()), 1 + await self._store.highest_attempt(base))
        return Plan(work, self._committee.hash, key.sid, base, attempt, members, receiver)

    async def _certified(self, plan: Plan, before: GroupPublic) -> Link:
        """From plan to link. Where others saw attempts that we forgot, ours begins again under a later number."""
        for more in _LATER:
            try:
                return await self._attempted(plan, before)
            except DkgFailed as failed:
                if failed.code != rules.OldAttempt.code:
                    raise
                plan = replace(plan, attempt=plan.attempt + more)
        return await self._attempted(plan, before)

    async def _attempted(self, plan: Plan, before: GroupPublic) -> Link:
        """One attempt; what fails is told to all."""
        self._log.info("key work begins", work=plan.work.name.lower(), members=plan.members)
        try:
            return await self._rounds(plan, before)
        except (DkgFault, DkgFailed, FrostError) as fault:
            body = topics.failure(plan.key, str(fault))
            await self._peers.gather(topics.FAIL, body, timeout=2, members=plan.members)
            with suppress(PeerError):
                await self._peers.call(self._peers.index, topics.FAIL, body)
            if isinstance(fault, DkgFault):
                raise DkgFailed(fault.code, fault.reason, fault.culprits) from fault
            if isinstance(fault, FrostError):
                raise DkgFailed("engine", str(fault), fault.culprits) from fault
            raise

    async def _rounds(self, plan: Plan, before: GroupPublic) -> Link:
        offers = await self._ask(topics.OFFER, plan.encode(), plan, "to begin")
        roster = relay.roster(self._committee, plan, offers)
        try:
            return await self._with_roster(roster, before)
        except (ViewsDiffer, DkgFailed) as fault:
            proven = await self._views.compare(roster.sid) if fault.code == ViewsDiffer.code else []
            if not proven:
                raise
            raise blame(self._committee, proven) from fault

    async def _with_roster(self, roster: Roster, before: GroupPublic) -> Link:
        committee, plan = self._committee, roster.plan
        answers = await self._ask(topics.ROUND1, roster.encode(), plan, "in round 1")
        r1s = relay.bundle_r1(committee, roster, answers)
        answers = await self._ask(topics.DEAL, roster.sid + r1s.encode(), plan, "for deals")
        deals = await self._dealt(roster, r1s, FIRST, r1s.hash, answers)
        self._views.saw(roster.sid, r1s, deals)
        sigmas = None
        if plan.work is Work.REPAIR:
            answers = await self._ask(topics.SUM, roster.sid + deals.encode(), plan, "for sums")
            sigmas = await self._dealt(roster, r1s, SECOND, deals.hash, answers, deals)
        body = topics.deals_body(roster.sid, deals, sigmas)
        answers = await self._ask(topics.ASSENT, body, plan, "to assent")
        transcript = Transcript(roster, r1s, deals, sigmas)
        public = await asyncio.to_thread(transcript.check, self._engine, committee, before)
        try:
            made = relay.certificate(committee, roster, transcript.hash(public), answers)
        except ViewsDiffer as fault:
            raise await self._explained(roster, before, fault, answers) from fault
        if isinstance(made, tuple):
            raise await self._judged(roster, r1s, deals, sigmas, made)
        return Link(transcript, made)

    async def _explained(
        self, roster: Roster, before: GroupPublic, fault: ViewsDiffer, answers: dict[int, bytes]
    ) -> DkgFault:
        """Members assented to different things: who lied, or said two things, is the culprit, if one is found."""

        def lie(r1s: Set, said: Signed, assent: SignedMessage) -> Evidence:
            assert isinstance(r1s, R1Set) and isinstance(assent, Assent), "key work's"  # noqa: PT018 one thing
            work = (before, roster, r1s, said.dealt, said.public, assent)
            return collect.false_work(self._committee, *work)

        assents = [Assent.decode(answer) for answer in answers.values()]
        proven = await self._views.compare(roster.sid, lie, assents)
        return blame(self._committee, proven) if proven else fault

    async def _dealt(
        self,
        roster: Roster,
        r1s: R1Set,
        number: int,
        seen: bytes,
        answers: dict[int, bytes],
        deals: DealSet | None = None,
    ) -> DealSet:
        made = relay.bundle_deals(self._committee, roster, number, seen, answers)
        if isinstance(made, DealSet):
            return made
        if deals is None:
            raise DkgFailed("order", "a complaint came before anything was dealt", (made[0].sender,))
        raise await self._judged(roster, r1s, deals, None, made)

    async def _judged(
        self,
        roster: Roster,
        r1s: R1Set,
        deals: DealSet,
        sigmas: DealSet | None,
        made: Sequence[Complaint],
    ) -> DkgFault:
        for complaint in made:
            said = (roster, r1s, deals, sigmas, complaint)
            await self._book.report(collect.work_complaint(self._committee, *said))
        said = (roster, r1s, deals, sigmas, made[0])
        return judge(self._engine, self._sealer, self._committee, *said).fault()

    async def _finish_refresh(self, purpose: str, link: Link) -> None:
        """Bring the link to all who take part, collect their acks, prove the new shares, and end the old ones."""
        members = link.roster.plan.members
        try:
            plan = link.roster.plan
            answers = await self._ask(topics.ACCEPT, link.encode(), plan, "to store it")
            relay.acks(self._committee, link, answers)
        except DkgFault as fault:
            raise DkgFailed(fault.code, fault.reason, fault.culprits) from fault
        held = [key for key in self._keyring.pending(link.roster.plan.key) if key.links[-1].sid == link.sid]
        if not held:
            raise DkgFailed(
                "superseded", "another refresh of these shares was quicker: nothing is left to do"
            )
        try:
            proof = await self._prove(held[0], proof_payload(purpose, link.sid))
        except SigningFailed as failed:
            raise DkgFailed(
                "unproven",
                f"the new {purpose} shares are made and stored by all, but not proved: {failed.reason}; the old "
                f"shares serve on. Run `holdfast tss refresh --purpose {purpose}` again when all are up",
            ) from failed
        await self._keys.adopt(link.sid, proof)
        told = await self._peers.gather(topics.PROOF, link.sid + proof.encode(), members=members)
        for member, answer in told.items():
            if isinstance(answer, PeerError):  # it asks for it later
                self._log.warning("proof not delivered", member=self._peers.name(member), why=answer.reason)

    def _info(self, work: str, key: Key, members: tuple[int, ...], removed: tuple[int, ...]) -> KeyWorkInfo:
        info = key.info
        return KeyWorkInfo(
            work, info.purpose, info.epoch, len(key.links), members, removed, info.public.share_set
        )

    async def _ask(self, topic: str, body: bytes, plan: Plan, step: str) -> dict[int, bytes]:
        """Every member's answer, our own included; DkgFailed when one is missing or refuses."""
        key = self._keyring.get(plan.key) or self._keyring.find_lost(plan.key)
        purpose = "" if key is None else key.info.purpose
        with self._waits.asking(plan.work.name.lower(), purpose, step, plan.members) as answered:
            answers = await self._answers(topic, body, plan.members, answered)
        return self._all_or_fail(answers)

    async def _answers(
        self, topic: str, body: bytes, members: tuple[int, ...], answered: Answered
    ) -> dict[int, bytes | PeerError]:
        async def own() -> bytes | PeerError:
            try:
                answer = await self._peers.call(self._peers.index, topic, body)
                answered(self._peers.index)
                return answer
            except PeerError as error:
                return error
            except Exception as error:  # others get this as a signed refusal
                self._log.exception("our own part failed", topic=topic)
                name, what = self._peers.name(self._peers.index), type(error).__name__
                return PeerRefused(self._peers.index, "internal", f"{name}: {what}, the log says more")

        others = self._peers.gather(topic, body, timeout=_ROUND_SECONDS, members=members, answered=answered)
        mine, theirs = await asyncio.gather(own(), others)
        return {self._peers.index: mine, **theirs}

    def _all_or_fail(self, answers: dict[int, bytes | PeerError]) -> dict[int, bytes]:
        errors = {member: answer for member, answer in answers.items() if isinstance(answer, PeerError)}
        if not errors:
            return {member: answer for member, answer in answers.items() if isinstance(answer, bytes)}
        refused = {member: error for member, error in errors.items() if isinstance(error, PeerRefused)}
        said = "; ".join(error.reason for error in (refused or errors).values())
        if refused:
            code, names = next(iter(refused.values())).code, self._committee.names_of(set(refused))
            raise DkgFailed(code, f"{names} refused: {said}", tuple(refused))
        names = self._committee.names_of(set(errors))
        raise DkgFailed(
            "missing",
            f"{said}: all who take part are needed; run it again when you can reach {names}, or leave out who will "
            "not come back",
            tuple(errors),
        )
