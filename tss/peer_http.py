"""The small HTTP parts of `peers.py`: bounded answers, short reasons, refusals, and the check of an answer."""

import os
import re
import ssl
from importlib.metadata import version

import aiohttp
from aiohttp import web

from tss.envelope import MAX_BODY, OVERHEAD, Envelope, Kind
from tss.frost.codec import DecodeError
from tss.peer_tls import Unpinned
from tss.peering import CommitteeMember, PeerRefused

_VERSION = version("holdfast").encode()


def cause(error: BaseException) -> str:
    """A short reason: aiohttp's own sentences carry objects and addresses that help nobody."""
    if isinstance(error, Unpinned):
        return error.reason
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


def open_answer(request: Envelope, data: bytes, member: CommitteeMember) -> Envelope:
    """The answer to a request, or PeerRefused when it is none, or not signed by this member's host key."""
    asked = request.receiver
    try:
        answer = Envelope.decode(data)
    except DecodeError as fault:
        raise PeerRefused(asked, "garbage", f"{member.name} answered garbage: {fault}") from fault
    expected = (Kind.ANSWER, asked, request.sender, request.topic, request.digest)
    got = (answer.kind, answer.sender, answer.receiver, answer.topic, answer.request)
    if got != expected or not answer.signed_by(member.host_key):
        raise PeerRefused(asked, "garbage", f"{member.name}'s answer is not signed by its host key")
    return answer


def explained(answer: Envelope, name: str, words: str) -> str:
    """A refusal as a sentence with the member's name; `words` are those of our committee file."""
    reason = answer.body.decode("utf-8", "replace")
    if answer.code != "committee":
        return f"{name}: {reason}"
    return f"your committee file differs from {name}'s: compare words, yours {words}, {name}'s {reason}"


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
