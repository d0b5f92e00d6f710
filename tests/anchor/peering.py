"""A node of Bitcoin's network on a socket, that says what a test wants it to say."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from anchor.btc.hashing import sha256d
from anchor.btc.header import Header
from anchor.btc.network import REGTEST
from anchor.second_source import SecondSource, open_source
from tests.anchor.feeding import Branch

Talk = Callable[["Line"], Awaitable[None]]


def clock() -> float:
    return 2_000_000_000.0


class Line:
    """The other end of a P2P connection: reads and writes Bitcoin's messages."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer, self.magic = reader, writer, REGTEST.magic

    async def receive(self) -> tuple[bytes, bytes]:
        head = await self.reader.readexactly(24)
        data = await self.reader.readexactly(int.from_bytes(head[16:20], "little"))
        assert head[:4] == REGTEST.magic
        assert head[20:] == sha256d(data)[:4]
        return head[4:16].rstrip(b"\0"), data

    def send(self, command: bytes, data: bytes = b"", *, size: int | None = None, check: bytes = b"") -> None:
        length = (len(data) if size is None else size).to_bytes(4, "little")
        check = check or sha256d(data)[:4]
        self.writer.write(self.magic + command.ljust(12, b"\0") + length + check + data)

    async def greet(self) -> None:
        command, _ = await self.receive()
        assert command == b"version"
        agent = b"/a node/"
        self.send(b"version", bytes(80) + bytes([len(agent)]) + agent + (77).to_bytes(4, "little") + b"\1")
        self.send(b"verack")
        assert (await self.receive())[0] == b"verack"


def listed(headers: list[Header]) -> bytes:
    count = len(headers)
    size = bytes([count]) if count < 0xFD else b"\xfd" + count.to_bytes(2, "little")
    return size + b"".join(header.raw + b"\0" for header in headers)


@asynccontextmanager
async def a_peer(talk: Talk) -> AsyncIterator[SecondSource]:
    """A node on a socket that says what `talk` says; yields the source that asks it."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await talk(Line(reader, writer))
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        source = open_source(f"p2p://127.0.0.1:{port}", REGTEST, clock=clock)
        yield source
        await source.close()


def honest(branch: Branch, questions: list[int] | None = None) -> Talk:
    """Answers as a node whose main chain is that branch."""

    async def talk(line: Line) -> None:
        await line.greet()
        line.send(b"sendcmpct", bytes(9))
        line.send(b"ping", b"8 bytes.")
        while True:
            command, data = await line.receive()
            if command == b"pong":
                assert data == b"8 bytes."
            if command == b"getheaders":
                hashes = [data[5 + 32 * i : 37 + 32 * i] for i in range(data[4])]
                if questions is not None:
                    questions.append(len(hashes))
                places = {header.hash: i for i, header in enumerate(branch.chain)}
                at = next((places[h] for h in hashes if h in places), 0)
                line.send(b"inv", bytes(5000))
                line.send(b"headers", listed(branch.chain[at + 1 : at + 2001]))

    return talk
