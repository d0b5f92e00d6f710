"""Follows the headers of several nodes' public ports, for the sequencer: what most of them agree on counts."""

import asyncio
from collections.abc import Sequence

import structlog

from anchor.btc.hashing import sha256d
from anchor.btc.header import HEADER_SIZE
from anchor.btc.ids import BlockHash, display
from anchor.header_source import HttpSource, SourceError, pull, take
from anchor.headers import bundle as bundles
from anchor.headers.bundle import Bundle
from anchor.headers.chain import HeaderAt, HeaderChain

ROUND = 10.0  # seconds that each of a sequencer's nodes has to answer
SUSPECT = 2.0  # seconds for one that failed the last time: it shall not hold up the others

log = structlog.get_logger("anchor.feed")


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
                take(self.chain, page)
                self.at = self.chain.get(BlockHash(sha256d(page[-HEADER_SIZE:])))
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
        tips = {node.source.url: node.at for node in self._nodes if node.at is not None}
        event, apart = "nodes_on_another_branch", [u for u, at in tips.items() if not _in_line(at, agreed)]
        heaviest = max(tips.values(), key=lambda at: at.work)
        if not apart and not all(_in_line(at, heaviest) for at in tips.values()):
            event, apart = "nodes_disagree", [*tips]  # too few on any branch: it brings no headers meanwhile
        if apart != self._apart:
            self._apart = apart
            log.warning(event, nodes=apart, agreed=display(agreed.hash), height=agreed.height)

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
