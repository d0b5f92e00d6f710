"""What about Bitcoin's headers should wake somebody: reorgs, rivals, a tip that stands still, sources that differ.

A reorg is told once, from the ledger, so that a crash repeats its alarm rather than loses it. Everything else is a
condition: told when it begins, told again when it is over, and standing in between (`standing`).
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import structlog

from anchor.btc.header import Header, work_of
from anchor.btc.ids import BlockHash, display
from anchor.btc.network import Network
from anchor.feed import HeaderFeed
from anchor.header_events import SWAPPED
from anchor.header_ledger import ReorgRow
from anchor.headers.chain import Deferred, HeaderAt, branch
from anchor.headers.rules import HeaderRefused
from anchor.jsonrpc import NodeError
from anchor.stream import Stream

# Seconds without a block. Mainnet's blocks come ten minutes apart: 90 minutes are one case in 8,000.
STALE_AFTER = {"mainnet": 5400, "testnet3": 5400, "testnet4": 5400, "signet": 5400, "regtest": 0}
RIVAL = 2  # blocks of a branch beside ours that are worth a word
RIVAL_HEADERS = 144  # of one branch that are asked for: longer ones are told of, not kept
LOOK_AGAIN = 60.0  # seconds between two looks at bitcoind's branches while our tip stands
TOLD_BLOCKS = 100  # joining or leaving at once that the stream tells; the newest
OWN = "bitcoind"  # the name of our own source

log = structlog.get_logger("anchor.header_alarms")

_MEANING = {
    "info": "nothing to do",
    "warning": "look at what it touched",
    "page": "find out why before value depends on it",
    "pause": "value stops until the operators have decided",
}


@dataclass(frozen=True, slots=True)
class HeaderAlarm:
    """Something to be told; `level` is info, warning, page or pause, `kind` a stable word, `data` JSON-able."""

    level: str
    kind: str
    text: str
    data: dict[str, Any] = field(default_factory=dict)


class Branches(Protocol):
    """A bitcoind that is asked which branches it knows."""

    async def chain_tips(self) -> list[tuple[Any, BlockHash, str]]:
        """Height, hash and status of every branch."""
        ...

    async def header_bytes(self, block: BlockHash) -> bytes:
        """The 80 bytes of a header."""
        ...


class HeaderAlarms:
    """Looks at a feed after each of its rounds. `tell` keeps an alarm durably; `stale_after` 0 is never."""

    def __init__(
        self,
        feed: HeaderFeed,
        bitcoind: Branches | None,
        tell: Callable[[HeaderAlarm], Awaitable[None]],
        *,
        stream: Stream | None = None,
        stale_after: float = 0,
        clock: Callable[[], float],
    ) -> None:
        self._feed, self._bitcoind, self._tell, self._stream = feed, bitcoind, tell, stream
        self._stale_after, self._clock = stale_after, clock
        self.standing: dict[str, HeaderAlarm] = {}
        self.counts: dict[str, tuple[int, int]] = {}  # reorgs seen and the deepest, by level
        self._tip: HeaderAt = feed.chain.tip
        self.moved_at = min(clock(), float(feed.chain.tip.header.time))
        self._looked_at: float | None = None
        self._left: set[BlockHash] = set()

    async def look(self) -> None:
        """Tell what is new since the last look. After every round, also after one that failed."""
        chain, now = self._feed.chain, self._clock()
        fork = chain.fork_point(self._tip, chain.tip)
        moved, depth = chain.tip is not fork, self._tip.height - fork.height
        if moved:
            gone, came = _newest(self._tip, fork), _newest(chain.tip, fork)[::-1]
            self._tip, self.moved_at = chain.tip, now
            self._stream_move(gone, came)
            await self._feed.ledger.sighted(OWN, [at.hash for at in came], int(now))
        if self._looked_at is None:
            self._left = {row.old_tip for row in await self._feed.reorgs()}
        for row in await self._feed.ledger.untold() if depth or self._looked_at is None else ():
            await self._tell(_reorg_alarm(row))
            await self._feed.ledger.told(row.id, int(now))
            self._left.add(row.old_tip)
        if depth or self._looked_at is None:
            self.counts = await self._feed.ledger.counts()
        await self._look_at_swap()
        await self._look_at_clock(now)
        await self._look_at_future()
        if moved or self._looked_at is None or now - self._looked_at >= LOOK_AGAIN:
            self._looked_at = now
            await self._learn_rivals()
            await self._look_at_rivals()

    async def differs(self, source: str, text: str | None, **data: Any) -> None:
        """A second source sees another chain than ours (`text` says how), or the same one again (None)."""
        alarm = None
        if text is not None:
            alarm = HeaderAlarm("page", "sources_differ", text, {"source": source, **data})
        await self._set(f"differs:{source}", alarm)

    async def _set(self, key: str, alarm: HeaderAlarm | None) -> None:
        before = self.standing.get(key)
        if alarm is not None:
            self.standing[key] = alarm
            if before is None or before.data != alarm.data:
                await self._tell(alarm)
        elif before is not None:
            del self.standing[key]
            await self._tell(HeaderAlarm("info", before.kind, f"over: {before.text}", before.data))

    # Conditions

    async def _look_at_swap(self) -> None:
        held, alarm = self._feed.held, None
        if held is not None:
            r = held.reorg
            data = {"depth": r.depth, "fork_height": r.fork.height, "refused": held.refused}
            alarm = HeaderAlarm("page", "wrong_node", str(held), data)
        await self._set("wrong_node", alarm)
        lacks, alarm = self._feed.lacks, None
        if held is None and lacks > SWAPPED:
            text = (
                f"our bitcoind lacks the newest {lacks} blocks of the heaviest chain that it gave us: see whether "
                "it is catching up again, holds one of them to be invalid, or was swapped"
            )
            alarm = HeaderAlarm("page", "node_behind", text)
        await self._set("node_behind", alarm)

    async def _look_at_clock(self, now: float) -> None:
        alarm, idle = None, now - self.moved_at
        if self._stale_after and idle >= self._stale_after:
            text = (
                f"no block for {idle / 60:.0f} minutes, the last one is {self._tip.height}: "
                "see whether bitcoind has peers, and what other nodes say"
            )
            alarm = HeaderAlarm("page", "stale_tip", text, {"height": self._tip.height})
        await self._set("stale_tip", alarm)

    async def _look_at_future(self) -> None:
        alarm = None
        if self._feed.deferred:
            text = (
                "bitcoind follows a block that is dated more than two hours ahead of this machine's clock, which "
                "waits until then: set the clock, or find out who made that block"
            )
            alarm = HeaderAlarm("page", "from_the_future", text)
        await self._set("from_the_future", alarm)

    async def _look_at_rivals(self) -> None:
        chain, rivals = self._feed.chain, dict[str, HeaderAlarm]()
        within = self._feed.k * work_of(chain.tip.header.bits)
        for head in chain.heads:
            if head.work + within <= chain.tip.work or chain.is_main(head.hash) or head.hash in self._left:
                continue
            fork = chain.fork_point(chain.tip, head)
            if head.height - fork.height >= RIVAL:
                first = head.ancestor(fork.height + 1)
                assert first is not None, "a rival begins above the fork"
                rivals[f"rival:{display(first.hash)}"] = _rival_alarm(head, fork, first)
        for key in [k for k in self.standing if k.startswith("rival:") and k not in rivals]:
            await self._set(key, None)
        for key, alarm in rivals.items():
            await self._set(key, alarm)

    # Branches that bitcoind knows and does not follow

    async def _learn_rivals(self) -> None:
        if self._bitcoind is None:
            return
        chain = self._feed.chain
        try:
            for height, block, status in await self._bitcoind.chain_tips():
                near = height > chain.tip.height - RIVAL_HEADERS
                if (
                    near
                    and status in ("valid-fork", "valid-headers", "headers-only")
                    and not chain.get(block)
                ):
                    await self._keep(await self._branch(self._bitcoind, block))
        except NodeError as error:  # the round itself says that bitcoind is down
            log.info("branches_unknown", error=str(error))

    async def _branch(self, bitcoind: Branches, tip: BlockHash) -> list[Header]:
        """The headers from just above what we know to a branch's tip; none when it is too long."""
        found: list[Header] = []
        while self._feed.chain.get(tip) is None:
            if len(found) == RIVAL_HEADERS:
                log.warning("rival_too_long", tip=display(tip), most=RIVAL_HEADERS)
                return []
            found.append(Header.parse(await bitcoind.header_bytes(tip)))
            tip = found[-1].parent
        return found[::-1]

    async def _keep(self, branch: Sequence[Header]) -> None:
        """Take a branch that does not move our tip: what bitcoind itself follows comes by the feed alone."""
        chain, now = self._feed.chain, int(self._clock())
        trial = chain.fork()
        try:
            deferred = any(isinstance(trial.add(header, now), Deferred) for header in branch)
        except HeaderRefused as refused:
            log.warning("rival_refused", error=str(refused))
            return
        if deferred or trial.tip is not chain.tip:
            return
        aside = [at for header in branch if (at := trial.get(header.hash)) is not None]
        await self._feed.ledger.keep(aside, None, "info", now)
        await self._feed.ledger.sighted(OWN, [at.hash for at in aside], now)
        chain.become(trial)

    # The stream

    def _stream_move(self, gone: Sequence[HeaderAt], came: Sequence[HeaderAt]) -> None:
        if self._stream is None:
            return
        for kind, blocks in (("gone", gone), ("block", came)):
            for at in blocks:
                self._stream.tell(
                    kind, {"height": at.height, "hash": display(at.hash), "time": at.header.time}
                )


