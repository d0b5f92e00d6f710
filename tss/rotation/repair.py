"""What helpers and receiver do in each round of a repair; each function is one step.

Helpers: step1 → step2 (deltas) → step3 (sigma) → assent. Receiver: step1 → receive → assent. All deltas are
committed to in R1, in the exponent, so a wrong delta or sigma convicts its sender before anybody.
"""

from dataclasses import dataclass, field

from tss.dkg.committee import Committee
from tss.dkg.faults import WrongSession
from tss.dkg.ports import Identity, Sealer
from tss.frost.engine import Engine, GroupPublic, KeyShare
from tss.frost.errors import FrostError
from tss.rotation import boxes
from tss.rotation.boxes import Opened, Round
from tss.rotation.link import Transcript, check_packages
from tss.rotation.messages import FIRST, R1, SECOND, Assent, Complaint, Deal, DealSet, R1Set
from tss.rotation.plan import Entry, Roster
from tss.rotation.refresh import Done, check_roster, complain

POINT = 33


@dataclass(slots=True)
class Deltas:
    """A helper's secret deltas by helper; `close` wipes them."""

    values: dict[int, bytearray] = field(repr=False)

    def close(self) -> None:
        """Overwrite and forget them."""
        Opened(self.values, set()).wipe()
        self.values = {}

    def held(self) -> dict[int, bytearray]:
        """They, while they are there; WrongSession afterwards: what is made of wiped ones would convict us."""
        if not self.values:
            raise WrongSession("our deltas were used or given up: start a new attempt")
        return self.values


@dataclass(frozen=True, slots=True)
class State1:
    """R1 is out; `deltas` is None in the receiver."""

    identity: Identity = field(repr=False)
    committee: Committee = field(repr=False)
    roster: Roster = field(repr=False)
    public: GroupPublic = field(repr=False)
    r1: R1
    deltas: Deltas | None = field(repr=False)

    def close(self) -> None:
        """Forget the deltas."""
        if self.deltas is not None:
            self.deltas.close()


@dataclass(frozen=True, slots=True)
class State2:
    """A helper's deltas are out (the receiver has only checked all R1)."""

    first: State1
    r1s: R1Set = field(repr=False)
    deal: Deal | None


@dataclass(frozen=True, slots=True)
class State3:
    """A helper's sigma is out."""

    second: State2
    deals: DealSet = field(repr=False)
    sigma: Deal


def step1(
    engine: Engine,
    sealer: Sealer,
    identity: Identity,
    committee: Committee,
    roster: Roster,
    offered: Entry,
    public: GroupPublic,
    key: KeyShare | None,
    salt: bytes,
) -> tuple[State1, R1]:
    """Begin: a helper splits its share and commits to the deltas; the receiver only makes keys.

    `key` is our share, None in the receiver. Raises WrongSession, BadSignature, FrostError.
    """
    check_roster(committee, roster, offered)
    plan, me = roster.plan, identity.index
    if plan.base != public.share_set:
        raise WrongSession("the plan starts from other shares than ours: catch up first")
    keys = boxes.public_keys(sealer, identity, roster, salt)
    deltas, package = None, b""
    if me != plan.receiver:
        assert key is not None, "a helper has its share"
        parts, package = engine.repair_split(key, plan.receiver, plan.dealers)
        deltas = Deltas(parts)
    r1 = R1(roster.sid, me, package, keys, salt).signed(identity)
    return State1(identity, committee, roster, public, r1, deltas), r1


def step2(engine: Engine, sealer: Sealer, state: State1, r1s: R1Set) -> State2:
    """Check all R1; a helper seals a delta to every other helper (`State2.deal`), never to itself.

    Raises BadProof naming whose commitments do not add up to its share, WrongSession, BadSignature.
    """
    me, plan = state.identity.index, state.roster.plan
    check_packages(engine, state.committee, state.public, state.roster, r1s)
    if r1s.of(me).digest != state.r1.digest:
        raise WrongSession("the relay's set does not hold the R1 we sent: start again with another relay")
    if state.deltas is None:
        return State2(state, r1s, None)
    before, deltas = Round(state.roster, r1s, FIRST, r1s.hash, DealSet(())), state.deltas.held()
    sealed = tuple(
        boxes.seal(sealer, state.committee, before, me, receiver, deltas[receiver])
        for receiver in plan.receivers(me)
    )
    deal = Deal(state.roster.sid, me, FIRST, r1s.hash, sealed).signed(state.identity)
    return State2(state, r1s, deal)


