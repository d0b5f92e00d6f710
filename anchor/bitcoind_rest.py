"""bitcoind's REST interface, as far as headers go: 2,000 raw headers in one answer, where it runs with `-rest`."""

from urllib.parse import urlsplit, urlunsplit

import aiohttp

from anchor.btc.hashing import sha256d
from anchor.btc.header import HEADER_SIZE
from anchor.btc.ids import BlockHash, display
from anchor.jsonrpc import BadAnswer, Unreachable

MOST = 2000  # headers in one answer (MAX_REST_HEADERS_RESULTS in Core's rest.cpp)


class NoRest(Exception):
    """This bitcoind does not serve REST; JSON-RPC says the same, more slowly."""


class Rest:
    """The headers of one bitcoind by REST; `url` is its RPC port, which serves both. No credentials are sent."""

    def __init__(self, url: str, *, timeout: float = 30.0) -> None:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
        self.url = urlunsplit((parts.scheme, host, "", "", ""))
        self._timeout = aiohttp.ClientTimeout(total=timeout)
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def headers(self, block: BlockHash, count: int) -> bytes:
        """Return up to `count` (at most 2,000) raw headers of the active chain from `block` on, itself included.

        Nothing when the node does not have it on its active chain. Raises NoRest, Unreachable or BadAnswer.
        """
        assert 0 < count <= MOST
        status, raw = await self._get(f"{self.url}/rest/headers/{display(block)}.bin?count={count}", count)
        if status == 503:
            raise Unreachable(f"bitcoind at {self.url} is warming up or busy: try again")
        if status != 200:
            raise NoRest(f"bitcoind at {self.url} answers {status} to /rest/headers: start it with -rest=1")
        if len(raw) % HEADER_SIZE or (raw and sha256d(raw[:HEADER_SIZE]) != block):
            raise BadAnswer(
                f"{self.url} does not answer /rest/headers like bitcoind: check that it is its port"
            )
        return raw

    async def _get(self, url: str, count: int) -> tuple[int, bytes]:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=self._timeout, trust_env=False)
        try:
            async with self._session.get(url, allow_redirects=False) as response:
                limit, data = count * HEADER_SIZE, b""
                async for chunk in response.content.iter_any():
                    data += chunk
                    if len(data) > limit:
                        break
                if response.status == 200 and len(data) > limit:
                    raise BadAnswer(f"{self.url} answers more headers than were asked for: check the URL")
                return response.status, data
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            why = str(error) or type(error).__name__
            raise Unreachable(
                f"bitcoind at {self.url} does not answer ({why}): start it, or correct the URL"
            ) from error
