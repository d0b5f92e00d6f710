"""What each signer verifies alone before it gives a share: nothing here trusts the leader.

The shell fills plain facts from its own bitcoind and its own rollup view; a check raises the first `Refusal` it
finds. `research/bridge.md` section 3 lists the rules; the codes below are stable, they are stored in verdicts.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from anchor.btc.amounts import DUST_P2TR, Sats
from anchor.btc.ids import OutPoint
from anchor.inscription.successor import Successor
from anchor.rollup.activation import Params
from bridge.deposit.address import blocks_to_reclaim, margin, output
from bridge.treasury.builder import Batch, build, signed_vsize
from bridge.treasury.certify import BatchFact, MintFacts, SettleFacts, check_mint, check_settle
from bridge.treasury.keys import TreasuryKeys
from bridge.treasury.manifest import (
    Manifest,
    ManifestFault,
    MoveManifest,
    Payout,
    PayoutManifest,
    SweepManifest,
    SweptDeposit,
)
from bridge.treasury.moving import is_due
from bridge.treasury.reader import TreasuryState
from bridge.treasury.refusal import Code, Refusal, check_ready, later, never

__all__ = [
    "BatchFact",
    "Code",
    "DepositFact",
    "LockFact",
    "MintFacts",
    "NodeFacts",
    "PayoutFacts",
    "Refusal",
    "SettleFacts",
    "SweepFacts",
    "check_mint",
    "check_move",
    "check_payout",
    "check_settle",
    "check_sweep",
]


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """What a signer knows by itself.

    `unsynced` and `paused` say why, or None. `tip_height` is own bitcoind's, `view_height` the rollup's view's.
    `treasury` is own reader's state at own tip. `reserve` is the fee reserve on that tip, satoshis.
    `keys` are the treasury's of all epochs that own rollup view knows; `successor` is what lane 0's rotation anchor
    for the treasury's next epoch names, once that anchor is final on own chain. `ancestors_known`: the manifests of
    all batches below the tip are stored here. `own_min_rate` and `own_max_rate` (sat/vB) are the operator's own
    limits, within the activation record's.
    """

    unsynced: str | None
    paused: str | None
    tip_height: int
    view_height: int
    keys: TreasuryKeys
    params: Params
    treasury: TreasuryState
    reserve: Sats
    ancestors_known: bool
    own_min_rate: int
    own_max_rate: int
    successor: Successor | None = None

    def retires(self, epoch: int) -> int | None:
        """The height up to which payments to a key epoch's addresses are swept; None while it has no end."""
        return self.treasury.retires(epoch, self.params.reclaim_delay)


@dataclass(frozen=True, slots=True)
class DepositFact:
    """An outpoint as own bitcoind knows it.

    `height` is None while it is in the mempool only. `spent` is True when a transaction in a block or in the
    mempool spends it, other than a batch that also spends the treasury's tip (only we can have signed that).
    `minted` is the rollup's word, while its view has the block that the mint stood on; after a deep reorg took that
    block the deposit is `owed`: it is to be swept again, and not to be credited again.
    """

    value: Sats
    script: bytes
    height: int | None
    coinbase: bool
    spent: bool
    minted: bool
    owed: bool = False


@dataclass(frozen=True, slots=True)
class LockFact:
    """A burn-lock as own rollup view knows it: `final` when its block is; `settled` once the escrow is burned."""

    script: bytes
    amount: Sats
    max_fee: Sats
    expiry: int
    final: bool
    settled: bool


@dataclass(frozen=True, slots=True)
class SweepFacts:
    """For a sweep: the deposits it names (missing ones are unknown) and how much the supply cap still admits."""

    node: NodeFacts
    deposits: Mapping[OutPoint, DepositFact]
    room: Sats


@dataclass(frozen=True, slots=True)
class PayoutFacts:
    """For a payout: the locks it names, and the ids that any ancestor of the tip already pays."""

    node: NodeFacts
    locks: Mapping[bytes, LockFact]
    paid: frozenset[bytes]


def check_sweep(manifest: SweepManifest, facts: SweepFacts) -> Batch:
    """Return the batch to sign, rebuilt here, or raise Refusal."""
    owed = {outpoint for outpoint, fact in facts.deposits.items() if fact.owed}
    batch = _check_batch(manifest, facts.node, sum(d.minted for d in manifest.deposits if d.outpoint in owed))
    room: int = facts.room
    for deposit in manifest.deposits:
        fact = facts.deposits.get(deposit.outpoint)
        if fact is None:
            raise later(Code.DEPOSIT_UNKNOWN, f"own node does not know {deposit.outpoint}")
        _check_deposit(deposit, fact, facts.node)
        room -= 0 if fact.owed else deposit.minted
    if room < 0:
        raise later(Code.SUPPLY_CAP, f"minting these deposits would pass the supply cap by {-room} sat")
    return batch


