"""The door of a listening port: nobody keeps file descriptors of ours by holding connections open.

A connection costs a descriptor before it has said a word, and a process without descriptors accepts nobody, opens
no file and signs nothing. So connections that nobody has answered for are few, the oldest goes when another comes,
and each member may keep no more than it has use for.
"""

import asyncio
import errno
import os
import socket
import ssl
import weakref
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import web

from tss.peering import NOISE

STRANGERS: Final = 256  # connections that sent no good request yet
OF_ONE_MEMBER: Final = 160  # a member's pool has 64 each way; after a rotation as many more for a moment
BACKLOG: Final = 128
_CROWD: Final = "too many connections are held open: the oldest was cut"
_NONE_LEFT: Final = frozenset({errno.EMFILE, errno.ENFILE})

Crowd = Callable[[], None]  # hears of every connection that was cut
Hear = Callable[[int, str, str], None]  # a member (0: a stranger), a code and a reason


@dataclass(slots=True)
class _Held:
    """A connection; `whose` 0 until it sent something good."""

    connection: "weakref.ref[socket.socket]"
    whose: int = 0

    @property
    def open(self) -> socket.socket | None:
        connection = self.connection()
        return connection if connection is not None and connection.fileno() >= 0 else None


class Gate(socket.socket):
    """A listening TCP socket that hangs up on the oldest connections when there are too many of one owner."""

    def __init__(
        self, family: int, crowd: Crowd, *, strangers: int = STRANGERS, each: int = OF_ONE_MEMBER
    ) -> None:
        """`strangers` connections without an owner may be open, and `each` of one owner."""
        super().__init__(family, socket.SOCK_STREAM)
        self._crowd, self._strangers, self._each = crowd, strangers, each
        self._held: dict[int, _Held] = {}  # by descriptor, oldest first
        self._spare = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)

    def accept(self) -> tuple[socket.socket, Any]:
        """Accept, and make room. ConnectionAbortedError, for asyncio nobody there, when no descriptor was left."""
        try:
            connection, address = super().accept()
        except OSError as error:
            if error.errno not in _NONE_LEFT:
                raise
            self._turn_away()
            raise ConnectionAbortedError(error.errno, "no descriptor left: hung up") from error
        fd = connection.fileno()
        self._held.pop(fd, None)
        self._held[fd] = _Held(weakref.ref(connection))
        self._make_room(0, self._strangers)
        return connection, address

    def belongs(self, fd: int, owner: int) -> None:
        """This connection is an owner's (from 1) from now on; it leaves the strangers' room."""
        held = self._held.get(fd)
        if held is not None and held.whose != owner:
            held.whose = owner
            self._make_room(owner, self._each)

    def close(self) -> None:
        """Stop listening; connections are their servers' to close."""
        if self._spare >= 0:
            os.close(self._spare)
            self._spare = -1
        super().close()

    def _make_room(self, owner: int, most: int) -> None:
        if len(self._held) <= most:
            return
        self._held = {fd: one for fd, one in self._held.items() if one.open is not None}
        of_owner = [one for one in self._held.values() if one.whose == owner]
        for one in of_owner[: max(0, len(of_owner) - most)]:
            self._hang_up(one)

    def _hang_up(self, one: _Held) -> None:
        """Let its server read the end: the server then closes it as it closes all that end."""
        self._held = {fd: other for fd, other in self._held.items() if other is not one}
        connection = one.open
        if connection is not None:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._crowd()

    def _turn_away(self) -> None:
        """Give up the descriptor that is kept for this, take the one who waits, hang up, and keep it again."""
        if self._spare >= 0:
            os.close(self._spare)
        with suppress(OSError):
            os.close(super()._accept()[0])  # type: ignore[misc]  # what accept() begins with; not in typeshed
        with suppress(OSError):
            self._spare = -1
            self._spare = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        self._crowd()
        strangers = next((one for one in self._held.values() if not one.whose), None)
        if strangers is not None:
            self._hang_up(strangers)


async def listen(
    app: web.Application, host: str, port: int, context: ssl.SSLContext, hear: Hear
) -> tuple[web.AppRunner, list[Gate]]:
    """Serve an application behind a gate on every address of a host; OSError when one cannot be had."""
    quiet: dict[str, Any] = {"access_log": None, "logger": NOISE, "auto_decompress": False}
    runner = web.AppRunner(app, keepalive_timeout=90, shutdown_timeout=1, **quiet)
    await runner.setup()
    found = await asyncio.get_running_loop().getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    gates: list[Gate] = []
    try:
        for family, *_, address in dict.fromkeys(found):
            gates.append(_bound(family, address, lambda: hear(0, "crowd", _CROWD)))
            await web.SockSite(runner, gates[-1], ssl_context=context, backlog=BACKLOG).start()
    except BaseException:
        for gate in gates:
            gate.close()
        await runner.cleanup()
        raise
    return runner, gates


def admitted(gates: list[Gate], transport: asyncio.BaseTransport | None, owner: int) -> None:
    """What came over this transport was good: its connection is the owner's from now on."""
    connection = None if transport is None else transport.get_extra_info("socket")
    if connection is not None:
        for gate in gates:
            gate.belongs(connection.fileno(), owner)


def _bound(family: int, address: Any, crowd: Crowd) -> Gate:
    gate = Gate(family, crowd)
    try:
        gate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            gate.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        gate.bind(address)
    except OSError as error:
        gate.close()
        raise OSError(
            error.errno, f"{address[0]} port {address[1]}: {os.strerror(error.errno or 0)}"
        ) from error
    return gate
