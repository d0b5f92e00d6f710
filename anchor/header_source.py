"""Where headers come from: an own bitcoind, or a committee node's `/v1/headers`. Nothing here is believed.

`pull` finds where a source's chain leaves ours and reads on from there; the caller validates every header.
"""

from collections.abc import AsyncIterator, Callable
from typing import Any, Protocol, TypeVar

import aiohttp
import msgspec

from anchor.bitcoind import Bitcoind
from anchor.btc.header import HEADER_SIZE, Header, HeaderError
from anchor.btc.ids import BlockHash, from_display
from anchor.headers.chain import HeaderChain

T = TypeVar("T")

PAGE = 2000
_FIRST_LOOK = 16
_MAX_ANSWER = 1_000_000


class SourceError(Exception):
    """A source that does not answer or answers nonsense; the sentence names the next move."""


class Stranger(SourceError):
    """A source whose chain has no header in common with ours."""


class HeaderSource(Protocol):
    """The active chain of somebody's node."""

    async def tip(self) -> tuple[int, BlockHash]:
        """Height and hash of the source's tip."""
        ...

    async def headers(self, start: int, count: int) -> list[Header]:
        """Up to `count` linked headers of the active chain from height `start`; fewer at the tip."""
        ...


class BitcoindSource:
    """The chain of one's own bitcoind."""

    def __init__(self, bitcoind: Bitcoind) -> None:
        self._bitcoind = bitcoind

    async def tip(self) -> tuple[int, BlockHash]:
        """Height and hash of bitcoind's tip."""
        height, block = await self._bitcoind.best()
        return height, block

    async def headers(self, start: int, count: int) -> list[Header]:
        """Headers of bitcoind's active chain."""
        return await self._bitcoind.headers(start, count)


class HttpSource:
    """The chain of a committee node, by its public `GET /v1/headers`; `url` is the node's root."""

    def __init__(self, url: str, *, timeout: float = 10.0) -> None:
        self.url = url.rstrip("/")
        self._timeout = aiohttp.ClientTimeout(total=timeout)
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def tip(self) -> tuple[int, BlockHash]:
        """Height and hash of the node's tip."""
        answer = await self._get({})
        return self._read(lambda: (int(answer["tip_height"]), BlockHash(from_display(answer["tip_hash"]))))

    async def headers(self, start: int, count: int) -> list[Header]:
        """Headers of the node's main chain."""
        answer = await self._get({"from": str(start), "count": str(min(count, PAGE))})
        return self._read(lambda: _split(bytes.fromhex(answer["headers"]), count))

    def _read(self, read: Callable[[], T]) -> T:
        try:
            return read()
        except (KeyError, TypeError, ValueError, HeaderError) as error:
            raise SourceError(
                f"{self.url} answered nonsense to /v1/headers: is it a node's public port?"
            ) from error

    async def _get(self, query: dict[str, str]) -> Any:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=self._timeout, trust_env=False)
        try:
            async with self._session.get(f"{self.url}/v1/headers", params=query) as response:
                if response.status != 200:
                    raise SourceError(f"{self.url} answered {response.status} to /v1/headers")
                data = await response.content.read(_MAX_ANSWER)
                if not response.content.at_eof():
                    raise SourceError(f"{self.url} answered too much to /v1/headers")
                return _json(data)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            why = str(error) or type(error).__name__
            raise SourceError(
                f"{self.url} does not answer ({why}): start the node, or correct the URL"
            ) from error


def _json(data: bytes) -> Any:
    answer = msgspec.json.decode(data)
    if not isinstance(answer, dict):
        raise SourceError("an answer that is no JSON object")
    return answer


def _split(data: bytes, most: int) -> list[Header]:
    if len(data) % HEADER_SIZE or len(data) > most * HEADER_SIZE:
        raise HeaderError("not a whole number of headers, or more than were asked for")
    return [Header.parse(data[i : i + HEADER_SIZE]) for i in range(0, len(data), HEADER_SIZE)]


async def pull(chain: HeaderChain, source: HeaderSource, goal: int) -> AsyncIterator[list[Header]]:
    """Yield pages of headers that `chain` lacks, up to height `goal`; the first extends a known header.

    `chain` is only read and may grow between pages. Ends early when the source's chain changes on the way: the
    next round continues. Raises Stranger when nothing is in common.
    """
    page = await source.headers(chain.tip.height + 1, min(PAGE, max(goal - chain.tip.height, 1)))
    if not page or chain.get(page[0].parent) is None:
        shared = await _shared(chain, source, min(chain.tip.height, goal))
        page = await source.headers(shared + 1, PAGE)
        if not page or chain.get(page[0].parent) is None:
            return
    parent = chain.get(page[0].parent)
    assert parent is not None
    height = parent.height
    while page:
        yield page
        height += len(page)
        if height >= goal:
            return
        last = page[-1].hash
        page = await source.headers(height + 1, PAGE)
        if page and page[0].parent != last:
            return


async def _shared(chain: HeaderChain, source: HeaderSource, top: int) -> int:
    """The height of the newest header of the source's chain that we know."""
    look, root = _FIRST_LOOK, chain.start.height
    while top >= root:
        bottom = max(root, top - look + 1)
        page = await source.headers(bottom, top - bottom + 1)
        for at in range(len(page) - 1, -1, -1):
            if chain.get(page[at].hash) is not None:
                return bottom + at
        top, look = bottom - 1, min(look * 4, PAGE)
    raise Stranger("that node's chain has no header in common with ours: check its network")
