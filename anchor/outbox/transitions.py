"""How a package goes from built to buried: one function per event.

Rules kept here: signed bytes are shared before they are sent; the same bytes go out again after an eviction or a
reorg; of each stage at most one version is ever taken as mined; what another transaction displaced is signed anew
and never sent while that one is on the chain. Late, repeated or impossible events are Ignored with the reason.
"""

from dataclasses import dataclass
from typing import assert_never

from anchor.btc.ids import Txid, display
from anchor.outbox import events as ev
from anchor.outbox import states as st
from anchor.outbox.effects import Alarm, Effect, RequestSignature, Share, SignAnew, Submit


@dataclass(frozen=True, slots=True)
class Context:
    """What never changes about a package.

    `stages[i]` are the txids of stage i's versions (known before signing: txids do not cover witnesses), cheapest
    first; each stage spends the one before, the first the tip. `id` names the request for signatures.
    """

    id: bytes
    purpose: str
    payload: bytes
    stages: tuple[tuple[Txid, ...], ...]

    def __post_init__(self) -> None:
        flat = [txid for stage in self.stages for txid in stage]
        if not self.stages or not all(self.stages) or len(flat) != len(set(flat)):
            raise ValueError("a package has stages, each with versions of its own")

    def place(self, txid: bytes) -> tuple[int, int] | None:
        """Return (stage, version) of one of our transactions, None for a stranger's."""
        for number, stage in enumerate(self.stages):
            if txid in stage:
                return number, stage.index(Txid(txid))
        return None

    def wanted(self, rung: int, mined: tuple[st.Mined, ...]) -> tuple[Txid, ...]:
        """Return what has to be in a mempool: one version of each stage that is not mined, parents first."""
        last = len(self.stages) - 1
        return tuple(
            stage[rung if number == last else 0]
            for number, stage in enumerate(self.stages)
            if number >= len(mined)
        )


@dataclass(frozen=True, slots=True)
class Step:
    """The next state, and what the shell does once it is stored."""

    state: st.State
    effects: tuple[Effect, ...] = ()


@dataclass(frozen=True, slots=True)
class Ignored:
    """The event changes nothing; the reason is for logs and tests."""

    reason: str


Answer = Step | Ignored


def step(context: Context, state: st.State, event: ev.Event) -> Answer:
    """Return what `event` makes of `state`. Pure and total: every pair has an answer."""
    if isinstance(state, st.ForeignSpend):
        return Ignored("halted by a foreign spend: people decide")
    match event:
        case ev.Begin():
            return _begin(context, state)
        case ev.Signed():
            return _signed(state)
        case ev.SigningFailed():
            return _signing_failed(state, event)
        case ev.Shared():
            return _shared(context, state)
        case ev.SubmitResult():
            return _submit_result(context, state, event)
        case ev.SeenInMempool():
            return _seen(context, state, event)
        case ev.Evicted():
            return _evicted(context, state, event)
        case ev.MinedAt():
            return _mined_at(context, state, event)
        case ev.Unmined():
            return _unmined(context, state, event)
        case ev.Buried():
            return _buried(state, event)
        case ev.TipSpentBy():
            return _tip_spent(context, state, event)
        case ev.ParentGone():
            return _parent_gone(context, state, event)
        case ev.Bump():
            return _bump(context, state, event)
        case ev.Again():
            return _again(context, state)
        case _:
            assert_never(event)


def _progress(state: st.State) -> tuple[int, tuple[st.Mined, ...]]:
    if isinstance(state, st.Built | st.Signing | st.Signed | st.ForeignSpend):
        return 0, ()
    return state.rung, state.mined


def _submit(context: Context, rung: int, mined: tuple[st.Mined, ...]) -> Submit:
    return Submit(context.wanted(rung, mined))


def _begin(context: Context, state: st.State) -> Answer:
    if not isinstance(state, st.Built):
        return Ignored("already begun")
    return Step(st.Signing(), (RequestSignature(context.id, context.purpose, context.payload),))


