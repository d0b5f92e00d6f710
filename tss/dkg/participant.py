"""What one member does in each round of a key generation; each function is one step.

The shell runs offer → step1 → step2 → step3 → finalize, and stores between step3 and sending R3 the
transcript (`State3.transcript`). Secrets live in the engine's handles and die with the state.
"""

from dataclasses import dataclass, field

from tss.dkg.committee import Committee
from tss.dkg.faults import BadProof, RestoreFault, WrongSession
from tss.dkg.messages import R1, R2, R3, Ack, Complaint, R1Set, R2Set, Roster, RosterEntry
from tss.dkg.ports import Identity, SealBroken, Sealer
from tss.dkg.transcript import Certificate, Halfway, RecoveryData, Transcript
from tss.frost.codec import Writer
from tss.frost.engine import DkgSecret, Engine, GroupPublic, KeyShare
from tss.frost.errors import EncodingFault, FrostError, ProofFault, ShareFault

SESSION_TAG = "holdfast/dkg/session/v1"
SHARE_SIZE = 32


@dataclass(frozen=True, slots=True)
class State1:
    """R1 is out; waiting for all R1. `secret` is None after a restart: then R2 is out already."""

    identity: Identity = field(repr=False)
    committee: Committee = field(repr=False)
    roster: Roster = field(repr=False)
    r1: R1
    secret: DkgSecret | None = field(repr=False)
    seed: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class State2:
    """R2 is out; waiting for all R2."""

    first: State1
    r1s: R1Set = field(repr=False)
    r2: R2 = field(repr=False)


@dataclass(frozen=True, slots=True)
class State3:
    """Our share is good and R3 signed; waiting, for ever if need be, for the certificate."""

    identity: Identity = field(repr=False)
    transcript: Transcript = field(repr=False)
    key: KeyShare = field(repr=False)
    r3: R3

    @property
    def public(self) -> GroupPublic:
        """The group's public key; nothing may be paid to it before the certificate."""
        return self.key.public


def offer(
    identity: Identity, committee: Committee, purpose: str, epoch: int, attempt: int, nonce: bytes
) -> RosterEntry:
    """Agree to one attempt with a fresh 32-byte nonce; the shell uses an entry for at most one step1."""
    _check_identity(identity, committee)
    entry = RosterEntry(committee.hash, purpose, epoch, attempt, identity.index, nonce)
    return entry.signed(identity)


def step1(
    engine: Engine,
    sealer: Sealer,
    identity: Identity,
    committee: Committee,
    roster: Roster,
    offered: RosterEntry,
    salt: bytes,
) -> tuple[State1, R1]:
    """Begin: check the roster, run part1, derive the one-session key from host secret, sid and salt.

    `offered` is the entry that `offer` gave for this attempt: a roster without it is a replay. `salt` is 32
    fresh random bytes, published in R1. Raises WrongSession, BadSignature.
    """
    _check_identity(identity, committee)
    roster.check(committee)
    own = roster.entries[identity.index - 1]
    if own.digest != offered.digest:
        raise WrongSession(
            "the roster does not hold the nonce we offered: it is a replay, start a new attempt"
        )
    seed = identity.derive(SESSION_TAG, roster.sid, salt)
    _, encryption_key = sealer.derive(seed)
    secret, package = engine.dkg_part1(identity.index, committee.size, committee.threshold)
    r1 = R1(roster.sid, identity.index, package, encryption_key, salt).signed(identity)
    return State1(identity, committee, roster, r1, secret, seed), r1


def step2(engine: Engine, sealer: Sealer, state: State1, r1s: R1Set) -> tuple[State2, R2]:
    """Check all R1, run part2, seal one share to every member including oneself.

    Raises BadProof naming who sent a bad package or key, WrongSession, BadSignature.
    """
    r1s.check(state.committee, state.roster)
    me = state.identity.index
    if r1s.of(me).digest != state.r1.digest:
        raise WrongSession("the relay's set does not hold the R1 we sent: start again with another relay")
    assert state.secret is not None, "step2 comes once, before any restart"
    check_packages(engine, state.committee, r1s)
    shares = engine.dkg_part2(state.secret, r1s.packages)
    try:
        sealed = tuple(
            _seal(sealer, state.committee, r1s, me, receiver, shares[receiver])
            for receiver in range(1, state.committee.size + 1)
        )
    finally:
        _wipe(*shares.values())
    r2 = R2(state.roster.sid, me, r1s.hash, sealed).signed(state.identity)
    return State2(state, r1s, r2), r2


