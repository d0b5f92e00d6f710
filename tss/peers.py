"""The members' line to each other: opaque topics over mutual TLS, every body in a signed envelope.

`handle` registers a topic, `call` asks one member, `gather` asks all others at once. Whatever a member sends,
the node answers or refuses by name and goes on; whoever is down fails at once instead of blocking the rest.
"""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import nullcontext, suppress
from typing import Any

import aiohttp
import structlog
from aiohttp import web

from tss.certificate import CertificateFault
from tss.clone_watch import CloneWatch
from tss.envelope import MAX_BODY, OVERHEAD, Envelope, Kind
from tss.frost.codec import DecodeError
from tss.gate import Gate, admitted, listen
from tss.guests import Guests
from tss.identity import TlsFiles
from tss.peer_bounds import Bounds, Rates, Refusals, back_off, ping_interval, ping_pause
from tss.peer_http import bounded, cause, explained, open_answer, plain, pong, release
from tss.peer_line import Line
from tss.peer_tls import MemberPin, Unpinned
from tss.peering import (
    CommitteeLike,
    PeerDown,
    PeerError,
    PeerInfo,
    PeerRefused,
    Refuse,
    Signer,
)
from tss.pins import Pins

__all__ = ["PeerDown", "PeerError", "PeerInfo", "PeerRefused", "Peers", "Refuse"]

Handler = Callable[[int, bytes], Awaitable[bytes]]

_PING = "peer.ping"
_CHANCE = secrets.SystemRandom().random
_LINE_SECONDS = 2.0  # to connect and to answer a ping, on a line that is not known yet
_IN_FLIGHT_PER_MEMBER = 64
_TRIES = 3
_BODY_SECONDS = 30.0
_TAKES_NOTHING = frozenset({"committee", "clock", "boot"})  # refusals of every call: such a member is no help


