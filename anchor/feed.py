"""Follows the chain of headers of one's own bitcoind.

Every header is validated here; ZMQ only wakes us. What left the main chain and every reorg are kept for ever.
"""

import time
from collections.abc import Callable
from pathlib import Path

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from anchor.bitcoind import Bitcoind
from anchor.btc.hashing import sha256d
from anchor.btc.header import HEADER_SIZE, Header
from anchor.btc.ids import BlockHash, display
from anchor.btc.network import Network
from anchor.header_events import (
    SWAPPED,
    ChainEvent,
    Connected,
    Disconnected,
    Reorged,
    WrongNode,
    events_of,
    level_of,
)
from anchor.header_ledger import HeaderLedger, ReorgRow, Word
from anchor.header_progress import Shows, SyncProgress
from anchor.header_source import BitcoindSource, HeaderSource, SourceError, extends, pull, split, take
from anchor.header_store import HeaderStore
from anchor.header_tables import HeaderTables
from anchor.headers import bundle as bundles
from anchor.headers.bundle import Bundle
from anchor.headers.chain import HeaderAt, HeaderChain, Reorg
from anchor.headers.rules import rules_of
from anchor.wake import Wake

__all__ = ["ChainEvent", "Connected", "Disconnected", "HeaderFeed", "Reorged", "WrongNode", "level_of"]

TOLD = 10_000  # events of one round that are kept
LIGHTER = 20_000  # headers of a branch with less work than ours that are taken from our own bitcoind

log = structlog.get_logger("anchor.feed")