def step3(engine: Engine, sealer: Sealer, state: State2, r2s: R2Set) -> tuple[State3, R3] | Complaint:
    """Open our shares, run part3, sign T; or complain, giving up the one-session key as proof.

    Raises ViewsDiffer when members saw different R1, WrongSession, BadSignature.
    """
    first = state.first
    me = first.identity.index
    transcript = Transcript(first.committee, first.roster, state.r1s, r2s).check()
    if r2s.of(me).digest != state.r2.digest:
        raise WrongSession("the relay's set does not hold the R2 we sent: start again with another relay")
    private, _ = sealer.derive(first.seed)
    shares, bad = open_shares(sealer, transcript, me, private)
    key = None
    try:
        if not bad:
            key = _make_key(engine, first, state.r1s, _fixed(shares))
    except (ShareFault, EncodingFault):
        bad = {i for i, share in shares.items() if not share_fits(engine, state.r1s.of(i), me, share)}
    finally:
        _wipe(*shares.values())
    if key is None:
        assert bad, "part3 refuses shares only by naming their senders"
        return _complain(first, state.r1s, r2s, bad)
    assert key.public == engine.dkg_public(state.r1s.packages, first.committee.threshold), "own key differs"
    r3 = R3(first.roster.sid, me, transcript.hash(key.public)).signed(first.identity)
    return State3(first.identity, transcript, key, r3), r3


def resume(sealer: Sealer, identity: Identity, committee: Committee, halfway: Halfway) -> State2:
    """Take up a session after a restart, from what was stored before R2 left and the host secret.

    The polynomial is gone and not needed: all its shares are sealed in R2. Raises RestoreFault, DkgFault.
    """
    _check_identity(identity, committee)
    halfway.roster.check(committee)
    halfway.r1s.check(committee, halfway.roster)
    own = halfway.r1s.of(identity.index)
    seed = identity.derive(SESSION_TAG, halfway.roster.sid, own.salt)
    if sealer.derive(seed)[1] != own.encryption_key:
        raise RestoreFault("this host secret did not make the session's R1: start a new attempt")
    first = State1(identity, committee, halfway.roster, own, None, seed)
    return State2(first, halfway.r1s, halfway.r2)


def finalize(state: State3, certificate: Certificate) -> RecoveryData:
    """Accept the certificate on our T. Raises ViewsDiffer, WrongSession, BadSignature."""
    transcript = state.transcript
    certificate.check(transcript.committee, transcript.roster.sid, state.r3.transcript)
    return RecoveryData(transcript, certificate)


def late(engine: Engine, transcript: Transcript, certificate: Certificate) -> RecoveryData:
    """Accept a certificate after a restart, from the stored transcript; then `restore` gives the share."""
    recovery = RecoveryData(transcript, certificate)
    recovery.check(engine)
    return recovery


def restore(engine: Engine, sealer: Sealer, identity: Identity, recovery: RecoveryData) -> KeyShare:
    """Rebuild our share from host secret and recovery data; the trial restore before every Ack.

    Raises RestoreFault when this host key did not take part, DkgFault when the data is not sound.
    """
    public = recovery.check(engine)
    transcript = recovery.transcript
    committee = transcript.committee
    if committee.index_of(identity.host_key) != identity.index:
        raise RestoreFault("this host key is no member of the key's committee: restore with the right one")
    own = transcript.r1s.of(identity.index)
    private, encryption_key = sealer.derive(identity.derive(SESSION_TAG, transcript.roster.sid, own.salt))
    if encryption_key != own.encryption_key:
        raise RestoreFault("this host secret did not make the key's R1: restore with the right host key")
    shares, bad = open_shares(sealer, transcript, identity.index, private)
    try:
        if bad:
            raise RestoreFault(f"shares of {committee.names_of(bad)} do not open: the data is damaged")
        packages = transcript.r1s.packages
        key = engine.restore(identity.index, packages, _fixed(shares), committee.threshold)
    except FrostError as error:
        raise RestoreFault(f"the engine refuses the restored share: {error}") from error
    finally:
        _wipe(*shares.values())
    if key.public != public:
        raise RestoreFault("the restored share belongs to another group key")
    return key