def check_payout(manifest: PayoutManifest, facts: PayoutFacts) -> Batch:
    """Return the batch to sign, rebuilt here, or raise Refusal."""
    batch = _check_batch(manifest, facts.node)
    for payout in manifest.payouts:
        lock = facts.locks.get(payout.withdrawal)
        if lock is None:
            raise later(Code.WITHDRAWAL_UNKNOWN, f"own rollup view has no lock {payout.withdrawal.hex()}")
        if payout.withdrawal in facts.paid:
            raise never(Code.WITHDRAWAL_PAID, f"a batch below the tip pays {payout.withdrawal.hex()}")
        _check_lock(payout, lock, facts.node)
    return batch


def check_move(manifest: MoveManifest, node: NodeFacts) -> Batch:
    """Return the move to sign, rebuilt here, or raise Refusal: it goes where a final rotation anchor says."""
    check_ready(node.unsynced, node.paused)
    successor = node.successor
    if manifest.epoch == node.treasury.epoch:
        if successor is None or successor.epoch != manifest.successor_epoch:
            raise later(
                Code.ROTATION_NOT_FINAL,
                f"own chain has no final rotation anchor that names key epoch {manifest.successor_epoch}",
            )
        known = node.keys.by_epoch().get(successor.epoch)
        if known is None:
            raise later(Code.ROTATION_NOT_FINAL, f"own rollup view knows no key epoch {successor.epoch} yet")
        said = (manifest.treasury_key, manifest.record)
        if known != manifest.treasury_key or said != (successor.treasury_key, successor.record):
            raise never(
                Code.WRONG_SUCCESSOR, "the move names another key or record than the lane's rotation anchor"
            )
    return _check_batch(manifest, node)


def _check_batch(manifest: Manifest, node: NodeFacts, regained: int = 0) -> Batch:
    """Check what all batches have in common, then rebuild the transaction.

    `regained`: sats of deposits in it that are credited and came back from a sweep which a deep reorg took.
    """
    check_ready(node.unsynced, node.paused)
    own = node.treasury
    if own.halted is not None:
        raise never(Code.HALTED, own.halted)
    if manifest.epoch > own.epoch:
        raise later(
            Code.WRONG_EPOCH, f"own chain has no move of the treasury to key epoch {manifest.epoch} yet"
        )
    if manifest.epoch != own.epoch:
        raise never(
            Code.WRONG_EPOCH, f"the batch is of key epoch {manifest.epoch}, the treasury of {own.epoch}"
        )
    if not isinstance(manifest, MoveManifest) and is_due(
        own, node.successor, node.reserve, node.params, node.own_min_rate
    ):
        raise later(
            Code.MOVING, f"the treasury moves to key epoch {own.epoch + 1} first: ask again when it has"
        )
    if manifest.tip != own.tip:
        raise later(
            Code.TIP_MOVED, f"the batch spends {manifest.tip}, the treasury's confirmed tip is {own.tip}"
        )
    if manifest.tip_value != own.tip_value:
        raise never(Code.TIP_VALUE, f"the tip holds {own.tip_value} sat, not {manifest.tip_value}")
    if manifest.sequence != own.sequence + 1:
        raise never(Code.WRONG_SEQUENCE, f"batch {own.sequence + 1} is next, not {manifest.sequence}")
    if manifest.previous != own.previous:
        raise never(Code.WRONG_PREVIOUS, "the batch names another manifest as the last one")
    if not node.ancestors_known:
        raise later(
            Code.ANCESTOR_UNKNOWN, "a manifest below the tip is not stored here: fetch it from a peer"
        )
    try:
        batch = build(manifest, node.keys if isinstance(manifest, MoveManifest) else own.keys)
    except ManifestFault as error:
        raise never(Code.UNBUILDABLE, str(error)) from error
    _check_fee(manifest, signed_vsize(batch.tx), node, regained)
    return batch