class HeaderFeed:
    """The header chain of one's own bitcoind, kept in `folder/main.bin` and two tables.

    `start` is the trusted first header and its height; without it the network's genesis. `sync` is to be called
    by one task; everything else only reads. Events are not kept: after a restart compare `chain` with your own
    last block. `hold`: whether more than 10 disconnected blocks wait for `confirm`.
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
        hold: bool = True,
        progress: Shows | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._source = BitcoindSource(source) if isinstance(source, Bitcoind) else source
        height, header = start or (0, Header.parse(network.genesis))
        self.chain = HeaderChain(rules_of(network), header, height)
        self.k = k
        self.node_tip: HeaderAt = self.chain.tip
        self.last_sync: float | None = None
        self.held: WrongNode | None = None
        self.deferred = False  # whether a header of bitcoind's waits for our clock
        self.ledger = HeaderLedger(engine, tables)
        self._store = HeaderStore(folder, self.chain, self.ledger)
        self._wake = Wake(zmq_url)
        self._clock = clock
        self._words: dict[BlockHash, Word] = {}
        self._hold = hold
        self._progress = progress or SyncProgress()

    async def open(self) -> None:
        """Read file and forks, validating everything; what is damaged is cut off and read again from bitcoind.

        Raises SourceError when the file begins with another header, or when `zmq_url` is no address.
        """
        self._wake.open()
        await self._store.load()
        self._words = await self.ledger.words()
        self.node_tip = self.chain.tip

    async def close(self) -> None:
        """Stop listening."""
        self._wake.close()
        if isinstance(self._source, BitcoindSource):
            await self._source.close()

    async def wait(self, seconds: float) -> None:
        """Return when bitcoind says that something happened, at the latest after so many seconds."""
        await self._wake.wait(seconds)

    async def sync(self) -> list[ChainEvent]:
        """Follow bitcoind to its tip; return what changed, in order, the newest 10,000 events of a long read.

        Raises WrongNode when bitcoind lacks more than 10 blocks that it had and has others (until `confirm`),
        HeaderRefused for an invalid header, and the source's errors; what was taken before stays.
        """
        height, block = await self._source.tip()
        events: list[ChainEvent] = []
        if self.chain.get(block) is not None:
            self.deferred = False
        else:
            try:
                events = await self._read(height)
            finally:
                self._store.settle()
                self._progress.done()
        node_tip = self.chain.get(block)
        if node_tip is not None:
            self.node_tip = node_tip
        self.last_sync, self.held = self._clock(), None
        return events

    async def _read(self, goal: int) -> list[ChainEvent]:
        events, deferred = list[ChainEvent](), False
        async for page in pull(self.chain, self._source, goal):
            events += await self._take(page)
            del events[:-TOLD]
            self._progress.at(self.chain.tip.height, goal)
            if self.chain.get(BlockHash(sha256d(page[-HEADER_SIZE:]))) is None:  # by the two-hour rule
                deferred = True
                break
        if deferred and not self.deferred:
            log.warning("header_deferred", behind=display(self.chain.tip.hash))
        self.deferred = deferred
        return events

    def confirm(self, tip: BlockHash) -> None:
        """The operator's word that the chain with this tip is right, however much it goes back; until a restart."""
        self._words[tip] = "confirmed"
        self.held = None

    async def say(self, tip: BlockHash, word: Word) -> None:
        """Keep the operator's word on the chain with this tip: follow it however far it goes back, or never."""
        await self.ledger.say(tip, word, int(self._clock()))
        self._words[tip] = word
        if word == "confirmed":
            self.held = None

    async def _take(self, page: bytes) -> list[ChainEvent]:
        trial, old, now = self.chain.fork(), self.chain.tip, int(self._clock())
        hashes = trial.extend(page, now) if extends(trial, page) else []
        if hashes and self._words.keys().isdisjoint(hashes):
            self._store.append(old.height + 1, page[: len(hashes) * HEADER_SIZE])
            self.chain.become(trial)
            return [Connected(height, block) for height, block in enumerate(hashes, old.height + 1)]
        trial = self.chain.fork()
        take(trial, page, now)
        reorg = trial.reorg(old, trial.tip)
        came = (trial.get(header.hash) for header in split(page, len(page)))
        aside = [at for at in came if at and not trial.is_main(at.hash)]
        # A lighter chain moves nothing, and a node on it is as much another one.
        theirs = trial.reorg(old, aside[-1]) if aside and not reorg.connected else reorg
        self._refuse_stranger(theirs)
        if theirs is not reorg and len(theirs.connected) > LIGHTER:
            self.node_tip = theirs.fork
            raise SourceError(
                f"our bitcoind follows a chain of less work than ours since height {theirs.fork.height}, and more "
                f"than {LIGHTER} blocks of it are not kept: correct its URL, or, when it is right, move the folder "
                "with main.bin away, and all is read again"
            )
        level = level_of(reorg.depth, self.k)
        await self.ledger.keep(aside, reorg if reorg.depth else None, level, now)
        if reorg.connected:
            self._store.turn(trial, reorg)
        self.chain.become(trial)
        if reorg.depth:
            tips = {"old_tip": display(old.hash), "new_tip": display(trial.tip.hash)}
            log.warning("reorg", level=level, depth=reorg.depth, fork_height=reorg.fork.height, **tips)
        return events_of(reorg, level)

    def _refuse_stranger(self, reorg: Reorg) -> None:
        # Only words about what is new here: a tip confirmed long ago says nothing about the next reorg upon it.
        new = [(at.height, self._words[at.hash]) for at in reorg.connected if at.hash in self._words]
        word = max(new, default=(0, None))[1]
        if word == "refused" or (self._hold and reorg.depth > SWAPPED and word is None):
            self.held = WrongNode(reorg, refused=word == "refused")
            self.node_tip = reorg.fork  # the newest that it shares with us
            raise self.held

    # Questions

    def on_own_chain(self, block: BlockHash) -> bool:
        """Tell whether a block is on the active chain of our own bitcoind, as of the last sync."""
        node = self.chain.get(block)
        return node is not None and self.node_tip.ancestor(node.height) is node

    @property
    def agrees(self) -> bool:
        """Whether bitcoind's tip is our heaviest one: no while it is on another branch, followed or held."""
        return self.held is None and self.node_tip is self.chain.tip

    @property
    def lacks(self) -> int:
        """How many blocks of our heaviest chain bitcoind's active one does not have, as of the last sync."""
        return self.chain.tip.height - self.chain.fork_point(self.node_tip, self.chain.tip).height

    def bundle_for(self, view: HeaderChain, limit: int = bundles.MAX_HEADERS_PER_BUNDLE) -> Bundle | None:
        """The next bundle that brings a rollup's view towards our chain; None when it is there."""
        return bundles.make(view, self.chain, limit)

    async def reorgs(self, limit: int = 50, before: int | None = None) -> list[ReorgRow]:
        """The ledger of reorgs, newest first; `before` is the id of the last one already seen."""
        return await self.ledger.reorgs(limit, before)
