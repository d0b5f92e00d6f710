"""What the machines of deposit and withdrawal share: the answer of a step, and what they ask of the shell.

`step(context, state, event)` answers a `Step` (store the new state and its effects in one transaction, then
perform them, at least once) or `Ignored` (late, repeated or impossible here; nothing changes).
"""

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import msgspec

S = TypeVar("S")


class MachineFault(ValueError):
    """A stored state that this version cannot read: the database is newer, or damaged."""


class InBatch(msgspec.Struct, frozen=True):
    """How a treasury batch on the best chain includes an item.

    `fee_share` is the item's own, from the manifest (satoshis); hashes in internal order.
    """

    sequence: int
    txid: bytes
    manifest_hash: bytes
    height: int
    block_hash: bytes
    fee_share: int


@dataclass(frozen=True, slots=True)
class RequestSignature:
    """Ask the committee to sign `payload` for `purpose`; equal requests are one request."""

    purpose: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class PostCertificate:
    """Send statement and signature to the rollup, with the manifest where it does not have it yet.

    Repeat until the rollup answers "applied" or "already": it refuses while its own view is behind.
    """

    payload: bytes
    signature: bytes
    manifest_hash: bytes


@dataclass(frozen=True, slots=True)
class Alarm:
    """Tell the operator. `page` wakes him: money may be missing."""

    page: bool
    text: str


Effect = RequestSignature | PostCertificate | Alarm


@dataclass(frozen=True, slots=True)
class Step(Generic[S]):
    """The next state and what the shell has to do once it is stored."""

    state: S
    effects: tuple[Effect, ...] = ()


@dataclass(frozen=True, slots=True)
class Ignored:
    """The event changes nothing; the reason is for logs and tests."""

    reason: str


def to_row(state: msgspec.Struct) -> dict[str, Any]:
    """Return a state as a JSON-able dict: its name under "state", bytes in base64."""
    row: dict[str, Any] = msgspec.to_builtins(state)
    return row


def from_row(kind: Any, row: dict[str, Any]) -> Any:
    """Read what `to_row` wrote; `kind` is the union of a machine's states. MachineFault otherwise."""
    try:
        return msgspec.convert(row, kind)
    except msgspec.ValidationError as error:
        raise MachineFault(
            f"a stored state cannot be read ({error}): run the version that wrote it"
        ) from error
