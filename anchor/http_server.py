"""The HTTP server under our applications, for ports that strangers reach.

aiohttp answers what is no HTTP in plain text and writes a traceback for each into the log, which a port scan would
fill. Here a stranger's garbage gets problem+json and no line, connections are bounded, and whoever sends half a
request is hung up on after a while.
"""

import asyncio
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_protocol import RequestHandler

from anchor.problem import Problem

MAX_CONNECTIONS = 512  # of one site: the process needs descriptors for bitcoind, peers and databases, too
IDLE_SECONDS = 30  # for a request's head, and between requests
_STRANGE = (HttpProcessingError, web.RequestPayloadError, ConnectionError)


class _Connection(RequestHandler):
    """One connection; what is wrong with the bytes on it is the other side's fault."""

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        if isinstance(exc, ConnectionError):
            raise exc  # gone in the middle of a request: there is nobody to answer
        if status >= 500:
            return super().handle_error(request, status, exc, message)
        title, remedy = "this is no request that this port takes", "speak HTTP/1.1 to it, without TLS"
        answer = Problem(status, "bad_http", title, remedy=remedy).response()
        answer.force_close()
        return answer

    @property
    def idle(self) -> bool:
        """Whether no whole request of it is under way, and it is not being closed."""
        return self._current_request is None and not self._force_close

    def log_exception(self, *args: Any, **kw: Any) -> None:
        if not isinstance(kw.get("exc_info"), _STRANGE):
            super().log_exception(*args, **kw)


class _Server(web.Server):
    """Makes such connections; when there are too many, the oldest that asks nothing goes."""

    def __call__(self) -> RequestHandler:
        return _Connection(self, loop=self._loop, **self._kwargs)

    def connection_made(self, handler: RequestHandler, transport: asyncio.Transport) -> None:
        if len(self._connections) >= MAX_CONNECTIONS:
            idle = (each for each in self._connections if isinstance(each, _Connection) and each.idle)
            next(idle, handler).force_close()
        super().connection_made(handler, transport)


class Runner(web.AppRunner):
    """Runs an application on such a server; use it like aiohttp's."""

    __slots__ = ()

    def __init__(self, app: web.Application) -> None:
        super().__init__(app, shutdown_timeout=1)

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        # No client of ours compresses what it sends, and a small body could become a large one.
        return _Server(
            made.request_handler,
            request_factory=made.request_factory,
            access_log=None,
            keepalive_timeout=IDLE_SECONDS,
            auto_decompress=False,
        )
