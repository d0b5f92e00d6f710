"""What can be true of one package: transactions that spend one tip, each stage a choice of signed versions.

An anchor's package has two stages, the commit and the rungs of its reveal; a treasury batch has one. A state
holds only what is true in that phase; which transactions there are stands in `transitions.Context`.

``BUILT → SIGNING → SIGNED → SUBMITTING → MEMPOOL → COMMITTED → CONFIRMED → FINAL``; COMMITTED means that an
earlier stage is in a block and the last is not. EVICTED and REORGED are SUBMITTING for a reason: the same bytes go
out again. SUPERSEDED, PARENT_CHANGED and VOID sleep while the block that holds the other transaction is on the
chain; FOREIGN_SPEND stops for people.
"""

from typing import Any

import msgspec


class StateError(ValueError):
    """A stored state that this version cannot read: the database is newer, or damaged."""


class Mined(msgspec.Struct, frozen=True):
    """A transaction in a block of the best chain; hashes in internal order."""

    txid: bytes
    block_hash: bytes
    height: int


class _State(msgspec.Struct, frozen=True, kw_only=True, tag_field="state", tag=str.lower):
    """The tag makes a stored state name itself."""


class Built(_State, frozen=True):
    """The transactions are known by their txids; nothing is signed."""


class Signing(_State, frozen=True):
    """The signatures are asked for."""


class Signed(_State, frozen=True):
    """All versions are signed and kept here; the other members do not have them yet."""


class _Moving(_State, frozen=True, kw_only=True):
    """`mined` are the leading stages that are in blocks, in order; `rung` the version of the last stage to send."""

    rung: int = 0
    mined: tuple[Mined, ...] = ()


class Submitting(_Moving, frozen=True):
    """What is not mined has been handed to a node that has not said yes yet."""


class Evicted(_Moving, frozen=True):
    """It was in a mempool and no longer is; it goes out again."""


class Reorged(_Moving, frozen=True):
    """It was in a block and no longer is, or what had taken its place no longer is; it goes out again."""


class Mempool(_Moving, frozen=True):
    """Every stage is in a mempool, none in a block."""


class Committed(_Moving, frozen=True):
    """At least one stage is in a block, the rest in a mempool."""


class Confirmed(_Moving, frozen=True):
    """Every stage is in a block."""


class Final(_Moving, frozen=True):
    """Every stage is in a block, and the last one's block is final."""


class _Asleep(_Moving, frozen=True, kw_only=True):
    """`by` is the mined transaction that took this package's place."""

    by: Mined


class Superseded(_Asleep, frozen=True):
    """Another package spent the tip."""


class Void(_Asleep, frozen=True):
    """The commit was spent back to the tip by its key path; the sequence number is used up."""


class ParentChanged(_Asleep, frozen=True):
    """Another version of the parent is in a block (`by`): the tip that these bytes spend does not exist."""


class ForeignSpend(_State, frozen=True):
    """A transaction that none of us builds spent the coin. Nothing more is done until people have looked."""

    txid: bytes
    reason: str


State = (
    Built
    | Signing
    | Signed
    | Submitting
    | Evicted
    | Reorged
    | Mempool
    | Committed
    | Confirmed
    | Final
    | Superseded
    | Void
    | ParentChanged
    | ForeignSpend
)
Unsigned = Built | Signing
Waiting = Submitting | Evicted | Reorged | Mempool | Committed
Asleep = Superseded | Void | ParentChanged


def to_row(state: State) -> dict[str, Any]:
    """Return a state as a JSON-able dict: its name under "state", bytes in base64."""
    row: dict[str, Any] = msgspec.to_builtins(state)
    return row


def from_row(row: dict[str, Any]) -> State:
    """Read what `to_row` wrote. StateError otherwise."""
    try:
        return msgspec.convert(row, State)  # type: ignore[no-any-return,call-overload,unused-ignore]  # a union is no type
    except msgspec.ValidationError as error:
        raise StateError(
            f"a stored outbox state cannot be read: {error}; was the node downgraded?"
        ) from error
