"""How a payment goes from state to state: one function per event.

Rules kept here: only a payment within bounds, with room before the reclaim, is offered to a sweep; a mint is
asked for only when the sweep is final, under the mint key that the rollup takes now; what a reorg undoes goes back;
what was minted on a sweep that a deep reorg took is a DEFICIT, said aloud, until a sweep is final again and the
rollup knows its block. A credit stays what it is when another mint key succeeds the one that certified it.
"""

from dataclasses import dataclass, replace
from typing import assert_never

from anchor.btc.amounts import Height, Sats
from anchor.btc.ids import BlockHash, OutPoint, Txid
from anchor.rollup.activation import Params
from anchor.rollup.statements import MintStatement
from bridge.deposit import events as ev
from bridge.deposit import states as st
from bridge.deposit.address import DepositParams, blocks_to_reclaim, margin
from bridge.treasury import certificates
from bridge.treasury.machine import Alarm, Ignored, InBatch, PostCertificate, RequestSignature, Step

Answer = Step[st.State] | Ignored

_ON_CHAIN = (st.Confirmed, st.Rejected, st.Reclaimable, st.Sweeping)


@dataclass(frozen=True, slots=True)
class Context:
    """Which rollup, which outpoint, its parameters, the rules: these do not change in a deposit's life.

    What may change: `epoch`, the rollup's present key epoch, whose mint key certifies; and `retires`, the height up
    to which payments to addresses of key epoch `address_epoch` are swept, None while that has no end.
    """

    rollup_id: int
    genesis_hash: bytes
    epoch: int
    outpoint: OutPoint
    params: DepositParams
    rules: Params
    address_epoch: int
    retires: int | None = None


def step(context: Context, state: st.State, event: ev.Event) -> Answer:
    """Return what `event` makes of `state`. Pure and total: every pair has an answer."""
    match event:
        case ev.PaymentSeen():
            return _payment_seen(state, event)
        case ev.PaymentReplaced():
            return _payment_replaced(state)
        case ev.PaymentMined():
            return _payment_mined(context, state, event)
        case ev.PaymentUnmined():
            return _payment_unmined(context, state)
        case ev.TipMoved():
            return _tip_moved(context, state, event)
        case ev.Batched():
            return _batched(state, event)
        case ev.BatchDropped():
            return _batch_dropped(context, state, event)
        case ev.SweepMined():
            return _sweep_mined(state, event)
        case ev.SweepUnmined():
            return _sweep_unmined(context, state, event)
        case ev.SweepFinal():
            return _sweep_final(context, state, event)
        case ev.Signed():
            return _signed(state, event)
        case ev.SigningFailed():
            return _signing_failed(context, state, event)
        case ev.MintApplied():
            return _mint_applied(context, state, event)
        case ev.ReclaimMined():
            return _reclaim_mined(state, event)
        case ev.ReclaimUnmined():
            return _reclaim_unmined(context, state, event)
        case _:
            assert_never(event)


def judge(context: Context, coin: st.Coin, tip: int) -> st.Confirmed | st.Rejected | st.Reclaimable:
    """Say what a coin in a block is worth to the bridge when the best chain ends at `tip`."""
    rules, left = context.rules, blocks_to_reclaim(coin.height, context.params.delay, tip)
    if left == 0:
        return st.Reclaimable(coin)
    if coin.coinbase:
        return st.Rejected(coin, "a coinbase output cannot be swept in time: pay from an ordinary coin")
    if context.params.delay != rules.reclaim_delay:
        return st.Rejected(coin, f"its reclaim delay is not the bridge's {rules.reclaim_delay} blocks")
    if coin.value < rules.min_deposit:
        return st.Rejected(coin, f"below the minimum of {rules.min_deposit} sat")
    if coin.value > rules.max_deposit:
        return st.Rejected(coin, f"above the maximum of {rules.max_deposit} sat")
    if context.retires is not None and tip >= context.retires:
        return st.Rejected(
            coin,
            f"its address is of key epoch {context.address_epoch}, retired at height {context.retires}: "
            "take it back after the delay",
        )
    needed = margin(context.params.delay) + rules.k
    if left <= needed:
        return st.Rejected(coin, f"too late to sweep: more than {needed} blocks must be left to the reclaim")
    return st.Confirmed(coin)


