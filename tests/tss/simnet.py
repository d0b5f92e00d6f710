"""A committee in memory: seeded, on virtual time, over the network of `simwire`."""

import hashlib
import hmac
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from tests.tss.simwire import Net
from tss.dkg import participant, relay
from tss.dkg.committee import Committee, Member
from tss.dkg.messages import Complaint, R1Set, R2Set, Roster, RosterEntry
from tss.dkg.participant import State1, State2, State3
from tss.dkg.ports import SealBroken
from tss.dkg.transcript import Certificate, RecoveryData
from tss.frost import bip340
from tss.frost.engine import Engine, KeyShare
from tss.frost.hashing import tagged_hash
from tss.frost.path import INTERNAL, KEY_ONLY, SigningPath, key_with_root
from tss.signing import events, messages, signer
from tss.signing.answers import read_event
from tss.signing.approval import Approved, Refused
from tss.signing.coordinator import Coordinator
from tss.signing.effects import AskCommitments, Blame, Done, Effect, Failed, OpenSession
from tss.signing.pool import Pool
from tss.signing.states import Task

NAMES = ("alice", "bob", "carol", "dave", "erin", "frank", "grace", *(f"member-{i}" for i in range(8, 129)))
ENGINE = Engine()
SUITE = hpke.Suite(hpke.KEM.X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.CHACHA20_POLY1305)
PATHS: tuple[SigningPath, ...] = (INTERNAL, KEY_ONLY, key_with_root(b"r" * 32))


class SimSealer:
    """RFC 9180 through the library, with the errors that the port asks for."""

    def derive(self, seed: bytes) -> tuple[bytes, bytes]:
        return seed, X25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()

    def seal(self, public: bytes, info: bytes, plaintext: bytes) -> bytes:
        try:
            return SUITE.encrypt(plaintext, X25519PublicKey.from_public_bytes(public), info)
        except ValueError as error:
            raise SealBroken("unusable key") from error

    def open(self, private: bytes, info: bytes, sealed: bytes) -> bytearray:
        try:
            return bytearray(SUITE.decrypt(sealed, X25519PrivateKey.from_private_bytes(private), info))
        except (InvalidTag, ValueError) as error:
            raise SealBroken("does not open") from error


SEALER = SimSealer()


@dataclass(frozen=True)
class SimIdentity:
    """A host key made from a seed; the index is set by the committee."""

    index: int
    secret: bytes = field(repr=False)

    @property
    def host_key(self) -> bytes:
        return bip340.public_key(self.secret)

    def sign(self, message32: bytes) -> bytes:
        return bip340.sign(self.secret, message32, bytes(32))

    def derive(self, tag: str, *parts: bytes) -> bytes:
        return hmac.digest(self.secret, tagged_hash(tag, *parts), hashlib.sha256)


def make_committee(n: int, threshold: int, seed: str = "sim") -> tuple[Committee, tuple[SimIdentity, ...]]:
    secrets = {i: tagged_hash("test/host", seed.encode(), bytes([i])) for i in range(1, n + 1)}
    identities = tuple(SimIdentity(i, secret) for i, secret in secrets.items())
    members = tuple(
        Member(
            NAMES[i - 1], who.host_key, tagged_hash("test/tls", who.host_key), f"https://127.0.0.1:{7000 + i}"
        )
        for i, who in enumerate(identities, 1)
    )
    return Committee("sim", "regtest", 0, threshold, members), identities


