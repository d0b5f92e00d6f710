"""What can be true of one withdrawal, keyed by its burn-lock's id; a state holds only what is true then.

There is no refund yet: a withdrawal that cannot be paid waits in LOCKED.
"""

from typing import Any

import msgspec

from bridge.treasury.machine import InBatch, from_row, to_row


class _State(msgspec.Struct, frozen=True, tag_field="state", tag=str.lower):
    """The tag makes a stored state name itself."""


class Locked(_State, frozen=True):
    """A final rollup block holds the burn-lock; no batch pays it."""


class Batched(_State, frozen=True):
    """A payout batch with it is being signed; nobody has the signed bytes yet."""

    sequence: int
    txid: bytes


class Broadcast(_State, frozen=True):
    """The signed batch is stored and sent; it waits for a block."""

    sequence: int
    txid: bytes


class Confirmed(_State, frozen=True):
    """The payout is in a block, not yet final."""

    payout: InBatch


class Settling(_State, frozen=True):
    """The payout is final; the settlement is being signed (`signature` empty) or posted."""

    payout: InBatch
    payload: bytes
    signature: bytes = b""


class Settled(_State, frozen=True):
    """The rollup burned the escrow by `rollup_tx`. `payout` is None while a deep reorg keeps it off the chain."""

    rollup_tx: bytes
    payout: InBatch | None


State = Locked | Batched | Broadcast | Confirmed | Settling | Settled


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