def statement(context: Context, coin: st.Coin, sweep: InBatch) -> MintStatement:
    """Return what the mint certificate of this deposit says: value less its fee share, to the recipient."""
    return MintStatement(
        rollup_id=context.rollup_id,
        genesis_hash=context.genesis_hash,
        epoch=context.epoch,
        outpoint=context.outpoint,
        recipient=context.params.recipient,
        amount=Sats(coin.value - sweep.fee_share),
        fee=Sats(sweep.fee_share),
        txid=Txid(sweep.txid),
        block_hash=BlockHash(sweep.block_hash),
        height=Height(sweep.height),
        manifest_hash=sweep.manifest_hash,
    )


def _payment_seen(state: st.State, event: ev.PaymentSeen) -> Answer:
    if isinstance(state, st.Issued):
        return Step(st.Seen(event.value))
    return Ignored("the payment is known")


def _payment_replaced(state: st.State) -> Answer:
    if isinstance(state, st.Seen):
        return Step(st.Issued())
    return Ignored("only a payment without a block can be replaced")


def _payment_mined(context: Context, state: st.State, event: ev.PaymentMined) -> Answer:
    if isinstance(state, st.Issued | st.Seen):
        return Step(judge(context, event.coin, event.coin.height))
    if isinstance(state, st.Deficit) and state.coin != event.coin:  # after the reorg it came in another block
        s = state
        return Step(st.Deficit(event.coin, s.rollup_tx, s.amount, s.sweep, s.payload, s.signature))
    return Ignored("the payment is in a block already")


def _payment_unmined(context: Context, state: st.State) -> Answer:
    if isinstance(state, st.Credited):  # its sweep cannot stand without it
        return _lost(context, state.coin, state.rollup_tx, state.amount)
    if isinstance(state, st.Deficit):
        return (
            Step(st.Deficit(state.coin, state.rollup_tx, state.amount)) if state.sweep else Ignored("known")
        )
    if isinstance(state, (*_ON_CHAIN, st.Swept, st.Minting, st.Reclaimed)):
        return Step(st.Seen(state.coin.value))
    return Ignored("the payment is in no block")


def _tip_moved(context: Context, state: st.State, event: ev.TipMoved) -> Answer:
    if isinstance(state, st.Confirmed | st.Rejected | st.Reclaimable):
        judged = judge(context, state.coin, event.height)
        return Ignored("height changes nothing") if judged == state else Step(judged)
    return Ignored("height matters only while the payment is unswept")


def _batched(state: st.State, event: ev.Batched) -> Answer:
    if isinstance(state, st.Confirmed | st.Sweeping):
        following = st.Sweeping(state.coin, event.sequence, event.txid)
        return Ignored("the batch is known") if following == state else Step(following)
    return Ignored("only a confirmed payment is swept")


def _batch_dropped(context: Context, state: st.State, event: ev.BatchDropped) -> Answer:
    if isinstance(state, st.Sweeping) and state.sequence == event.sequence:
        return Step(judge(context, state.coin, state.coin.height))  # the next TipMoved judges by the tip
    return Ignored("the payment is not in that batch")


def _sweep_mined(state: st.State, event: ev.SweepMined) -> Answer:
    if isinstance(state, _ON_CHAIN):  # whatever we thought of it: the chain decides
        return Step(st.Swept(state.coin, event.sweep))
    if isinstance(state, st.Deficit) and state.sweep != event.sweep:
        return Step(st.Deficit(state.coin, state.rollup_tx, state.amount, event.sweep))
    return Ignored("the payment is in no block, or swept already")


def _sweep_unmined(context: Context, state: st.State, event: ev.SweepUnmined) -> Answer:
    if isinstance(state, st.Swept | st.Minting) and state.sweep.txid == event.txid:
        return Step(st.Sweeping(state.coin, state.sweep.sequence, event.txid))
    if isinstance(state, st.Credited) and state.sweep.txid == event.txid:
        return _lost(context, state.coin, state.rollup_tx, state.amount)
    if isinstance(state, st.Deficit) and state.sweep and state.sweep.txid == event.txid:
        return Step(st.Deficit(state.coin, state.rollup_tx, state.amount))
    return Ignored("that sweep is not the one on chain")


def _lost(context: Context, coin: st.Coin, rollup_tx: bytes, amount: int) -> Answer:
    text = f"{amount} sat minted for {context.outpoint} have no sweep on the chain: a reorg of k or more"
    return Step(st.Deficit(coin, rollup_tx, amount), (Alarm(page=True, text=text),))


