"""The RPC client against servers that are no bitcoind, or a sick one; no chain is invented here."""

import asyncio
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from anchor import jsonrpc
from anchor.bitcoind import (
    BadAnswer,
    Bitcoind,
    Unauthorized,
    Unreachable,
)
from anchor.btc.header import Header
from anchor.btc.ids import BlockHash
from anchor.btc.network import REGTEST


@asynccontextmanager
async def serving(handler):
    app = web.Application()
    app.router.add_post("/", handler)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    try:
        async with Bitcoind(
            f"http://127.0.0.1:{port}", user="u", password="secret word", timeout=2
        ) as client:
            yield client
    finally:
        await runner.cleanup()


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(jsonrpc, "_BACKOFF", (0.0, 0.0))


async def test_nobody_at_the_port_is_unreachable(impatient, unused_tcp_port):
    async with Bitcoind(f"http://127.0.0.1:{unused_tcp_port}", user="u", password="p") as client:
        with pytest.raises(Unreachable, match="start it, or correct the URL"):
            await client.call("getblockcount")


@pytest.mark.parametrize("body", [b"", b"<html>", b"{", b"\xff\xfe", b"[1, 2", b"NaN"])
async def test_an_answer_that_is_no_json_is_a_bad_answer(body):
    async def handler(_):
        return web.Response(body=body)

    async with serving(handler) as client:
        with pytest.raises(BadAnswer, match="RPC port"):
            await client.call("getblockcount")


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b"{}",
        b"3",
        b'[{"id": 77, "result": 1}]',
        b'{"id": 0, "error": "no"}',
        b'[{"id": []}]',
        b'{"id": 0, "error": {"code": "x"}}',
    ],
)
async def test_json_that_is_no_answer_is_a_bad_answer(body):
    async def handler(_):
        return web.Response(body=body)

    async with serving(handler) as client:
        with pytest.raises(BadAnswer):
            await client.call("getblockcount")


async def test_an_endless_answer_is_cut_off(monkeypatch):
    monkeypatch.setattr(jsonrpc, "MAX_RESPONSE", 100_000)

    async def handler(_):
        return web.Response(body=b"[" + b" " * 1_000_000)

    async with serving(handler) as client:
        with pytest.raises(BadAnswer, match="more than 100000 bytes"):
            await client.call("getblockcount")


async def test_reads_are_repeated_while_bitcoind_is_busy_and_writes_are_not(impatient):
    seen = []

    async def handler(request):
        body = await request.json()
        seen.append(body["method"])
        if len([m for m in seen if m == body["method"]]) < 3:
            return web.Response(status=503)
        return web.json_response({"jsonrpc": "2.0", "id": body["id"], "result": 5})

    async with serving(handler) as client:
        assert await client.call("getblockcount") == 5
        with pytest.raises(Unreachable, match="busy"):
            await client.call("sendrawtransaction", "00")
    assert seen == ["getblockcount"] * 3 + ["sendrawtransaction"]


async def test_a_warming_bitcoind_is_waited_for(impatient):
    seen = []

    async def handler(request):
        body = await request.json()
        seen.append(1)
        error = {"code": -28, "message": "Loading block index…"}
        answer = {"error": error} if len(seen) < 3 else {"result": 7}
        return web.json_response({"jsonrpc": "2.0", "id": body["id"], **answer})

    async with serving(handler) as client:
        assert await client.call("getblockcount") == 7


async def test_a_silent_bitcoind_is_unreachable_after_one_timeout():
    release, asked = asyncio.Event(), []

    async def handler(_):
        asked.append(1)
        await release.wait()
        return web.Response()

    async with serving(handler) as client:
        client._timeout = jsonrpc.aiohttp.ClientTimeout(total=0.1)
        with pytest.raises(Unreachable, match="does not answer"):
            await client.call("getblockcount")
        release.set()
    assert len(asked) == 1


@pytest.mark.parametrize("result", [None, 3, {}, [], {"version": "x"}])
async def test_another_json_rpc_server_is_told_from_bitcoind(result):
    async def handler(request):
        return web.json_response([{"id": call["id"], "result": result} for call in await request.json()])

    async with serving(handler) as client:
        with pytest.raises(BadAnswer, match="not answer like bitcoind"):
            await client.check(REGTEST)


async def test_a_header_that_was_not_asked_for_is_a_bad_answer():
    async def handler(request):
        body = await request.json()
        return web.json_response({"jsonrpc": "2.0", "id": body["id"], "result": REGTEST.genesis.hex()})

    async with serving(handler) as client:
        assert Header.parse(await client.header_bytes(REGTEST.genesis_hash)).hash == REGTEST.genesis_hash
        with pytest.raises(BadAnswer, match="another block"):
            await client.header_bytes(BlockHash(bytes(32)))


async def test_cookie_files_that_are_missing_or_odd_are_named(tmp_path):
    for path, match in ((tmp_path / "none", "start bitcoind"), (tmp_path / "odd", "no cookie file")):
        (tmp_path / "odd").write_text("nothing")
        async with Bitcoind("http://127.0.0.1:1", cookie=path) as client:
            with pytest.raises(Unauthorized, match=match):
                await client.call("getblockcount")


def test_secrets_never_show():
    text = repr(Bitcoind("http://127.0.0.1:1", user="u", password="secret word"))
    assert "secret" not in text
    assert "127.0.0.1:1" in text


@pytest.mark.parametrize("login", [{}, {"user": "u", "cookie": Path("x")}])
def test_a_client_wants_exactly_one_way_to_log_in(login):
    with pytest.raises(ValueError, match="give one of them"):
        Bitcoind("http://127.0.0.1:1", **login)