def _newest(tip: HeaderAt, fork: HeaderAt) -> list[HeaderAt]:
    """A branch from its tip down to above the fork, as much of it as is told: a first read has a million blocks."""
    return list(branch(tip, tip.ancestor(max(fork.height, tip.height - TOLD_BLOCKS))))


def stale_after(network: Network, minutes: int) -> float:
    """Return the seconds without a block that are an alarm; -1 `minutes` are the network's own, 0 is never."""
    return float(STALE_AFTER[network.name] if minutes < 0 else 60 * minutes)


def _reorg_alarm(row: ReorgRow) -> HeaderAlarm:
    data = {
        "reorg": row.id,
        "depth": row.depth,
        "fork_height": row.fork_height,
        "old_tip": display(row.old_tip),
        "new_tip": display(row.new_tip),
    }
    blocks = "1 block" if row.depth == 1 else f"{row.depth} blocks"
    text = f"a reorg disconnected {blocks} above height {row.fork_height}: {_MEANING[row.level]}"
    return HeaderAlarm(row.level, "reorg", text, data)


def _rival_alarm(head: HeaderAt, fork: HeaderAt, first: HeaderAt) -> HeaderAlarm:
    length = head.height - fork.height
    text = (
        f"a rival branch of {length} blocks grows from height {fork.height}, its tip is {display(head.hash)}"
    )
    data = {"fork_height": fork.height, "first": display(first.hash), "tip": display(head.hash)}
    return HeaderAlarm("warning", "rival", text, data)
