"""Turns facts of both chains into the events of deposits and withdrawals.

The shell does not remember what it has told a machine. It compares what the machine believes with what the
chains say now and feeds the difference: first what was undone, then what was done. So a crash between any two
writes, a missed block or a reorg of any depth all end in the same place.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from bridge.deposit import events as dev
from bridge.deposit import states as dst
from bridge.deposit import transitions as deposit
from bridge.treasury.machine import Effect, InBatch, Step
from bridge.withdrawal import events as wev
from bridge.withdrawal import states as wst
from bridge.withdrawal import transitions as withdrawal


@dataclass(frozen=True, slots=True)
class DepositFacts:
    """A deposit as the chains have it now.

    `coin` None: in no block of the main chain. `sweep` names the batch that spent it, `reclaim` (txid, height) a
    spend that is no batch. `minted` is (rollup transaction, amount, key epoch) from a final rollup block.
    """

    tip: int
    coin: dst.Coin | None
    batched: tuple[int, bytes] | None = None
    sweep: InBatch | None = None
    sweep_final: bool = False
    reclaim: tuple[bytes, int] | None = None
    minted: tuple[bytes, int, int] | None = None


@dataclass(frozen=True, slots=True)
class WithdrawalFacts:
    """A withdrawal as the chains have it now; fields as in DepositFacts."""

    sent: tuple[int, bytes] | None = None
    payout: InBatch | None = None
    payout_final: bool = False
    settled: bytes | None = None


def deposit_events(state: dst.State, facts: DepositFacts) -> Iterator[dev.Event]:
    """Yield what a deposit's machine has to hear, undone things first."""
    believed = getattr(state, "sweep", None)
    if believed is not None and believed != facts.sweep:
        yield dev.SweepUnmined(believed.txid)
    if isinstance(state, dst.Reclaimed) and facts.reclaim != (state.txid, state.height):
        yield dev.ReclaimUnmined(state.txid)
    coin = getattr(state, "coin", None)
    if coin is not None and coin != facts.coin:
        yield dev.PaymentUnmined()
    if facts.coin is None:
        if facts.minted is not None:
            yield dev.MintApplied(*facts.minted)
        return
    yield dev.PaymentMined(facts.coin)
    yield dev.TipMoved(facts.tip)
    if facts.batched is not None and facts.sweep is None:
        yield dev.Batched(*facts.batched)
    if facts.sweep is not None:
        yield dev.SweepMined(facts.sweep)
        if facts.sweep_final:
            yield dev.SweepFinal(facts.sweep.block_hash)
        if facts.minted is not None:
            yield dev.MintApplied(*facts.minted)
    elif facts.reclaim is not None:
        yield dev.ReclaimMined(*facts.reclaim)
    elif isinstance(state, dst.Sweeping) and facts.batched is None:
        yield dev.BatchDropped(state.sequence)


def withdrawal_events(state: wst.State, facts: WithdrawalFacts) -> Iterator[wev.Event]:
    """Yield what a withdrawal's machine has to hear, undone things first."""
    believed = getattr(state, "payout", None)
    if believed is not None and believed != facts.payout:
        yield wev.PayoutUnmined(believed.txid)
    if isinstance(state, wst.Settled) and facts.settled is None:
        yield wev.SettleUndone()
    if facts.payout is None:
        if facts.sent is not None:
            yield wev.Sent(*facts.sent)
        elif isinstance(state, wst.Batched | wst.Broadcast):
            yield wev.BatchDropped(state.sequence)
        return
    yield wev.PayoutMined(facts.payout)
    if facts.payout_final:
        yield wev.PayoutFinal(facts.payout.block_hash)
    if facts.settled is not None:
        yield wev.SettleApplied(facts.settled)


def advance_deposit(
    context: deposit.Context, state: dst.State, facts: DepositFacts
) -> tuple[dst.State, tuple[Effect, ...]]:
    """Bring a deposit's machine to where the chains are; return the state and all effects on the way."""
    effects: list[Effect] = []
    for event in deposit_events(state, facts):
        answer = deposit.step(context, state, event)
        if isinstance(answer, Step):
            state = answer.state
            effects += answer.effects
    return state, tuple(effects)


def advance_withdrawal(
    context: withdrawal.Context, state: wst.State, facts: WithdrawalFacts
) -> tuple[wst.State, tuple[Effect, ...]]:
    """Bring a withdrawal's machine to where the chains are; return the state and all effects on the way."""
    effects: list[Effect] = []
    for event in withdrawal_events(state, facts):
        answer = withdrawal.step(context, state, event)
        if isinstance(answer, Step):
            state = answer.state
            effects += answer.effects
    return state, tuple(effects)
