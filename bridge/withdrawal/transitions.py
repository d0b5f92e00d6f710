"""How a withdrawal goes from state to state: one function per event.

Rules kept here: the chain decides what is paid, whatever this node planned; a settlement is asked for only when
the payout is final, under the mint key that the rollup takes now; what a reorg undoes goes back to the same signed
bytes, never to a second payout.
"""

from dataclasses import dataclass
from typing import assert_never

from anchor.btc.amounts import Height, Sats
from anchor.btc.ids import BlockHash, Txid
from anchor.rollup.statements import SettleStatement
from bridge.treasury import certificates
from bridge.treasury.machine import Alarm, Ignored, InBatch, PostCertificate, RequestSignature, Step
from bridge.withdrawal import events as ev
from bridge.withdrawal import states as st

Answer = Step[st.State] | Ignored

_UNPAID = (st.Locked, st.Batched, st.Broadcast)


@dataclass(frozen=True, slots=True)
class Context:
    """A withdrawal's own. `amount` is what was locked, satoshis.

    Only `epoch` may change in its life: the rollup's present key epoch, whose mint key certifies.
    """

    rollup_id: int
    genesis_hash: bytes
    epoch: int
    withdrawal: bytes
    script: bytes
    amount: Sats


def step(context: Context, state: st.State, event: ev.Event) -> Answer:
    """Return what `event` makes of `state`. Pure and total: every pair has an answer."""
    match event:
        case ev.Planned():
            return _planned(state, event)
        case ev.Sent():
            return _sent(state, event)
        case ev.BatchDropped():
            return _batch_dropped(state, event)
        case ev.PayoutMined():
            return _payout_mined(context, state, event)
        case ev.PayoutUnmined():
            return _payout_unmined(context, state, event)
        case ev.PayoutFinal():
            return _payout_final(context, state, event)
        case ev.Signed():
            return _signed(state, event)
        case ev.SigningFailed():
            return _signing_failed(context, state, event)
        case ev.SettleApplied():
            return _settle_applied(state, event)
        case ev.SettleUndone():
            return _settle_undone(context, state)
        case _:
            assert_never(event)


def statement(context: Context, payout: InBatch) -> SettleStatement:
    """Return what the settlement of this withdrawal says: the locked amount less its fee share was paid."""
    return SettleStatement(
        rollup_id=context.rollup_id,
        genesis_hash=context.genesis_hash,
        epoch=context.epoch,
        withdrawal=context.withdrawal,
        script=context.script,
        paid=Sats(context.amount - payout.fee_share),
        fee=Sats(payout.fee_share),
        txid=Txid(payout.txid),
        block_hash=BlockHash(payout.block_hash),
        height=Height(payout.height),
        manifest_hash=payout.manifest_hash,
    )


def _planned(state: st.State, event: ev.Planned) -> Answer:
    if isinstance(state, st.Locked):
        return Step(st.Batched(event.sequence, event.txid))
    if isinstance(state, st.Batched | st.Broadcast):
        newer = event.sequence >= state.sequence and event.txid != state.txid
        # Another version of the batch, or its content signed anew on the tip that a reorg left.
        return Step(st.Batched(event.sequence, event.txid)) if newer else Ignored("the batch is known")
    return Ignored("the withdrawal is paid already")


def _sent(state: st.State, event: ev.Sent) -> Answer:
    if isinstance(state, _UNPAID):
        following = st.Broadcast(event.sequence, event.txid)
        return Ignored("the batch is known") if following == state else Step(following)
    return Ignored("the withdrawal is paid already")


def _batch_dropped(state: st.State, event: ev.BatchDropped) -> Answer:
    if isinstance(state, st.Batched | st.Broadcast) and state.sequence == event.sequence:
        return Step(st.Locked())
    return Ignored("the withdrawal is not in that batch")


def _payout_mined(context: Context, state: st.State, event: ev.PayoutMined) -> Answer:
    if isinstance(state, _UNPAID):  # whoever signed it: the chain decides
        return Step(st.Confirmed(event.payout))
    if isinstance(state, st.Settled) and state.payout is None:
        text = f"the payout of {context.withdrawal.hex()} is back in a block"
        return Step(st.Settled(state.rollup_tx, event.payout), (Alarm(page=False, text=text),))
    paid = state.payout
    if paid is not None and paid.txid != event.payout.txid:
        text = f"withdrawal {context.withdrawal.hex()} is paid twice: {paid.txid.hex()}, {event.payout.txid.hex()}"
        return Step(state, (Alarm(page=True, text=text),))
    return Ignored("the payout is known")


def _payout_unmined(context: Context, state: st.State, event: ev.PayoutUnmined) -> Answer:
    if isinstance(state, st.Confirmed | st.Settling) and state.payout.txid == event.txid:
        return Step(st.Broadcast(state.payout.sequence, event.txid))
    if isinstance(state, st.Settled) and state.payout is not None and state.payout.txid == event.txid:
        text = f"the payout of settled withdrawal {context.withdrawal.hex()} left the chain: a reorg of k or more"
        return Step(st.Settled(state.rollup_tx, None), (Alarm(page=True, text=text),))
    return Ignored("that payout is not the one on chain")


def _payout_final(context: Context, state: st.State, event: ev.PayoutFinal) -> Answer:
    if isinstance(state, st.Confirmed | st.Settling) and state.payout.block_hash == event.block_hash:
        payload = certificates.encode(statement(context, state.payout))
        if isinstance(state, st.Settling) and state.payload == payload:
            return Ignored("the settlement is being signed or posted")
        return Step(st.Settling(state.payout, payload), (RequestSignature("mint", payload),))
    return Ignored("no payout of this withdrawal waits in that block")


def _signed(state: st.State, event: ev.Signed) -> Answer:
    if isinstance(state, st.Settling) and state.payload == event.payload and not state.signature:
        following = st.Settling(state.payout, state.payload, event.signature)
        return Step(following, (PostCertificate(event.payload, event.signature, state.payout.manifest_hash),))
    return Ignored("no settlement waits for this signature")


def _signing_failed(context: Context, state: st.State, event: ev.SigningFailed) -> Answer:
    if not isinstance(state, st.Settling) or state.payload != event.payload or state.signature:
        return Ignored("no settlement waits for this signature")
    if event.retryable:
        return Step(state, (RequestSignature("mint", state.payload),))
    text = f"the settlement of {context.withdrawal.hex()} is refused: {event.reason}"
    return Step(state, (Alarm(page=True, text=text),))


def _settle_applied(state: st.State, event: ev.SettleApplied) -> Answer:
    if isinstance(state, st.Confirmed | st.Settling):
        return Step(st.Settled(event.rollup_tx, state.payout))
    if isinstance(state, st.Settled):
        return Ignored("the settlement is known")
    return Ignored("own chain does not show the payout yet: feed this again later")


def _settle_undone(context: Context, state: st.State) -> Answer:
    if not isinstance(state, st.Settled):
        return Ignored("no settlement stands")
    text = (
        f"withdrawal {context.withdrawal.hex()} is owed again: its settlement stood on a block that was lost"
    )
    following = st.Locked() if state.payout is None else st.Confirmed(state.payout)
    return Step(following, (Alarm(page=False, text=text),))
