"""Server-sent events: what a node tells whoever listens, as it happens; `GET /v1/stream`.

Nobody who listens can slow the node down: events lie in one bounded ring, and each listener reads from it at his
own pace. Who comes back with `Last-Event-ID` gets what he missed, or is told that he missed something (`missed`).
Format: WHATWG HTML, section 9.2.
"""

import asyncio
from collections import deque
from typing import Any

import msgspec
from aiohttp import web

from anchor.problem import Problem

KEPT = 1024  # events that a listener may be behind
LISTENERS = 64  # at once; one more, and the one that listens longest goes and may come back
BREATH = 15.0  # seconds of silence after which a comment shows that the line is alive
PATIENCE = 20.0  # seconds that a listener may take for what he is sent
KINDS = frozenset({"block", "gone", "reorg", "alarm", "outcome", "missed"})


class Stream:
    """The ring of events. `boot` tells one run of the process from another: ids are `boot-number`."""

    def __init__(self, boot: str) -> None:
        assert boot.isalnum(), "a boot id is one word"
        self._boot = boot
        self._ring: deque[tuple[int, str, bytes]] = deque(maxlen=KEPT)
        self._last = 0
        self._news = asyncio.Event()
        self._listeners: dict[asyncio.Task[Any], None] = {}
        self.closed = False

    def tell(self, kind: str, value: object) -> None:
        """Tell all that listen; never waits. `value` is anything that msgspec writes as JSON."""
        assert kind in KINDS, f"an event of no known kind: {kind}"
        self._last += 1
        self._ring.append((self._last, kind, msgspec.json.encode(value)))
        self._wake()

    def close(self) -> None:
        """End all answers, so that the server can stop."""
        self.closed = True
        self._wake()

    @property
    def listeners(self) -> int:
        """How many listen now."""
        return len(self._listeners)

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Answer `GET /v1/stream`; `kinds` names the wanted ones, with commas between. Problem 400 for others."""
        kinds = _kinds(request)
        after, missed = self._place(request.headers.get("Last-Event-ID", ""))
        response = web.StreamResponse(
            headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"}
        )
        await response.prepare(request)
        task = asyncio.current_task()
        assert task is not None, "handlers run in tasks"
        while len(self._listeners) >= LISTENERS:
            oldest = next(iter(self._listeners))
            del self._listeners[oldest]
            oldest.cancel()
        self._listeners[task] = None
        try:
            await self._send(response, b": holdfast\nretry: 2000\n\n")
            await self._follow(response, kinds, after, missed=missed)
        except (ConnectionError, TimeoutError):
            pass  # gone, or too slow: it may come back with the last id
        except asyncio.CancelledError:
            if task in self._listeners:
                raise  # the server stops
        finally:
            self._listeners.pop(task, None)
        response.force_close()
        return response

    async def _follow(
        self, response: web.StreamResponse, kinds: frozenset[str], after: int, *, missed: bool
    ) -> None:
        while not self.closed:
            news = self._news
            oldest = self._ring[0][0] if self._ring else self._last + 1
            if after < oldest - 1:  # slower than the ring
                after, missed = oldest - 1, True
            data = self._line(after, "missed", b"{}") if missed else b""
            due = [event for event in self._ring if event[0] > after]
            data += b"".join(self._line(*event) for event in due if event[1] in kinds)
            after, missed = self._last, False
            if data:
                await self._send(response, data)
                continue
            try:
                async with asyncio.timeout(BREATH):
                    await news.wait()
            except TimeoutError:
                await self._send(response, b": still here\n\n")

    async def _send(self, response: web.StreamResponse, data: bytes) -> None:
        async with asyncio.timeout(PATIENCE):
            await response.write(data)

    def _line(self, number: int, kind: str, data: bytes) -> bytes:
        return b"id: %s-%d\nevent: %s\ndata: %s\n\n" % (self._boot.encode(), number, kind.encode(), data)

    def _place(self, last: str) -> tuple[int, bool]:
        """After which event a listener goes on, and whether he missed what nobody can tell him any more."""
        boot, _, number = last.partition("-")
        if not last:
            return self._last, False
        if boot != self._boot or not (number.isascii() and number.isdigit()) or len(number) > 18:
            return self._last, True
        return min(int(number), self._last), int(number) > self._last


def _kinds(request: web.Request) -> frozenset[str]:
    text = request.query.get("kinds")
    if text is None:
        return KINDS
    wanted = frozenset(text.split(","))
    if wanted <= KINDS:
        return wanted | {"missed"}
    unknown = ", ".join(sorted(wanted - KINDS))[:80]
    remedy = f"choose from {', '.join(sorted(KINDS))}"
    raise Problem(400, "bad_kinds", "there are no events of that kind", unknown, remedy=remedy)


__all__ = ["KINDS", "Stream"]