class Peers:
    """One node's end of the committee's lines."""

    def __init__(
        self,
        committee: CommitteeLike,
        index: int,
        tls: TlsFiles,
        identity: Signer,
        clock: Callable[[], float] = time.time,
        *,
        ping_every: float = 1.0,
        rates: Rates | None = None,
        chance: Callable[[], float] = _CHANCE,
    ) -> None:
        """Draws this start's boot id; nothing is opened before `start`. `chance` (0 to 1) spreads pings."""
        self.index = index
        self.boot_id = secrets.token_bytes(16)
        self._committee = committee
        self._identity = identity
        self._clock = clock
        self._chance = chance
        self.ping_seconds = ping_interval(ping_every, len(committee.members))
        self._others = {i: m for i, m in enumerate(committee.members, 1) if i != index}
        self.refusals = Refusals()
        self.pins = Pins(committee, index, tls, clock, self._note)
        self._peers: dict[int, Line] = {}
        self.guests = Guests()
        self.clones = CloneWatch(clock)
        self._bounds = Bounds(rates)
        self._handlers: dict[str, Handler] = {_PING: pong}
        self._sequence = 0
        self._runner: web.AppRunner | None = None
        self._gates: list[Gate] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._heard = asyncio.Event()
        self._log = structlog.get_logger("tss.peers")
        self.seen: dict[int, PeerInfo] = {i: PeerInfo(m.name) for i, m in self._others.items()}

    def handle(self, topic: str, handler: Handler) -> None:
        """Answer a topic; the handler gets the caller's index and body, and may raise Refuse."""
        if topic in self._handlers:
            raise ValueError(f"the topic {topic} has a handler already")
        self._handlers[topic] = handler

    def name(self, member: int) -> str:
        """A member's name; 0 is whoever is none."""
        return self._committee.members[member - 1].name if member else "a stranger"

    def _note(self, member: int, code: str, reason: str) -> None:
        self.refusals.add(member, self.name(member), code, reason)

    async def start(self, host: str, port: int) -> None:
        """Listen, and keep asking every member whether it is there."""
        self._open_sessions(self._others)
        app = web.Application(client_max_size=MAX_BODY + OVERHEAD)
        app.router.add_post("/peer/v1/{topic}", self._serve)
        self._runner, self._gates = await listen(app, host, port, self.pins.server, self._note)
        self._tasks = [asyncio.create_task(self._keep_pinging(peer)) for peer in self._peers.values()]

    def dial(self, members: Iterable[int]) -> None:
        """Call these members only, and listen to nobody, as a restore or a rehearsal does."""
        self._open_sessions(members)
        self._tasks = [asyncio.create_task(self._keep_pinging(peer)) for peer in self._peers.values()]

    def _open_sessions(self, members: Iterable[int]) -> None:
        for i in members:
            member = self._others[i]
            connector = aiohttp.TCPConnector(ssl=MemberPin(self.pins, i), limit=64, keepalive_timeout=60)
            session = aiohttp.ClientSession(connector=connector)
            self._peers[i] = Line(i, member, session, self.clones.window(i))

    async def close(self) -> None:
        """Hang up; calls under way fail."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        for peer in self._peers.values():
            await peer.session.close()
        self._peers = {}
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def call(self, member: int, topic: str, body: bytes, *, timeout: float = 10) -> bytes:
        """Ask one member (oneself too, without a line); PeerDown or PeerRefused when there is no answer."""
        if member == self.index:
            return await self._call_self(topic, body)
        peer = self._peers.get(member)
        if peer is None:
            raise PeerDown(member, "is out of reach: this node's peer port is closed")
        if len(body) > MAX_BODY:
            raise PeerRefused(
                member, "too-large", f"a body of {len(body)} bytes is over the limit {MAX_BODY}"
            )
        if time.monotonic() < peer.retry_at:
            raise PeerDown(member, self.seen[member].down or "is down", peer.member.name)
        return await self._call(peer, topic, body, timeout)

    async def gather(
        self,
        topic: str,
        body: bytes,
        *,
        timeout: float = 10,
        members: Iterable[int] | None = None,
        answered: Callable[[int], object] = bool,
    ) -> dict[int, bytes | PeerError]:
        """Ask all others at once (or those of `members` that are not oneself); errors are values here.

        `answered` hears of every member that did, as it does.
        """
        wanted = [m for m in (self._others if members is None else members) if m != self.index]

        async def one(member: int) -> bytes | PeerError:
            try:
                answer = await self.call(member, topic, body, timeout=timeout)
            except PeerError as error:
                return error
            answered(member)
            return answer

        return dict(zip(wanted, await asyncio.gather(*map(one, wanted)), strict=True))

    def patience(self, member: int, topic: str, usual: float) -> float:
        """Seconds to wait for an answer: `usual`, later by what this line and topic took, half to 4 times that."""
        line = self._peers.get(member)
        return usual if line is None else line.times.patience(topic, usual / 2, usual)

    async def until_heard(self, members: Iterable[int], timeout: float) -> None:
        """Wait until each of these members answers our calls; TimeoutError otherwise."""
        wanted = [member for member in members if member != self.index]
        async with asyncio.timeout(timeout):
            while any(self.seen[member].down is not None for member in wanted):
                self._heard.clear()
                await self._heard.wait()

    async def _call_self(self, topic: str, body: bytes) -> bytes:
        try:
            return await self._handlers[topic](self.index, body)
        except Refuse as refusal:
            raise PeerRefused(self.index, refusal.code, refusal.reason) from refusal

    async def _call(self, peer: Line, topic: str, body: bytes, timeout: float) -> bytes:
        name, why = peer.member.name, ""
        try:
            async with asyncio.timeout(timeout), nullcontext() if topic == _PING else peer.lane:
                for attempt in range(_TRIES):
                    try:
                        return await self._exchange(peer, topic, body)
                    except (aiohttp.ClientConnectorError, aiohttp.ServerFingerprintMismatch):
                        raise
                    except (aiohttp.ClientConnectionError, ConnectionError) as dropped:
                        # A pooled line that died, or a member that has not learned our certificate yet.
                        why = f"hung up: {cause(dropped)}"
                        await asyncio.sleep(0.1 * attempt)
        except TimeoutError:
            peer.times.late(topic, timeout)
            peer.wake.set()  # whether it is there shows at once, not at the next ping's turn
            raise PeerDown(peer.index, f"did not answer within {timeout:.3g} s", name) from None
        except Unpinned as fault:
            why = fault.reason
            self._note(peer.index, fault.code, why)
        except (aiohttp.ClientError, OSError, RuntimeError) as failure:
            if isinstance(failure, RuntimeError) and not peer.session.closed:
                raise
            why = f"is down: {cause(failure)}"
        self._mark_down(peer, why)
        raise PeerDown(peer.index, why, name)

    async def _exchange(self, peer: Line, topic: str, body: bytes) -> bytes:
        request = self._seal(Kind.REQUEST, peer.index, topic, bytes(32), "", body)
        url = f"{peer.member.peer_url.rstrip('/')}/peer/v1/{topic}"
        begun = time.monotonic()
        limits = aiohttp.ClientTimeout(
            total=None, connect=peer.times.patience(_PING, _LINE_SECONDS, _LINE_SECONDS)
        )
        async with peer.session.post(
            url, data=request.encode(), ssl=self.pins.client, timeout=limits, allow_redirects=False
        ) as response:
            data = await bounded(response, peer.index)
            if response.status != 200:
                detail = data[:500].decode("utf-8", "replace")
                raise PeerRefused(peer.index, f"http-{response.status}", f"{peer.member.name}: {detail}")
        try:
            answer = open_answer(request, data, peer.member)
        except PeerRefused as fault:
            self._note(peer.index, fault.code, fault.reason)
            raise
        took = time.monotonic() - begun
        peer.times.heard(topic, took)
        self._mark_up(peer, answer, took)
        if answer.code != "ok":
            reason = explained(answer, peer.member.name, self._committee.words)
            if answer.code == "boot":
                self.clones.accused(peer.index, self.boot_id)
            if answer.code in _TAKES_NOTHING:
                self.seen[peer.index].down = f"takes nothing from this node: {reason}"
            raise PeerRefused(peer.index, answer.code, reason)
        return answer.body

    def _seal(self, kind: Kind, to: int, topic: str, request: bytes, code: str, body: bytes) -> Envelope:
        self._sequence += 1
        bare = Envelope(
            kind,
            self._committee.hash,
            self.index,
            to,
            self.boot_id,
            self._sequence,
            int(self._clock() * 1000),
            topic,
            request,
            code,
            body,
        )
        return bare.with_signature(self._identity.sign(bare.digest))

    def _mark_down(self, peer: Line, why: str, *, slow: bool = False) -> None:
        peer.failures += 1
        self.seen[peer.index].down = why
        # One slow answer may be a busy machine: calls are still worth their time-out then.
        if not slow or peer.failures > 1:
            peer.retry_at = time.monotonic() + back_off(peer.failures, self._chance())

    def _hear(self, peer: Line, envelope: Envelope) -> None:
        """It spoke to us: whatever we thought, it is worth a call now."""
        info = self.seen[peer.index]
        info.last_seen, info.boot_id = self._clock(), envelope.boot_id
        peer.retry_at = 0.0
        if info.down is not None:
            peer.wake.set()

    def _mark_up(self, peer: Line, envelope: Envelope, rtt: float) -> None:
        self._hear(peer, envelope)
        info, now = self.seen[peer.index], self._clock()
        peer.failures, info.down, info.rtt = 0, None, rtt
        info.skew = envelope.time_ms / 1000 - (now - rtt / 2)
        self._heard.set()

    async def _keep_pinging(self, peer: Line) -> None:
        """Notice who comes and goes, and learn certificates; the only place that dials a member that is down."""
        while True:
            peer.wake.clear()
            patience = peer.times.patience(_PING, _LINE_SECONDS, _LINE_SECONDS)
            try:
                async with asyncio.timeout(patience):
                    await self.pins.learn(peer.index, peer.member.peer_url)
                peer.retry_at = 0.0
                answer = await self.call(peer.index, _PING, b"", timeout=patience)
                self.seen[peer.index].version = release(answer)
            except PeerRefused:
                pass  # it is there; what it refuses is for the callers to hear
            except PeerDown as down:
                self._mark_down(peer, down.why, slow=True)
            except CertificateFault as fault:
                self._mark_down(peer, fault.reason)
                self._note(peer.index, fault.code, fault.reason)
            except OSError as error:
                self._mark_down(peer, f"is down: {cause(error)}", slow=isinstance(error, TimeoutError))
            except Exception:
                self._log.exception("ping failed", member=peer.member.name)
            pause = ping_pause(self.ping_seconds, peer.failures, self._chance())
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await peer.wake.wait()

    async def _serve(self, request: web.Request) -> web.Response:
        transport = request.transport
        tls: Any = None if transport is None else transport.get_extra_info("ssl_object")
        member, fault = self.pins.whose(None if tls is None else tls.getpeercert(binary_form=True))
        peer = self._peers.get(member)
        if peer is None:
            self._note(0, "http-403", "its certificate is not in this committee")
            return plain(403, "your certificate is not in this committee")
        if fault is not None:
            return self._turn_away(peer, 403, f"your node {fault.reason}", fault.code)
        response = await self._admit(peer, request)
        if tls.generation != self.pins.generation:
            response.force_close()  # begun under a certificate that we have replaced
        return response

    async def _admit(self, peer: Line, request: web.Request) -> web.Response:
        size = MAX_BODY if request.content_length is None else request.content_length
        if peer.in_flight >= _IN_FLIGHT_PER_MEMBER or not self._bounds.admit(peer.index, size):
            return self._turn_away(peer, 429, "too many calls or bytes of yours: send less at once")
        peer.in_flight += 1
        try:
            return await self._take(peer, request)
        finally:
            peer.in_flight -= 1

    async def _take(self, peer: Line, request: web.Request) -> web.Response:
        try:
            async with asyncio.timeout(_BODY_SECONDS):
                envelope = Envelope.decode(await request.read())
        except DecodeError as fault:
            return self._turn_away(peer, 400, str(fault))
        except (web.RequestPayloadError, ConnectionError, TimeoutError):
            return self._turn_away(peer, 400, "the body was cut short")
        except web.HTTPRequestEntityTooLarge:
            return self._turn_away(peer, 413, f"the limit is {MAX_BODY} bytes")
        if envelope.kind is not Kind.REQUEST or (envelope.sender, envelope.receiver) != (
            peer.index,
            self.index,
        ):
            return self._turn_away(peer, 400, "this envelope is not from you to me")
        if envelope.topic != request.match_info["topic"] or not envelope.signed_by(peer.member.host_key):
            return self._turn_away(peer, 401, "the envelope's signature or topic does not fit")
        admitted(self._gates, request.transport, peer.index)
        code, body = await self._answer(peer, envelope)
        if code != "ok":
            self._note(peer.index, code, body.decode("utf-8", "replace"))
        answer = self._seal(Kind.ANSWER, peer.index, envelope.topic, envelope.digest, code, body)
        return web.Response(body=answer.encode(), content_type="application/octet-stream")

    def _turn_away(self, peer: Line, status: int, detail: str, code: str = "") -> web.Response:
        self._note(peer.index, code or f"http-{status}", detail)
        return plain(status, detail)

    async def _answer(self, peer: Line, envelope: Envelope) -> tuple[str, bytes]:
        """The signed part of an answer: a code and a body; a handler's failure never gets further than this."""
        if envelope.committee != self._committee.hash:
            return "committee", self._committee.words.encode()
        now_ms, guest = int(self._clock() * 1000), self.guests.find(peer.index, envelope.boot_id)
        if guest is not None:
            refusal = self.guests.refusal(guest, envelope, now_ms)
        else:
            refusal = self.clones.refusal(peer.index, peer.window, envelope, now_ms)
        if refusal is not None:
            return refusal[0], refusal[1].encode()
        if guest is None:  # a guest is not its member: the member's own boot stays the one we know
            self._hear(peer, envelope)
        handler = self._handlers.get(envelope.topic)
        if handler is None:
            return "unknown-topic", f"this node has no topic {envelope.topic}".encode()
        try:
            body = await handler(peer.index, envelope.body)
        except Refuse as refused:
            return refused.code, refused.reason.encode()
        except Exception:
            self._log.exception("a peer's call failed here", member=peer.member.name, topic=envelope.topic)
            return "internal", b"this call failed at our end; our log says why"
        if len(body) > MAX_BODY:
            return "too-large", b"the answer is over the limit"
        return "ok", body
