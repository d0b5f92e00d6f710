"""The outbox of one desk: every signed batch's machine, kept in step with the chain, and what is due sent again.

Only batches on the desk's confirmed tip are sent: so parents come first, one unconfirmed generation at a time, and
after a reorg the same bytes go out again because their tip is the tip again. What bitcoind refuses stays stored,
for another reorg may bring back what it spends.
"""

from collections.abc import Awaitable, Callable
from dataclasses import replace

from structlog.typing import FilteringBoundLogger

from anchor.bitcoind import Outcome
from anchor.btc.ids import OutPoint
from anchor.outbox import events as ev
from anchor.outbox import states as st
from anchor.outbox.effects import Alarm, Effect
from anchor.outbox.transitions import Context, Step, step
from anchor.store import AnchorStore, StoredPackage
from bridge.desk import Desk
from bridge.outgoing import advance

KEEP = 32  # the newest batches, whose machines are kept in step

AlarmSink = Callable[[str, str], Awaitable[None]]
Share = Callable[[StoredPackage], Awaitable[None]]


class Dispatch:
    """Signed batches of one desk on their way."""

    def __init__(
        self,
        desk: Desk,
        store: AnchorStore,
        share: Share,
        fresh: Callable[[], Awaitable[bool]],
        alarm: AlarmSink,
        log: FilteringBoundLogger,
    ) -> None:
        self.desk, self.store, self.share, self.fresh = desk, store, share, fresh
        self.alarm, self.log = alarm, log
        self.sent_again = 0

    async def round(self, tip: OutPoint) -> bool:
        """Keep all machines in step, send what is on `tip`; True when a batch on it waits for a block."""
        stored = await self.store.packages(self.desk.purpose, signed=True, last=KEEP)
        waiting = False
        for package in sorted(stored, key=lambda p: (p.sequence, p.id)):  # the same order on every node
            state = await self._advance(package)
            if not waiting and package.tip == tip.encode() and isinstance(state, st.Waiting):
                waiting = await self._send(package, state)
        return waiting

    async def _advance(self, package: StoredPackage) -> st.State:
        """Bring one machine to where its batch is."""
        before, context = state_of(package), self._context(package)
        state = before
        if isinstance(state, st.Signed):  # stored, and perhaps not told: a crash came between
            await self.share(package)
            state = _stepped(context, state, ev.Shared())
        state, effects = advance(context, state, self.desk.whereabouts(package, context.stages))
        await self._alarms(effects)
        if state != before or not package.state:
            await self.store.save_state(package.id, st.to_row(state))
        return state

    async def _send(self, package: StoredPackage, state: st.State) -> bool:
        """Make sure that the batch is in the mempool; whether it, or a rival of it, is."""
        context, signatures = self._context(package), package.signatures or ()
        there = await self.desk.present(package.payload, signatures)
        if there is None and not await self.fresh():
            return True  # a block came meanwhile and may hold it: look again first
        if there is None and isinstance(state, st.Mempool | st.Committed):
            last = context.wanted(state.rung, state.mined)[-1]
            state = await self._tell(package, context, state, ev.Evicted(last))
            self.sent_again += 1
            self.log.warning("sent again", request=package.id.hex()[:16], sequence=package.sequence)
        if there is None:
            been = isinstance(state, st.Evicted | st.Reorged | st.Mempool | st.Committed)
            rung = getattr(state, "rung", None) if been else None  # the very bytes that were there
            sent = await self.desk.submit(package.payload, signatures, rung)
            if sent.outcome is Outcome.REFUSED:
                self.log.info("refused by bitcoind", request=package.id.hex()[:16], reason=sent.reason)
                return False
            there = await self.desk.present(package.payload, signatures)
        if there is not None:
            await self._tell(package, context, state, ev.SeenInMempool(there))
        return True

    async def _tell(
        self, package: StoredPackage, context: Context, state: st.State, event: ev.Event
    ) -> st.State:
        after = _stepped(context, state, event)
        if after != state:
            await self.store.save_state(package.id, st.to_row(after))
        return after

    async def _alarms(self, effects: tuple[Effect, ...]) -> None:
        for effect in effects:
            if isinstance(effect, Alarm):
                await self.alarm(effect.level, f"{self.desk.purpose}: {effect.text}")

    def _context(self, package: StoredPackage) -> Context:
        stages = self.desk.stages(package.payload)
        return Context(package.id, self.desk.purpose, package.payload, stages)


def state_of(package: StoredPackage) -> st.State:
    """The outbox state of a stored batch; one that a peer brought has been shared already."""
    return st.from_row(package.state) if package.state else st.Submitting()


def signed(package: StoredPackage) -> StoredPackage:
    """A batch that was signed here just now: nobody has been told."""
    return replace(package, state=st.to_row(st.Signed()))


def _stepped(context: Context, state: st.State, event: ev.Event) -> st.State:
    answer = step(context, state, event)
    return answer.state if isinstance(answer, Step) else state
