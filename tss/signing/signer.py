"""A member's side of signing; `decide` holds the nonce rule.

The shell, per SharesRequest: ask the approval port, look up the own commitments among the stored nonce rows,
`decide`, keep the new state at once, then for a Release: engine.sign each, store all rows in one durable
transaction, and only then send `answer`. No commit, no share. DESIGN section 4, nonces.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from tss.dkg.committee import Committee
from tss.dkg.faults import BadSignature
from tss.dkg.ports import Identity
from tss.frost.package import SigningPackage
from tss.signing.approval import Approved, Refused
from tss.signing.faults import Finding, Kind
from tss.signing.messages import (
    MAX_COMMITMENTS,
    NO_ERA,
    NO_SESSION,
    Commitments,
    CommitRequest,
    Order,
    Refusal,
    Shares,
    SharesRequest,
    Verdict,
    cut,
)
from tss.signing.slots import request_id

MAX_OUTSTANDING = 2 * MAX_COMMITMENTS  # per coordinator; the oldest are dropped
UNKNOWN_COMMITMENT = "unknown-commitment"
REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class SignerContext:
    """What stays the same for one key in one boot; `key` is the share set, 33 bytes, boot_id 16 bytes."""

    committee: Committee = field(repr=False)
    index: int
    key: bytes
    threshold: int
    boot_id: bytes


@dataclass(frozen=True, slots=True)
class Issued:
    """An unused nonce: the engine's handle, the only coordinator that may use it, and the era it asked for."""

    handle: bytes
    owner: int
    era: bytes = NO_ERA


@dataclass(frozen=True, slots=True)
class SignerState:
    """Unused commitments of this boot, oldest first. Memory only: a new boot begins with `SignerState()`."""

    sequence: int = 0
    issued: Mapping[bytes, Issued] = field(default_factory=lambda: MappingProxyType({}), repr=False)

    def outstanding(self, owner: int) -> int:
        """How many unused commitments a coordinator holds."""
        return sum(1 for nonce in self.issued.values() if nonce.owner == owner)


@dataclass(frozen=True, slots=True)
class NonceRow:
    """One spent nonce as stored: commitment UNIQUE.

    The shell stores the encoded Order once, by `session`, and fills `request` in when it looks a row up: with it
    a reuse can be proved to strangers.
    """

    commitment: bytes
    package_hash: bytes
    share: bytes
    request: bytes = b""
    session: bytes = b""


@dataclass(frozen=True, slots=True)
class Signing:
    """One share to make: the nonce's handle for the engine, and the package."""

    handle: bytes
    commitment: bytes
    package: SigningPackage


@dataclass(frozen=True, slots=True)
class Release:
    """Sign these; `state` no longer holds their nonces and replaces the old one before anything is awaited."""

    plan: tuple[Signing, ...]
    state: SignerState = field(repr=False)


@dataclass(frozen=True, slots=True)
class Replay:
    """The very same packages were answered before: send the stored shares again."""

    shares: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Refuse:
    """Send no share; evidence, when there is some, is kept."""

    code: str
    reason: str
    retryable: bool = False
    evidence: Finding | None = None


@dataclass(frozen=True, slots=True)
class Granted:
    """How many commitments the engine is to make for a coordinator."""

    count: int


def grant(context: SignerContext, ask: CommitRequest) -> Granted | Refuse:
    """Check a request for commitments."""
    if ask.key != context.key:
        return Refuse("wrong-key", "the request is for a key that is not this one")
    try:
        ask.check(context.committee)
    except BadSignature as error:
        return Refuse("signature", error.reason)
    return Granted(ask.count)


def issue(
    identity: Identity,
    context: SignerContext,
    state: SignerState,
    owner: int,
    fresh: Sequence[tuple[bytes, bytes]],
    era: bytes = NO_ERA,
) -> tuple[SignerState, Commitments, tuple[bytes, ...]]:
    """Give fresh (handle, commitment) pairs of the engine to one coordinator, for the era that it named.

    Returns the new state, the signed message, and handles that the engine is to drop: a coordinator that
    hoards more than MAX_OUTSTANDING loses its oldest.
    """
    issued = dict(state.issued)
    for handle, commitment in fresh:
        assert commitment not in issued, "the engine made the same nonce twice"
        issued[commitment] = Issued(handle, owner, era)
    own = [commitment for commitment, nonce in issued.items() if nonce.owner == owner]
    excess = own[: max(0, len(own) - MAX_OUTSTANDING)]
    dropped = tuple(issued.pop(commitment).handle for commitment in excess)
    sequence = state.sequence + 1
    offered = tuple(commitment for _, commitment in fresh)
    message = Commitments(context.key, context.index, context.boot_id, sequence, offered)
    return SignerState(sequence, MappingProxyType(issued)), message.signed(identity), dropped


def own_commitments(context: SignerContext, request: SharesRequest) -> tuple[bytes, ...]:
    """The commitments to look up among the stored nonce rows before `decide`."""
    return tuple(p.commitments[context.index] for p in request.packages if context.index in p.commitments)