def acknowledge(identity: Identity, recovery: RecoveryData) -> Ack:
    """Sign that the recovery data is stored durably and was restored from once."""
    return Ack(recovery.certificate.sid, identity.index, recovery.hash).signed(identity)


def check_packages(engine: Engine, committee: Committee, r1s: R1Set) -> None:
    """Check every R1 package alone; BadProof names who sent bad ones, their R1 are the evidence."""
    bad: list[R1] = []
    for message in r1s.messages:
        try:
            engine.dkg_check_r1(message.sender, committee.size, committee.threshold, message.package)
        except (EncodingFault, ProofFault):
            bad.append(message)
    if bad:
        culprits = [message.sender for message in bad]
        raise BadProof(
            f"the R1 of {committee.names_of(culprits)} holds no valid package and proof of knowledge: "
            "settle it with them, then start a new attempt",
            culprits,
            [message.encode() for message in bad],
        )


def share_info(sid: bytes, sender: int, receiver: int, r1_hash: bytes) -> bytes:
    """HPKE's info: what a sealed share is bound to."""
    writer = Writer().raw(b"holdfast/dkg/share/v1", 21).raw(sid, 32).u16(sender).u16(receiver)
    return writer.raw(r1_hash, 32).done()


def open_shares(
    sealer: Sealer, transcript: Transcript, receiver: int, private: bytes
) -> tuple[dict[int, bytearray], set[int]]:
    """The shares for `receiver` that open, by sender, and the senders of those that do not."""
    shares: dict[int, bytearray] = {}
    bad: set[int] = set()
    for message in transcript.r2s.messages:
        info = share_info(transcript.roster.sid, message.sender, receiver, message.r1_hash)
        try:
            share = sealer.open(private, info, message.sealed[receiver - 1])
        except SealBroken:
            bad.add(message.sender)
            continue
        assert len(share) == SHARE_SIZE, "a sealed share of 80 bytes holds 32"
        shares[message.sender] = share
    return shares, bad


def share_fits(engine: Engine, r1: R1, receiver: int, share: bytearray) -> bool:
    """Whether the share lies on its sender's polynomial (Feldman); false for one that is not canonical."""
    try:
        return engine.dkg_share_ok(r1.package, receiver, bytes(share))
    except FrostError:
        return False


def _make_key(engine: Engine, first: State1, r1s: R1Set, shares: dict[int, bytes]) -> KeyShare:
    if first.secret is not None:
        return engine.dkg_part3(first.secret, r1s.packages, shares)
    return engine.restore(first.identity.index, r1s.packages, shares, first.committee.threshold)


def _seal(
    sealer: Sealer, committee: Committee, r1s: R1Set, sender: int, receiver: int, share: bytearray
) -> bytes:
    r1 = r1s.of(receiver)
    try:
        return sealer.seal(r1.encryption_key, share_info(r1.sid, sender, receiver, r1s.hash), bytes(share))
    except SealBroken as error:
        name = committee.name_of(receiver)
        raise BadProof(
            f"nothing can be sealed to the encryption key in {name}'s R1: settle it with {name}, "
            "then start a new attempt",
            (receiver,),
            (r1.encode(),),
        ) from error


def _complain(state: State1, r1s: R1Set, r2s: R2Set, bad: set[int]) -> Complaint:
    complaint = Complaint(
        state.roster.sid, state.identity.index, tuple(sorted(bad)), r1s.hash, r2s.hash, state.seed
    )
    return complaint.signed(state.identity)


def _check_identity(identity: Identity, committee: Committee) -> None:
    if committee.index_of(identity.host_key) != identity.index:
        raise WrongSession(
            "our host key is not at our place in this committee file: check which file is used"
        )


def _fixed(shares: dict[int, bytearray]) -> dict[int, bytes]:
    return {index: bytes(share) for index, share in shares.items()}


def _wipe(*buffers: bytearray) -> None:
    for buffer in buffers:
        buffer[:] = bytes(len(buffer))
