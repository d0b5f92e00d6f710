"""The small HTTP parts of `peers.py`: bounded answers, short reasons, refusals."""

import os
import re
import ssl
from importlib.metadata import version

import aiohttp
from aiohttp import web

from tss.envelope import MAX_BODY, OVERHEAD
from tss.peering import PeerRefused

_VERSION = version("holdfast").encode()


def cause(error: BaseException) -> str:
    """A short reason: aiohttp's own sentences carry objects and addresses that help nobody."""
    if isinstance(error, aiohttp.ServerFingerprintMismatch):
        return "it shows a TLS certificate that committee.json does not pin"
    inner = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    if isinstance(inner, TimeoutError):
        return "it accepts no connection in time"
    if isinstance(inner, OSError) and inner.errno is not None and not isinstance(inner, ssl.SSLError):
        return os.strerror(inner.errno)
    return str(inner) or type(inner).__name__


async def bounded(response: aiohttp.ClientResponse, member: int) -> bytes:
    """An answer's body, or PeerRefused when it is over the limit."""
    data = bytearray()
    async for chunk in response.content.iter_chunked(65536):
        data += chunk
        if len(data) > MAX_BODY + OVERHEAD:
            raise PeerRefused(member, "too-large", "the answer is over the limit")
    return bytes(data)


async def pong(_member: int, _body: bytes) -> bytes:
    """The answer to a ping: our release."""
    return _VERSION


def release(answer: bytes) -> str:
    """What a member says its release is, or that it says nothing readable."""
    text = answer[:32].decode("ascii", "replace")
    return text if re.fullmatch(r"[0-9A-Za-z.+-]{1,32}", text) else "unknown"


def plain(status: int, detail: str) -> web.Response:
    """A refusal of what is not even an envelope, unsigned."""
    return web.Response(status=status, text=detail)
