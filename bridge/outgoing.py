"""Tells the outbox's machine of each signed batch what the chain and the mempool say about it.

Like `reconcile.py`: nothing is remembered between rounds but the machine's own state. What it believes is compared
with what is so, undone things first; what it asks for follows from its state and is asked for again until done.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from anchor.btc.amounts import Height
from anchor.btc.ids import BlockHash, Txid
from anchor.outbox import events as ev
from anchor.outbox import states as st
from anchor.outbox.effects import Effect
from anchor.outbox.transitions import Context, Step, step


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """Where a batch is now.

    `mined` are its own stages in blocks of the main chain, in order, and `buried` whether the last stage is final.
    `displaced` is the mined transaction that spends its tip instead, and by whose hand; `survivor` the one that
    stands where the tip's own transaction stood. `mempool` names its last stage while the mempool holds it.
    """

    mined: tuple[st.Mined, ...] = ()
    buried: bool = False
    displaced: tuple[st.Mined, ev.Spender, str] | None = None
    survivor: st.Mined | None = None
    mempool: Txid | None = None


def events(state: st.State, now: Whereabouts) -> Iterator[ev.Event]:
    """Yield what the machine has to hear."""
    by = getattr(state, "by", None)
    believed: tuple[st.Mined, ...] = getattr(state, "mined", ())
    displaced = None if now.displaced is None else now.displaced[0]
    if by is not None and by not in (displaced, now.survivor):
        yield ev.Unmined(BlockHash(by.block_hash))
    for gone in reversed([m for m in believed if m not in now.mined]):
        yield ev.Unmined(BlockHash(gone.block_hash))
    if now.survivor is not None:
        yield ev.ParentGone(
            Txid(now.survivor.txid), BlockHash(now.survivor.block_hash), Height(now.survivor.height)
        )
    elif now.displaced is not None:
        spender, how, reason = now.displaced
        where = (BlockHash(spender.block_hash), Height(spender.height))
        yield ev.TipSpentBy(Txid(spender.txid), *where, how, reason)
    for one in now.mined:
        yield ev.MinedAt(Txid(one.txid), BlockHash(one.block_hash), Height(one.height))
    if now.buried:
        yield ev.Buried(BlockHash(now.mined[-1].block_hash))
    if now.mempool is not None:
        yield ev.SeenInMempool(now.mempool)


def advance(context: Context, state: st.State, now: Whereabouts) -> tuple[st.State, tuple[Effect, ...]]:
    """Bring a batch's machine to where the batch is; return the state and the effects on the way."""
    effects: list[Effect] = []
    for event in events(state, now):
        answer = step(context, state, event)
        if isinstance(answer, Step):
            state = answer.state
            effects += answer.effects
    return state, tuple(effects)