@dataclass
class Dkg:
    """One key generation, round by round, everything as bytes; tests reach in between the rounds."""

    n: int
    threshold: int
    purpose: str = "treasury"
    attempt: int = 1
    seed: str = "sim"
    committee: Committee = field(init=False)
    identities: tuple[SimIdentity, ...] = field(init=False)
    offered: dict[int, RosterEntry] = field(default_factory=dict)
    first: dict[int, State1] = field(default_factory=dict)
    second: dict[int, State2] = field(default_factory=dict)
    third: dict[int, State3] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.committee, self.identities = make_committee(self.n, self.threshold, self.seed)

    def salt(self, what: str, index: int) -> bytes:
        return tagged_hash("test/salt", what.encode(), bytes([index, self.attempt]), self.seed.encode())

    def roster(self) -> Roster:
        for who in self.identities:
            self.offered[who.index] = participant.offer(
                who, self.committee, self.purpose, 0, self.attempt, self.salt("nonce", who.index)
            )
        entries = {index: entry.encode() for index, entry in self.offered.items()}
        return Roster.decode(relay.roster(self.committee, self.purpose, 0, self.attempt, entries).encode())

    def round1(self, roster: Roster) -> dict[int, bytes]:
        answers = {}
        for who in self.identities:
            self.first[who.index], r1 = participant.step1(
                ENGINE,
                SEALER,
                who,
                self.committee,
                roster,
                self.offered[who.index],
                self.salt("r1", who.index),
            )
            answers[who.index] = r1.encode()
        return answers

    def round2(self, r1s: R1Set) -> dict[int, bytes]:
        answers = {}
        for index, state in self.first.items():
            self.second[index], r2 = participant.step2(ENGINE, SEALER, state, r1s)
            answers[index] = r2.encode()
        return answers

    def round3(self, r2s: R2Set) -> dict[int, bytes]:
        answers = {}
        for index, state in self.second.items():
            done = participant.step3(ENGINE, SEALER, state, r2s)
            if isinstance(done, Complaint):
                answers[index] = done.encode()
            else:
                self.third[index] = done[0]
                answers[index] = done[1].encode()
        return answers

    def to_r2(self) -> tuple[Roster, R1Set, dict[int, bytes]]:
        """Run honestly up to the answers of round 2."""
        roster = self.roster()
        r1s = R1Set.decode(relay.bundle_r1(self.committee, roster, self.round1(roster)).encode())
        return roster, r1s, self.round2(r1s)

    def run(self) -> tuple[dict[int, KeyShare], RecoveryData]:
        """Run honestly to the end."""
        roster, r1s, answers = self.to_r2()
        r2s = R2Set.decode(relay.bundle_r2(self.committee, roster, r1s, answers).encode())
        answers = self.round3(r2s)
        made = relay.certificate(self.committee, roster, self.third[1].r3.transcript, answers)
        assert isinstance(made, Certificate)
        certificate = Certificate.decode(made.encode())
        recoveries = {index: participant.finalize(state, certificate) for index, state in self.third.items()}
        acks = {w.index: participant.acknowledge(w, recoveries[w.index]).encode() for w in self.identities}
        relay.acks(self.committee, recoveries[1], acks)
        return {index: state.key for index, state in self.third.items()}, recoveries[1]


@dataclass
class SimSigner:
    """A member's shell in memory: nonce rows survive `restart`, commitments do not."""

    identity: SimIdentity
    committee: Committee
    key: KeyShare
    approve: Callable[[str, bytes], Approved | Refused]
    boot: int = 1
    up: bool = True
    rows: dict[bytes, signer.NonceRow] = field(default_factory=dict)
    requests: dict[bytes, bytes] = field(default_factory=dict)
    refusals: list[signer.Refuse] = field(default_factory=list)
    state: signer.SignerState = field(default_factory=signer.SignerState)
    mangle_offer: Callable[[messages.Commitments], bytes] | None = None
    mangle_shares: Callable[[messages.Shares], bytes] | None = None

    @property
    def context(self) -> signer.SignerContext:
        public = self.key.public
        boot_id = bytes([self.identity.index]) + self.boot.to_bytes(15, "big")
        return signer.SignerContext(
            self.committee, self.identity.index, public.share_set, public.threshold, boot_id
        )

    def restart(self) -> None:
        self.boot += 1
        self.state = signer.SignerState()
        ENGINE.drop_nonces(self.key)

    def issue(self, owner: int, count: int, era: bytes = messages.NO_ERA) -> messages.Commitments:
        fresh = ENGINE.commit(self.key, count) if count else []
        self.state, message, dropped = signer.issue(
            self.identity, self.context, self.state, owner, fresh, era
        )
        if dropped:
            ENGINE.drop_nonces(self.key, dropped)
        return message

    def handle_commit(self, body: bytes) -> bytes:
        ask = messages.CommitRequest.decode(body)
        granted = signer.grant(self.context, ask)
        if isinstance(granted, signer.Refuse):
            return signer.refusal(self.identity, ask, granted).encode()
        offer = self.issue(ask.sender, granted.count, ask.era)
        return self.mangle_offer(offer) if self.mangle_offer else offer.encode()

    def row(self, commitment: bytes) -> signer.NonceRow:
        row = self.rows[commitment]
        return replace(row, request=self.requests.get(row.session, b""))

    def decide(self, request: messages.SharesRequest) -> signer.Release | signer.Replay | signer.Refuse:
        spent = {c: self.row(c) for c in signer.own_commitments(self.context, request) if c in self.rows}
        approval = self.approve(request.purpose, request.payload)
        return signer.decide(self.context, self.state, request, approval, spent)

    def handle_shares(self, body: bytes) -> bytes:
        request = messages.SharesRequest.decode(body)
        decision = self.decide(request)
        match decision:
            case signer.Refuse():
                self.refusals.append(decision)
                return signer.refusal(self.identity, request, decision).encode()
            case signer.Replay(shares):
                pass
            case signer.Release(plan, state):
                self.state = state
                shares = tuple(ENGINE.sign(self.key, step.handle, step.package) for step in plan)
                self.requests[request.session] = request.order.encode()
                for row in signer.rows(request, decision, shares):
                    assert row.commitment not in self.rows, "a nonce would be used twice"
                    self.rows[row.commitment] = row
        following = self.issue(request.sender, request.want, request.era)
        made = signer.answer(self.identity, request, shares, following)
        return self.mangle_shares(made) if self.mangle_shares else made.encode()