def _sweep_final(context: Context, state: st.State, event: ev.SweepFinal) -> Answer:
    if isinstance(state, st.Swept | st.Minting) and state.sweep.block_hash == event.block_hash:
        payload = certificates.encode(statement(context, state.coin, state.sweep))
        if isinstance(state, st.Minting) and state.payload == payload:
            return Ignored("the mint is being signed or posted")
        return Step(st.Minting(state.coin, state.sweep, payload), (RequestSignature("mint", payload),))
    if isinstance(state, st.Deficit) and state.sweep and state.sweep.block_hash == event.block_hash:
        payload = certificates.encode(statement(context, state.coin, state.sweep))
        if state.payload == payload:
            return Ignored("the rollup is being told")
        asking = st.Deficit(state.coin, state.rollup_tx, state.amount, state.sweep, payload)
        return Step(asking, (RequestSignature("mint", payload),))
    return Ignored("no sweep of this payment waits in that block")


def _signed(state: st.State, event: ev.Signed) -> Answer:
    if isinstance(state, st.Minting) and state.payload == event.payload and not state.signature:
        following = st.Minting(state.coin, state.sweep, state.payload, event.signature)
        return Step(following, (PostCertificate(event.payload, event.signature, state.sweep.manifest_hash),))
    if _asks(state, event.payload):
        assert isinstance(state, st.Deficit)
        assert state.sweep is not None
        told = st.Deficit(
            state.coin, state.rollup_tx, state.amount, state.sweep, state.payload, event.signature
        )
        return Step(told, (PostCertificate(event.payload, event.signature, state.sweep.manifest_hash),))
    return Ignored("no mint waits for this signature")


def _asks(state: st.State, payload: bytes) -> bool:
    """Whether a credited deposit waits for this certificate of its new sweep."""
    if not isinstance(state, st.Deficit) or state.signature:
        return False
    return bool(payload) and state.payload == payload


def _signing_failed(context: Context, state: st.State, event: ev.SigningFailed) -> Answer:
    waits = isinstance(state, st.Minting) and state.payload == event.payload and not state.signature
    if not waits and not _asks(state, event.payload):
        return Ignored("no mint waits for this signature")
    if event.retryable:
        return Step(state, (RequestSignature("mint", event.payload),))
    return Step(state, (Alarm(page=True, text=f"the mint of {context.outpoint} is refused: {event.reason}"),))


def _mint_applied(context: Context, state: st.State, event: ev.MintApplied) -> Answer:
    if isinstance(
        state, st.Seen
    ):  # a deep reorg took the payment itself before this node wrote the credit down
        nowhere = st.Coin(state.value, 0, bytes(32))
        return _lost(context, nowhere, event.rollup_tx, event.amount)
    if isinstance(state, st.Swept | st.Minting):
        if _stands_on(context, state.coin, state.sweep, event):
            return Step(st.Credited(state.coin, state.sweep, event.rollup_tx, event.amount))
        # Credited on a block that a deep reorg took before this node had written the credit down.
        return Step(st.Deficit(state.coin, event.rollup_tx, event.amount, state.sweep))
    if isinstance(state, st.Deficit) and state.payload:
        assert state.sweep is not None
        if _stands_on(context, state.coin, state.sweep, event):
            text = f"the credit of {context.outpoint} stands on a final sweep again: its deficit is gone"
            credited = st.Credited(state.coin, state.sweep, event.rollup_tx, event.amount)
            return Step(credited, (Alarm(page=False, text=text),))
    if isinstance(state, st.Credited | st.Deficit):
        return Ignored("the mint is known")
    return Ignored("own chain does not show the sweep yet: feed this again later")


def _stands_on(context: Context, coin: st.Coin, sweep: InBatch, event: ev.MintApplied) -> bool:
    """Whether the credit was certified for this sweep in its present block, under whichever mint key."""
    certified = replace(context, epoch=event.epoch)
    return event.rollup_tx == statement(certified, coin, sweep).message


def _reclaim_mined(state: st.State, event: ev.ReclaimMined) -> Answer:
    if isinstance(state, _ON_CHAIN):
        return Step(st.Reclaimed(state.coin, event.txid, event.height))
    return Ignored("the payment cannot be reclaimed: it is in no block, or spent")


def _reclaim_unmined(context: Context, state: st.State, event: ev.ReclaimUnmined) -> Answer:
    if isinstance(state, st.Reclaimed) and state.txid == event.txid:
        return Step(judge(context, state.coin, state.coin.height))  # the next TipMoved judges by the tip
    return Ignored("that reclaim is not the one on chain")
