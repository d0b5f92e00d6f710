"""One who listens to a node's event stream."""

from types import TracebackType
from typing import Self

import aiohttp


class Listener:
    """A connection to `/v1/stream`; `next` waits for the next event of a kind and gives its data."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._session = aiohttp.ClientSession(trust_env=False, timeout=aiohttp.ClientTimeout(total=None))

    async def __aenter__(self) -> Self:
        self._response = await self._session.get(self._url)
        assert self._response.status == 200
        while (await self._response.content.readline()).strip():  # the greeting
            pass
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._response.close()
        await self._session.close()

    async def next(self, kind: str) -> bytes:
        named = b""
        while line := await self._response.content.readline():
            if line.startswith(b"event: "):
                named = line[7:].strip()
            elif line.startswith(b"data: ") and named == kind.encode():
                return line[6:].strip()
        raise ConnectionError("the stream has ended")
