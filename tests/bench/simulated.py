"""67 of 100 in one process: one member's whole key generation, and a coordinator among simulated members."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tests.bench.report import Row, below, beside, p50
from tests.tss.frost.groups import committed, group
from tests.tss.simnet import ENGINE, SEALER, Dkg, SimCommittee, SimSigner
from tss.dkg import participant, relay
from tss.dkg.messages import R1Set, R2Set, Roster
from tss.dkg.transcript import Certificate
from tss.frost.handles import Session
from tss.frost.hashing import tagged_hash
from tss.frost.path import INTERNAL
from tss.signing.answers import read_event
from tss.signing.approval import Approved
from tss.signing.coordinator import Coordinator
from tss.signing.effects import Done, OpenSession
from tss.signing.pool import Pool

T, N = 67, 100
KEPT = 128  # sessions that the engine keeps of those it opened
OPEN = ENGINE.session


class CpuClock:
    """Adds up this thread's CPU time of what runs under it, in milliseconds."""

    def __init__(self) -> None:
        self.spent = 0.0

    def __call__(self, work: Callable[..., Any], *given: Any) -> Any:
        begun = time.process_time()
        done = work(*given)
        self.spent += (time.process_time() - begun) * 1000
        return done


def approve_one(_purpose: str, payload: bytes) -> Approved:
    return Approved(((tagged_hash("bench", payload), INTERNAL),))


def key_generation() -> tuple[SimCommittee, float]:
    """The committee with its keys, and the CPU that member 1 spent from offer to ack, in milliseconds."""
    dkg, mine = Dkg(N, T), CpuClock()

    def run(member: int, work: Callable[..., Any], *given: Any) -> Any:
        return mine(work, *given) if member == 1 else work(*given)

    def offer(who: Any) -> Any:
        return run(
            who.index, participant.offer, who, dkg.committee, "treasury", 0, 1, dkg.salt("n", who.index)
        )

    offered = {who.index: offer(who) for who in dkg.identities}
    entries = {i: entry.encode() for i, entry in offered.items()}
    roster = relay.roster(dkg.committee, "treasury", 0, 1, entries).encode()
    first, second, third, answers = {}, {}, {}, {}
    for who in dkg.identities:
        i = who.index
        decoded = run(i, Roster.decode, roster)
        given = (ENGINE, SEALER, who, dkg.committee, decoded, offered[i], dkg.salt("r1", i))
        first[i], r1 = run(i, participant.step1, *given)
        answers[i] = run(i, r1.encode)
    shared = Roster.decode(roster)
    r1s = relay.bundle_r1(dkg.committee, shared, answers).encode()
    decoded_r1s = R1Set.decode(r1s)
    for i, state in first.items():
        bundle = mine(R1Set.decode, r1s) if i == 1 else decoded_r1s
        second[i], r2 = run(i, participant.step2, ENGINE, SEALER, state, bundle)
        answers[i] = run(i, r2.encode)
    r2s = relay.bundle_r2(dkg.committee, shared, decoded_r1s, answers).encode()
    decoded_r2s = R2Set.decode(r2s)
    for i, middle in second.items():
        bundle = mine(R2Set.decode, r2s) if i == 1 else decoded_r2s
        if i > T:  # it signs no message later, so what it would find here is taken from member 1
            answers[i] = replace(third[1].r3, sender=i).signed(dkg.identities[i - 1]).encode()
            continue
        third[i], r3 = run(i, participant.step3, ENGINE, SEALER, middle, bundle)
        answers[i] = run(i, r3.encode)
    certificate = relay.certificate(dkg.committee, shared, third[1].r3.transcript, answers)
    assert isinstance(certificate, Certificate)
    recovery = mine(participant.finalize, third[1], mine(Certificate.decode, certificate.encode()))
    mine(participant.restore, ENGINE, SEALER, dkg.identities[0], recovery).close()
    mine(participant.acknowledge, dkg.identities[0], recovery)
    signers = {
        i: SimSigner(dkg.identities[i - 1], dkg.committee, state.key, approve_one)
        for i, state in third.items()
    }
    return SimCommittee(dkg.committee, dkg.identities, signers, {1: Pool()}), mine.spent