def _signed(state: st.State) -> Answer:
    if not isinstance(state, st.Unsigned):
        return Ignored("already signed")
    return Step(st.Signed(), (Share(),))


def _signing_failed(state: st.State, event: ev.SigningFailed) -> Answer:
    if not isinstance(state, st.Signing):
        return Ignored("no signature is waited for")
    return Step(st.Built(), (Alarm("info", f"a package was not signed: {event.reason}"),))


def _shared(context: Context, state: st.State) -> Answer:
    if not isinstance(state, st.Signed):
        return Ignored("not waiting to share")
    return Step(st.Submitting(), (_submit(context, 0, ()),))


def _in_mempool(rung: int, mined: tuple[st.Mined, ...]) -> st.State:
    return st.Committed(rung=rung, mined=mined) if mined else st.Mempool(rung=rung)


def _submit_result(context: Context, state: st.State, event: ev.SubmitResult) -> Answer:
    if not isinstance(state, st.Waiting):
        return Ignored("nothing is being submitted")
    wanted = context.wanted(state.rung, state.mined)
    said = {result.txid: result for result in event.results}
    if all(txid in said and said[txid].accepted for txid in wanted):
        calm = _in_mempool(state.rung, state.mined)
        return Ignored("it is in the mempool already") if calm == state else Step(calm)
    refused = [r for txid in wanted if (r := said.get(txid)) is not None and not r.accepted]
    if not refused:
        return Ignored("the result is about other versions, or about some only")
    text = "; ".join(f"{display(r.txid)} refused: {r.reason}" for r in refused)
    return Step(state, (Alarm("warning", text),))


def _seen(context: Context, state: st.State, event: ev.SeenInMempool) -> Answer:
    place = context.place(event.txid)
    if place is None or not isinstance(state, st.Waiting | st.Signed):
        return Ignored("not ours, or not waiting for a mempool")
    _, mined = _progress(state)
    stage, rung = place
    if stage != len(context.stages) - 1:
        return Ignored("only the last stage shows that all are there")
    calm = _in_mempool(rung, mined)
    return Ignored("it is in the mempool already") if calm == state else Step(calm)


def _evicted(context: Context, state: st.State, event: ev.Evicted) -> Answer:
    if not isinstance(state, st.Mempool | st.Committed):
        return Ignored("not in a mempool")
    if event.txid not in context.wanted(state.rung, state.mined):
        return Ignored("not the version that is waited for")
    again = st.Evicted(rung=state.rung, mined=state.mined)
    alarm = Alarm("info", f"{display(event.txid)} left the mempool and is sent again")
    return Step(again, (_submit(context, state.rung, state.mined), alarm))


def _mined_at(context: Context, state: st.State, event: ev.MinedAt) -> Answer:
    place = context.place(event.txid)
    if place is None:
        return Ignored("not ours: the reader of the chain of coins judges it")
    if isinstance(state, st.Asleep):
        return Ignored("another transaction has its place: that block must leave the chain first")
    rung, mined = _progress(state)
    stage, version = place
    if stage < len(mined):
        return Ignored("mined already" if mined[stage].txid == event.txid else "another version is mined")
    if stage > len(mined):
        return Ignored("its parent is not mined yet: blocks are told in order")
    mined = (*mined, st.Mined(event.txid, event.block_hash, event.height))
    if stage == len(context.stages) - 1:
        return Step(st.Confirmed(rung=version, mined=mined))
    if isinstance(state, st.Unsigned):
        return Step(st.Submitting(mined=mined), (Submit(context.wanted(0, mined)),))
    if isinstance(state, st.Mempool | st.Committed):
        return Step(st.Committed(rung=rung, mined=mined))
    return Step(st.Submitting(rung=rung, mined=mined), (_submit(context, rung, mined),))


