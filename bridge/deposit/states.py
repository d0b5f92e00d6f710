"""What can be true of one payment to a deposit address; a state holds only what is true in that phase.

The machine is kept per outpoint; ISSUED is an address that waits for one. A second payment is another machine.
"""

from typing import Any

import msgspec

from bridge.treasury.machine import InBatch, from_row, to_row


class Coin(msgspec.Struct, frozen=True):
    """The payment in its block of the best chain: value in satoshis, block hash in internal order."""

    value: int
    height: int
    block_hash: bytes
    coinbase: bool = False


class _State(msgspec.Struct, frozen=True, tag_field="state", tag=str.lower):
    """The tag makes a stored state name itself."""


class Issued(_State, frozen=True):
    """The address is known; nothing has paid it."""


class Seen(_State, frozen=True):
    """The payment waits in the mempool."""

    value: int


class Confirmed(_State, frozen=True):
    """In a block and good to be swept."""

    coin: Coin


class Rejected(_State, frozen=True):
    """In a block, but it will not be swept; the user takes it back after the delay."""

    coin: Coin
    reason: str


class Sweeping(_State, frozen=True):
    """A batch that takes it in is being signed or has been sent."""

    coin: Coin
    sequence: int
    txid: bytes


class Swept(_State, frozen=True):
    """The sweep is in a block, not yet final."""

    coin: Coin
    sweep: InBatch


class Minting(_State, frozen=True):
    """The sweep is final; the mint is being signed (`signature` empty) or posted.

    When the rollup's key epoch changes meanwhile, `payload` is made anew for the next mint key.
    """

    coin: Coin
    sweep: InBatch
    payload: bytes
    signature: bytes = b""


class Credited(_State, frozen=True):
    """The rollup has minted `amount` by transaction `rollup_tx`."""

    coin: Coin
    sweep: InBatch
    rollup_tx: bytes
    amount: int


class Reclaimable(_State, frozen=True):
    """The delay is over and nobody swept it: the user may take it back in the next block."""

    coin: Coin


class Reclaimed(_State, frozen=True):
    """The user took it back by the leaf."""

    coin: Coin
    txid: bytes
    height: int


class Deficit(_State, frozen=True):
    """Minted, but a deep reorg took the sweep off the chain. `sweep` is set again once one is in a block.

    Once that is final the rollup is told on which block the credit stands now: `payload`, then its `signature`.
    """

    coin: Coin
    rollup_tx: bytes
    amount: int
    sweep: InBatch | None = None
    payload: bytes = b""
    signature: bytes = b""


State = (
    Issued
    | Seen
    | Confirmed
    | Rejected
    | Sweeping
    | Swept
    | Minting
    | Credited
    | Reclaimable
    | Reclaimed
    | Deficit
)


def encode(state: State) -> dict[str, Any]:
    """Return a state for storage: JSON-able."""
    return to_row(state)


def decode(row: dict[str, Any]) -> State:
    """Read a stored state. MachineFault when this version cannot."""
    state: State = from_row(State, row)
    return state


def name(state: State) -> str:
    """Return the state's name as users see it, upper-case."""
    return type(state).__name__.upper()
