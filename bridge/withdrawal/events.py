"""What can happen to a withdrawal. The shell feeds events of the chain in chain order, undone ones in reverse."""

from dataclasses import dataclass

from bridge.treasury.machine import InBatch


@dataclass(frozen=True, slots=True)
class Planned:
    """This node gave its share to a payout batch with the withdrawal."""

    sequence: int
    txid: bytes


@dataclass(frozen=True, slots=True)
class Sent:
    """The signed batch is stored here and about to be sent, or was seen in the mempool."""

    sequence: int
    txid: bytes


@dataclass(frozen=True, slots=True)
class BatchDropped:
    """Batch `sequence` went another way: its tip was spent, finally, by a batch without the withdrawal."""

    sequence: int


@dataclass(frozen=True, slots=True)
class PayoutMined:
    """A block holds a batch that pays the withdrawal."""

    payout: InBatch


@dataclass(frozen=True, slots=True)
class PayoutUnmined:
    """A reorg took that block away."""

    txid: bytes


@dataclass(frozen=True, slots=True)
class PayoutFinal:
    """The payout's block is final at k on own chain."""

    block_hash: bytes


@dataclass(frozen=True, slots=True)
class Signed:
    """The committee signed `payload` under the mint key."""

    payload: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class SigningFailed:
    """The committee did not sign; why, and whether asking again can help."""

    payload: bytes
    reason: str
    retryable: bool


@dataclass(frozen=True, slots=True)
class SettleApplied:
    """A final rollup block settled the withdrawal. Fed at every reconciliation until it is taken."""

    rollup_tx: bytes


@dataclass(frozen=True, slots=True)
class SettleUndone:
    """The rollup took the settlement back: the payout's block left its view, so the lock is open again."""


Event = (
    Planned
    | Sent
    | BatchDropped
    | PayoutMined
    | PayoutUnmined
    | PayoutFinal
    | Signed
    | SigningFailed
    | SettleApplied
    | SettleUndone
)
