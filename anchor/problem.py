"""Errors of our HTTP interfaces as RFC 9457 problem+json, one shape everywhere: code, retryable, remedy.

Use `Problem` to refuse, `problems` as the outermost middleware, and the readers for what requests carry.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import msgspec
import structlog
from aiohttp import web

log = structlog.get_logger("anchor.http")

_T = TypeVar("_T")
_HEX32 = re.compile(r"[0-9a-fA-F]{64}")
BODY_SECONDS = 20  # for a whole body: who drips bytes holds a connection no longer
CONTENT_TYPE = "application/problem+json"


class Problem(Exception):
    """A refusal as it goes over the wire.

    `status` is HTTP's, `code` a stable word for programs, `title` what kind of problem it is, `detail` this case,
    `retryable` whether the same request may succeed later, `remedy` the next move.
    """

    def __init__(
        self,
        status: int,
        code: str,
        title: str,
        detail: str = "",
        *,
        retryable: bool = False,
        remedy: str = "",
    ) -> None:
        super().__init__(f"{title}: {detail}" if detail else title)
        self.status, self.code, self.title, self.detail = status, code, title, detail
        self.retryable, self.remedy = retryable, remedy

    def response(self) -> web.Response:
        """The answer to send."""
        body = {
            "type": f"urn:holdfast:problem:{self.code}",
            "code": self.code,
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "retryable": self.retryable,
            "remedy": self.remedy,
        }
        data = msgspec.json.encode(body)
        return web.Response(status=self.status, body=data, content_type=CONTENT_TYPE)


_HTTP = {
    404: (
        "not_found",
        "there is no such resource",
        "check host, port and path: README.md lists what a node answers",
    ),
    405: ("method_not_allowed", "this resource does not take that method", "use the documented method"),
    413: ("too_large", "the body is too large", "send less at once"),
}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@web.middleware
async def problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn every error into problem+json; what we did not foresee is logged and told without a traceback."""
    try:
        return await handler(request)
    except Problem as problem:
        return problem.response()
    except web.HTTPException as error:
        if error.status < 400:
            raise
        code, title, remedy = _HTTP.get(error.status, ("http_error", error.reason, ""))
        return Problem(error.status, code, title, remedy=remedy).response()
    except web.RequestPayloadError as error:
        title, remedy = "the body is cut short or not what its headers say", "send it again, whole"
        return Problem(400, "bad_body", title, remedy=remedy, detail=str(error)[:200]).response()
    except ConnectionResetError:
        raise
    except Exception:
        log.exception("request_failed", method=request.method, path=request.path)
        title = "something went wrong in this program"
        remedy = "try again; if it stays, look into its log"
        return Problem(500, "internal", title, retryable=True, remedy=remedy).response()


def app(*, max_body: int = 1 << 20) -> web.Application:
    """An application with these errors and a bound on bodies, in bytes."""
    return web.Application(middlewares=[problems], client_max_size=max_body)


def answer(value: Any, status: int = 200) -> web.Response:
    """A JSON answer."""
    return web.Response(status=status, body=msgspec.json.encode(value), content_type="application/json")


async def read_json(request: web.Request, kind: type[_T]) -> _T:
    """Read a JSON body as `kind`; Problem 400 for malformed JSON or a wrong field, 408 when it is late."""
    try:
        async with asyncio.timeout(BODY_SECONDS):
            body = await request.read()
    except TimeoutError as error:
        raise Problem(
            408, "too_slow", "the body took too long", retryable=True, remedy="send it again"
        ) from error
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Problem(
            400, "bad_request", "the body is not as documented", str(error), remedy="correct the JSON body"
        ) from error


def read_hex(text: str, what: str, *, most: int = 1 << 21) -> bytes:
    """Read plain hex of at most `most` bytes; Problem 400 otherwise."""
    try:
        if len(text) <= 2 * most and not re.search(r"\s", text):
            return bytes.fromhex(text)
    except ValueError:
        pass
    raise Problem(400, "bad_hex", f"{what} is not plain hex", remedy="send an even number of hex digits")


def read_hash(text: str, what: str) -> bytes:
    """Read 32 bytes of plain hex from a path; Problem 400 otherwise."""
    if not _HEX32.fullmatch(text):
        raise Problem(400, "bad_hash", f"{what} is not 64 hex digits", text[:80], remedy="send 64 hex digits")
    return bytes.fromhex(text)


def read_number(request: web.Request, name: str, default: int, most: int) -> int:
    """Read a whole number from 0 to `most` from the query; Problem 400 otherwise."""
    text = request.query.get(name)
    if text is None:
        return default
    if not re.fullmatch(r"[0-9]{1,19}", text, re.ASCII) or int(text) > most:
        raise Problem(
            400,
            "bad_number",
            f"{name} is not a whole number up to {most}",
            text[:40],
            remedy=f"correct {name}",
        )
    return int(text)
