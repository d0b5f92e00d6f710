"""Where headers come from: an own bitcoind, or a committee node's `/v1/headers`. Nothing here is believed.

`pull` finds where a source's chain leaves ours and reads on from there; `take` validates what it brought.
"""

from collections.abc import AsyncIterator, Callable
from typing import Any, Protocol, TypeVar, runtime_checkable

import aiohttp
import msgspec
import structlog

from anchor.bitcoind import BadAnswer, Bitcoind
from anchor.bitcoind_rest import MOST, NoRest, Rest
from anchor.btc.hashing import sha256d
from anchor.btc.header import HEADER_SIZE, Header, HeaderError
from anchor.btc.ids import BlockHash, from_display
from anchor.headers.chain import Deferred, HeaderChain

T = TypeVar("T")

log = structlog.get_logger("anchor.feed")

PAGE = 2000
A_RUN = 50  # headers from which on a run is quicker than one by one
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


@runtime_checkable
class RawSource(Protocol):
    """A source that has headers as bytes anyway."""

    async def raws(self, start: int, count: int) -> bytes:
        """As `HeaderSource.headers`, 80 bytes each."""
        ...


class BitcoindSource:
    """The chain of one's own bitcoind: by REST where it serves that, else by JSON-RPC.

    `rest`: None finds out; False never asks.
    """

    def __init__(self, bitcoind: Bitcoind, *, rest: bool | None = None) -> None:
        self._bitcoind = bitcoind
        self._rest = None if rest is False else Rest(bitcoind.url)
        self._end: tuple[int, BlockHash] | None = None  # where the last page ended

    @property
    def by_rest(self) -> bool:
        """Whether REST is asked."""
        return self._rest is not None

    async def close(self) -> None:
        """Close what this source opened; the bitcoind client is its owner's."""
        if self._rest is not None:
            await self._rest.close()

    async def tip(self) -> tuple[int, BlockHash]:
        """Height and hash of bitcoind's tip."""
        height, block = await self._bitcoind.best()
        return height, block

    async def headers(self, start: int, count: int) -> list[Header]:
        """Headers of bitcoind's active chain."""
        return split(await self.raws(start, count), count)

    async def raws(self, start: int, count: int) -> bytes:
        """The same as bytes."""
        if self._rest is not None:
            try:
                return await self._by_rest(self._rest, start, min(count, MOST))
            except (NoRest, BadAnswer) as why:  # off, or something in between answers for it
                log.info("no_rest", url=self._rest.url, reason=str(why))
                await self.close()
                self._rest = None
        return b"".join(header.raw for header in await self._bitcoind.headers(start, count))

    async def _by_rest(self, rest: Rest, start: int, count: int) -> bytes:
        raw = b""
        if self._end is not None and self._end[0] == start - 1:  # go on behind the last page, one answer less
            raw = (await rest.headers(self._end[1], min(count + 1, MOST)))[HEADER_SIZE:]
        if not raw:
            block = await self._bitcoind.block_hash(start)
            raw = b"" if block is None else await rest.headers(block, count)
        if raw:
            self._end = start + len(raw) // HEADER_SIZE - 1, BlockHash(sha256d(raw[-HEADER_SIZE:]))
        return raw


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
        return self._read(lambda: split(bytes.fromhex(answer["headers"]), count))

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
                data = bytearray()
                async for chunk in response.content.iter_any():  # `read(n)` gives what came so far
                    data += chunk
                    if len(data) > _MAX_ANSWER:
                        raise SourceError(f"{self.url} answered too much to /v1/headers")
                return _json(bytes(data))
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


def split(data: bytes, most: int) -> list[Header]:
    """Read whole headers, at most so many; HeaderError otherwise."""
    if len(data) % HEADER_SIZE or len(data) > most * HEADER_SIZE:
        raise HeaderError("not a whole number of headers, or more than were asked for")
    return [Header.parse(data[i : i + HEADER_SIZE]) for i in range(0, len(data), HEADER_SIZE)]


async def _raws(source: HeaderSource, start: int, count: int) -> bytes:
    if isinstance(source, RawSource):
        return await source.raws(start, count)
    return b"".join(header.raw for header in await source.headers(start, count))


async def pull(chain: HeaderChain, source: HeaderSource, goal: int) -> AsyncIterator[bytes]:
    """Yield pages of raw headers that `chain` lacks, up to height `goal`; the first extends a known header.

    `chain` is only read and may grow between pages. Ends early when the source's chain changes on the way: the
    next round continues. Raises Stranger when nothing is in common.
    """
    page = await _raws(source, chain.tip.height + 1, min(PAGE, max(goal - chain.tip.height, 1)))
    parent = chain.get(_parent(page)) if page else None
    if parent is None:
        shared = await _shared(chain, source, min(chain.tip.height, goal))
        page = await _raws(source, shared + 1, PAGE)
        parent = chain.get(_parent(page)) if page else None
        if parent is None:
            return
    height = parent.height
    while page:
        yield page
        height += len(page) // HEADER_SIZE
        if height >= goal:
            return
        last = sha256d(page[-HEADER_SIZE:])
        page = await _raws(source, height + 1, PAGE)
        if page and _parent(page) != last:
            return


def _parent(page: bytes) -> BlockHash:
    return BlockHash(page[4:36])


def extends(chain: HeaderChain, page: bytes) -> bool:
    """Tell whether a page is worth taking as a run: many headers right upon the tip."""
    return len(page) >= A_RUN * HEADER_SIZE and _parent(page) == chain.tip.hash


def take(chain: HeaderChain, page: bytes, now: int | None = None) -> bool:
    """Add a page to the chain by all rules; False when one of its headers waits for its time.

    Raises HeaderRefused; what came before the refused one may be in the chain.
    """
    if extends(chain, page):
        return len(chain.extend(page, now)) * HEADER_SIZE == len(page)
    for at in range(0, len(page), HEADER_SIZE):
        if isinstance(chain.add(Header.parse(page[at : at + HEADER_SIZE]), now), Deferred):
            return False
    return True


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
