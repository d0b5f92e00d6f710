"""Follows a chain of headers: the own bitcoind's (`HeaderFeed`) or, for the sequencer, some nodes' (`RemoteFeed`).

Every header is validated here; ZMQ only wakes us. What left the main chain and every reorg are kept for ever.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from anchor.bitcoind import Bitcoind
from anchor.btc.header import Header
from anchor.btc.ids import BlockHash, display
from anchor.btc.network import Network
from anchor.header_file import HeaderFile
from anchor.header_ledger import HeaderLedger, ReorgRow
from anchor.header_source import BitcoindSource, HeaderSource, HttpSource, SourceError, pull
from anchor.header_tables import HeaderTables
from anchor.headers import bundle as bundles
from anchor.headers.bundle import Bundle
from anchor.headers.chain import Deferred, HeaderAt, HeaderChain, Reorg
from anchor.headers.rules import HeaderRefused, rules_of
from anchor.wake import Wake

SWAPPED = 10  # more blocks than this disconnected at once look like another node, not like a reorg
ROUND = 10.0  # seconds that each of a sequencer's nodes has to answer
SUSPECT = 2.0  # seconds for one that failed the last time: it shall not hold up the others

log = structlog.get_logger("anchor.feed")


@dataclass(frozen=True, slots=True)
class Connected:
    """A block joined the main chain."""

    height: int
    hash: BlockHash


@dataclass(frozen=True, slots=True)
class Disconnected:
    """A block left the main chain."""

    height: int
    hash: BlockHash


@dataclass(frozen=True, slots=True)
class Reorged:
    """The main chain turned; `level` is info, warning, page or pause. Comes before its blocks' events."""

    reorg: Reorg
    level: str


ChainEvent = Connected | Disconnected | Reorged


class WrongNode(Exception):
    """So many blocks would be disconnected that the node was probably swapped; nothing was changed."""

    def __init__(self, reorg: Reorg) -> None:
        super().__init__(
            f"our bitcoind now lacks {reorg.depth} blocks that it had (from height {reorg.fork.height + 1}): if it "
            f"is still the right node, confirm its tip {display(reorg.new_tip.hash)}; if not, correct the URL"
        )
        self.reorg = reorg


def level_of(depth: int, k: int) -> str:
    """How loud a reorg of `depth` disconnected blocks is: 1 info, 2 warning, 3 to k-1 page, k and more pause."""
    if depth >= k:
        return "pause"
    return {1: "info", 2: "warning"}.get(depth, "page")


