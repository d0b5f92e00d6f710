"""Bitcoin's own network as a source of headers: one outgoing connection that asks `getheaders`, and nothing else.

Whatever a peer sends is bounded, in size and in time, and nothing of it is believed. Source: Core's net.cpp and
protocol.h, BIP31 (ping), BIP130 is not asked for.
"""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from struct import Struct

from anchor.btc.hashing import sha256d
from anchor.btc.header import HEADER_SIZE
from anchor.btc.ids import BlockHash
from anchor.btc.network import Network
from anchor.header_source import SourceError

MOST = 2000  # headers in one message (MAX_HEADERS_RESULTS)
LOCATOR = 101  # hashes in a question at most (MAX_LOCATOR_SZ)
_VERSION = 70016
_PAYLOAD = 4_000_000  # MAX_PROTOCOL_MESSAGE_LENGTH
_KEPT = 3 + MOST * (HEADER_SIZE + 1)  # the largest message that is read as a whole; others are passed over
_STRAY = 2000  # messages that a peer may send beside the one that we wait for
_ENVELOPE = Struct("<4s12sI4s")
_HELLO = Struct("<iQqQ16sHQ16sHQB")  # … time, both addresses, nonce, no user agent
_ANYWHERE = bytes(10) + b"\xff\xff" + bytes(4)


class PeerError(SourceError):
    """A peer that does not answer, or not as Bitcoin's protocol has it; the sentence names the next move."""


class Peer:
    """A connection after the handshake. `height` is what the peer claims of itself, unproven."""

    def __init__(
        self, name: str, network: Network, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.name, self.height = name, 0
        self._network, self._reader, self._writer = network, reader, writer

    async def greet(self) -> None:
        """Exchange `version` and `verack`."""
        hello = _HELLO.pack(
            _VERSION, 0, int(time.time()), 0, _ANYWHERE, 0, 0, _ANYWHERE, 0, secrets.randbits(64), 0
        )
        await self._send(b"version", hello + bytes(4) + b"\0")  # height 0; no transactions, please
        answer = await self._until(b"version")
        try:
            agent = answer[80]
            self.height = int.from_bytes(answer[81 + agent : 85 + agent], "little", signed=True)
        except IndexError as fault:
            raise self._odd("a version that is too short") from fault
        await self._send(b"verack", b"")
        await self._until(b"verack")

    async def headers_after(self, locator: Sequence[BlockHash]) -> bytes:
        """Return up to 2,000 raw headers that follow the first hash of `locator` on the peer's main chain.

        `locator`: hashes from the newest to the oldest, at most 101. Empty at the peer's tip.
        """
        assert 0 < len(locator) <= LOCATOR
        question = _VERSION.to_bytes(4, "little") + bytes([len(locator)]) + b"".join(locator) + bytes(32)
        await self._send(b"getheaders", question)
        return self._headers(await self._until(b"headers"))

    def _headers(self, data: bytes) -> bytes:
        count, at = (data[0], 1) if data and data[0] < 0xFD else (int.from_bytes(data[1:3], "little"), 3)
        if not data or count > MOST or len(data) != at + count * (HEADER_SIZE + 1):
            raise self._odd("a list of headers that is none")
        rows = [data[i : i + HEADER_SIZE + 1] for i in range(at, len(data), HEADER_SIZE + 1)]
        if any(row[-1] for row in rows):  # each is followed by a count of transactions, always 0
            raise self._odd("headers with transactions")
        return b"".join(row[:-1] for row in rows)

    async def _until(self, wanted: bytes) -> bytes:
        for _ in range(_STRAY):
            command, data = await self._receive()
            if command == wanted:
                return data
            if command == b"ping":
                await self._send(b"pong", data)
        raise self._odd(f"{_STRAY} messages, none of them the {wanted.decode()} that it was asked for")

    async def _receive(self) -> tuple[bytes, bytes]:
        magic, command, size, checksum = _ENVELOPE.unpack(await self._reader.readexactly(_ENVELOPE.size))
        if magic != self._network.magic:
            raise self._odd(f"messages of another network than {self._network.name}")
        if size > _PAYLOAD:
            raise self._odd(f"a message of {size} bytes")
        if size > _KEPT:
            if command.rstrip(b"\0") == b"headers":
                raise self._odd("a list of headers that is none")
            while size:
                size -= len(await self._reader.readexactly(min(size, 65536)))
            return b"", b""
        data = await self._reader.readexactly(size)
        if sha256d(data)[:4] != checksum:
            raise self._odd("a message with a wrong checksum")
        return command.rstrip(b"\0"), data

    async def _send(self, command: bytes, data: bytes) -> None:
        self._writer.write(_ENVELOPE.pack(self._network.magic, command, len(data), sha256d(data)[:4]) + data)
        await self._writer.drain()

    def _odd(self, what: str) -> PeerError:
        return PeerError(f"{self.name} sent {what}: is it a {self._network.name} node's P2P port?")


@asynccontextmanager
async def connected(host: str, port: int, network: Network, *, seconds: float = 20.0) -> AsyncIterator[Peer]:
    """A greeted peer for the length of the block, which may take so many seconds. Raises PeerError."""
    name = f"p2p://{host}:{port}"
    writer: asyncio.StreamWriter | None = None
    try:
        async with asyncio.timeout(seconds):
            reader, writer = await asyncio.open_connection(host, port, limit=1 << 18)
            peer = Peer(name, network, reader, writer)
            await peer.greet()
            yield peer
    except (OSError, EOFError, TimeoutError) as fault:
        why = str(fault) or type(fault).__name__
        raise PeerError(f"{name} does not answer as a Bitcoin node ({why}): look after it") from fault
    finally:
        if writer is not None:
            writer.close()
