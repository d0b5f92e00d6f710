"""JSON-RPC 2.0 over HTTP to one bitcoind: batches, bounds, typed errors, retries for reads only.

python-bitcoinrpc cannot batch on Core 28 and later and dies after 30 s of silence; this client does neither.
"""

import asyncio
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, Self

import aiohttp
import msgspec

MAX_RESPONSE = 64 * 1024 * 1024  # a 4 MB block in hex inside JSON needs 8 MB; a long batch more
MAX_BATCH = 500
WARMING_UP = -28
_READS = ("get", "estimate", "decode", "validate", "testmempoolaccept", "help", "uptime")
_BACKOFF = (0.05, 0.2, 0.6, 1.5)  # seconds before the retries of a read

Params = Sequence[Any] | dict[str, Any]

_decoder = msgspec.json.Decoder(float_hook=Decimal)
_encoder = msgspec.json.Encoder(decimal_format="number")


class NodeError(Exception):
    """Anything that went wrong between us and bitcoind; the sentence names the next move."""


class RpcError(NodeError):
    """bitcoind answered with an error: `code` and `message` are its own, `method` is ours."""

    def __init__(self, code: int, message: str, method: str) -> None:
        super().__init__(f"bitcoind refused {method}: {message} (code {code})")
        self.code, self.message, self.method = code, message, method


class Unreachable(NodeError):
    """No answer: bitcoind is down, busy, elsewhere or too slow."""


class Unauthorized(NodeError):
    """bitcoind does not accept our cookie or password."""


class BadAnswer(NodeError):
    """An answer that no bitcoind gives: not JSON, too long, or not what was asked for."""


