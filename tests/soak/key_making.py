"""Key generation, refresh and repair at every size: over networks that misbehave, with members that cheat.

All who take part are needed here. So over a network that says things again an attempt ends in a certificate, or
names members that the network let nobody hear for a whole round, and then a later one ends in a certificate; where
somebody is cut off it fails with exactly those names, and the next attempt succeeds once all can talk.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from random import Random
from typing import TypeVar

from tests.soak.faults import SoakFault
from tests.soak.roles import AGAIN
from tests.tss.dkg.dkg_over_net import DkgOverNet
from tests.tss.rotation.session import Held, Session
from tests.tss.rotation.work_over_net import WorkOverNet
from tests.tss.simnet import ENGINE, SEALER, Dkg
from tests.tss.simwire import Net
from tss.dkg import judge, participant, relay
from tss.dkg.faults import BadProof, DkgFault, Missing
from tss.dkg.messages import R1, R2, Complaint, R1Set, R2Set, Roster
from tss.dkg.transcript import Transcript
from tss.rotation import boxes
from tss.rotation.messages import FIRST, SECOND, Deal, DealSet
from tss.rotation.messages import Complaint as WorkComplaint

ROUND_NETS: dict[str, Callable[[int], Net]] = {
    "delays and reorders": lambda seed: Net(seed, delay=2.0),
    "duplicates": lambda seed: Net(seed, duplicate=0.5),
    "drops": lambda seed: Net(seed, drop=0.25, delay=0.2, again=AGAIN),
    "corrupts": lambda seed: Net(seed, corrupt=0.25, delay=0.2, again=AGAIN),
    "all at once": lambda seed: Net(seed, drop=0.15, duplicate=0.3, corrupt=0.15, delay=0.5, again=AGAIN),
}
_T = TypeVar("_T")
_TRIES = 4
_CUT_OFF = 7.0  # longer than a round's time-out of 5, shorter than two


@dataclass
class Making:
    """Counts what was run."""

    seed: int = 0
    keys: int = 0
    works: int = 0
    culprits: int = 0
    parted: int = 0
    unheard: int = 0
    faults: Counter[str] = field(default_factory=Counter)

    def of(self, n: int, t: int) -> None:
        """The whole list for one size."""
        for number, (name, make) in enumerate(ROUND_NETS.items(), 1):
            self._made(n, t, name, make(self.seed * 100 + n), number)
        self._parted_key(n, t)
        for number, cheat in enumerate((_bad_share, _bad_proof, _two_faces, _false_complaint), 20):
            cheater = Random(f"{n} {number} {self.seed}").randint(2, n)
            dkg = Dkg(n, t, seed=f"cheat {self.seed}", attempt=number)
            self._convicts(f"key generation {t} of {n}, {cheat.__name__}", cheat(dkg, cheater), cheater)
            _close(dkg)
        held = Held.made(n, t, seed=f"work {self.seed}")
        for number, (name, make) in enumerate(ROUND_NETS.items(), 1):
            for kind in ("refresh", "repair"):
                self._worked(held, kind, number, f"{kind} {t} of {n}, {name}", make(self.seed * 100 + n))
        for kind in ("refresh", "repair"):
            self._parted_work(held, kind)
        for number, cheat_ in enumerate((_bad_deal, _bad_sigma, _slander), 20):
            for kind in ("refresh", "repair") if cheat_ is not _bad_sigma else ("repair",):
                session, cheater = Session(held, _plan(held, kind, number)), 2
                name = f"{kind} {t} of {n}, {cheat_.__name__}"
                self._convicts(name, cheat_(session, cheater), cheater)
        if held.signed(tuple(held.keys)[-t:]) is None:
            raise SoakFault(f"{t} of {n}: the old shares do not sign any more")

    def _convicts(self, name: str, culprits: tuple[int, ...], cheater: int) -> None:
        if culprits != (cheater,):
            raise SoakFault(f"{name}: convicts {culprits}, not {cheater}")
        self.culprits += 1

    def _made(self, n: int, t: int, net_name: str, net: Net, attempt: int) -> None:
        def attempted(number: int):
            dkg = Dkg(n, t, seed=f"net {self.seed}", attempt=number)
            return dkg, DkgOverNet(net, dkg).run()

        dkg, certificate = self._heard(f"key generation {t} of {n}, {net_name}", net, attempt, attempted)
        recoveries = [participant.finalize(state, certificate) for state in dkg.third.values()]
        if len(recoveries) != n or len({r.check(ENGINE).group_key for r in recoveries[:2]}) != 1:
            raise SoakFault(f"key generation {t} of {n}, {net_name}: not one key for all")
        self.keys += 1
        self.faults += net.seen
        _close(dkg)

    def _heard(self, name: str, net: Net, attempt: int, attempted: Callable[[int], _T]) -> _T:
        """Try until no member is mute for a whole round by mere bad luck."""
        for number in range(attempt, attempt + 5 * _TRIES, 5):
            net.mute.clear()
            try:
                return attempted(number)
            except Missing as missing:
                if not set(missing.culprits) <= net.mute:
                    raise SoakFault(f"{name}: names {missing.culprits}, unheard were {net.mute}") from missing
                self.unheard += 1
            except DkgFault as fault:
                raise SoakFault(f"{name}: {fault}") from fault
        raise SoakFault(f"{name}: in {_TRIES} attempts somebody was never heard")

    def _parted_key(self, n: int, t: int) -> None:
        net = Net(self.seed + n, corrupt=0.1, delay=0.3, again=AGAIN)
        cut = Random(f"{n} {self.seed}").sample(range(2, n + 1), max(1, n - t))
        net.part(cut, _CUT_OFF, one_way=bool(self.seed & 1))
        try:
            DkgOverNet(net, Dkg(n, t, seed=f"part {self.seed}")).run()
        except Missing as missing:
            if set(missing.culprits) != set(cut):
                raise SoakFault(f"key generation {t} of {n}, parted: names {missing.culprits}") from missing
        else:
            raise SoakFault(f"key generation {t} of {n} succeeded without {cut}")
        self.parted += 1
        self._made(n, t, "parted, then whole", net, 2)

    def _worked(self, held: Held, kind: str, attempt: int, name: str, net: Net) -> None:
        def attempted(number: int):
            session = Session(held, _plan(held, kind, number))
            return session, WorkOverNet(net, session).run()

        session, link = self._heard(name, net, attempt, attempted)
        public = link.check(ENGINE, held.committee, held.public)
        if public.group_key != held.public.group_key:
            raise SoakFault(f"{name}: another key came out")
        if kind == "repair":
            lost = session.plan.receiver
            if session.done[lost].key.export_secret() != held.keys[lost].export_secret():
                raise SoakFault(f"{name}: another share came out")
        elif public.share_set == held.public.share_set:
            raise SoakFault(f"{name}: the shares are the old ones")
        self.works += 1
        self.faults += net.seen

    def _parted_work(self, held: Held, kind: str) -> None:
        n, t = len(held.keys), held.public.threshold
        net, plan = Net(self.seed + n, corrupt=0.1, delay=0.3, again=AGAIN), _plan(held, kind, 40)
        net.part(plan.members[1:2], _CUT_OFF, one_way=bool(self.seed & 1))
        try:
            WorkOverNet(net, Session(held, plan)).run()
        except Missing as missing:
            if set(missing.culprits) != set(plan.members[1:2]):
                raise SoakFault(f"{kind} {t} of {n}, parted: names {missing.culprits}") from missing
        else:
            raise SoakFault(f"{kind} {t} of {n} succeeded without member {plan.members[1]}")
        self.parted += 1
        self._worked(held, kind, 41, f"{kind} {t} of {n}, parted, then whole", net)


def _close(dkg: Dkg) -> None:
    for state in dkg.third.values():
        state.key.close()


def _plan(held: Held, kind: str, attempt: int):
    if kind == "refresh":
        return held.plan(attempt=attempt)
    members = tuple(held.keys)[: held.public.threshold + 1]
    return held.plan(members, attempt=attempt, lost=members[0])


def _bundled(dkg: Dkg, roster: Roster, r1s: R1Set, answers: dict[int, bytes]) -> Transcript:
    r2s = R2Set.decode(relay.bundle_r2(dkg.committee, roster, r1s, answers).encode())
    return Transcript(dkg.committee, roster, r1s, r2s)


def _bad_share(dkg: Dkg, cheater: int) -> tuple[int, ...]:
    """Seal a wrong share to the first member."""
    roster, r1s, answers = dkg.to_r2()
    info = participant.share_info(r1s.of(1).sid, cheater, 1, r1s.hash)
    r2 = R2.decode(answers[cheater])
    box = SEALER.seal(r1s.of(1).encryption_key, info, (5).to_bytes(32, "big"))
    forged = replace(r2, sealed=(box, *r2.sealed[1:])).signed(dkg.identities[cheater - 1])
    dkg.second[cheater] = replace(dkg.second[cheater], r2=forged)
    transcript = _bundled(dkg, roster, r1s, answers | {cheater: forged.encode()})
    complaints = relay.certificate(dkg.committee, roster, bytes(32), dkg.round3(transcript.r2s))
    return judge.judge(ENGINE, SEALER, transcript, complaints[0]).culprits


def _bad_proof(dkg: Dkg, cheater: int) -> tuple[int, ...]:
    """Spoil the proof of knowledge."""
    roster = dkg.roster()
    answers = dkg.round1(roster)
    r1 = R1.decode(answers[cheater])
    worse = bytes([*r1.package[:-1], r1.package[-1] ^ 1])
    answers[cheater] = replace(r1, package=worse).signed(dkg.identities[cheater - 1]).encode()
    bundle = R1Set.decode(relay.bundle_r1(dkg.committee, roster, answers).encode())
    try:
        participant.step2(ENGINE, SEALER, dkg.first[1], bundle)
    except BadProof as fault:
        return fault.culprits
    return ()


def _two_faces(dkg: Dkg, cheater: int) -> tuple[int, ...]:
    """Make two R1 for one session, each shown to some."""
    roster = dkg.roster()
    answers = dkg.round1(roster)
    who, offered = dkg.identities[cheater - 1], dkg.offered[cheater]
    _, other = participant.step1(ENGINE, SEALER, who, dkg.committee, roster, offered, b"\x33" * 32)
    ours = relay.bundle_r1(dkg.committee, roster, answers)
    theirs = relay.bundle_r1(dkg.committee, roster, answers | {cheater: other.encode()})
    (proof,) = judge.compare(dkg.committee, ours, theirs)
    one, two = (R1.decode(message) for message in proof.evidence)
    return judge.equivocation(dkg.committee, one, two).culprits


def _false_complaint(dkg: Dkg, cheater: int) -> tuple[int, ...]:
    """Complain about a good share."""
    roster, r1s, answers = dkg.to_r2()
    transcript = _bundled(dkg, roster, r1s, answers)
    seed = dkg.first[cheater].seed
    complaint = Complaint(roster.sid, cheater, (1,), r1s.hash, transcript.r2s.hash, seed)
    complaint = complaint.signed(dkg.identities[cheater - 1])
    return judge.judge(ENGINE, SEALER, transcript, complaint).culprits


def _lie(session: Session, roster, r1s, number: int, seen: bytes, body: bytes, cheater: int, victim: int):
    """The cheater's deal with something else in the victim's box, signed."""
    deal, places = Deal.decode(body), session.plan.receivers(cheater)
    places = places if number == FIRST else (session.plan.receiver,)
    dealt = boxes.Round(roster, r1s, number, seen, DealSet(()))
    sealed = list(deal.sealed)
    box = SEALER.seal(dealt.key_of(cheater, victim), dealt.info(cheater, victim), b"\x01" * 32)
    sealed[places.index(victim)] = box
    return replace(deal, sealed=tuple(sealed)).signed(session.held.who(cheater))


def _bad_deal(session: Session, cheater: int) -> tuple[int, ...]:
    """Seal a wrong share, or a wrong delta, to the third who takes part."""
    roster, r1s, answers = session.to_deals()
    victim = session.plan.members[2]
    lie = _lie(session, roster, r1s, FIRST, r1s.hash, answers[cheater], cheater, victim)
    session.second[cheater] = replace(session.second[cheater], deal=lie)
    deals = session.bundle(roster, FIRST, r1s.hash, answers | {cheater: lie.encode()})
    if session.repairing:
        made = session.bundle(roster, SECOND, deals.hash, session.sums(deals))
    else:
        made = session.end(roster, r1s, deals, None, session.assents(deals))
    return session.judged(roster, r1s, deals, None, made[0]).culprits


def _bad_sigma(session: Session, cheater: int) -> tuple[int, ...]:
    """Seal a wrong sigma to who lost its share."""
    roster, r1s, answers = session.to_deals()
    deals = session.bundle(roster, FIRST, r1s.hash, answers)
    sums = session.sums(deals)
    lie = _lie(session, roster, r1s, SECOND, deals.hash, sums[cheater], cheater, session.plan.receiver)
    session.third[cheater] = replace(session.third[cheater], sigma=lie)
    sigmas = session.bundle(roster, SECOND, deals.hash, sums | {cheater: lie.encode()})
    made = session.end(roster, r1s, deals, sigmas, session.assents(deals, sigmas))
    return session.judged(roster, r1s, deals, sigmas, made[0]).culprits


def _slander(session: Session, cheater: int) -> tuple[int, ...]:
    """Complain about a good deal."""
    roster, r1s, answers = session.to_deals()
    deals = session.bundle(roster, FIRST, r1s.hash, answers)
    accused = next(member for member in session.plan.dealers if member != cheater)
    who = session.held.who(cheater)
    seed = boxes.seed_for(who, roster.sid, r1s.of(cheater).salt, accused)
    complaint = WorkComplaint(roster.sid, cheater, FIRST, deals.hash, (accused,), (seed,)).signed(who)
    return session.judged(roster, r1s, deals, None, complaint).culprits
