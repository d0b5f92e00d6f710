"""A signer's no: stable codes, one sentence, and whether asking later can help."""

from enum import StrEnum


class Code(StrEnum):
    """Why a signer said no."""

    UNSYNCED = "unsynced"
    PAUSED = "paused"
    HALTED = "treasury-halted"
    WRONG_EPOCH = "wrong-epoch"
    MOVING = "moving"
    ROTATION_NOT_FINAL = "rotation-not-final"
    WRONG_SUCCESSOR = "wrong-successor"
    TIP_MOVED = "tip-moved"
    TIP_VALUE = "tip-value"
    WRONG_SEQUENCE = "wrong-sequence"
    WRONG_PREVIOUS = "wrong-previous"
    ANCESTOR_UNKNOWN = "ancestor-unknown"
    UNBUILDABLE = "unbuildable"
    FEE_TOO_LOW = "fee-too-low"
    FEE_TOO_HIGH = "fee-too-high"
    FEE_OVER_CAP = "fee-over-cap"
    RESERVE_EMPTY = "reserve-empty"
    WRONG_FEE_SHARE = "wrong-fee-share"
    DEPOSIT_UNKNOWN = "deposit-unknown"
    DEPOSIT_UNCONFIRMED = "deposit-unconfirmed"
    DEPOSIT_SPENT = "deposit-spent"
    DEPOSIT_MINTED = "deposit-minted"
    DEPOSIT_COINBASE = "deposit-coinbase"
    DEPOSIT_VALUE = "deposit-value"
    DEPOSIT_SCRIPT = "deposit-script"
    DEPOSIT_DELAY = "deposit-delay"
    DEPOSIT_TOO_LATE = "deposit-too-late"
    DEPOSIT_RETIRED = "deposit-retired"
    DEPOSIT_TOO_SMALL = "deposit-too-small"
    DEPOSIT_TOO_LARGE = "deposit-too-large"
    SUPPLY_CAP = "supply-cap"
    WITHDRAWAL_UNKNOWN = "withdrawal-unknown"
    WITHDRAWAL_NOT_FINAL = "withdrawal-not-final"
    WITHDRAWAL_SETTLED = "withdrawal-settled"
    WITHDRAWAL_PAID = "withdrawal-paid"
    WITHDRAWAL_SCRIPT = "withdrawal-script"
    WITHDRAWAL_AMOUNT = "withdrawal-amount"
    WITHDRAWAL_FEE = "withdrawal-fee"
    WITHDRAWAL_TOO_SMALL = "withdrawal-too-small"
    WITHDRAWAL_EXPIRED = "withdrawal-expired"
    WITHDRAWAL_TO_US = "withdrawal-to-treasury"
    WRONG_ROLLUP = "wrong-rollup"
    BATCH_UNKNOWN = "batch-unknown"
    BATCH_NOT_FINAL = "batch-not-final"
    WRONG_BLOCK = "wrong-block"
    MANIFEST_UNKNOWN = "manifest-unknown"
    WRONG_MANIFEST = "wrong-manifest"
    NOT_IN_BATCH = "not-in-batch"
    WRONG_CONTENT = "wrong-content"


class Refusal(Exception):
    """A signer's no: a stable `code`, a sentence, and whether asking later can help."""

    def __init__(self, code: Code, reason: str, *, retryable: bool) -> None:
        super().__init__(f"{code}: {reason}")
        self.code = code
        self.reason = reason
        self.retryable = retryable


def check_ready(unsynced: str | None, paused: str | None) -> None:
    """Raise Refusal unless this node may sign anything about value now."""
    if unsynced is not None:
        raise later(Code.UNSYNCED, unsynced)
    if paused is not None:
        raise later(Code.PAUSED, paused)


def later(code: Code, reason: str) -> Refusal:
    """Return a refusal that time may lift."""
    return Refusal(code, reason, retryable=True)


def never(code: Code, reason: str) -> Refusal:
    """Return a refusal that stands."""
    return Refusal(code, reason, retryable=False)
