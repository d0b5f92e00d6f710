"""Writes one lane: what to anchor next, what a signer checks before it agrees, and how the package is sent.

A lane's desk in the keeper's sense (`bridge/keeper.py`); it knows no committee and holds no key.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from anchor.bitcoind import Bitcoind, Outcome, Submitted
from anchor.btc.codec import CodecError
from anchor.btc.ids import OutPoint, Txid
from anchor.inscription.batch import MAX_BATCH, MIN_COMMIT_FEE, AnchorBatch, RotationBatch, decode_request
from anchor.inscription.builder import BuildError, Package, SignedPackage, assemble, build
from anchor.inscription.reader import LaneState
from anchor.inscription.successor import Successor
from anchor.proofs import ranges
from anchor.proofs.coverage import Coverage
from anchor.proofs.ranges import RangeEvidence, RangeRefused
from anchor.proofs.records import Record
from anchor.rollup.activation import Activation
from anchor.rollup.genesis import Genesis
from anchor.rollup.succession import Epochs

MAX_PER_BATCH = 64
BATCH_HEAD, PAIR_HEAD = 256, 8  # bytes of a request beside its records, and of each pair's lengths
GONE = ("missingorspent", "missing-inputs", "Missing inputs")


class NotApproved(Exception):
    """A batch that this node does not agree to; `retryable` when waiting may help."""

    def __init__(self, reason: str, *, retryable: bool = False) -> None:
        super().__init__(reason)
        self.reason, self.retryable = reason, retryable


@dataclass(frozen=True, slots=True)
class LaneFacts:
    """What this node's own chain and rollup say about the lane now.

    `successor` is set when a succession for the epoch after the lane's is final here: the lane's next batch is the
    rotation, and ranges wait for it.
    """

    state: LaneState
    coverage: Coverage
    ranges: Sequence[Record]
    evidence: Sequence[bytes]
    successor: Successor | None = None


class LaneDesk:
    """One lane of the activation record. `facts` is None while the lane is not known yet.

    `epochs` are the key epochs of this node's own copy of the rollup: a batch is built under the key of its epoch.
    """

    purpose = "anchor"

    def __init__(
        self,
        genesis: Genesis,
        activation: Activation,
        bitcoind: Bitcoind,
        facts: Callable[[], LaneFacts | None],
        epochs: Callable[[], Epochs],
        *,
        max_fee_rate: int,
    ) -> None:
        self.genesis, self.activation = genesis, activation
        self.bitcoind, self.facts, self.epochs = bitcoind, facts, epochs
        self.max_fee_rate = max_fee_rate

    def tip(self) -> OutPoint | None:
        """The lane's confirmed coin; the same while its commit is mined and its reveal is not."""
        facts = self.facts()
        if facts is None or facts.state.halted is not None:
            return None
        return facts.state.tip

    async def plan(self) -> tuple[int, bytes] | None:
        """The next batch: the rotation that is due, or every final range that no anchor covers.

        Of ranges at most 64, and at most what a request holds. A rotation holds none, so it waits for none. Nothing
        is planned while the rollup's copy does not name the lane's key, or names another.
        """
        facts = self.facts()
        if facts is None or facts.state.pending or self._unnamed(facts.state) is not None:
            return None
        if facts.successor is not None:
            rotation = self._rotation(facts.state, facts.successor)
            return rotation.sequence, rotation.encode()
        if facts.coverage.waits or facts.coverage.conflict:
            return None
        start = facts.coverage.next
        records = facts.ranges[start : start + _fitting(facts, start)]
        if not records:
            return None
        batch = AnchorBatch(
            facts.state.lane,
            facts.state.sequence + 1,
            facts.state.epoch,
            facts.state.tip,
            facts.state.tip_value,
            facts.state.root,
            tuple(record.encode() for record in records),
            tuple(facts.evidence[start : start + len(records)]),
            MIN_COMMIT_FEE,
        )
        return batch.sequence, batch.encode()

    def _rotation(self, state: LaneState, successor: Successor) -> RotationBatch:
        place = state.lane, state.sequence + 1, state.epoch, state.tip, state.tip_value, state.root
        return RotationBatch(*place, successor, self.activation.rollup_id)

    def spends(self, payload: bytes) -> tuple[int, OutPoint]:
        """Sequence and tip of a batch's bytes. CodecError otherwise."""
        batch = decode_request(payload)
        return batch.sequence, batch.tip

    def key_epoch(self, payload: bytes) -> int:
        """The key epoch whose anchor key signs a batch. CodecError for bytes that are none."""
        return decode_request(payload).epoch

    def check(self, payload: bytes, signatures: Sequence[bytes]) -> None:
        """Return when every transaction of the package is signed. ValueError otherwise."""
        self._signed(payload, signatures)

    def approve(self, payload: bytes) -> Package:
        """Build the package of a batch this node agrees to: right coin, right place, records as seen here.

        Raises NotApproved with the reason.
        """
        try:
            batch = decode_request(payload)
        except CodecError as fault:
            raise NotApproved(f"the request is no batch: {fault}") from fault
        facts = self.facts()
        if facts is None:
            raise NotApproved("this node does not follow the lane yet", retryable=True)
        self._check_place(batch, facts)
        if (no := self._unnamed(facts.state)) is not None:
            raise no
        if isinstance(batch, RotationBatch):
            self._check_rotation(batch, facts)
        else:
            self._check_records(batch, facts)
        if batch.commit_fee != MIN_COMMIT_FEE:
            raise NotApproved(
                f"a commit pays {MIN_COMMIT_FEE} sat, the reveal the rest: not {batch.commit_fee}"
            )
        try:
            return self._build(batch)
        except BuildError as fault:
            raise NotApproved(str(fault)) from fault

    @staticmethod
    def _check_place(batch: AnchorBatch | RotationBatch, facts: LaneFacts) -> None:
        state = facts.state
        if state.halted is not None:
            raise NotApproved(f"lane {state.lane} is halted: {state.halted}")
        if (batch.lane, batch.epoch) != (state.lane, state.epoch):
            raise NotApproved(f"the batch is for lane {batch.lane}, epoch {batch.epoch}")
        if state.pending is not None:
            raise NotApproved("the lane's last commit waits for its reveal", retryable=True)
        if (batch.tip, batch.tip_value) != (state.tip, state.tip_value):
            raise NotApproved(f"the lane's tip is {state.tip} here, not {batch.tip}", retryable=True)
        if (batch.sequence, batch.previous_root) != (state.sequence + 1, state.root):
            raise NotApproved(f"batch {batch.sequence} does not follow anchor {state.sequence}")

    def _unnamed(self, state: LaneState) -> NotApproved | None:
        """Hold the key that the lane's rotations name against the one that the rollup names."""
        epoch = self.epochs().get(state.epoch)
        if epoch is None:
            return NotApproved(f"this node's rollup names no key epoch {state.epoch} yet", retryable=True)
        if epoch.anchor_key != state.key33:
            return NotApproved(
                f"lane {state.lane} is under another key on Bitcoin than the rollup names for epoch {state.epoch}:"
                " nothing is signed until people have looked"
            )
        return None

    def _check_rotation(self, batch: RotationBatch, facts: LaneFacts) -> None:
        if facts.successor is None:
            raise NotApproved(
                f"no succession of key epoch {batch.epoch} is final in this node's rollup", retryable=True
            )
        if (batch.successor, batch.rollup_id) != (facts.successor, self.activation.rollup_id):
            raise NotApproved("the rotation names other keys than the succession that is final here")

    def _check_records(self, batch: AnchorBatch, facts: LaneFacts) -> None:
        if facts.successor is not None:
            raise NotApproved(
                f"the lane's next batch is its rotation to epoch {facts.successor.epoch}", retryable=True
            )
        if facts.coverage.conflict:
            raise NotApproved(facts.coverage.conflict)
        start = facts.coverage.next
        own = [record.encode() for record in facts.ranges[start : start + len(batch.records)]]
        if facts.coverage.waits or len(own) < len(batch.records):
            raise NotApproved("the batch holds ranges that are not final here yet", retryable=True)
        if own != list(batch.records):
            raise NotApproved("the batch's records differ from those this node derived")
        for record, evidence in zip(facts.ranges[start:], batch.evidence, strict=False):
            try:
                ranges.check(self.genesis, record, RangeEvidence.decode(evidence))
            except (CodecError, RangeRefused) as fault:
                raise NotApproved(
                    f"the evidence beside range {record.first} does not hold: {fault}"
                ) from fault

    def stages(self, payload: bytes) -> tuple[tuple[Txid, ...], ...]:
        """The commit's txid, then those of its reveals, cheapest first."""
        package = self._build(decode_request(payload))
        return (package.commit.txid,), tuple(tx.txid for tx in package.reveals)

    async def present(self, payload: bytes, signatures: Sequence[bytes]) -> Txid | None:
        """The reveal that our mempool holds."""
        _, signed = self._signed(payload, signatures)
        coin = signed.commit.outpoint(0)
        spender = (await self.bitcoind.spenders([coin])).get(coin)
        return spender if spender in {tx.txid for tx in signed.reveals} else None

    def _signed(
        self, payload: bytes, signatures: Sequence[bytes]
    ) -> tuple[AnchorBatch | RotationBatch, SignedPackage]:
        batch = decode_request(payload)
        return batch, assemble(self._build(batch), signatures)

    def _build(self, batch: AnchorBatch | RotationBatch) -> Package:
        epoch = self.epochs().get(batch.epoch)
        if epoch is None:
            raise BuildError(
                f"this node's rollup names no key epoch {batch.epoch}: wait until it has caught up"
            )
        return build(batch, epoch.anchor_key, {self.activation.rollup_id})

    async def submit(self, payload: bytes, signatures: Sequence[bytes], rung: int | None = None) -> Submitted:
        """Bring commit and reveal into the mempool: the reveal on `rung`, or on the lowest for the estimate.

        Safe to repeat. When another transaction in the mempool spends the tip, that one is in flight: ours waits.
        """
        batch, signed = self._signed(payload, signatures)
        there = await self.bitcoind.where(signed.commit)
        spent = await self.bitcoind.spenders([batch.tip, signed.commit.outpoint(0)])
        if there is not None and signed.commit.outpoint(0) in spent:
            return there
        if there is None and batch.tip in spent:
            return Submitted(spent[batch.tip], Outcome.IN_MEMPOOL, "another batch of this slot is in flight")
        if rung is None:
            wanted = min(await self.bitcoind.estimate_fee() or 0, self.max_fee_rate)
            rung = next((i for i, rate in enumerate(signed.rates) if rate >= wanted), len(signed.rates) - 1)
        result = Submitted(signed.commit.txid, Outcome.REFUSED, "no rung was tried")
        for reveal in signed.reveals[rung:]:
            commit, result = await self.bitcoind.submit_package(signed.commit, reveal)
            if result.outcome is not Outcome.REFUSED or any(word in str(commit.reason) for word in GONE):
                break
        return result


def _fitting(facts: LaneFacts, start: int) -> int:
    """How many ranges from `start` on fit one request with their evidence, which grows with the validators."""
    stop = min(len(facts.ranges), start + MAX_PER_BATCH)
    size = BATCH_HEAD
    for index in range(start, stop):
        size += len(facts.ranges[index].encode()) + len(facts.evidence[index]) + PAIR_HEAD
        if size > MAX_BATCH:
            return index - start
    return stop - start
