"""What the next batch should hold: the leader's choice, which every signer then checks for itself.

Sweeps and payouts never mix, so a hostile deposit cannot stall a payout. Odd batches prefer sweeps and even ones
payouts; either gives way when it has nothing to do. So neither kind can starve the other. When the treasury is to
move to the next key epoch's key, that comes before both.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from anchor.btc.amounts import DUST_P2TR, FeeRate, Sats
from anchor.btc.ids import OutPoint
from anchor.inscription.successor import Successor
from anchor.rollup.activation import Params
from bridge.deposit.address import DepositParams, blocks_to_reclaim, margin
from bridge.treasury.builder import MAX_VSIZE, batch_vsize
from bridge.treasury.manifest import (
    MAX_ITEMS,
    Manifest,
    MoveManifest,
    Payout,
    PayoutManifest,
    SweepManifest,
    SweptDeposit,
)
from bridge.treasury.moving import MOVE_VSIZE, is_due
from bridge.treasury.reader import TreasuryState
from bridge.withdrawal.template import UnpayableScript, dust_limit

SLACK = 2  # blocks by which other signers may be ahead of the leader

Item = TypeVar("Item", SweptDeposit, Payout)


@dataclass(frozen=True, slots=True)
class Sweepable:
    """A deposit to be swept: its coin, its parameters, the height of its block.

    `epoch` is the key epoch of its address.
    `owed`: it is credited already, on a sweep that a deep reorg took, so it takes no room under the supply cap.
    """

    outpoint: OutPoint
    value: Sats
    params: DepositParams
    height: int
    epoch: int
    owed: bool = False


@dataclass(frozen=True, slots=True)
class Payable:
    """A withdrawal in LOCKED, from its burn-lock; `expiry` is a Bitcoin height in the rollup's view."""

    withdrawal: bytes
    script: bytes
    amount: Sats
    max_fee: Sats
    expiry: int


@dataclass(frozen=True, slots=True)
class Situation:
    """What the choice depends on besides the items.

    `tip_height` is own bitcoind's, `view_height` the rollup's view's; `reserve` is the fee reserve and `room` how
    much may still be minted under the supply cap (satoshis). `successor` is what a final rotation anchor of lane 0
    names for the treasury's next epoch. `able` are the key epochs whose signers are there now, None for all:
    a deposit that waits for an absent committee must not hold up the others. `own_min_rate` is the lowest sat/vB
    that this operator signs.
    """

    tip_height: int
    view_height: int
    reserve: Sats
    room: Sats
    successor: Successor | None = None
    able: frozenset[int] | None = None
    own_min_rate: int = 0


def plan(
    state: TreasuryState,
    deposits: Sequence[Sweepable],
    withdrawals: Sequence[Payable],
    params: Params,
    fee_rate: FeeRate,
    situation: Situation,
) -> Manifest | None:
    """Return the manifest of the next batch on the treasury's tip, or None when there is nothing to do.

    Deposits and withdrawals come oldest first and are taken in that order. `fee_rate` (sat/vB) is clamped to the
    activation record's bounds; the fee stays under its cap and is paid by fee shares and reserve, of which dust
    is always left; when that does not suffice, fewer items are taken, then a lower rate.
    """
    if state.halted is not None:
        return None
    own, to = situation.own_min_rate, situation.successor
    if to is not None and is_due(state, to, situation.reserve, params, own):
        return _move(state, to, params, fee_rate, situation)
    sweep = _sweep(state, deposits, params, fee_rate, situation)
    payout = _payouts(state, withdrawals, params, fee_rate, situation)
    first, second = (sweep, payout) if state.sequence % 2 == 0 else (payout, sweep)
    return first or second


