"""What one member does in each round of a refresh; each function is one step.

The shell runs offer → step1 → step2 → step3 → Link, and stores between step3 and sending the assent the
transcript. The old share is passed in and never touched: it serves until the new one is proved.
"""

from dataclasses import dataclass, field

from tss.dkg.committee import Committee
from tss.dkg.faults import WrongSession
from tss.dkg.ports import Identity, Sealer
from tss.frost.engine import Engine, KeyShare, RefreshSecret
from tss.frost.errors import EncodingFault, FrostError, ShareFault
from tss.rotation import boxes
from tss.rotation.boxes import Opened, Round
from tss.rotation.link import Transcript, check_packages
from tss.rotation.messages import FIRST, R1, Assent, Complaint, Deal, DealSet, R1Set
from tss.rotation.plan import Entry, Plan, Roster


@dataclass(frozen=True, slots=True)
class State1:
    """R1 is out; waiting for all R1."""

    identity: Identity = field(repr=False)
    committee: Committee = field(repr=False)
    roster: Roster = field(repr=False)
    old: KeyShare = field(repr=False)
    r1: R1
    secret: RefreshSecret = field(repr=False)

    def close(self) -> None:
        """Forget the polynomial."""
        self.secret.close()


@dataclass(frozen=True, slots=True)
class State2:
    """Our shares are out; waiting for all deals."""

    first: State1
    r1s: R1Set = field(repr=False)
    deal: Deal


@dataclass(frozen=True, slots=True)
class Done:
    """Our part is done: the transcript to store before `assent` leaves, and our new share (None in a helper)."""

    transcript: Transcript = field(repr=False)
    key: KeyShare | None = field(repr=False)
    assent: Assent


def offer(identity: Identity, committee: Committee, plan: Plan, nonce: bytes) -> Entry:
    """Agree to one attempt with a fresh 32-byte nonce; an entry is used for at most one step1."""
    if committee.index_of(identity.host_key) != identity.index or plan.committee_hash != committee.hash:
        raise WrongSession("the plan is for another committee file: compare its words with the others")
    if identity.index not in plan.members:
        raise WrongSession("we do not take part in this plan")
    return Entry(plan.hash, identity.index, nonce).signed(identity)


def check_roster(committee: Committee, roster: Roster, offered: Entry) -> None:
    """Check a roster that the relay made of our entry; WrongSession when it holds another one."""
    roster.check(committee)
    if offered.sender not in roster.plan.members or roster.entry_of(offered.sender).digest != offered.digest:
        raise WrongSession(
            "the roster does not hold the nonce we offered: it is a replay, start a new attempt"
        )


def step1(
    engine: Engine,
    sealer: Sealer,
    identity: Identity,
    committee: Committee,
    roster: Roster,
    offered: Entry,
    old: KeyShare,
    salt: bytes,
) -> tuple[State1, R1]:
    """Begin: check the roster, commit to a polynomial with constant term zero, make one key for each dealer.

    `salt` is 32 fresh random bytes, published in R1. Raises WrongSession, BadSignature, FrostError.
    """
    check_roster(committee, roster, offered)
    if roster.plan.base != old.public.share_set:
        raise WrongSession("the plan starts from other shares than ours: catch up first")
    keys = boxes.public_keys(sealer, identity, roster, salt)
    secret, package = engine.refresh_part1(identity.index, roster.plan.members, old.public.threshold)
    r1 = R1(roster.sid, identity.index, package, keys, salt).signed(identity)
    return State1(identity, committee, roster, old, r1, secret), r1


def step2(engine: Engine, sealer: Sealer, state: State1, r1s: R1Set) -> tuple[State2, Deal]:
    """Check all R1, seal one refresh share to every member including oneself.

    Raises BadProof naming who sent a bad package or key, WrongSession, BadSignature.
    """
    me = state.identity.index
    check_packages(engine, state.committee, state.old.public, state.roster, r1s)
    if r1s.of(me).digest != state.r1.digest:
        raise WrongSession("the relay's set does not hold the R1 we sent: start again with another relay")
    shares = engine.refresh_part2(state.secret, r1s.packages)
    opened = Opened(shares, set())
    before = Round(state.roster, r1s, FIRST, r1s.hash, DealSet(()))
    try:
        sealed = tuple(
            boxes.seal(sealer, state.committee, before, me, receiver, shares[receiver])
            for receiver in state.roster.plan.receivers(me)
        )
    finally:
        opened.wipe()
    deal = Deal(state.roster.sid, me, FIRST, r1s.hash, sealed).signed(state.identity)
    return State2(state, r1s, deal), deal


def step3(engine: Engine, sealer: Sealer, state: State2, deals: DealSet) -> Done | Complaint:
    """Open our shares, make the new share beside the old one, assent; or complain with the accused's seeds.

    Raises ViewsDiffer when members saw different R1, WrongSession, BadSignature.
    """
    first = state.first
    me, transcript = first.identity.index, Transcript(first.roster, state.r1s, deals)
    public = transcript.check(engine, first.committee, first.old.public)
    if deals.of(me).digest != state.deal.digest:
        raise WrongSession("the relay's set does not hold the shares we sent: start again with another relay")
    opened = boxes.open_all(sealer, first.identity, transcript.first)
    key = None
    try:
        if not opened.bad:
            key = engine.refresh_part3(first.secret, first.old, state.r1s.packages, opened.fixed())
    except (ShareFault, EncodingFault):
        bad = (
            i for i, share in opened.values.items() if not share_fits(engine, transcript.first, i, me, share)
        )
        opened.bad.update(bad)
    finally:
        opened.wipe()
    if key is None:
        return complain(first.identity, transcript.first, opened.bad)
    assert key.public == public, "our own group differs"
    assent = Assent(first.roster.sid, me, transcript.hash(public)).signed(first.identity)
    return Done(transcript, key, assent)


def share_fits(engine: Engine, dealt: Round, dealer: int, receiver: int, share: bytes | bytearray) -> bool:
    """Whether a refresh share lies on its dealer's polynomial; false for one that is not canonical."""
    try:
        return engine.refresh_share_ok(dealt.r1s.of(dealer).package, receiver, share)
    except FrostError:
        return False


def complain(identity: Identity, dealt: Round, bad: set[int]) -> Complaint:
    """Accuse dealers of one round, giving up the seeds of their boxes and of no others."""
    assert bad, "a complaint accuses somebody"
    sid, accused = dealt.roster.sid, tuple(sorted(bad))
    salt = dealt.r1s.of(identity.index).salt
    seeds = tuple(boxes.seed_for(identity, sid, salt, dealer) for dealer in accused)
    return Complaint(sid, identity.index, dealt.number, dealt.deals.hash, accused, seeds).signed(identity)
