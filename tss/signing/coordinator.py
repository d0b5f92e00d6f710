"""ROAST: who is ready, which session is open, who cheated (Ruffing et al., CCS 2022).

Members with enough commitments are ready; a quorum of ready members forms a session; each share comes back
with the next commitments and is checked alone. A silent member only stalls: the next session is opened with
others, and if it answers after all its share still counts. A bad share is evidence and puts its sender out.
The machine opens another session only while every open one is stalled, so an honest committee does no double
work. A cheat costs its sender at once. Whoever stalls a session, by silence or by voiding its commitments, gets a
strike, and is taken again only when there are too few without one: so each member spoils at most one session while
t others play fair, and n − t + 1 sessions are enough. Who is late by its own measure stalls its session too,
without a strike: a session without it is opened when there are others for one, else it is waited for. So a silent
member costs the shell's time-out only where nobody can take its place.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import assert_never

from tss.dkg.faults import BadSignature
from tss.dkg.signed import SignedMessage
from tss.frost.errors import EncodingFault
from tss.frost.package import SigningPackage
from tss.signing import effects, events
from tss.signing.effects import Blame, Done, Effect, Failed, Ignored
from tss.signing.faults import Finding, Kind
from tss.signing.messages import NO_SESSION, Commitments, CommitRequest, SharesRequest, cut
from tss.signing.pool import Added, Late, Pool
from tss.signing.signer import UNKNOWN_COMMITMENT
from tss.signing.states import OpenSession, Out, SessionView, Task

MAX_STALE = 3  # times a member may void its commitments, or send too few, within one request


class Coordinator:
    """One request's machine. Call `start` once, then `step` per event, until Done or Failed."""

    def __init__(self, task: Task, pool: Pool) -> None:
        self._task = task
        self._pool = pool
        self._open: dict[bytes, OpenSession] = {}
        self._out: dict[int, Out] = {}
        self._asked: dict[int, bytes] = {}  # with the pool's era
        self._stale: dict[int, int] = {}
        self._strikes: dict[int, int] = {}
        self._ended = False

    @property
    def ended(self) -> bool:
        """Whether Done or Failed was given."""
        return self._ended

    @property
    def strikes(self) -> Mapping[int, int]:
        """How often each member stalled a session of this request, or answered too late with its commitments."""
        return MappingProxyType(self._strikes)

    @property
    def stalled(self) -> frozenset[int]:
        """Who was late over a session and has not answered it yet."""
        return frozenset(m for one in self._open.values() for m in one.late if m in one.pending)

    @property
    def sessions(self) -> tuple[SessionView, ...]:
        """The open sessions and whom they wait for."""
        return tuple(
            SessionView(session, one.request.members, one.pending)
            for session, one in self._open.items()
            if not one.dead
        )

    def start(self) -> tuple[Effect, ...]:
        """Open a session at once when the pool holds enough, else ask for commitments."""
        self._pool.turn()
        return tuple(self._advance())

    def step(self, event: events.Event) -> tuple[Effect, ...]:
        """Take one event in; gives what is to be done, in order."""
        if self._ended:
            return (Ignored("the request has ended"),)
        match event:
            case events.Ready(offer):
                made = self._ready(offer)
            case events.Shares():
                made = self._shares(event)
            case events.Refusal():
                made = self._refusal(event)
            case events.Late(member, session):
                made = self._late(member, session)
            case events.Silent(member, why):
                made = self._silent(member, why)
            case events.Garbage(member, why):
                made = self._blame(member, f"sent garbage ({cut(why)})", None)
            case _:
                assert_never(event)
        return (*made, *(() if self.ended else self._advance()))

    def _ready(self, offer: Commitments) -> list[Effect]:
        if not self._authentic(offer):
            return [Ignored("commitments for another key, or not signed by their sender")]
        made = self._take_in(offer, self._asked.pop(offer.sender, None))
        if not self._blamed(offer.sender) and self._pool.count(offer.sender) < self._task.need:
            self._voided(offer.sender, "sent too few commitments")
        return made

    def _shares(self, event: events.Shares) -> list[Effect]:
        answer, member = event.answer, event.answer.sender
        one = self._open.get(answer.session)
        if not self._authentic(answer) or one is None or member not in one.request.members:
            return [Ignored("shares for no session of this request, or not signed by their sender")]
        if one.shares.get(member) == answer.shares:
            return [Ignored("shares that were already taken")]
        made: list[Effect] = []
        if self._authentic(answer.following):
            made += self._take_in(answer.following, one.request.era)
        if not self._holds(one, member, answer.shares):
            proof = (one.request.order, answer)
            evidence = Finding(Kind.BAD_SHARE, member, "signed a share that does not verify", proof)
            return made + self._blame(member, "sent a bad share", evidence)
        one.shares[member] = answer.shares
        if not one.pending:
            made.append(self._done(one))
        return made

    def _refusal(self, event: events.Refusal) -> list[Effect]:
        refusal, member = event.refusal, event.refusal.sender
        if not self._authentic(refusal):
            return [Ignored("a refusal for another key, or not signed by its sender")]
        one = self._open.get(refusal.session)
        if refusal.session == NO_SESSION and member in self._asked:
            self._asked.pop(member, None)
        elif one is None or member not in one.pending:
            return [Ignored("a refusal of no session of this request")]
        else:
            one.dead = True
        if refusal.code == UNKNOWN_COMMITMENT:
            self._pool.void(member)
            self._voided(member, "keeps voiding its commitments")
        elif not self._blamed(member):
            self._out[member] = Out(f"refused ({refusal.reason})", down=False, retryable=refusal.retryable)
        return []

    def _silent(self, member: int, why: str) -> list[Effect]:
        self._asked.pop(member, None)
        if member in self._out:
            return [Ignored("the member was out already")]
        self._strike(member)
        self._out[member] = Out(why, down=True, retryable=True)
        return []

    def _late(self, member: int, session: bytes) -> list[Effect]:
        one = self._open.get(session)
        if one is None or member not in one.pending:
            return [Ignored("the member answered, or the session is none of this request")]
        one.late.add(member)
        return []

    def _advance(self) -> list[Effect]:
        """Open the next session when none is on its way, ask for what is missing, or give up."""
        made: list[Effect] = []
        while not self._ended and not self._under_way():
            ready = self._ready_members()
            if len(ready) < self._task.quorum or not self._task.must <= set(ready):
                break
            made += self._open_session(ready[: self._task.quorum])
        if self._ended or self._under_way():
            return made
        hopeful = [member for member in self._task.candidates if member not in self._out]
        if len(hopeful) < self._task.quorum or not self._task.must <= set(hopeful):
            return [*made, self._failed(len(hopeful))]
        return made + [self._ask(member) for member in hopeful if self._lacks(member)]

    def _under_way(self) -> bool:
        return any(
            not one.dead and not any(member in self._out or member in one.late for member in one.pending)
            for one in self._open.values()
        )

    def _ready_members(self) -> list[int]:
        quorum = self._task.quorum
        busy = {member for one in self._open.values() if not one.dead for member in one.pending}
        hopeful = [member for member in self._task.candidates if member not in self._out]
        late = {member for one in self._open.values() for member in one.late}
        clean = [member for member in hopeful if member not in self._strikes]
        prompt = [member for member in clean if member not in late]
        # While enough never stalled a session we wait for them, be they late, not for those who did.
        eligible = next(some for some in (prompt, clean, hopeful) if len(some) >= quorum or some is hopeful)
        ready = [m for m in eligible if m not in busy and self._pool.count(m) >= self._task.need]
        must = self._task.must
        return sorted(ready, key=lambda member: (member not in must, self._strikes.get(member, 0)))

    def _lacks(self, member: int) -> bool:
        return member not in self._asked and self._pool.count(member) < self._task.need

    def _ask(self, member: int) -> effects.AskCommitments:
        self._asked[member] = self._pool.era
        count = self._task.target - self._pool.count(member)
        task = self._task
        message = CommitRequest(task.public.share_set, task.coordinator, count, self._pool.era)
        return effects.AskCommitments(member, count, message)

    def _open_session(self, members: list[int]) -> list[Effect]:
        task = self._task
        era = self._pool.era
        taken = {member: self._pool.take(member, task.need) for member in sorted(members)}
        packages = tuple(
            SigningPackage(message, {member: taken[member][i] for member in taken}, path)
            for i, (message, path) in enumerate(task.messages)
        )
        want = max(0, *(task.target - self._pool.count(member) for member in members))
        try:
            checkers = tuple(task.engine.session(task.public, package) for package in packages)
        except EncodingFault as fault:
            if not fault.culprits:
                raise  # our own bug: all but the commitments is ours
            return [effect for member in fault.culprits for effect in self._unsound(member, taken[member])]
        key = task.public.share_set
        epoch, payload = task.committee.epoch, task.payload
        request = SharesRequest(key, task.coordinator, task.purpose, payload, packages, want, era, epoch)
        self._open[request.session] = OpenSession(request, checkers)
        return [effects.OpenSession(request.session, tuple(taken), request)]

    def _unsound(self, member: int, commitments: tuple[bytes, ...]) -> list[Effect]:
        offers = [self._pool.offer_of(member, commitment) for commitment in commitments]
        proof = tuple(offer for offer in offers if offer is not None)
        reason = "offered a commitment that is no pair of points"
        evidence = Finding(Kind.BAD_COMMITMENT, member, reason, proof[:1]) if proof else None
        return self._blame(member, reason, evidence)

    def _take_in(self, offer: Commitments, era: bytes | None) -> list[Effect]:
        """Add to the pool; who answers is back, unless it did wrong."""
        match self._pool.add(offer, era):
            case Added(restarted=restarted):
                if restarted:
                    self._restarted(offer.sender)
                self._back(offer.sender)
                return []
            case Late(reason):
                return [Ignored(reason)]
            case Finding() as evidence:
                return self._blame(offer.sender, evidence.reason, evidence)

    def _restarted(self, member: int) -> None:
        spoilt = [one for one in self._open.values() if member in one.pending and not one.dead]
        for one in spoilt:
            one.dead = True  # the nonces of its part are gone
        if spoilt:
            self._voided(member, "keeps restarting")

    def _back(self, member: int) -> None:
        if member in self._out and self._out[member].down:
            del self._out[member]

    def _voided(self, member: int, why: str) -> None:
        self._strike(member)
        self._stale[member] = self._stale.get(member, 0) + 1
        if self._stale[member] >= MAX_STALE:
            self._out[member] = Out(why, down=False, retryable=True)

    def _strike(self, member: int) -> None:
        self._strikes[member] = self._strikes.get(member, 0) + 1

    def _blamed(self, member: int) -> bool:
        out = self._out.get(member)
        return out is not None and not out.down

    def _blame(self, member: int, reason: str, evidence: Finding | None) -> list[Effect]:
        self._asked.pop(member, None)
        self._pool.void(member)
        self._out[member] = Out(reason, down=False, retryable=False)
        for one in self._open.values():
            if member in one.pending:
                one.dead = True
        return [Blame(member, reason, evidence)]

    def _holds(self, one: OpenSession, member: int, shares: tuple[bytes, ...]) -> bool:
        return len(shares) == len(one.checkers) and all(
            checker.verify_share(member, share) for checker, share in zip(one.checkers, shares, strict=True)
        )

    def _authentic(self, message: SignedMessage) -> bool:
        try:
            message.check(self._task.committee)
        except BadSignature:
            return False
        return getattr(message, "key", None) == self._task.public.share_set

    def _done(self, one: OpenSession) -> Done:
        self._ended = True
        signatures = tuple(
            checker.aggregate({member: shares[i] for member, shares in one.shares.items()})
            for i, checker in enumerate(one.checkers)
        )
        return Done(signatures, one.request.session)

    def _failed(self, hopeful: int) -> Failed:
        self._ended = True
        names = self._task.committee
        reasons = [f"{names.name_of(member)} {out.why}" for member, out in sorted(self._out.items())]
        lost = sum(1 for out in self._out.values() if not out.retryable)
        retryable = names.size - lost >= self._task.quorum
        answered = f"only {hopeful}" if hopeful else "none"
        reason = f"{answered} of the {self._task.quorum} signers needed answered: {', '.join(reasons)}"
        return Failed("too-few-signers" if retryable else "refused", reason, retryable)