@dataclass
class Shell:
    """A coordinator's shell: carries effects to the members over the net, and answers back as events."""

    net: Net
    signers: dict[int, SimSigner]
    machine: Coordinator
    identity: SimIdentity
    timeout: float = 2.0
    hasty: float = 0.0  # seconds after which a member that owes shares is called late; 0: never
    ended: Done | Failed | None = None
    blames: list[Blame] = field(default_factory=list)
    opened: list[OpenSession] = field(default_factory=list)
    asked: int = 0

    def start(self) -> None:
        self._do(self.machine.start())

    def feed(self, event: events.Event) -> None:
        self._do(self.machine.step(event))

    def _do(self, wanted: Iterable[Effect]) -> None:
        for effect in wanted:
            match effect:
                case AskCommitments(member, _, message):
                    self.asked += 1
                    self._call(member, message.signed(self.identity).encode(), commit=True)
                case OpenSession(_, members, request):
                    self.opened.append(effect)
                    body = request.signed(self.identity).encode()
                    for member in members:
                        self._call(member, body, commit=False)
                case Blame():
                    self.blames.append(effect)
                case Done() | Failed():
                    assert self.ended is None, "a machine ends once"
                    self.ended = effect
                case _:
                    pass

    def _call(self, member: int, body: bytes, *, commit: bool) -> None:
        one = self.signers[member]
        asked = (messages.CommitRequest if commit else messages.SharesRequest).decode(body)

        def answer(question: bytes) -> bytes | None:
            if not one.up:
                return None
            return (one.handle_commit if commit else one.handle_shares)(question)

        answered: list[bool] = []

        def take(given: bytes) -> None:
            answered.append(True)
            self.feed(read_event(self.machine._task.committee, member, asked, given))

        def hurry(session: bytes) -> None:
            if not answered:
                self.feed(events.Late(member, session))

        def late() -> None:
            self.feed(events.Silent(member))

        if self.hasty and isinstance(asked, messages.SharesRequest):
            self.net.later(self.hasty, lambda: hurry(asked.session))
        self.net.exchange(self.identity, one.identity, body, answer, take, self.timeout, late)


@dataclass
class SimCommittee:
    """A committee with a key, ready to sign."""

    committee: Committee
    identities: tuple[SimIdentity, ...]
    signers: dict[int, SimSigner]
    pools: dict[int, Pool]

    @classmethod
    def of(cls, dkg: Dkg, keys: dict[int, KeyShare]) -> "SimCommittee":
        signers = {
            who.index: SimSigner(who, dkg.committee, keys[who.index], approve) for who in dkg.identities
        }
        return cls(dkg.committee, dkg.identities, signers, {i: Pool() for i in signers})

    def task(self, payload: bytes = b"pay", *, coordinator: int = 1, **changes: object) -> Task:
        approved = approve("test", payload)
        public = self.signers[coordinator].key.public
        quorum = public.threshold
        task = Task(
            ENGINE, public, self.committee, coordinator, "test", payload, approved.messages, quorum, spare=4
        )
        return replace(task, **changes)

    def shell(self, net: Net, task: Task) -> Shell:
        machine = Coordinator(task, self.pools[task.coordinator])
        return Shell(net, self.signers, machine, self.identities[task.coordinator - 1])

    def sign(self, payload: bytes = b"pay", net: Net | None = None, **changes: object) -> Shell:
        """Run one request to its end; the shell tells how it went."""
        net = net or Net()
        shell = self.shell(net, self.task(payload, **changes))
        shell.start()
        net.run(lambda: shell.ended is not None)
        assert shell.ended is not None, "the machine neither finished nor gave up"
        return shell


def approve(_purpose: str, payload: bytes) -> Approved:
    """Approve three messages, one per path."""
    return Approved(tuple((tagged_hash("test/message", payload, path.encode()), path) for path in PATHS))
