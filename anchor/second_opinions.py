"""Looks at a node's second sources now and then, and hands what they say to the alarms."""

import asyncio
from collections.abc import Callable, Sequence

import structlog

from anchor.feed import HeaderFeed
from anchor.header_alarms import HeaderAlarms
from anchor.second_source import Opinion, SecondSource

EVERY = 60.0  # seconds between two looks
FIRST = 0.2  # seconds between two glances at whether our own chain was read
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
        """Look for ever, all at once, after the feed's first read; a bug is logged and does not end it."""
        while self._sources:
            read = self._feed.last_sync is not None
            for result in await self._all() if read else ():
                if isinstance(result, BaseException):
                    log.error("second_opinion_failed", exc_info=result)
            await asyncio.sleep(EVERY if read else FIRST)

    async def _all(self) -> list[BaseException | None]:
        return await asyncio.gather(*map(self.look, self._sources), return_exceptions=True)

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