def decide(
    context: SignerContext,
    state: SignerState,
    request: SharesRequest,
    approval: Approved | Refused,
    spent: Mapping[bytes, NonceRow],
) -> Release | Replay | Refuse:
    """Answer one session: sign anew, send again, or refuse.

    `approval` is the port's answer just now; `spent` the stored rows of `own_commitments`. The nonce rule: the
    same commitment with the same package → Replay; with another package → Refuse with evidence; a commitment
    that this boot did not issue to this coordinator → Refuse.
    """
    refused = _misformed(context, request) or _reused(context, request, spent)
    if refused is not None:
        return refused
    if isinstance(approval, Refused):
        return Refuse(REFUSED, approval.reason, approval.retryable)
    if approval.messages != tuple((package.message, package.path) for package in request.packages):
        name = context.committee.name_of(request.sender)
        return Refuse("messages-differ", f"{name} asked to sign other messages than the payload gives here")
    commitments = own_commitments(context, request)
    stored = [commitment for commitment in commitments if commitment in spent]
    if stored and len(stored) == len(commitments):
        return Replay(tuple(spent[commitment].share for commitment in commitments))
    if stored:
        return Refuse(
            "partly-spent", "some of the commitments are spent already: ask for new ones", retryable=True
        )
    return _release(context, state, request, commitments)


def rows(request: SharesRequest, release: Release, shares: Sequence[bytes]) -> tuple[NonceRow, ...]:
    """What to store, all in one transaction, before `answer` may be sent."""
    session = request.session
    return tuple(
        NonceRow(signing.commitment, signing.package.hash, share, session=session)
        for signing, share in zip(release.plan, shares, strict=True)
    )


def answer(
    identity: Identity, request: SharesRequest, shares: Sequence[bytes], following: Commitments
) -> Shares:
    """The signed answer to a session: the shares with the next commitments (`issue` with request.want)."""
    message = Shares(request.key, identity.index, request.session, tuple(shares), following)
    return message.signed(identity)


def refusal(identity: Identity, request: SharesRequest | CommitRequest, refuse: Refuse) -> Refusal:
    """The signed answer when there are no shares."""
    session = request.session if isinstance(request, SharesRequest) else NO_SESSION
    reason = cut(refuse.reason)
    message = Refusal(request.key, identity.index, session, refuse.code, reason, refuse.retryable)
    return message.signed(identity)


def verdict(
    identity: Identity, key: bytes, epoch: int, purpose: str, payload: bytes, approval: Approved | Refused
) -> Verdict:
    """The port's answer as a signed row to store; `key` is the group key, `epoch` its epoch."""
    request = request_id(purpose, payload, epoch)
    if isinstance(approval, Approved):
        message = Verdict(key, identity.index, request, True, approval.digest, "", False)
    else:
        reason = cut(approval.reason)
        message = Verdict(key, identity.index, request, False, bytes(32), reason, approval.retryable)
    return message.signed(identity)


def _misformed(context: SignerContext, request: SharesRequest) -> Refuse | None:
    if request.key != context.key:
        return Refuse("wrong-key", "the request is for a key that is not this one")
    try:
        request.check(context.committee)
    except BadSignature as error:
        return Refuse("signature", error.reason)
    if request.epoch != context.committee.epoch:
        reason = (
            f"the session is for key epoch {request.epoch}, this key is of epoch {context.committee.epoch}"
        )
        return Refuse("wrong-epoch", reason)
    if context.index not in request.members:
        return Refuse("not-a-signer", "the session does not name this member")
    if not context.threshold <= len(request.members) or request.members[-1] > context.committee.size:
        return Refuse("signers", f"a session needs {context.threshold} or more signers of this committee")
    return None


def _reused(context: SignerContext, request: SharesRequest, spent: Mapping[bytes, NonceRow]) -> Refuse | None:
    """Refuse, with evidence, one commitment in two packages: of one request, or of this and an earlier one."""
    commitments = own_commitments(context, request)
    name = context.committee.name_of(request.sender)
    if len(set(commitments)) != len(commitments):
        reason = f"{name} put one commitment into two packages of one session"
        proof = Finding(Kind.NONCE_REUSE, request.sender, reason, (request.order,))
        return Refuse("nonce-reuse", reason, evidence=proof)
    for package, commitment in zip(request.packages, commitments, strict=True):
        row = spent.get(commitment)
        if row is not None and row.package_hash != package.hash:
            reason = f"{name} asked for a second signature with a commitment that is spent"
            earlier = (Order.decode(row.request),) if row.request else ()
            proof = Finding(Kind.NONCE_REUSE, request.sender, reason, (request.order, *earlier))
            return Refuse("nonce-reuse", reason, evidence=proof)
    return None


def _release(
    context: SignerContext, state: SignerState, request: SharesRequest, commitments: tuple[bytes, ...]
) -> Release | Refuse:
    issued = dict(state.issued)
    plan: list[Signing] = []
    for package, commitment in zip(request.packages, commitments, strict=True):
        nonce = issued.pop(commitment, None)
        if nonce is None:
            reason = "the commitment is void: this node has restarted since, or dropped it; ask for new ones"
            return Refuse(UNKNOWN_COMMITMENT, reason, retryable=True)
        if nonce.owner != request.sender:
            return Refuse("foreign-commitment", "the commitment was given to another coordinator")
        if nonce.era != request.era:
            name = context.committee.name_of(request.sender)
            reason = f"the commitment was given to an earlier pool of {name}: ask for new ones"
            return Refuse(UNKNOWN_COMMITMENT, reason, retryable=True)
        plan.append(Signing(nonce.handle, commitment, package))
    return Release(tuple(plan), SignerState(state.sequence, MappingProxyType(issued)))
