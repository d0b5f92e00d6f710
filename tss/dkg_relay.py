"""Drives a DKG from any member, trusted with nothing: it only forwards what the members signed.

`run` is safe to repeat: it finishes a certified key before it makes another, adopts what a peer holds, and
returns the key that is there when all is done. A failed attempt leaves every serving key as it was.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Container, Iterable
from contextlib import AbstractContextManager, suppress

import structlog

from tss import dkg_member
from tss.dkg import relay
from tss.dkg.committee import Committee
from tss.dkg.faults import BadProof, BadShare, DkgFault, ViewsDiffer
from tss.dkg.judge import judge
from tss.dkg.key_states import PURPOSES
from tss.dkg.messages import R3, R1Set, R2Set, Roster
from tss.dkg.ports import Sealer
from tss.dkg.signed import SignedMessage, is_slug
from tss.dkg.transcript import RecoveryData, Transcript
from tss.evidence import collect
from tss.evidence.form import Evidence
from tss.evidence_gossip import EvidenceBook
from tss.frost.codec import DecodeError
from tss.frost.engine import Engine
from tss.frost.errors import FrostError
from tss.key_proof import HELD, PROOF, TEST, HeldKey, KeyProof, KeyTopics, best, held_request
from tss.keyring import SERVING, Key, KeyFault, KeyInfo, Keyring
from tss.peers import PeerDown, PeerError, PeerRefused, Peers
from tss.rounds import Answered, Rounds
from tss.signing_runner import SigningFailed
from tss.store import Store
from tss.views import Set, Signed, Views, blame

_ROUND_SECONDS = 30.0
_RESTART_SECONDS = 20.0  # how long a round waits for a member that went away in it
_PAUSE_SECONDS = 0.2
_PURPOSES = ", ".join(sorted(PURPOSES))


class DkgFailed(Exception):
    """No key came of it: `culprits` are member indexes (those who were missing, when code is missing)."""

    def __init__(
        self, code: str, reason: str, culprits: tuple[int, ...] = (), *, retryable: bool = True
    ) -> None:
        super().__init__(reason)
        self.code, self.reason, self.culprits, self.retryable = code, reason, culprits, retryable


Prove = Callable[[Key], Awaitable[KeyProof]]


class DkgRelay:
    """One member's driving of key generations, one at a time."""

    def __init__(
        self,
        engine: Engine,
        sealer: Sealer,
        committee: Committee,
        peers: Peers,
        keyring: Keyring,
        topics: KeyTopics,
        store: Store,
        clock: Callable[[], float],
        prove: Prove,
        views: Views,
        rounds: Rounds,
        book: EvidenceBook,
        purposes: Callable[[], Container[str]],
    ) -> None:
        self._engine, self._sealer, self._committee, self._peers = engine, sealer, committee, peers
        self._keyring, self._topics, self._store, self._clock = keyring, topics, store, clock
        self._prove, self._views, self._waits, self._book = prove, views, rounds, book
        self._purposes = purposes
        self._one_at_a_time = asyncio.Lock()
        self._log = structlog.get_logger("tss.dkg")

    async def run(self, purpose: str) -> KeyInfo:
        """Make, or finish, the key of a purpose in the committee's epoch; DkgFailed says who and why."""
        if purpose == TEST or not is_slug(purpose) or purpose not in self._purposes():
            raise DkgFailed("purpose", f"{purpose!r} names no key: use one of {_PURPOSES}", retryable=False)
        async with self._one_at_a_time:
            key = await self._held(purpose)
            if key is None:
                self._log.info("dkg begins", purpose=purpose, members=self._committee.size)
                try:
                    recovery = await self._generate(purpose)
                except DkgFault as fault:
                    raise DkgFailed(fault.code, fault.reason, fault.culprits) from fault
                key = await self._keyring.accept(self._committee, recovery, self._clock())
            return (await self._finish(key)).info

    async def _held(self, purpose: str) -> Key | None:
        """A certified key here or at a peer; of several the one that serves, or that comes first."""
        epoch = self._committee.epoch
        own = best(self._keyring.of(purpose, epoch))
        if own is not None and own.info.state in SERVING:
            return own
        answers = await self._peers.gather(HELD, held_request(purpose, epoch), timeout=10)
        for member, answer in answers.items():
            if isinstance(answer, PeerError) or not answer:
                continue
            try:
                recovery = RecoveryData.decode(HeldKey.decode(answer).recovery)
                await self._keyring.accept(self._committee, recovery, self._clock())
            except (DecodeError, DkgFault, FrostError, KeyFault) as error:
                self._log.warning(
                    "a peer's key is not sound", member=self._peers.name(member), why=str(error)
                )
        return best(self._keyring.of(purpose, epoch))

    async def _generate(self, purpose: str) -> RecoveryData:
        committee, epoch = self._committee, self._committee.epoch
        number = 1 + max((row.attempt for row in await self._store.attempts(purpose, epoch)), default=0)
        try:
            body = dkg_member.offer_request(purpose, epoch, number)
            offers = await self._round(purpose, dkg_member.OFFER, body, "to begin")
            roster = relay.roster(committee, purpose, epoch, number, offers)
            return await self._rounds(roster)
        except (DkgFault, DkgFailed) as fault:
            await self._ask_all(dkg_member.FAIL, dkg_member.failure(purpose, str(fault)), timeout=2)
            raise

    async def _rounds(self, roster: Roster) -> RecoveryData:
        committee, purpose, r1s = self._committee, roster.purpose, None
        try:
            answers = await self._round(purpose, dkg_member.ROUND1, roster.encode(), "in round 1")
            r1s = relay.bundle_r1(committee, roster, answers)
            body = roster.sid + r1s.encode()
            answers = await self._round(purpose, dkg_member.ROUND2, body, "in round 2", patient=True)
            r2s = relay.bundle_r2(committee, roster, r1s, answers)
            body = roster.sid + r2s.encode()
            answers = await self._round(purpose, dkg_member.ROUND3, body, "in round 3", patient=True)
            return await self._certified(roster, r1s, r2s, answers)
        except ViewsDiffer as fault:
            raise await self._explained(roster, fault) from fault
        except DkgFault as fault:
            await self._book.report(collect.of_fault(committee, roster, fault))
            raise
        except DkgFailed as failed:
            if failed.code == ViewsDiffer.code:
                raise await self._explained(roster, ViewsDiffer(failed.reason, failed.culprits)) from failed
            if failed.code == BadProof.code and r1s is not None:
                # Those who refused are not those who are guilty.
                pieces = [collect.bad_proof(committee, roster, r1) for r1 in r1s.messages]
                guilty = {evidence.culprit for evidence in await self._book.report(pieces)}
                raise DkgFailed(failed.code, failed.reason, tuple(guilty)) from failed
            raise

    async def _explained(self, roster: Roster, fault: ViewsDiffer, r3s: Iterable[R3] = ()) -> DkgFault:
        """Members saw different messages: whoever signed two is the culprit, when one can be found."""

        def lie(r1s: Set, said: Signed, r3: SignedMessage) -> Evidence:
            assert isinstance(r1s, R1Set) and isinstance(r3, R3), "a key generation's"  # noqa: PT018 one thing
            return collect.false_key(self._committee, roster, r1s, said.dealt, said.public, r3)

        proven = await self._views.compare(roster.sid, lie, r3s)
        return blame(self._committee, proven) if proven else fault

    async def _certified(
        self, roster: Roster, r1s: R1Set, r2s: R2Set, answers: dict[int, bytes]
    ) -> RecoveryData:
        transcript = Transcript(self._committee, roster, r1s, r2s)
        own = answers[self._peers.index]
        t = R3.decode(own).transcript if own[:1] == bytes([R3.KIND]) else bytes(32)
        try:
            outcome = relay.certificate(self._committee, roster, t, answers)
        except ViewsDiffer as fault:
            r3s = [R3.decode(answer) for answer in answers.values() if answer[:1] == bytes([R3.KIND])]
            raise await self._explained(roster, fault, r3s) from fault
        if not isinstance(outcome, tuple):
            return RecoveryData(transcript, outcome)
        for complaint in outcome:
            await self._book.report(collect.complaint(transcript, complaint))
        judged = [judge(self._engine, self._sealer, transcript, complaint) for complaint in outcome]
        reason = "; ".join(dict.fromkeys(judgement.reason for judgement in judged))
        raise BadShare(reason, [culprit for judgement in judged for culprit in judgement.culprits])

    async def _finish(self, key: Key) -> Key:
        """Bring the certified key to all, collect their acks, and prove it by a signature of all."""
        with self._asking(key.info.purpose, "to store the key") as answered:
            answers = await self._ask_all(dkg_member.ACCEPT, key.recovery.encode(), answered)
        if key.info.state not in SERVING:
            try:
                relay.acks(self._committee, key.recovery, self._all_or_fail(answers, "to store the key"))
            except DkgFault as fault:
                raise DkgFailed(fault.code, fault.reason, fault.culprits) from fault
            key = await self._proved(key)
        if await self._deliver(key, key.proof):
            # Somebody lost the row of the share that it gave for the first proof: one more is made for it.
            with suppress(DkgFailed):
                await self._deliver(key, (await self._proof(key)).encode())
        return key

    async def _proved(self, key: Key) -> Key:
        proof = await self._proof(key)
        try:
            return await self._topics.adopt(key, proof)
        except KeyFault as fault:
            raise DkgFailed("proof", str(fault)) from fault

    async def _proof(self, key: Key) -> KeyProof:
        try:
            return await self._prove(key)
        except SigningFailed as failed:
            raise DkgFailed(
                "unproven",
                f"the {key.info.purpose} key is made and stored by all, but not verified: {failed.reason}; "
                f"run `holdfast tss dkg --purpose {key.info.purpose}` again when all members are up",
            ) from failed

    async def _deliver(self, key: Key, proof: bytes) -> bool:
        """Hand the proof to all; True when a member is there but cannot adopt it. The absent ask for it later."""
        refused = False
        for member, answer in (await self._ask_all(PROOF, key.sid + proof)).items():
            if isinstance(answer, PeerError):
                refused = refused or answer.code == "proof"
                self._log.warning("proof not delivered", member=self._peers.name(member), why=answer.reason)
        return refused

    async def _round(
        self, purpose: str, topic: str, body: bytes, when: str, *, patient: bool = False
    ) -> dict[int, bytes]:
        """All answers; `patient` waits a while for members that are being restarted: they go on after R2."""
        with self._asking(purpose, when) as answered:
            answers = await self._ask_all(topic, body, answered)
            until = time.monotonic() + _RESTART_SECONDS
            while patient and (down := _away(answers)) and time.monotonic() < until:
                try:
                    await self._peers.until_heard(down, until - time.monotonic())
                except TimeoutError:
                    break
                again = self._peers.gather(
                    topic, body, timeout=_ROUND_SECONDS, members=down, answered=answered
                )
                answers |= await again
                await asyncio.sleep(_PAUSE_SECONDS)
        return self._all_or_fail(answers, when)

    def _asking(self, purpose: str, step: str) -> AbstractContextManager[Answered]:
        everyone = range(1, self._committee.size + 1)
        return self._waits.asking("key generation", purpose, step, everyone)

    async def _ask_all(
        self, topic: str, body: bytes, answered: Answered = bool, *, timeout: float = _ROUND_SECONDS
    ) -> dict[int, bytes | PeerError]:
        """Every member's answer, our own included."""

        async def own() -> bytes | PeerError:
            try:
                answer = await self._peers.call(self._peers.index, topic, body)
            except PeerError as error:
                return error
            answered(self._peers.index)
            return answer

        asked = self._peers.gather(topic, body, timeout=timeout, answered=answered)
        mine, others = await asyncio.gather(own(), asked)
        return {self._peers.index: mine, **others}

    def _all_or_fail(self, answers: dict[int, bytes | PeerError], when: str) -> dict[int, bytes]:
        errors = {member: answer for member, answer in answers.items() if isinstance(answer, PeerError)}
        if not errors:
            return {member: answer for member, answer in answers.items() if isinstance(answer, bytes)}
        refused = {m: e for m, e in errors.items() if isinstance(e, PeerRefused)}
        blamed = refused or errors
        said = "; ".join(error.reason for error in blamed.values())
        if refused:
            names = self._committee.names_of(set(refused))
            code = next(iter(refused.values())).code
            raise DkgFailed(
                code, f"{names} refused {when}: {said}", tuple(refused), retryable=code != "purpose"
            )
        assert all(isinstance(error, PeerDown) for error in errors.values())
        raise DkgFailed(
            "missing",
            f"{said}: key generation needs all {self._committee.size} members; run it again when you can reach "
            f"{self._committee.names_of(set(errors))}",
            tuple(errors),
        )


def _away(answers: dict[int, bytes | PeerError]) -> list[int]:
    """Who is down, when that is all that is missing."""
    errors = {member: answer for member, answer in answers.items() if isinstance(answer, PeerError)}
    return list(errors) if all(isinstance(error, PeerDown) for error in errors.values()) else []