def _check_fee(manifest: Manifest, vsize: int, node: NodeFacts, regained: int) -> None:
    params = node.params
    low = max(params.min_fee_rate, node.own_min_rate)
    high = min(params.max_fee_rate, node.own_max_rate)
    if manifest.fee < low * vsize:
        raise later(Code.FEE_TOO_LOW, f"{manifest.fee} sat for {vsize} vB is below {low} sat/vB")
    if manifest.fee > high * vsize:
        raise later(Code.FEE_TOO_HIGH, f"{manifest.fee} sat for {vsize} vB is above {high} sat/vB")
    if manifest.fee > params.batch_fee_cap:
        raise never(Code.FEE_OVER_CAP, f"a batch pays at most {params.batch_fee_cap} sat, not {manifest.fee}")
    left = node.reserve + regained + manifest.shares - manifest.fee  # however deep the deficit: it shrinks
    if left < DUST_P2TR:
        raise later(Code.RESERVE_EMPTY, f"the fee would leave {left} sat of reserve: top it up")


def _check_deposit(deposit: SweptDeposit, fact: DepositFact, node: NodeFacts) -> None:
    params, what = node.params, f"deposit {deposit.outpoint}"
    if fact.height is None:
        raise later(Code.DEPOSIT_UNCONFIRMED, f"{what} is in no block")
    if fact.spent:
        raise never(Code.DEPOSIT_SPENT, f"{what} is spent by another transaction")
    if fact.minted:
        raise never(Code.DEPOSIT_MINTED, f"{what} is credited on the rollup")
    if fact.coinbase:
        raise never(Code.DEPOSIT_COINBASE, f"{what} is a coinbase output")
    if fact.value != deposit.value:
        raise never(Code.DEPOSIT_VALUE, f"{what} holds {fact.value} sat, not {deposit.value}")
    if output(deposit.params, node.treasury.keys.key(deposit.epoch)).script_pubkey != fact.script:
        raise never(Code.DEPOSIT_SCRIPT, f"{what} does not pay the address of its parameters")
    if deposit.params.delay != params.reclaim_delay:
        raise never(
            Code.DEPOSIT_DELAY, f"{what} has delay {deposit.params.delay}, not {params.reclaim_delay}"
        )
    retires = node.retires(deposit.epoch)
    if retires is not None and node.tip_height >= retires and not fact.owed:
        raise never(
            Code.DEPOSIT_RETIRED, f"{what} is of key epoch {deposit.epoch}, retired at height {retires}"
        )
    left = blocks_to_reclaim(fact.height, deposit.params.delay, node.tip_height)
    needed = margin(deposit.params.delay) + params.k
    if left <= needed and not fact.owed:  # what backs a credit is swept as long as it is there
        raise never(Code.DEPOSIT_TOO_LATE, f"{what} is reclaimable after {left} blocks, {needed} are too few")
    if fact.value < params.min_deposit:
        raise never(Code.DEPOSIT_TOO_SMALL, f"{what} is below the minimum of {params.min_deposit} sat")
    if fact.value > params.max_deposit:
        raise never(Code.DEPOSIT_TOO_LARGE, f"{what} is above the maximum of {params.max_deposit} sat")
    if deposit.fee_share != params.deposit_fee:
        raise never(Code.WRONG_FEE_SHARE, f"{what} gives {params.deposit_fee} sat, not {deposit.fee_share}")


def _check_lock(payout: Payout, lock: LockFact, node: NodeFacts) -> None:
    params, what = node.params, f"withdrawal {payout.withdrawal.hex()}"
    if not lock.final:
        raise later(Code.WITHDRAWAL_NOT_FINAL, f"the block that locks {what} is not final")
    if lock.settled:
        raise never(Code.WITHDRAWAL_SETTLED, f"{what} is settled")
    if lock.script != payout.script:
        raise never(Code.WITHDRAWAL_SCRIPT, f"{what} goes to another script")
    if lock.amount != payout.amount:
        raise never(Code.WITHDRAWAL_AMOUNT, f"{what} locked {lock.amount} sat, not {payout.amount}")
    if lock.amount < params.min_withdrawal:
        raise never(Code.WITHDRAWAL_TOO_SMALL, f"{what} is below the minimum of {params.min_withdrawal} sat")
    if payout.fee_share != params.withdrawal_fee:
        raise never(Code.WRONG_FEE_SHARE, f"{what} gives {params.withdrawal_fee} sat, not {payout.fee_share}")
    if payout.fee_share > lock.max_fee:
        raise never(Code.WITHDRAWAL_FEE, f"{what} allows a fee of {lock.max_fee} sat, not {payout.fee_share}")
    if node.view_height >= lock.expiry:
        raise never(
            Code.WITHDRAWAL_EXPIRED, f"{what} expired at height {lock.expiry}: it waits for its cancel"
        )
    if payout.script in node.keys.scripts:
        raise never(Code.WITHDRAWAL_TO_US, f"{what} goes to the treasury itself")
