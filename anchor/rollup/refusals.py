"""Why a transaction or a block does not apply: a code for programs, a sentence for people."""


class TxRefused(Exception):
    """A transaction that does not apply; nothing was changed.

    `code` is stable; `reason` a sentence that names the next move; `retryable` tells whether the same bytes may
    apply later.
    """

    def __init__(self, code: str, reason: str, *, retryable: bool = False) -> None:
        super().__init__(f"{code}: {reason}")
        self.code, self.reason, self.retryable = code, reason, retryable


class BlockRefused(Exception):
    """A block that does not follow; nothing was changed. `code` names the lie, `reason` says it in a sentence."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(f"{code}: {reason}")
        self.code, self.reason = code, reason
