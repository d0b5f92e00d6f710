"""What the HTTP answers about anchors, records and headers look like; node and commands share it.

Amounts in sats, times in Unix seconds; txids and block hashes in display order, all other 32-byte things in plain
hex.
"""

from typing import Any, Self

import msgspec

from anchor.inscription.successor import Successor
from anchor.rollup_wire import ReorgView


class BlockStatus(msgspec.Struct, frozen=True):
    """Where a transaction stands; `depth` counts its own block, `final` as in DESIGN section 5."""

    confirmed: bool
    block_height: int | None = None
    block_hash: str | None = None
    block_time: int | None = None
    depth: int = 0
    final: bool = False


class SuccessorView(msgspec.Struct, frozen=True):
    """The keys that a rotation names, 33 bytes each, and the hash of the record behind them; in hex."""

    epoch: int
    treasury_key: str
    anchor_key: str
    mint_key: str
    record: str

    @classmethod
    def of(cls, successor: Successor) -> Self:
        """What a rotation names."""
        s = successor
        keys = s.treasury_key.hex(), s.anchor_key.hex(), s.mint_key.hex()
        return cls(s.epoch, *keys, s.record.hex())

    def plain(self) -> dict[str, Any]:
        """The fields by name, as JSON has them."""
        return msgspec.structs.asdict(self)


class AnchorView(msgspec.Struct, frozen=True):
    """An anchor; `count` counts its records, `first` and `last` are the rollup blocks they cover.

    `kind` is anchor or rotation: a rotation counts no records, repeats the root before it and has a `successor`.
    """

    lane: int
    sequence: int
    epoch: int
    root: str
    count: int
    txid: str
    commit_txid: str
    fee: int
    first: int | None
    last: int | None
    status: BlockStatus
    kind: str = "anchor"
    successor: SuccessorView | None = None


class Anchors(msgspec.Struct, frozen=True):
    """A page of anchors, oldest first; `next` is the `after` of the following page."""

    anchors: list[AnchorView]
    next: int | None


class RecordView(msgspec.Struct, frozen=True):
    """A range record; `anchor` is the sequence number of the anchor that covers it."""

    hash: str
    kind: str
    rollup_id: int
    first: int
    last: int
    state_before: str
    state_after: str
    tx_root: str
    data_root: str
    final_height: int
    final_hash: str
    anchor: int | None


class HeaderTip(msgspec.Struct, frozen=True):
    """The newest header; `work` in hex."""

    tip_height: int
    tip_hash: str
    work: str


class HeaderPage(msgspec.Struct, frozen=True, rename={"start": "from"}):
    """Raw headers of the main chain, 80 bytes each, concatenated, in hex."""

    start: int
    headers: str
    tip_height: int
    tip_hash: str


class ConditionView(msgspec.Struct, frozen=True):
    """A condition for a block to be settled here: main, depth, work or lead, and how far it is."""

    name: str
    met: bool
    have: int
    need: int
    text: str


class HeaderView(msgspec.Struct, frozen=True):
    """One header on whatever branch; `missing` says what it lacks to be final at k, as all nodes agree on it.

    `conditions` are this node's own for the use and value that were asked for, `needed` confirmations; `settled`
    when all are met. `seen`: when each source first showed it, Unix seconds.
    """

    height: int
    hash: str
    main: bool
    depth: int
    final: bool
    missing: str | None
    raw: str
    needed: int
    settled: bool
    conditions: list[ConditionView]
    seen: dict[str, int]


class TouchedView(msgspec.Struct, frozen=True):
    """Something of ours in a block that a reorg disconnected, and what became of it.

    `kind` is anchor, rotation, commit, void, batch, deposit, sweep, reclaim or payout; `outcome` waiting,
    confirmed, replaced or gone, `text` the same for people; `settled` when it is final; `state` is the machine's.
    """

    kind: str
    key: str
    txid: str
    value: int | None
    height: int
    outcome: str
    text: str
    now_txid: str | None
    now_height: int | None
    state: str | None
    settled: bool


class TipSeen(msgspec.Struct, frozen=True):
    """When a source first showed a reorg's old and new tip; None: it did not, or not near its tip."""

    source: str
    old: int | None
    new: int | None


class ReorgEntry(msgspec.Struct, frozen=True):
    """A reorg as this node's own chain saw it; `depth` in disconnected blocks, work in hashes, hex.

    `touched_count` counts all that it touched (the list may be cut), `open` that whose fate is not final yet.
    """

    id: int
    seen_at: int
    level: str
    depth: int
    fork_height: int
    fork_hash: str
    old_height: int
    old_tip: str
    new_height: int
    new_tip: str
    work_lost: str
    work_gained: str
    seen: list[TipSeen]
    touched: list[TouchedView]
    touched_count: int
    open: int


class BranchBlock(msgspec.Struct, frozen=True):
    """A block of one side of a reorg; `seen` when each source first showed it."""

    height: int
    hash: str
    time: int
    seen: dict[str, int]


class ReorgDetail(msgspec.Struct, frozen=True):
    """One reorg with both branches, lowest block first; of a long one only both ends, `hidden` are left out.

    `shared`: the fork's block and the one below.
    """

    reorg: ReorgEntry
    shared: list[BranchBlock]
    old: list[BranchBlock]
    new: list[BranchBlock]
    old_hidden: int
    new_hidden: int


class Reorgs(msgspec.Struct, frozen=True):
    """Both ledgers; the node's newest first, the rollup's oldest first; `next` is the `before` of the next page."""

    reorgs: list[ReorgEntry]
    rollup: list[ReorgView]
    next: int | None
