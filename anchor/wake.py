"""A wake-up from bitcoind's ZMQ `sequence` topic: unauthenticated and lossy, so only ever a reason to look."""

import asyncio
from typing import Any

import zmq.asyncio
from zmq.constants import PollEvent, SocketOption, SocketType
from zmq.error import ZMQError

from anchor.header_source import SourceError


class Wake:
    """Waits for the next message or the end of a pause, whichever comes first. Without a URL it just waits."""

    def __init__(self, url: str | None) -> None:
        self._url = url
        self._context: Any = None
        self._socket: Any = None

    async def wait(self, seconds: float) -> None:
        """Return at the next message, at the latest after `seconds`; messages that came meanwhile count."""
        if self._url is None:
            await asyncio.sleep(seconds)
            return
        socket = self.open()
        if await socket.poll(int(seconds * 1000), PollEvent.POLLIN):
            while await socket.poll(0, PollEvent.POLLIN):
                await socket.recv_multipart()

    def open(self) -> Any:
        """Begin to listen, unless it does or there is no URL; SourceError when the URL is no address."""
        if self._socket is None and self._url is not None:
            self._context = zmq.asyncio.Context()
            self._socket = self._context.socket(SocketType.SUB)
            self._socket.setsockopt(SocketOption.RCVHWM, 1000)
            self._socket.subscribe(b"sequence")
            try:
                self._socket.connect(self._url)
            except ZMQError as error:
                self.close()
                raise SourceError(
                    f"{self._url} is no ZMQ address ({error.strerror}): give bitcoind's -zmqpubsequence as it "
                    "stands there, like tcp://127.0.0.1:28332"
                ) from error
        return self._socket

    def close(self) -> None:
        """Give the socket back."""
        if self._socket is not None:
            self._socket.close(linger=0)
            self._context.term()
            self._socket = self._context = None