class JsonRpc:
    """A client of one endpoint; safe to share between tasks of one event loop.

    Give either a `cookie` file (read again after a 401, as bitcoind rewrites it at each start) or `user` and
    `password`. A `session` that is passed in is not closed here. `timeout` is seconds per HTTP request.
    """

    def __init__(
        self,
        url: str,
        *,
        cookie: Path | None = None,
        user: str | None = None,
        password: str | None = None,
        session: aiohttp.ClientSession | None = None,
        timeout: float = 30.0,
    ) -> None:
        if (cookie is None) == (user is None):
            raise ValueError("bitcoind wants either a cookie file or a user and a password: give one of them")
        self.url = url
        self._cookie = cookie
        self._login = None if user is None else (user, password or "")
        self._session, self._own_session = session, session is None
        self._timeout = aiohttp.ClientTimeout(total=timeout)
        self._header: str | None = None
        self._next_id = 0

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url}, credentials redacted)"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections, if they are ours."""
        if self._own_session and self._session is not None:
            await self._session.close()
            self._session = None

    async def call(self, method: str, *args: Any, **named: Any) -> Any:
        """Return the result of one call; arguments by position, by name, or both (bitcoind's "args").

        Numbers with a point come back as Decimal. Raises RpcError, Unreachable, Unauthorized or BadAnswer.
        Reads are repeated with growing pauses while bitcoind is unreachable or warming up; writes never.
        """
        params: Params = list(args) if not named else {**({"args": list(args)} if args else {}), **named}
        result = (await self.batch([(method, params)]))[0]
        if isinstance(result, RpcError):
            raise result
        return result

    async def batch(self, calls: Sequence[tuple[str, Params]]) -> list[Any]:
        """Return one result or RpcError per call, in order; a bad member does not spoil the others.

        Long lists are cut into several requests. Raises Unreachable, Unauthorized or BadAnswer for the whole.
        """
        results: list[Any] = []
        for start in range(0, len(calls), MAX_BATCH):
            results += await self._batch_with_retries(calls[start : start + MAX_BATCH])
        return results

    async def _batch_with_retries(self, calls: Sequence[tuple[str, Params]]) -> list[Any]:
        pauses = _BACKOFF if all(method.startswith(_READS) for method, _ in calls) else ()
        for pause in pauses:
            try:
                results = await self._batch_once(calls)
            except Unreachable as error:
                if isinstance(error.__cause__, TimeoutError):
                    raise  # it had its time; asking again would only multiply the wait
                await asyncio.sleep(pause)
                continue
            if not any(isinstance(r, RpcError) and r.code == WARMING_UP for r in results):
                return results
            await asyncio.sleep(pause)
        return await self._batch_once(calls)

    async def _batch_once(self, calls: Sequence[tuple[str, Params]]) -> list[Any]:
        first, self._next_id = self._next_id, self._next_id + len(calls)
        body = [
            {"jsonrpc": "2.0", "id": first + i, "method": method, "params": params}
            for i, (method, params) in enumerate(calls)
        ]
        answer = await self._post(_encoder.encode(body[0] if len(body) == 1 else body))
        members = answer if isinstance(answer, list) else [answer]
        by_id = {m["id"]: m for m in members if isinstance(m, dict) and isinstance(m.get("id"), int)}
        return [_outcome(by_id.get(first + i), method) for i, (method, _) in enumerate(calls)]

    async def _post(self, body: bytes) -> Any:
        status, data = await self._post_once(body)
        if status == 401 and self._cookie is not None:
            self._header = None  # bitcoind was restarted and wrote a new cookie
            status, data = await self._post_once(body)
        if status in (401, 403):
            what = f"the cookie file {self._cookie}" if self._cookie else "user and password"
            raise Unauthorized(
                f"bitcoind at {self.url} refuses {what}: check rpcauth, rpccookiefile and rpcallowip"
            )
        if status == 503:
            raise Unreachable(
                f"bitcoind at {self.url} is busy (its work queue is full): try again or raise rpcworkqueue"
            )
        try:
            return _decoder.decode(data)
        except msgspec.DecodeError as error:
            raise BadAnswer(
                f"{self.url} answered with HTTP {status} and no JSON: check that this is bitcoind's RPC port"
            ) from error

    async def _post_once(self, body: bytes) -> tuple[int, bytes]:
        if self._session is None:
            self._session = aiohttp.ClientSession(trust_env=False)
        headers = {"Authorization": self._authorization(), "Content-Type": "application/json"}
        try:
            async with self._session.post(
                self.url, data=body, headers=headers, timeout=self._timeout, allow_redirects=False
            ) as response:
                return response.status, await self._read(response)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            why = str(error) or type(error).__name__
            raise Unreachable(
                f"bitcoind at {self.url} does not answer ({why}): start it, or correct the URL"
            ) from error

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        chunks, size = [], 0
        async for chunk in response.content.iter_any():
            size += len(chunk)
            if size > MAX_RESPONSE:
                raise BadAnswer(
                    f"{self.url} answered with more than {MAX_RESPONSE} bytes: ask for less at once"
                )
            chunks.append(chunk)
        return b"".join(chunks)

    def _authorization(self) -> str:
        if self._header is None:
            self._header = aiohttp.encode_basic_auth(*self._credentials())
        return self._header

    def _credentials(self) -> tuple[str, str]:
        if self._login is not None:
            return self._login
        assert self._cookie is not None
        try:
            user, colon, password = self._cookie.read_text(encoding="utf-8").strip().partition(":")
        except (OSError, UnicodeDecodeError) as error:
            raise Unauthorized(
                f"cannot read bitcoind's cookie file {self._cookie}: start bitcoind, or give its real path"
            ) from error
        if not colon:
            raise Unauthorized(f"{self._cookie} is no cookie file: give the path of bitcoind's .cookie")
        return user, password


def _outcome(member: dict[str, Any] | None, method: str) -> Any:
    if member is None:
        raise BadAnswer(f"bitcoind's answer lacks the result of {method}: check that the URL is its RPC port")
    error = member.get("error")
    if error is None:
        return member.get("result")
    if not isinstance(error, dict) or not isinstance(error.get("code"), int):
        raise BadAnswer(f"bitcoind's error of {method} has no code: check that the URL is its RPC port")
    return RpcError(error["code"], str(error.get("message", ""))[:500], method)