def step3(engine: Engine, sealer: Sealer, state: State2, deals: DealSet) -> State3 | Complaint:
    """A helper opens its deltas, checks each against its sender's R1, and seals their sum to the receiver.

    Raises ViewsDiffer when members saw different R1, WrongSession, BadSignature.
    """
    first = state.first
    me, roster = first.identity.index, first.roster
    assert first.deltas is not None, "only helpers add up deltas"
    deals.check_deals(first.committee, roster, FIRST, state.r1s.hash)
    if state.deal is None or deals.of(me).digest != state.deal.digest:
        raise WrongSession("the relay's set does not hold the deltas we sent: start again with another relay")
    dealt, deltas = Round(roster, state.r1s, FIRST, state.r1s.hash, deals), first.deltas.held()
    opened = boxes.open_all(sealer, first.identity, dealt)
    try:
        bad = {i for i, value in opened.values.items() if not value_fits(engine, dealt, i, me, value)}
        if bad or opened.bad:
            return complain(first.identity, dealt, bad | opened.bad)
        sigma = engine.repair_sum({**opened.values, me: deltas[me]})
    finally:
        opened.wipe()
        first.deltas.close()
    before = Round(roster, state.r1s, SECOND, deals.hash, DealSet(()))
    try:
        box = boxes.seal(sealer, first.committee, before, me, roster.plan.receiver, sigma)
    finally:
        sigma[:] = bytes(len(sigma))
    message = Deal(roster.sid, me, SECOND, deals.hash, (box,)).signed(first.identity)
    return State3(state, deals, message)


def receive(
    engine: Engine, sealer: Sealer, state: State2, deals: DealSet, sigmas: DealSet
) -> Done | Complaint:
    """The receiver opens the sigmas, checks each against all R1, adds them up to its share, and assents."""
    first = state.first
    transcript = Transcript(first.roster, state.r1s, deals, sigmas)
    transcript.check(engine, first.committee, first.public)
    dealt, me = transcript.second, first.identity.index
    opened = boxes.open_all(sealer, first.identity, dealt)
    try:
        bad = {i for i, value in opened.values.items() if not value_fits(engine, dealt, i, me, value)}
        if bad or opened.bad:
            return complain(first.identity, dealt, bad | opened.bad)
        key = engine.repair_finish(me, first.public, opened.fixed())
    finally:
        opened.wipe()
    return Done(transcript, key, _assent(first, transcript))


def assent(engine: Engine, state: State3, sigmas: DealSet) -> Done:
    """A helper checks that what it sent is in the transcript, and assents; the receiver has judged the rest."""
    first = state.second.first
    transcript = Transcript(first.roster, state.second.r1s, state.deals, sigmas)
    transcript.check(engine, first.committee, first.public)
    if sigmas.of(first.identity.index).digest != state.sigma.digest:
        raise WrongSession("the relay's set does not hold the sigma we sent: start again with another relay")
    return Done(transcript, None, _assent(first, transcript))


def value_fits(engine: Engine, dealt: Round, dealer: int, receiver: int, value: bytes | bytearray) -> bool:
    """Whether a delta (first round) or a sigma (second round) is what the signed R1 committed to."""
    helpers = dealt.roster.plan.dealers
    if dealt.number == SECOND:
        place = helpers.index(dealer)
        committed = [_point(dealt.r1s.of(helper).package, place) for helper in helpers]
    else:
        committed = [_point(dealt.r1s.of(dealer).package, helpers.index(receiver))]
    try:
        return engine.repair_value_ok(committed, value)
    except FrostError:
        return False


def _assent(state: State1, transcript: Transcript) -> Assent:
    message = Assent(state.roster.sid, state.identity.index, transcript.hash(state.public))
    return message.signed(state.identity)


def _point(package: bytes, place: int) -> bytes:
    return package[POINT * place : POINT * (place + 1)]
