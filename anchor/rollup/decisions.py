"""Why value stands still after a deep reorg, and the operators' signed word that it moves again.

A pause has a name that covers everything it is about, so a decision is for one pause, as far as it went when it was
signed: after another reorg the operators decide again. DESIGN section 5, *Records*: operator decisions.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, Self

import msgspec

from anchor.btc.codec import CodecError, Encoded, Reader, Writer
from anchor.btc.curve import schnorr_verify
from anchor.btc.hashing import tagged_hash
from anchor.btc.ids import OUTPOINT_SIZE, BlockHash, OutPoint, display, from_display
from anchor.rollup.genesis import MAX_HOST_KEYS, Genesis

RESUME = 1  # the one thing to be decided today; skips join here
LIFE = 144  # Bitcoin blocks after which a signed decision that was not used is worth nothing
MAX_REASON = 200


class DecisionRefused(ValueError):
    """A decision that does not count; `code` is stable, the sentence names the next move."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code, self.reason = code, reason


class Committee(Protocol):
    """Whose decisions count: a genesis says it before the first key epoch, then the latest `KeyEpoch` does."""

    @property
    def committee_hash(self) -> bytes:
        """Hash of the committee file."""

    @property
    def host_keys(self) -> tuple[bytes, ...]:
        """The operators' keys, x-only, in the committee's order."""

    @property
    def threshold(self) -> int:
        """How many operators decide."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Value stands still since rollup block `since`; the latest reorg came in block `until`.

    `depth` is the deepest reorg, in disconnected blocks; `fork_height` the lowest fork, a Bitcoin height; `tip` the
    new tip after the latest one. `mints` are the deposits whose sweep stood on a block that left the view,
    `settles` the withdrawals whose payout did: those are open again. Both sorted; each named once.
    """

    since: int
    until: int
    depth: int
    fork_height: int
    tip: BlockHash
    mints: tuple[OutPoint, ...] = ()
    settles: tuple[bytes, ...] = ()

    def __str__(self) -> str:
        touched = f"{len(self.mints)} mints and {len(self.settles)} settlements stood on them"
        return (
            f"a reorg at Bitcoin height {self.fork_height} disconnected {self.depth} blocks, {touched}: "
            "value moves again when the operators decide so (`holdfast bridge decision`)"
        )

    def and_then(self, later: "Pause") -> "Pause":
        """The same pause after a further reorg."""
        return Pause(
            self.since,
            later.until,
            max(self.depth, later.depth),
            min(self.fork_height, later.fork_height),
            later.tip,
            tuple(sorted({*self.mints, *later.mints})),
            tuple(sorted({*self.settles, *later.settles})),
        )

    def encode(self) -> bytes:
        """The canonical bytes, part of the state's root."""
        out = Writer().u64(self.since).u64(self.until).u32(self.depth).u32(self.fork_height)
        out.fixed(self.tip, 32).count(len(self.mints))
        for outpoint in self.mints:
            out.fixed(outpoint.encode(), OUTPOINT_SIZE)
        out.count(len(self.settles))
        for withdrawal in self.settles:
            out.fixed(withdrawal, 32)
        return out.done()

    def id(self, genesis_hash: bytes) -> bytes:
        """The pause's name, 32 bytes."""
        return tagged_hash("holdfast/pause/v1", genesis_hash, self.encode())


@dataclass(frozen=True, slots=True)
class Decision(Encoded):
    """What the operators sign: value moves again after the pause with this name.

    `height` and `block` are the newest Bitcoin block that was final in the rollup's view when it was decided;
    `reason` is for those who read the log.
    """

    rollup_id: int
    genesis_hash: bytes
    committee_hash: bytes
    pause: bytes
    height: int
    block: BlockHash
    reason: str

    def __post_init__(self) -> None:
        # Plain ASCII: what counts as printable beyond it changes from one Python to the next.
        if not 0 < len(self.reason) <= MAX_REASON or not all(" " <= sign <= "~" for sign in self.reason):
            raise CodecError(f"the reason is one line of 1 to {MAX_REASON} ASCII characters")

    def encode(self) -> bytes:
        """The canonical bytes."""
        out = Writer().u8(RESUME).u32(self.rollup_id).fixed(self.genesis_hash, 32)
        out.fixed(self.committee_hash, 32).fixed(self.pause, 32)
        return out.u32(self.height).fixed(self.block, 32).text(self.reason).done()

    @classmethod
    def read(cls, r: Reader) -> Self:
        """Read the fields from a longer message."""
        if (kind := r.u8()) != RESUME:
            raise CodecError(f"no kind of decision {kind}: this version knows {RESUME}, resume")
        rollup_id, genesis, committee, pause = r.u32(), r.fixed(32), r.fixed(32), r.fixed(32)
        return cls(rollup_id, genesis, committee, pause, r.u32(), BlockHash(r.fixed(32)), r.text(MAX_REASON))

    @property
    def hash(self) -> bytes:
        """The 32 bytes that each host key signs: tagged_hash("holdfast/decision/v1", encode())."""
        return tagged_hash("holdfast/decision/v1", self.encode())


