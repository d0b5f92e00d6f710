"""Requests handed on: any member can lead what another one began.

Every signer stores a request whole before it answers. A later leader finds it in its own store, or fetches it from
a member that saw it. If somebody has brought it to its end already, it gets the signatures instead, and checks
them.
"""

import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import sqlalchemy as sa
import structlog

from tss import tables
from tss.approvals import Approvals
from tss.dkg.signed import read_purpose
from tss.frost.codec import DecodeError, Reader, Writer
from tss.frost.engine import verify
from tss.key_proof import TEST
from tss.keyring import Keyring
from tss.peers import PeerError, Peers, Refuse
from tss.signing.approval import Approved
from tss.signing.messages import MAX_MESSAGES, MAX_PAYLOAD
from tss.signing.slots import request_id
from tss.store import RequestRow, Store

PENDING = "tss.sign.pending"
FETCH = "tss.sign.fetch"

_ALL = b"all"
_LISTED = 256
_SECONDS = 24 * 3600.0  # older ones are of no use to anybody
_ASK_SECONDS = 5.0
_ENTRY = 32 + 2  # request id, who brought it
_SIGNATURES = 64 * MAX_MESSAGES
_START = re.compile("[0-9a-fA-F]{8,64}")

Sign = Callable[[str, bytes, float, int], Awaitable[list[bytes]]]  # purpose, payload, seconds, key epoch


class UnknownRequest(Exception):
    """No member that answers has seen the request."""


class AmbiguousRequest(Exception):
    """Several requests begin with what was given; the sentence names them."""


@dataclass(frozen=True, slots=True)
class Handed:
    """A request as it is handed on; `signatures` are empty while nobody has them, else 64 bytes per message."""

    purpose: str
    epoch: int
    payload: bytes
    signatures: bytes

    def encode(self) -> bytes:
        """Purpose, u32 key epoch, payload, signatures; all but the epoch with their u32 lengths."""
        writer = Writer().text(self.purpose, 32).u32(self.epoch).var(self.payload, MAX_PAYLOAD)
        return writer.var(self.signatures, _SIGNATURES).done()

    @classmethod
    def decode(cls, data: bytes) -> "Handed":
        """DecodeError for anything but what `encode` writes."""
        reader = Reader(data, MAX_PAYLOAD + _SIGNATURES + 64)
        purpose, epoch = read_purpose(reader), reader.u32()
        handed = cls(purpose, epoch, reader.var(MAX_PAYLOAD), reader.var(_SIGNATURES))
        reader.finish()
        if len(handed.signatures) % 64:
            raise DecodeError("signatures have 64 bytes each")
        return handed

    @property
    def request(self) -> bytes:
        """Its id, 32 bytes."""
        return request_id(self.purpose, self.payload, self.epoch)