class CryptoMeter:
    """CPU time inside the engine's session handles: all of a coordinator's threshold crypto, in milliseconds."""

    def __init__(self) -> None:
        self.spent = 0.0
        ENGINE.session = self._timed(ENGINE.session)
        Session.verify_share = self._timed(Session.verify_share)
        Session.aggregate = self._timed(Session.aggregate)

    def _timed(self, work: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*given: Any) -> Any:
            begun = time.process_time()
            try:
                return work(*given)
            finally:
                self.spent += (time.process_time() - begun) * 1000

        return timed


def part_ways() -> None:
    """Make the engine forget its last sessions: the other members have engines of their own in truth.

    Else what they checked of their shares would be known to the coordinator, which is to check them itself.
    """
    alone = group(1, 1)
    for number in range(KEPT):
        package, nonces = committed(alone, (1,), number.to_bytes(32, "big"), INTERNAL)
        OPEN(alone.public, package).close()
        ENGINE.drop_nonces(alone.keys[1], nonces.values())


def one_signature(committee: SimCommittee, payload: bytes, crypto: CryptoMeter) -> tuple[float, float]:
    """CPU milliseconds on the path, members working side by side, and those in the coordinator's crypto."""
    approved = approve_one("test", payload)
    task = committee.task(payload, messages=approved.messages)
    machine, me = Coordinator(task, committee.pools[1]), committee.identities[0]
    crypto.spent, begun = 0.0, time.process_time()
    effects = machine.start()
    (opened,) = [effect for effect in effects if isinstance(effect, OpenSession)]
    body = opened.request.signed(me).encode()
    path = time.process_time() - begun
    part_ways()
    answers = {}
    slowest = 0.0
    for member in opened.members:
        begun = time.process_time()
        answers[member] = committee.signers[member].handle_shares(body)
        slowest = max(slowest, time.process_time() - begun)
    begun = time.process_time()
    for member, answer in answers.items():
        effects = machine.step(read_event(committee.committee, member, opened.request, answer))
    path += time.process_time() - begun + slowest
    assert any(isinstance(effect, Done) for effect in effects)
    return path * 1000, crypto.spent


def fill(committee: SimCommittee) -> None:
    """Every member's commitments lie in the coordinator's pool, as after any earlier request."""
    for one in committee.signers.values():
        committee.pools[1].add(one.issue(1, 40))


def rows(bare: dict[str, list[float]], disk: float, echo: float) -> list[Row]:
    """The rows of 67 of 100."""
    crate = sum(p50(bare[f"dkg part{i}"]) for i in (1, 2, 3))
    committee, spent = key_generation()
    fill(committee)
    crypto = CryptoMeter()
    one_signature(committee, b"warm", crypto)
    seen = [one_signature(committee, b"%d" % i, crypto) for i in range(15)]
    path = [ms + 2 * disk + echo for ms, _ in seen]
    ours, theirs = [ms for _, ms in seen], p50(bare["coordinate"])
    name = f"{T}-of-{N}"
    return [
        beside(f"  DKG {name}: bare part1 + part2 + part3", crate, "ms"),
        beside(f"  DKG {name}: our CPU per member, offer to ack", spent, "ms"),
        below(f"DKG {name} simulated, CPU per member / bare", "≤ 2", spent / crate, 2, "×"),
        below(
            f"signature {name}, simulated members: CPU on the path, disk, echo",
            "p50 < 80 ms",
            p50(path),
            80,
            "ms",
            path,
        ),
        beside(f"  {name}: session-handle path in bare Rust", theirs, "ms", bare["coordinate"]),
        below(f"coordinator's crypto {name} / bare", "≤ 1.5", p50(ours) / theirs, 1.5, "×", ours),
    ]