@dataclass(frozen=True, slots=True)
class SignedDecision(Encoded):
    """A decision with BIP340 signatures: 0-based place in the committee and 64 bytes each, places rising."""

    decision: Decision
    signatures: tuple[tuple[int, bytes], ...] = ()

    def encode(self) -> bytes:
        """The canonical bytes."""
        out = Writer().var(self.decision.encode()).count(len(self.signatures))
        for operator, signature in self.signatures:
            out.u16(operator).fixed(signature, 64)
        return out.done()

    @classmethod
    def read(cls, r: Reader) -> Self:
        """Read decision and signatures from a longer message; CodecError unless operators rise."""
        decision = Decision.decode(r.var(1024))
        signatures = tuple((r.u16(), r.fixed(64)) for _ in range(r.count(MAX_HOST_KEYS)))
        order = [operator for operator, _ in signatures]
        if order != sorted(set(order)):
            raise CodecError("a decision's signatures are sorted by operator, one each")
        return cls(decision, signatures)

    def to_json(self) -> str:
        """decision.json: sorted, indented; the block in display order, operators from 1; ends in a newline."""
        d = self.decision
        file = _DecisionFile(
            rollup_id=d.rollup_id,
            genesis_hash=d.genesis_hash.hex(),
            committee_hash=d.committee_hash.hex(),
            pause=d.pause.hex(),
            height=d.height,
            block=display(d.block),
            reason=d.reason,
            signatures=[_SignatureFile(operator=i + 1, signature=s.hex()) for i, s in self.signatures],
        )
        return msgspec.json.format(msgspec.json.encode(file, order="sorted"), indent=2).decode() + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Read decision.json; CodecError says what is wrong. Signatures are not checked here."""
        try:
            f = msgspec.json.decode(text, type=_DecisionFile)
            decision = Decision(
                f.rollup_id,
                bytes.fromhex(f.genesis_hash),
                bytes.fromhex(f.committee_hash),
                bytes.fromhex(f.pause),
                f.height,
                BlockHash(from_display(f.block)),
                f.reason,
            )
            signatures = tuple((s.operator - 1, bytes.fromhex(s.signature)) for s in f.signatures)
            return cls.decode(cls(decision, signatures).encode())  # lengths, order, bounds
        except ValueError as error:  # msgspec's, hex, CodecError
            raise CodecError(f"not a decision: {error}") from error

    def signed(self, operator: int, signature: bytes) -> Self:
        """The same with one more signature, or with that operator's replaced."""
        return replace(self, signatures=tuple(sorted({**dict(self.signatures), operator: signature}.items())))

    def check_signatures(self, committee: Committee) -> None:
        """Return when every signature is an operator's; DecisionRefused otherwise. Counts nothing."""
        message, hosts = self.decision.hash, committee.host_keys
        for operator, signature in self.signatures:
            if operator >= len(hosts):
                raise DecisionRefused("no_operator", f"there is no operator {operator + 1}: take that out")
            if not schnorr_verify(hosts[operator], message, signature):
                raise DecisionRefused(
                    "bad_signature", f"operator {operator + 1} did not sign this decision: ask for it again"
                )

    def verify(self, committee: Committee) -> None:
        """Return when t operators signed; DecisionRefused otherwise."""
        self.check_signatures(committee)
        if len(self.signatures) < committee.threshold:
            raise DecisionRefused(
                "too_few_signatures",
                f"{len(self.signatures)} operators signed, {committee.threshold} are needed: collect the others'",
            )


@dataclass(frozen=True, slots=True)
class Decided:
    """A decision that took effect in rollup block `height`, with who signed it (0-based): kept for ever."""

    height: int
    decision: Decision
    operators: tuple[int, ...]

    def encode(self) -> bytes:
        """The canonical bytes, part of the state's root."""
        out = Writer().u64(self.height).var(self.decision.encode()).count(len(self.operators))
        for operator in self.operators:
            out.u16(operator)
        return out.done()


class _SignatureFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    operator: int
    signature: str


class _DecisionFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    rollup_id: int
    genesis_hash: str
    committee_hash: str
    pause: str
    height: int
    block: str
    reason: str
    signatures: list[_SignatureFile]


def check_subject(decision: Decision, genesis: Genesis, committee: Committee, pause: Pause | None) -> None:
    """Return when the decision is for this rollup, committee and pause; DecisionRefused otherwise."""
    if (decision.rollup_id, decision.genesis_hash) != (genesis.rollup_id, genesis.hash):
        raise DecisionRefused("wrong_rollup", "the decision is for another rollup")
    if decision.committee_hash != committee.committee_hash:
        raise DecisionRefused(
            "wrong_committee",
            "the decision is by another committee than the one that decides now: make it anew",
        )
    if pause is None:
        raise DecisionRefused("not_paused", "value moves: there is nothing to decide")
    if decision.pause != pause.id(genesis.hash):
        raise DecisionRefused(
            "wrong_pause",
            "the decision is about another pause, or from before a further reorg: make one anew and sign that",
        )


def combine(decisions: Sequence[SignedDecision], committee: Committee) -> SignedDecision:
    """Join the signatures of copies of one decision. DecisionRefused for different ones or a false signature."""
    first = decisions[0]
    for other in decisions[1:]:
        if other.decision != first.decision:
            raise DecisionRefused(
                "different",
                f"these are different decisions ({_named(first)} and {_named(other)}): all must sign one file",
            )
        for operator, signature in other.signatures:
            first = first.signed(operator, signature)
    first.check_signatures(committee)
    return first


def _named(signed: SignedDecision) -> str:
    d = signed.decision
    return f"{d.hash.hex()[:16]}… upon block {d.height} {display(d.block)[:16]}…"
