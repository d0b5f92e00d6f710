"""What can happen to a package. Blocks are told in the chain's order: disconnected newest first, then connected."""

from dataclasses import dataclass
from enum import Enum

from anchor.btc.amounts import Height
from anchor.btc.ids import BlockHash, Txid


@dataclass(frozen=True, slots=True)
class Begin:
    """This node leads the slot and wants the package signed."""


@dataclass(frozen=True, slots=True)
class Signed:
    """Verified signatures are stored here, made now or fetched from a member."""


@dataclass(frozen=True, slots=True)
class SigningFailed:
    """The session ended without signatures."""

    reason: str


@dataclass(frozen=True, slots=True)
class Shared:
    """Every member that can be reached has the signed bytes."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a node said about one transaction; `accepted` also when it already had it."""

    txid: Txid
    accepted: bool
    reason: str = ""


@dataclass(frozen=True, slots=True)
class SubmitResult:
    """What a node said about a submission, one by one: a package's verdict says too little."""

    results: tuple[Result, ...]


@dataclass(frozen=True, slots=True)
class SeenInMempool:
    """A version of ours is in the own node's mempool, whoever sent it."""

    txid: Txid


@dataclass(frozen=True, slots=True)
class Evicted:
    """A version of ours left the mempool and is in no block."""

    txid: Txid


@dataclass(frozen=True, slots=True)
class MinedAt:
    """A block of the best chain holds this transaction."""

    txid: Txid
    block_hash: BlockHash
    height: Height


@dataclass(frozen=True, slots=True)
class Unmined:
    """This block left the best chain."""

    block_hash: BlockHash


@dataclass(frozen=True, slots=True)
class Buried:
    """This block is final (DESIGN section 5: depth and work)."""

    block_hash: BlockHash


class Spender(Enum):
    """Whose transaction spent the coin."""

    OTHER_PACKAGE = "other package"
    VOID = "void"
    FOREIGN = "foreign"


@dataclass(frozen=True, slots=True)
class TipSpentBy:
    """A mined transaction that is none of ours spent the tip, or our commit; `how` as a reader judged it."""

    txid: Txid
    block_hash: BlockHash
    height: Height
    how: Spender
    reason: str = ""


@dataclass(frozen=True, slots=True)
class ParentGone:
    """Another version of the tip's transaction, `survivor`, is in a block: the tip will not exist."""

    survivor: Txid
    block_hash: BlockHash
    height: Height


@dataclass(frozen=True, slots=True)
class Bump:
    """Send this version of the last stage instead; its fee is higher."""

    rung: int


@dataclass(frozen=True, slots=True)
class Again:
    """Time has passed, or the process has started again: repeat what is waited for."""


Event = (
    Begin
    | Signed
    | SigningFailed
    | Shared
    | SubmitResult
    | SeenInMempool
    | Evicted
    | MinedAt
    | Unmined
    | Buried
    | TipSpentBy
    | ParentGone
    | Bump
    | Again
)
