"""The stream of events on real sockets: in order, resumed, told of gaps, and never in the node's way."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web

import anchor.stream
from anchor.stream import Stream
from tests.anchor.feeding import serving


@asynccontextmanager
async def streaming(boot: str = "b1") -> AsyncIterator[tuple[Stream, str]]:
    stream = Stream(boot)
    async with serving([web.get("/v1/stream", stream.serve)]) as url:
        yield stream, f"{url}/v1/stream"
        stream.close()


@asynccontextmanager
async def listening(url: str, **headers: str) -> AsyncIterator[asyncio.StreamReader]:
    async with aiohttp.ClientSession() as session, session.get(url, headers=headers) as answer:
        assert answer.status == 200
        assert answer.content_type == "text/event-stream"
        assert (await answer.content.readuntil(b"\n\n")).startswith(b": holdfast")
        yield answer.content


async def event(reader: asyncio.StreamReader) -> dict[str, str]:
    async with asyncio.timeout(10):
        text = (await reader.readuntil(b"\n\n")).decode()
    return dict(line.split(": ", 1) for line in text.strip().splitlines())


async def test_who_listens_hears_events_in_order_and_only_the_kinds_he_asked_for() -> None:
    async with streaming() as (stream, url), listening(url) as all_, listening(f"{url}?kinds=reorg") as some:
        stream.tell("block", {"height": 1})
        stream.tell("reorg", {"id": 7})
        assert await event(all_) == {"id": "b1-1", "event": "block", "data": '{"height":1}'}
        assert (await event(all_))["event"] == "reorg"
        assert await event(some) == {"id": "b1-2", "event": "reorg", "data": '{"id":7}'}


async def test_who_comes_back_gets_what_he_missed() -> None:
    async with streaming() as (stream, url):
        for height in range(3):
            stream.tell("block", height)
        async with listening(url, **{"Last-Event-ID": "b1-1"}) as reader:
            assert [(await event(reader))["data"] for _ in range(2)] == ["1", "2"]


@pytest.mark.parametrize("last", ["b0-2", "b1-99", "nonsense", "b1-" + "9" * 40])
async def test_who_names_an_event_of_another_run_or_of_none_is_told_that_he_missed_some(last: str) -> None:
    async with streaming() as (stream, url):
        stream.tell("block", 1)
        async with listening(url, **{"Last-Event-ID": last}) as reader:
            assert (await event(reader))["event"] == "missed"
            stream.tell("block", 2)
            assert (await event(reader))["data"] == "2"


async def test_who_is_behind_the_ring_is_told_so_and_goes_on_with_what_is_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(anchor.stream, "KEPT", 2)
    async with streaming() as (stream, url):
        for height in range(5):
            stream.tell("block", height)
        async with listening(url, **{"Last-Event-ID": "b1-1"}) as reader:
            told = [await event(reader) for _ in range(3)]
            assert [t["event"] for t in told] == ["missed", "block", "block"]
            assert [t["id"] for t in told] == ["b1-3", "b1-4", "b1-5"]


async def test_one_listener_too_many_sends_the_oldest_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(anchor.stream, "LISTENERS", 1)
    async with streaming() as (stream, url), listening(url) as first, listening(url) as second:
        async with asyncio.timeout(10):
            assert await first.read() == b""
        stream.tell("alarm", {})
        assert (await event(second))["event"] == "alarm"
        assert stream.listeners == 1


async def test_a_kind_that_does_not_exist_is_refused_with_those_that_do() -> None:
    async with (
        streaming() as (_, url),
        aiohttp.ClientSession() as session,
        session.get(f"{url}?kinds=blocks") as answer,
    ):
        assert answer.status == 400
        assert "reorg" in (await answer.json(content_type=None))["remedy"]


async def test_closing_ends_every_answer() -> None:
    async with streaming() as (stream, url), listening(url) as reader:
        stream.close()
        async with asyncio.timeout(10):
            assert await reader.read() == b""


async def test_who_does_not_read_is_hung_up_on_and_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(anchor.stream, "PATIENCE", 0.2)
    async with streaming() as (stream, url):
        host, port = url.removeprefix("http://").partition("/")[0].split(":")
        _, writer = await asyncio.open_connection(host, int(port), limit=1024)  # reads no more than so much
        writer.write(b"GET /v1/stream HTTP/1.1\r\nHost: x\r\n\r\n")
        async with asyncio.timeout(30):
            while not stream.listeners:  # noqa: ASYNC110 a listener has no event
                await asyncio.sleep(0.01)
            for _ in range(400):  # more than sockets and transports hold
                stream.tell("alarm", "x" * 100_000)
            while stream.listeners:  # noqa: ASYNC110 no event tells of it
                await asyncio.sleep(0.01)
        async with listening(url) as reader:
            stream.tell("block", 7)
            assert (await event(reader))["data"] == "7"
        writer.close()
