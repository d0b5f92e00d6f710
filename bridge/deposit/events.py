"""What can happen to a payment. The shell feeds events of the chain in chain order, undone ones in reverse."""

from dataclasses import dataclass

from bridge.deposit.states import Coin
from bridge.treasury.machine import InBatch


@dataclass(frozen=True, slots=True)
class PaymentSeen:
    """Own mempool holds a transaction that pays the address: value in satoshis."""

    value: int


@dataclass(frozen=True, slots=True)
class PaymentReplaced:
    """The paying transaction can no longer confirm: another one spent its inputs."""


@dataclass(frozen=True, slots=True)
class PaymentMined:
    """The payment is in a block of the best chain."""

    coin: Coin


@dataclass(frozen=True, slots=True)
class PaymentUnmined:
    """A reorg took the payment's block away."""


@dataclass(frozen=True, slots=True)
class TipMoved:
    """The best chain now ends at `height`, after a block or after a reorg."""

    height: int


@dataclass(frozen=True, slots=True)
class Batched:
    """This node gave its share to, or saw, a sweep that takes the payment in."""

    sequence: int
    txid: bytes


@dataclass(frozen=True, slots=True)
class BatchDropped:
    """Sweep `sequence` went another way: the tip it spends was spent, finally, by a batch without the payment."""

    sequence: int


@dataclass(frozen=True, slots=True)
class SweepMined:
    """A block holds a sweep that takes the payment in."""

    sweep: InBatch


@dataclass(frozen=True, slots=True)
class SweepUnmined:
    """A reorg took that block away."""

    txid: bytes


@dataclass(frozen=True, slots=True)
class SweepFinal:
    """The sweep's block is final at k on own chain (depth and work, `anchor/headers/finality`)."""

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
class MintApplied:
    """A final rollup block minted this outpoint. Fed at every reconciliation until it is taken.

    `epoch` is that of the mint key which certified it; the rollup's present one may be later.
    """

    rollup_tx: bytes
    amount: int
    epoch: int


@dataclass(frozen=True, slots=True)
class ReclaimMined:
    """A block holds the user's own spend by the leaf."""

    txid: bytes
    height: int


@dataclass(frozen=True, slots=True)
class ReclaimUnmined:
    """A reorg took that block away."""

    txid: bytes


Event = (
    PaymentSeen
    | PaymentReplaced
    | PaymentMined
    | PaymentUnmined
    | TipMoved
    | Batched
    | BatchDropped
    | SweepMined
    | SweepUnmined
    | SweepFinal
    | Signed
    | SigningFailed
    | MintApplied
    | ReclaimMined
    | ReclaimUnmined
)