class Handover:
    """Serves stored requests, and takes over those of others."""

    def __init__(
        self,
        keyring: Keyring,
        approvals: Approvals,
        store: Store,
        peers: Peers,
        sign: Sign,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._keyring, self._approvals, self._store = keyring, approvals, store
        self._peers, self._sign, self._clock = peers, sign, clock
        self._log = structlog.get_logger("tss.sign")

    def register(self, peers: Peers) -> None:
        """Answer PENDING and FETCH."""
        peers.handle(PENDING, self._pending)
        peers.handle(FETCH, self._fetch)

    async def pending(self) -> list[RequestRow]:
        """Requests of the last day without signatures here, newest first, payloads left out."""
        r, s = tables.requests.c, tables.signatures.c
        wanted = (
            sa.select(r.request_id, r.purpose, r.epoch, sa.literal(b""), r.coordinator, r.at)
            .outerjoin(tables.signatures, s.request_id == r.request_id)
            .where(s.request_id.is_(None), r.purpose != TEST, r.at > self._clock() - _SECONDS)
            .order_by(r.at.desc())
            .limit(_LISTED)
        )
        return [RequestRow(*row) for row in await self._store.rows(wanted)]

    async def named(self, start: str) -> bytes:
        """The id of the request that waits here and begins with these hexadecimal digits; a whole id as it is.

        UnknownRequest for too few digits and for none that begins so, AmbiguousRequest for several.
        """
        if not _START.fullmatch(start):
            raise UnknownRequest(f"{start!r} is no request: give 8 to 64 hexadecimal digits of its id")
        if len(start) == 64:
            return bytes.fromhex(start)
        found = [row for row in await self.pending() if row.request_id.hex().startswith(start.lower())]
        if not found:
            raise UnknownRequest(f"no request that waits here begins with {start}")
        if len(found) > 1:
            listed = ", ".join(row.request_id.hex() for row in found)
            raise AmbiguousRequest(f"{len(found)} requests begin with {start}: {listed}")
        return found[0].request_id

    async def take_over(self, request: bytes, timeout: float = 30) -> list[bytes]:
        """Lead a request that another member began: its signatures.

        Raises UnknownRequest, or SigningFailed as `sign` does. Our own approval port is asked like for any other.
        """
        row = await self._store.request(request)
        handed = None if row is None else Handed(row.purpose, row.epoch, row.payload, b"")
        for other in await self._ask(request):
            if other.signatures and (made := await self._checked(request, other)) is not None:
                return made
            handed = handed or other
        if handed is None:
            raise UnknownRequest(
                f"no member that answers has seen request {request.hex()}: let its first leader ask again"
            )
        return await self._sign(handed.purpose, handed.payload, timeout, handed.epoch)

    async def _ask(self, request: bytes) -> list[Handed]:
        found: list[Handed] = []
        for member, answer in (await self._peers.gather(FETCH, request, timeout=_ASK_SECONDS)).items():
            if isinstance(answer, PeerError):
                continue
            try:
                handed = Handed.decode(answer)
            except DecodeError as error:
                self._log.warning("a handed request is damaged", by=self._peers.name(member), why=str(error))
                continue
            if handed.request == request:
                found.append(handed)
        return found

    async def _checked(self, request: bytes, handed: Handed) -> list[bytes] | None:
        """Another member's signatures, if they are what our own port approves, under our key; then kept."""
        key = self._keyring.signing(handed.purpose, handed.epoch)
        if key is None:
            return None
        approval = await self._approvals.ask(key, handed.purpose, handed.payload)
        signatures = [handed.signatures[at : at + 64] for at in range(0, len(handed.signatures), 64)]
        if not isinstance(approval, Approved) or len(signatures) != len(approval.messages):
            return None
        public = key.info.public
        for (message, path), signature in zip(approval.messages, signatures, strict=True):
            if not verify(public.output_key(path)[0], message, signature):
                return None
        await self._store.save_signatures(request, approval.digest, handed.signatures)
        return signatures

    async def _pending(self, _member: int, body: bytes) -> bytes:
        if body != _ALL:
            raise Refuse("malformed", "only all requests can be asked for")
        rows = await self.pending()
        return b"".join(Writer().raw(row.request_id, 32).u16(row.coordinator).done() for row in rows)

    async def pending_at(self, member: int) -> list[tuple[bytes, int]]:
        """(request id, who brought it) of what another member holds unfinished; PeerError when it is down."""
        data = await self._peers.call(member, PENDING, _ALL)
        if len(data) % _ENTRY or len(data) > _ENTRY * _LISTED:
            return []
        entries = (data[at : at + _ENTRY] for at in range(0, len(data), _ENTRY))
        return [(entry[:32], int.from_bytes(entry[32:], "big")) for entry in entries]

    async def _fetch(self, _member: int, body: bytes) -> bytes:
        row = await self._store.request(body)
        if row is None:
            raise Refuse("unknown-request", "we have not seen this request, or no longer hold it")
        known = await self._store.signatures(body)
        return Handed(row.purpose, row.epoch, row.payload, known[1] if known else b"").encode()
