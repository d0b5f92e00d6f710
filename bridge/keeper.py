"""From a coin that can be spent to bytes in every mempool: one loop for lanes and treasury alike.

What must be exclusive is bound to a coin, the tip of its chain; a *desk* knows what to write on that coin. The
keeper asks the desk for the tip, sends again what is already signed for it, and, when nothing is and this node
leads the slot, has the desk's plan signed. Signed bytes go to all members before they are submitted anywhere.

Because only batches on a *confirmed* tip are ever sent, parents come first and one unconfirmed generation at a
time; after a reorg the old tip is the tip again, and the same bytes go out again. DESIGN sections 4 to 6.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

from structlog.typing import FilteringBoundLogger

from anchor.btc.codec import CodecError, Reader, Writer
from anchor.btc.ids import OUTPOINT_SIZE, OutPoint
from anchor.store import AnchorStore, StoredPackage
from bridge import dispatch
from bridge.desk import Desk, package_id
from bridge.dispatch import AlarmSink, Dispatch
from bridge.leading import leads
from bridge.reluctant import Reluctant
from tss.node import SigningFailed, TssNode
from tss.peers import Peers, Refuse

MAX_PACKAGE = 2 << 20
MAX_SIGNATURES = 512
SIGNED, WANTED = "bridge.signed", "bridge.packages"


class Keeper:
    """Keeps one desk's chain moving."""

    def __init__(
        self,
        desk: Desk,
        store: AnchorStore,
        tss: TssNode,
        peers: Peers,
        *,
        index: int,
        clock: Callable[[], float],
        timeout: float,
        alarm: AlarmSink,
        fresh: Callable[[], Awaitable[bool]],
        kept: Callable[[StoredPackage], Awaitable[None]],
        wake: Callable[[], None],
        log: FilteringBoundLogger,
    ) -> None:
        self.desk, self.store, self.tss, self.peers = desk, store, tss, peers
        self.index, self.clock, self.timeout, self.kept, self.wake = index, clock, timeout, kept, wake
        self.log = log.bind(purpose=desk.purpose)
        self.dispatch = Dispatch(desk, store, self._share, fresh, alarm, self.log)
        self.reluctant = Reluctant(timeout, clock)
        self._slot: OutPoint | None = None
        self._since = 0.0
        self._signing: asyncio.Task[None] | None = None
        self.last_failure: str | None = None

    async def tick(self) -> None:
        """Look once: send again, or plan and sign when this node leads."""
        tip = self.desk.tip()
        if tip is None:
            return
        if tip != self._slot:
            self._slot, self._since = tip, self.clock()
            await self.fetch(tip)
        if await self.dispatch.round(tip):
            self._since = self.clock()  # the slot is not stuck: its batch waits for a block
            self.last_failure = None
            return
        if self._signing is not None and not self._signing.done():
            return
        planned = await self.desk.plan()
        if planned is None:
            self._since = self.clock()
            return
        try:
            if await self._refused(planned[1], tip):
                return
            epochs = self.desk.key_epochs(planned[1])
        except ValueError as fault:  # there are no such transactions: a lane's coin may be used up
            self.last_failure = str(fault)
            return
        attempt = max(0, int((self.clock() - self._since) / self.timeout))  # a clock may step back
        if leads(self.tss, self.desk.purpose, epochs, self.slot(tip), attempt) == self.index:
            self._signing = asyncio.create_task(self._sign(tip, *planned))

    async def _refused(self, payload: bytes, tip: OutPoint) -> bool:
        """Whether these bytes are signed already and bitcoind did not take them: signing again changes nothing."""
        name = package_id(self.desk, payload)
        there = await self.store.packages(self.desk.purpose, tip=tip.encode(), signed=True)
        package = next((p for p in there if p.id == name), None)
        if package is not None:
            self.last_failure = (
                f"batch {package.sequence} is signed and bitcoind refuses it: see the log for its reason"
            )
        return package is not None

    def slot(self, tip: OutPoint) -> bytes:
        """What only one batch can take: purpose and coin."""
        return self.desk.purpose.encode() + b"\0" + tip.encode()

    async def close(self) -> None:
        """Let go of a running session."""
        if self._signing is not None:
            self._signing.cancel()
            await asyncio.gather(self._signing, return_exceptions=True)

    async def _sign(self, tip: OutPoint, sequence: int, payload: bytes) -> None:
        try:
            await self._have_signed(tip, sequence, payload)
        except Exception as bug:  # a task's end is seen by nobody else
            self.last_failure = f"{type(bug).__name__}: {bug}"
            self.log.exception("signing ended unexpectedly")

    async def _have_signed(self, tip: OutPoint, sequence: int, payload: bytes) -> None:
        name = package_id(self.desk, payload)
        log = self.log.bind(request=name.hex()[:16], sequence=sequence, tip=str(tip))
        try:
            signatures = await self._signatures(payload)
        except SigningFailed as failure:
            self.last_failure = str(failure)
            log.warning("not signed", reason=str(failure))
            return
        self.last_failure = None
        package = StoredPackage(
            name, self.desk.purpose, tip.encode(), sequence, payload, signatures, None, int(self.clock())
        )
        self.desk.check(payload, signatures)
        await self.kept(package)
        await self.store.sign_package(dispatch.signed(package))  # save, then speak
        log.info("signed")
        self.wake()  # the next round tells the others, then sends

    async def _signatures(self, payload: bytes) -> tuple[bytes, ...]:
        """One session per key, put together in the order of the inputs.

        Each session's signatures are kept by tss: after a crash between two of them all are asked for again, and
        what was signed is signed.
        """
        epochs = self.desk.key_epochs(payload)
        tip, made = epochs[0], {}
        for epoch in dict.fromkeys(epochs):
            try:
                made[epoch] = iter(await self.tss.sign(self.desk.purpose, payload, epoch=epoch))
            except SigningFailed:
                if (
                    epoch != tip
                ):  # without the tip's key there is no batch; what the others hold can be left out
                    self.reluctant.failed(epoch)
                raise
            self.reluctant.signed(epoch)
        return tuple(next(made[epoch]) for epoch in epochs)

    async def _share(self, package: StoredPackage) -> None:
        answers = await self.peers.gather(SIGNED, encode_package(package), timeout=3)
        told = [member for member, answer in answers.items() if isinstance(answer, bytes)]
        self.log.info("told the others", request=package.id.hex()[:16], told=told)

    async def accept(self, package: StoredPackage) -> None:
        """Keep a package that a peer sent, once its signatures prove that t members approved it. ValueError."""
        if package.purpose != self.desk.purpose:
            raise CodecError(f"a {package.purpose!r} package came as the answer for {self.desk.purpose!r}")
        self.desk.check(package.payload, package.signatures or ())
        sequence, tip = self.desk.spends(package.payload)
        name = package_id(self.desk, package.payload)
        await self.kept(package)
        await self.store.sign_package(
            replace(package, id=name, tip=tip.encode(), sequence=sequence, created=int(self.clock()))
        )

    async def fetch(self, tip: OutPoint) -> None:
        """Ask the others what is signed for a coin: we may have been away."""
        question = Writer().text(self.desk.purpose).fixed(tip.encode(), OUTPOINT_SIZE).done()
        answers = await self.peers.gather(WANTED, question, timeout=2)
        for member, answer in answers.items():
            if not isinstance(answer, bytes):
                continue
            try:
                for package in decode_packages(answer):
                    await self.accept(package)
            except ValueError as fault:
                self.log.warning("a peer's package is not sound", peer=member, reason=str(fault))


