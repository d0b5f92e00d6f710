"""What the rollup's HTTP answers look like; sequencer and client share it.

Amounts in sats; Bitcoin hashes and txids in display order, all other 32-byte things in plain hex.
"""

import msgspec

from anchor.btc.ids import display
from anchor.rollup.bitcoin_view import ViewReorg
from anchor.rollup.decisions import Decided, Pause
from anchor.rollup.succession import KeyEpoch


class BitcoinView(msgspec.Struct, frozen=True):
    """The rollup's view of Bitcoin; `work` in hex."""

    tip_height: int
    tip_hash: str
    work: str
    final_height: int
    final_hash: str


class Status(msgspec.Struct, frozen=True):
    """`height` is the newest proposal, then come the newest certified and the newest final block.

    `epoch` is the key epoch whose mint key certifies, None before the activation record.
    """

    rollup_id: int
    genesis_hash: str
    height: int
    certified_height: int
    final_height: int
    tip: str
    state_root: str
    time: int
    bitcoin: BitcoinView
    paused: str | None
    active: bool
    supply: int
    escrow: int
    pending: int
    epoch: int | None = None


class AccountView(msgspec.Struct, frozen=True):
    """An account after the newest certified block; `next_nonce` counts what waits, too."""

    key: str
    balance: int
    nonce: int
    next_nonce: int


class SettlementView(msgspec.Struct, frozen=True):
    """How a withdrawal was paid on Bitcoin."""

    txid: str
    block_hash: str
    height: int
    paid: int
    fee: int


class WithdrawalView(msgspec.Struct, frozen=True):
    """A withdrawal; `state` is locked or settled, `height` the rollup block of the lock."""

    id: str
    state: str
    sender: str
    amount: int
    script: str
    max_fee: int
    expiry: int
    height: int
    settlement: SettlementView | None


class TransactionView(msgspec.Struct, frozen=True):
    """A transaction; `state` is pending, proposed, certified, final or dropped (then with the reason)."""

    txid: str
    state: str
    height: int | None = None
    reason: str | None = None


class ReorgView(msgspec.Struct, frozen=True):
    """A reorg as the rollup's view saw it."""

    rollup_height: int
    depth: int
    fork_height: int
    fork_hash: str
    old_height: int
    old_tip: str
    new_height: int
    new_tip: str


class PauseView(msgspec.Struct, frozen=True):
    """Why value stands still: see `anchor.rollup.decisions.Pause`; `id` is what a decision names."""

    id: str
    since: int
    until: int
    depth: int
    fork_height: int
    tip: str
    mints: list[str]
    settlements: list[str]


class Standing(msgspec.Struct, frozen=True):
    """Whether value moves: `paused` is a sentence, `pause` what the operators are to decide about."""

    paused: str | None
    pause: PauseView | None


class DecidedView(msgspec.Struct, frozen=True):
    """A decision of the operators that took effect in rollup block `height`; operators count from 1."""

    height: int
    pause: str
    bitcoin_height: int
    bitcoin_hash: str
    reason: str
    operators: list[int]


class EpochView(msgspec.Struct, frozen=True):
    """A key epoch: `record` is the hash of the activation record or the succession that began it.

    `since` is the rollup block of a succession, None for the first epoch. Keys of 33 bytes: P with its parity.
    """

    epoch: int
    record: str
    since: int | None
    committee_hash: str
    host_keys: list[str]
    threshold: int
    treasury_key: str
    anchor_key: str
    mint_key: str


class Blocks(msgspec.Struct, frozen=True):
    """Certified blocks, encoded, in hex."""

    blocks: list[str]
    certified_height: int
    final_height: int


class Handover(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Certified blocks for a sequencer that lacks them, lowest first, each encoded, in hex."""

    blocks: list[str]


class Proposal(msgspec.Struct, frozen=True):
    """The block that waits for votes, encoded, in hex."""

    height: int
    hash: str
    block: str


class Submission(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A transaction to be taken, encoded, in hex."""

    tx: str


class Submitted(msgspec.Struct, frozen=True):
    """The id of a taken transaction."""

    txid: str


class Votes(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Votes for the proposal, each encoded, in hex; with the `block`, if the sequencer may have forgotten it."""

    votes: list[str]
    block: str | None = None


class Voted(msgspec.Struct, frozen=True):
    """What votes, or certified blocks, brought."""

    certified_height: int


def reorg_view(reorg: ViewReorg) -> ReorgView:
    """A reorg of the view as the interface tells it."""
    return ReorgView(
        reorg.rollup_height,
        reorg.depth,
        reorg.fork_height,
        display(reorg.fork_hash),
        reorg.old_height,
        display(reorg.old_tip),
        reorg.new_height,
        display(reorg.new_tip),
    )


def pause_view(pause: Pause, genesis_hash: bytes) -> PauseView:
    """A pause as the interface tells it."""
    return PauseView(
        pause.id(genesis_hash).hex(),
        pause.since,
        pause.until,
        pause.depth,
        pause.fork_height,
        display(pause.tip),
        [str(outpoint) for outpoint in pause.mints],
        [withdrawal.hex() for withdrawal in pause.settles],
    )


def decided_view(decided: Decided) -> DecidedView:
    """A decision as the interface tells it."""
    d = decided.decision
    operators = [operator + 1 for operator in decided.operators]
    return DecidedView(decided.height, d.pause.hex(), d.height, display(d.block), d.reason, operators)


def epoch_view(epoch: KeyEpoch) -> EpochView:
    """A key epoch as the interface tells it."""
    return EpochView(
        epoch.number,
        epoch.record.hex(),
        epoch.since,
        epoch.committee_hash.hex(),
        [key.hex() for key in epoch.host_keys],
        epoch.threshold,
        epoch.treasury_key.hex(),
        epoch.anchor_key.hex(),
        epoch.mint_key.hex(),
    )