def _move(
    state: TreasuryState, successor: Successor, params: Params, fee_rate: FeeRate, now: Situation
) -> MoveManifest | None:
    rate = min(max(fee_rate, params.min_fee_rate), params.max_fee_rate)
    paid = min(rate, min(params.batch_fee_cap, now.reserve - DUST_P2TR) // MOVE_VSIZE)
    manifest = state.move_to(successor, Sats(paid * MOVE_VSIZE))
    return manifest if manifest.treasury_value >= DUST_P2TR else None


def _sweep(
    state: TreasuryState,
    deposits: Sequence[Sweepable],
    params: Params,
    fee_rate: FeeRate,
    now: Situation,
) -> SweepManifest | None:
    chosen: list[SweptDeposit] = []
    room = now.room
    for d in deposits:
        left = blocks_to_reclaim(d.height, d.params.delay, now.tip_height)
        minted = Sats(d.value - params.deposit_fee)
        good = params.min_deposit <= d.value <= params.max_deposit and (d.owed or minted <= room)
        # What backs a credit is swept as long as it is there: its depositor would have it twice.
        soon = d.owed or left > margin(d.params.delay) + params.k + SLACK
        if good and soon and d.params.delay == params.reclaim_delay and _signable(d, state, params, now):
            chosen.append(SweptDeposit(d.outpoint, d.value, d.params, Sats(params.deposit_fee), d.epoch))
            room = room if d.owed else Sats(room - minted)

    def size(items: Sequence[SweptDeposit]) -> int:
        return batch_vsize(1 + len(items), ())

    owed = {d.outpoint for d in deposits if d.owed}

    def reserve(items: Sequence[SweptDeposit]) -> int:
        return now.reserve + sum(d.minted for d in items if d.outpoint in owed)

    fitted = _fit(chosen, size, params, fee_rate, reserve)
    if fitted is None:
        return None
    items, fee = fitted
    items = sorted(items, key=lambda d: d.outpoint.encode())
    head = (state.epoch, state.sequence + 1, state.tip, state.tip_value, state.previous, fee)
    return SweepManifest(*head, tuple(items))


def _signable(d: Sweepable, state: TreasuryState, params: Params, now: Situation) -> bool:
    """Whether the key of the deposit's address signs sweeps: known to the treasury, there, and not retired."""
    if d.epoch > state.epoch or (now.able is not None and d.epoch not in now.able):
        return False
    retires = state.retires(d.epoch, params.reclaim_delay)
    if retires is None or now.tip_height + SLACK < retires:
        return True
    return d.owed and now.able is not None  # as long as its committee is known to be there


def _payouts(
    state: TreasuryState,
    withdrawals: Sequence[Payable],
    params: Params,
    fee_rate: FeeRate,
    now: Situation,
) -> PayoutManifest | None:
    share = Sats(params.withdrawal_fee)
    chosen = [
        Payout(w.withdrawal, w.script, w.amount, share)
        for w in withdrawals
        if share <= w.max_fee
        and w.amount >= params.min_withdrawal
        and now.view_height + SLACK < w.expiry
        and _payable(w.script, w.amount - share)
    ]

    def size(items: Sequence[Payout]) -> int:
        return batch_vsize(1, [p.script for p in items])

    # As much as `_fit` may spend on the fee is kept; not the whole cap, or the last withdrawals could never go.
    budget = max(0, min(params.batch_fee_cap, now.reserve + share * len(chosen) - DUST_P2TR))
    chosen = _affordable(chosen, state.tip_value - budget - DUST_P2TR)
    fitted = _fit(chosen, size, params, fee_rate, lambda _: now.reserve)
    if fitted is None:
        return None
    items, fee = fitted
    items = sorted(items, key=lambda p: p.withdrawal)
    head = (state.epoch, state.sequence + 1, state.tip, state.tip_value, state.previous, fee)
    manifest = PayoutManifest(*head, tuple(items))
    return manifest if manifest.treasury_value >= DUST_P2TR else None


def _affordable(payouts: Sequence[Payout], coins: int) -> list[Payout]:
    """Those that the treasury can pay together, oldest first: one that it cannot must not stop the others."""
    taken = []
    for payout in payouts:
        if payout.paid <= coins:
            taken.append(payout)
            coins -= payout.paid
    return taken


def _fit(
    items: Sequence[Item],
    size: Callable[[Sequence[Item]], int],
    params: Params,
    fee_rate: FeeRate,
    reserve: Callable[[Sequence[Item]], int],
) -> tuple[list[Item], Sats] | None:
    """Return as many of the items as fit one batch, with its fee; None when not even one does."""
    rate = min(max(fee_rate, params.min_fee_rate), params.max_fee_rate)
    for count in range(min(len(items), MAX_ITEMS), 0, -1):
        taken = list(items[:count])
        vsize = size(taken)
        shares = sum(item.fee_share for item in taken)
        budget = min(params.batch_fee_cap, reserve(taken) + shares - DUST_P2TR)
        paid = min(rate, budget // vsize)
        if vsize <= MAX_VSIZE and paid >= params.min_fee_rate:
            return taken, Sats(vsize * paid)
    return None


def _payable(script: bytes, value: int) -> bool:
    try:
        return value >= dust_limit(script)
    except UnpayableScript:
        return False