def encode_package(package: StoredPackage) -> bytes:
    """A signed package as it travels between members."""
    signatures = package.signatures or ()
    out = Writer().text(package.purpose).var(package.payload).count(len(signatures))
    for signature in signatures:
        out.fixed(signature, 64)
    return out.done()


def _read_package(r: Reader) -> StoredPackage:
    purpose, payload = r.text(16), r.var(MAX_PACKAGE)
    signatures = tuple(r.fixed(64) for _ in range(r.count(MAX_SIGNATURES)))
    return StoredPackage(b"", purpose, b"", 0, payload, signatures, {}, 0)


def decode_package(data: bytes) -> StoredPackage:
    """Read what `encode_package` wrote; CodecError otherwise. Says nothing about its signatures."""
    r = Reader(data)
    package = _read_package(r)
    r.end()
    return package


def encode_packages(packages: Sequence[StoredPackage]) -> bytes:
    """Several packages as one answer."""
    out = Writer().count(len(packages))
    for package in packages:
        out.var(encode_package(package))
    return out.done()


def decode_packages(data: bytes) -> list[StoredPackage]:
    """Read what `encode_packages` wrote; CodecError otherwise."""
    r = Reader(data)
    packages = [decode_package(r.var(MAX_PACKAGE)) for _ in range(r.count(16))]
    r.end()
    return packages


def serve(
    peers: Peers, store: AnchorStore, keepers: dict[str, Keeper], wake: Callable[[], Any]
) -> dict[str, Callable[[int, bytes], Awaitable[bytes]]]:
    """Answer the two topics of this file; returns the handlers by topic."""

    async def signed(_member: int, body: bytes) -> bytes:
        try:
            package = decode_package(body)
            keeper = keepers.get(package.purpose)
            if keeper is None:
                raise CodecError(f"no batches of purpose {package.purpose!r} are kept here")
            await keeper.accept(package)
        except ValueError as fault:
            raise Refuse("bad-package", str(fault)) from fault
        wake()
        return b""

    async def wanted(_member: int, body: bytes) -> bytes:
        try:
            r = Reader(body)
            purpose, tip = r.text(16), r.fixed(OUTPOINT_SIZE)
            r.end()
        except CodecError as fault:
            raise Refuse("bad-question", str(fault)) from fault
        return encode_packages((await store.packages(purpose, tip=tip, signed=True))[:4])

    handlers: dict[str, Callable[[int, bytes], Awaitable[bytes]]] = {SIGNED: signed, WANTED: wanted}
    for topic, handler in handlers.items():
        peers.handle(topic, handler)
    return handlers
