"""Looks at a node's second sources now and then, and hands what they say to the alarms."""

import asyncio
from collections.abc import Callable, Sequence

import structlog

from anchor.feed import HeaderFeed
from anchor.header_alarms import HeaderAlarms
from anchor.second_source import Opinion, SecondSource

EVERY = 60.0  # seconds between two looks
_STANDING = ("relation", "rule", "fork_height", "fork")  # what stays the same while the numbers grow

log = structlog.get_logger("anchor.second_opinions")


class SecondOpinions:
    """The second sources of a feed; `opinions` holds what each said last, by name."""

    def __init__(
        self,
        sources: Sequence[SecondSource],
        feed: HeaderFeed,
        alarms: HeaderAlarms,
        *,
        clock: Callable[[], float],
    ) -> None:
        self._sources, self._feed, self._alarms, self._clock = sources, feed, alarms, clock
        self.opinions: dict[str, Opinion] = {}

    async def run(self) -> None:
        """Look for ever, all at once; a bug is logged and does not end it."""
        while self._sources:
            for result in await asyncio.gather(*map(self.look, self._sources), return_exceptions=True):
                if isinstance(result, BaseException):
                    log.error("second_opinion_failed", exc_info=result)
            await asyncio.sleep(EVERY)

    async def look(self, source: SecondSource) -> None:
        """Ask one source; keep what it has seen, raise or end its alarm."""
        opinion = await source.look(self._feed.chain)
        self.opinions[source.name] = opinion
        await self._feed.ledger.sighted(source.name, opinion.seen, int(self._clock()))
        if opinion.relation == "silent" and opinion.differs is None:
            return  # nothing is known anew
        data = {key: opinion.data[key] for key in _STANDING if key in opinion.data}
        await self._alarms.differs(source.name, opinion.differs, **data)

    async def close(self) -> None:
        """Close the connections."""
        for source in self._sources:
            await source.close()