class HeaderFeed:
    """The header chain of one's own bitcoind, kept in `folder/main.bin` and two tables.

    `start` is the trusted first header and its height; without it the network's genesis. `sync` is to be called
    by one task; everything else only reads. Events are not kept: after a restart compare `chain` with your own
    last block.
    """

    def __init__(
        self,
        source: HeaderSource | Bitcoind,
        network: Network,
        folder: Path,
        engine: AsyncEngine,
        tables: HeaderTables,
        *,
        k: int,
        start: tuple[int, Header] | None = None,
        zmq_url: str | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._source = BitcoindSource(source) if isinstance(source, Bitcoind) else source
        height, header = start or (0, Header.parse(network.genesis))
        self.chain = HeaderChain(rules_of(network), header, height)
        self.k = k
        self.node_tip: HeaderAt = self.chain.tip
        self.last_sync: float | None = None
        self.held: WrongNode | None = None
        self._file = HeaderFile(folder / "main.bin")
        self._ledger = HeaderLedger(engine, tables)
        self._wake = Wake(zmq_url)
        self._clock = clock
        self._confirmed: BlockHash | None = None

    async def open(self) -> None:
        """Read file and forks, validating everything; what is damaged is cut off and read again from bitcoind.

        Raises SourceError when the file begins with another header, or when `zmq_url` is no address.
        """
        self._wake.open()
        raws = self._file.load()
        if raws and raws[0] != self.chain.start.header.raw:
            raise SourceError(
                f"{self._file.path} begins with another header, so it belongs to another network or start: "
                "move it away, and the headers are read again from bitcoind"
            )
        for index, raw in enumerate(raws[1:], 1):
            try:
                self.chain.add(Header.parse(raw))
            except HeaderRefused as error:
                log.warning("header_file_damaged", at=index, error=str(error))
                break
        for raw in await self._ledger.forks():
            try:
                self.chain.add(Header.parse(raw))
            except HeaderRefused as error:  # its branch's foot was cut off above
                log.info("fork_header_skipped", error=str(error))
        self._mend_file(raws)
        self.node_tip = self.chain.tip

    def _mend_file(self, raws: Sequence[bytes]) -> None:
        # A crash between table and file, or damage, leaves a file that is not the main chain: write it again.
        start, tip = self.chain.start.height, self.chain.tip
        if raws and len(raws) == tip.height - start + 1 and raws[-1] == tip.header.raw:
            return
        same = 0
        while same < len(raws) and (at := self.chain.at_height(start + same)) and at.header.raw == raws[same]:
            same += 1
        missing = self.chain.main(start + same, tip.height - start + 1 - same)
        self._file.replace(same, [at.header.raw for at in missing])

    async def close(self) -> None:
        """Stop listening."""
        self._wake.close()

    async def wait(self, seconds: float) -> None:
        """Return when bitcoind says that something happened, at the latest after so many seconds."""
        await self._wake.wait(seconds)

    async def sync(self) -> list[ChainEvent]:
        """Follow bitcoind to its tip; return what changed, in order.

        Raises WrongNode when more than 10 blocks would go at once (until `confirm`), HeaderRefused for an invalid
        header, and the source's errors; what was taken before stays.
        """
        height, block = await self._source.tip()
        events: list[ChainEvent] = []
        if self.chain.get(block) is None:
            async for page in pull(self.chain, self._source, height):
                events += await self._take(page)
                if self.chain.get(page[-1].hash) is None:
                    break  # deferred by the two-hour rule
        node_tip = self.chain.get(block)
        if node_tip is not None:
            self.node_tip = node_tip
        self.last_sync, self.held = self._clock(), None
        return events

    def confirm(self, tip: BlockHash) -> None:
        """The operator's word that the chain with this tip is right, however much it disconnects."""
        self._confirmed, self.held = tip, None

    async def _take(self, page: Sequence[Header]) -> list[ChainEvent]:
        trial = self.chain.fork()
        for header in page:
            if isinstance(trial.add(header, int(self._clock())), Deferred):
                log.warning("header_deferred", hash=display(header.hash), time=header.time)
                break
        old, new = self.chain.tip, trial.tip
        reorg = trial.reorg(old, new)
        if reorg.depth:
            self._refuse_stranger(trial, reorg)
        level = level_of(reorg.depth, self.k)
        now = int(self._clock())
        aside = [at for at in (trial.get(h.hash) for h in page) if at and not trial.is_main(at.hash)]
        await self._ledger.keep(aside, reorg if reorg.depth else None, level, now)
        if reorg.connected:
            first = reorg.fork.height + 1 - self.chain.start.height
            self._file.replace(first, [at.header.raw for at in reorg.connected])
        self.chain.become(trial)
        return _events(reorg, level)

    def _refuse_stranger(self, trial: HeaderChain, reorg: Reorg) -> None:
        confirmed = self._confirmed is not None and trial.is_main(self._confirmed)
        if reorg.depth > SWAPPED and not confirmed:
            self.held = WrongNode(reorg)
            raise self.held

    # Questions

    def on_own_chain(self, block: BlockHash) -> bool:
        """Tell whether a block is on the active chain of our own bitcoind, as of the last sync."""
        node = self.chain.get(block)
        return node is not None and self.node_tip.ancestor(node.height) is node

    @property
    def agrees(self) -> bool:
        """Whether bitcoind's tip is our heaviest one: no while it holds a heavier branch to be invalid."""
        return self.node_tip is self.chain.tip

    def bundle_for(self, view: HeaderChain, limit: int = bundles.MAX_HEADERS_PER_BUNDLE) -> Bundle | None:
        """The next bundle that brings a rollup's view towards our chain; None when it is there."""
        return bundles.make(view, self.chain, limit)

    async def reorgs(self, limit: int = 50, before: int | None = None) -> list[ReorgRow]:
        """The ledger of reorgs, newest first; `before` is the id of the last one already seen."""
        return await self._ledger.reorgs(limit, before)


class _Node:
    """One node as one source of several: its chain, and where it stood when it was last asked."""

    def __init__(self, source: HttpSource, view: HeaderChain) -> None:
        self.source, self.chain = source, view.fork()
        self.at: HeaderAt | None = None
        self.trouble: Exception | None = None

    async def look(self) -> None:
        """Read what is new; `at` is None afterwards when it did not answer, or not truly."""
        patience = ROUND if self.trouble is None else SUSPECT
        self.at = self.trouble = None
        try:
            async with asyncio.timeout(patience):
                await self._read()
        except TimeoutError as error:  # what it gave so far counts, so that a long chain takes several rounds
            if self.at is None:
                self.trouble = SourceError(
                    f"{self.source.url} did not answer within {patience:g} s: look after it"
                )
                self.trouble.__cause__ = error
        except Exception as error:  # whatever one node does, the others count
            self.at, self.trouble = None, error

    async def _read(self) -> None:
        height, block = await self.source.tip()
        if self.chain.get(block) is None:
            async for page in pull(self.chain, self.source, height):
                for header in page:
                    self.chain.add(header)
                self.at = self.chain.get(page[-1].hash)
        self.at = self.chain.get(block) or self.at
        if self.at is None:
            raise SourceError(f"{self.source.url} changed its chain while it was read: it is asked again")


class RemoteFeed:
    """The same for a sequencer, from nodes' `/v1/headers`. Kept in memory only; begins at the rollup's view.

    `agreed` is the newest header that more than half of the nodes which answered in the last round have on their
    main chain, None while none answers. So one of three may lie or lag, two must agree, and one alone is believed.
    """

    def __init__(self, urls: Sequence[str], view: HeaderChain) -> None:
        assert urls, "a sequencer needs a node to read headers from"
        self.agreed: HeaderAt | None = None
        # Who is named twice has one voice.
        self._nodes = [_Node(HttpSource(url), view) for url in dict.fromkeys(u.rstrip("/") for u in urls)]
        self._apart: list[str] = []

    async def close(self) -> None:
        """Close the connections."""
        for node in self._nodes:
            await node.source.close()

    async def sync(self) -> bool:
        """Ask all nodes at once; tell whether what they agree on moved. Raises SourceError when none answers."""
        before = self.agreed
        await asyncio.gather(*(node.look() for node in self._nodes))
        self.agreed = agreed_by_most([node.at for node in self._nodes if node.at is not None])
        if self.agreed is None:
            trouble = self._nodes[0].trouble
            raise SourceError(str(trouble)) from trouble
        self._tell_apart(self.agreed)
        return self.agreed is not before

    def _tell_apart(self, agreed: HeaderAt) -> None:
        apart = [
            node.source.url for node in self._nodes if node.at is not None and not _in_line(node.at, agreed)
        ]
        if apart != self._apart:
            self._apart = apart
            log.warning("nodes_on_another_branch", nodes=apart, agreed=display(agreed.hash))

    def has(self, height: int, block: BlockHash) -> bool | None:
        """Tell whether a block is on the chain that the nodes agree on; None while none answers."""
        if self.agreed is None:
            return None
        at = self.agreed.ancestor(height)
        return at is not None and at.hash == block

    def bundle_for(self, view: HeaderChain, limit: int = bundles.MAX_HEADERS_PER_BUNDLE) -> Bundle | None:
        """The next bundle that brings the rollup's view towards `agreed`; None when it is there."""
        return None if self.agreed is None else bundles.towards(view, self.agreed, limit)


def agreed_by_most(tips: Sequence[HeaderAt]) -> HeaderAt | None:
    """Return the newest header that is on the branches of more than half of `tips`, None for no tips.

    The tips are headers of forks of one chain.
    """
    need, best = len(tips) // 2 + 1, None
    for tip in tips:
        low, high = tip.root, tip.height  # all share the start
        while low < high:
            middle = (low + high + 1) // 2
            at = tip.ancestor(middle)
            if sum(other.ancestor(middle) is at for other in tips) >= need:
                low = middle
            else:
                high = middle - 1
        at = tip.ancestor(low)
        # Two majorities share a tip, so their headers are on one branch and the higher one has more work.
        if at is not None and (best is None or at.height > best.height):
            best = at
    return best


def _in_line(a: HeaderAt, b: HeaderAt) -> bool:
    height = min(a.height, b.height)
    return a.ancestor(height) is b.ancestor(height)


def _events(reorg: Reorg, level: str) -> list[ChainEvent]:
    events: list[ChainEvent] = [Reorged(reorg, level)] if reorg.depth else []
    events += [Disconnected(at.height, at.hash) for at in reorg.disconnected]
    events += [Connected(at.height, at.hash) for at in reorg.connected]
    return events