def _unmined(context: Context, state: st.State, event: ev.Unmined) -> Answer:
    rung, mined = _progress(state)
    keep = next((i for i, m in enumerate(mined) if m.block_hash == event.block_hash), len(mined))
    woken = isinstance(state, st.Asleep) and state.by.block_hash == event.block_hash
    if keep == len(mined) and not woken:
        return Ignored("the block held nothing of this package")
    mined = mined[:keep]
    if isinstance(state, st.Asleep) and not woken:  # still displaced: what was mined of it is gone too
        asleep: st.Asleep = _asleep(state, rung, mined)
        return Step(asleep)
    alarm: tuple[Alarm, ...] = ()
    if isinstance(state, st.Final):
        alarm = (Alarm("pause", "a final transaction left the chain: finality was violated"),)
    return Step(st.Reorged(rung=rung, mined=mined), (_submit(context, rung, mined), *alarm))


def _asleep(state: st.Asleep, rung: int, mined: tuple[st.Mined, ...]) -> st.Asleep:
    match state:
        case st.Superseded():
            return st.Superseded(rung=rung, mined=mined, by=state.by)
        case st.Void():
            return st.Void(rung=rung, mined=mined, by=state.by)
        case st.ParentChanged():
            return st.ParentChanged(rung=rung, mined=mined, by=state.by)
        case _:
            assert_never(state)


def _buried(state: st.State, event: ev.Buried) -> Answer:
    if not isinstance(state, st.Confirmed) or state.mined[-1].block_hash != event.block_hash:
        return Ignored("not the block that holds the last stage")
    return Step(st.Final(rung=state.rung, mined=state.mined))


def _tip_spent(context: Context, state: st.State, event: ev.TipSpentBy) -> Answer:
    rung, mined = _progress(state)
    if context.place(event.txid) is not None:
        return Ignored("that is a version of ours: MinedAt tells it")
    if isinstance(state, st.Confirmed | st.Final | st.Asleep):
        return Ignored("the coin is spent already: that block must leave the chain first")
    if event.how is ev.Spender.FOREIGN:
        text = f"{display(event.txid)} spent our coin and none of us built it: {event.reason}"
        return Step(st.ForeignSpend(txid=event.txid, reason=event.reason), (Alarm("pause", text),))
    by = st.Mined(event.txid, event.block_hash, event.height)
    if event.how is ev.Spender.VOID:
        return Step(st.Void(rung=rung, mined=mined, by=by), (SignAnew(event.txid, "the commit was voided"),))
    if mined:
        return Ignored("our first stage has spent the tip: that block must leave the chain first")
    anew = SignAnew(event.txid, "another package spent the tip")
    return Step(st.Superseded(rung=rung, by=by), (anew,))


def _parent_gone(context: Context, state: st.State, event: ev.ParentGone) -> Answer:
    rung, mined = _progress(state)
    if mined or isinstance(state, st.Asleep):
        return Ignored("our first stage is mined or displaced: that block must leave the chain first")
    if context.place(event.survivor) is not None:
        return Ignored("a transaction of ours is not its own parent")
    by = st.Mined(event.survivor, event.block_hash, event.height)
    alarm = Alarm("warning", f"the parent changed to {display(event.survivor)}: the content is signed anew")
    anew = SignAnew(event.survivor, "another version of the parent is in a block")
    return Step(st.ParentChanged(rung=rung, by=by), (anew, alarm))


def _bump(context: Context, state: st.State, event: ev.Bump) -> Answer:
    if not isinstance(state, st.Waiting):
        return Ignored("nothing waits for a block")
    if not state.rung < event.rung < len(context.stages[-1]):
        return Ignored("not a higher rung of the ladder")
    raised = st.Submitting(rung=event.rung, mined=state.mined)
    return Step(raised, (_submit(context, event.rung, state.mined),))


def _again(context: Context, state: st.State) -> Answer:
    if isinstance(state, st.Signing):
        return Step(state, (RequestSignature(context.id, context.purpose, context.payload),))
    if isinstance(state, st.Signed):
        return Step(state, (Share(),))
    if isinstance(state, st.Waiting):
        return Step(state, (_submit(context, state.rung, state.mined),))
    return Ignored("nothing is waited for")
