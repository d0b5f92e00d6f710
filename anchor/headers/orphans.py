"""Headers that came before their parents, held until these come: so a chain can be fed in any order.

What is held is bounded: a newcomer pushes out the one that has waited longest, and a header must at least carry
the work that it claims, within the network's limit. Whoever is pushed out may come again.
"""

from collections import deque
from dataclasses import dataclass

from anchor.btc.header import Header
from anchor.btc.ids import BlockHash
from anchor.headers.chain import Added, Deferred, HeaderChain, Known
from anchor.headers.rules import HeaderRefused, check_work

LIMIT = 4032  # headers; some 4 MB


@dataclass(frozen=True, slots=True)
class Held:
    """The header waits for its parent."""

    hash: BlockHash
    parent: BlockHash


Outcome = Added | Known | Deferred | Held


class Orphans:
    """At most `limit` headers whose parents a chain lacks."""

    def __init__(self, limit: int = LIMIT) -> None:
        assert limit > 0
        self._limit = limit
        self._waiting: dict[BlockHash, Header] = {}  # the longest first
        self._children: dict[BlockHash, dict[BlockHash, None]] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, block: BlockHash) -> bool:
        return block in self._waiting

    def offer(self, chain: HeaderChain, header: Header, now: int | None = None) -> list[Outcome]:
        """Add a header to the chain, and after it all that waited for it; what became of it comes first.

        An orphan is held. Raises HeaderRefused when the header itself is invalid; one that had waited and turns
        out to be invalid is dropped, and so is what waits for it, in time.
        """
        if chain.get(header.parent) is None and chain.get(header.hash) is None:
            check_work(chain.rules, header)
            self._hold(header)
            return [Held(header.hash, header.parent)]
        results: list[Outcome] = [chain.add(header, now)]
        ready = deque(self._released(header.hash)) if not isinstance(results[0], Deferred) else deque()
        while ready:
            child = ready.popleft()
            try:
                result = chain.add(child, now)
            except HeaderRefused:
                continue
            results.append(result)
            if not isinstance(result, Deferred):
                ready += self._released(child.hash)
        return results

    def _hold(self, header: Header) -> None:
        if header.hash in self._waiting:
            return
        while len(self._waiting) >= self._limit:
            self._forget(next(iter(self._waiting)))
        self._waiting[header.hash] = header
        self._children.setdefault(header.parent, {})[header.hash] = None

    def _released(self, parent: BlockHash) -> list[Header]:
        return [self._waiting.pop(block) for block in self._children.pop(parent, ())]

    def _forget(self, block: BlockHash) -> None:
        header = self._waiting.pop(block)
        siblings = self._children[header.parent]
        del siblings[block]
        if not siblings:
            del self._children[header.parent]
