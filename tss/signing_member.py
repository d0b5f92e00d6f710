"""A signer's answers: asks the approval port twice, keeps every verdict, and lets no share out unrecorded.

Per key and boot the pure state machine of `tss/signing/signer.py` says what to do. Between its decision and
the answer stands one durable transaction: commitment, package hash, share and verdict. No commit, no share.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from tss.approvals import Approvals
from tss.dkg.committee import Committee
from tss.dkg.ports import Identity
from tss.dkg.signed import read_purpose
from tss.evidence import collect
from tss.evidence_gossip import EvidenceBook
from tss.frost.codec import DecodeError, Reader, Writer
from tss.frost.engine import Engine
from tss.frost.errors import FrostError
from tss.keyring import Key, Keyring
from tss.peers import Peers
from tss.peers import Refuse as RefuseCall
from tss.signing import signer
from tss.signing.approval import Approved, Refused
from tss.signing.messages import MAX_PAYLOAD, Commitments, CommitRequest, Shares, SharesRequest
from tss.signing.signer import Refuse, Release, Replay, SignerContext, SignerState
from tss.signing.slots import request_id
from tss.store import NonceTaken, RequestRow, SessionRow, Store, VerdictRow

REQUEST = "tss.sign.request"
SHARES = "tss.sign.shares"


@dataclass(slots=True)
class _Signer:
    """The volatile half of a key: dies with the process, and every unused nonce with it."""

    context: SignerContext
    state: SignerState


@dataclass(frozen=True, slots=True)
class Ask:
    """A coordinator's whole request together with its wish for commitments."""

    purpose: str
    payload: bytes
    commit: CommitRequest

    def encode(self) -> bytes:
        """Purpose, payload and CommitRequest with u32 lengths."""
        writer = Writer().text(self.purpose, 32).var(self.payload, MAX_PAYLOAD)
        return writer.var(self.commit.encode(), CommitRequest.LIMIT + 64).done()

    @classmethod
    def decode(cls, data: bytes) -> "Ask":
        """DecodeError for anything but what `encode` writes."""
        reader = Reader(data, MAX_PAYLOAD + 1024)
        ask = cls(
            read_purpose(reader),
            reader.var(MAX_PAYLOAD),
            CommitRequest.decode(reader.var(CommitRequest.LIMIT + 64)),
        )
        reader.finish()
        return ask


class SigningMember:
    """Registers the signing topics and answers them."""

    def __init__(
        self,
        engine: Engine,
        identity: Identity,
        committee: Committee,
        boot_id: bytes,
        keyring: Keyring,
        approvals: Approvals,
        store: Store,
        book: EvidenceBook,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._engine, self._identity, self._committee, self._boot_id = engine, identity, committee, boot_id
        self._keyring, self._approvals, self._store, self._clock = keyring, approvals, store, clock
        self._book = book
        self._signers: dict[bytes, _Signer] = {}
        self._log = structlog.get_logger("tss.sign")

    def register(self, peers: Peers) -> None:
        """Answer the topics of signing."""
        peers.handle(REQUEST, self._request)
        peers.handle(SHARES, self._shares)

    async def _request(self, member: int, body: bytes) -> bytes:
        """The whole request, judged and kept before any commitment is given for it."""
        try:
            ask = Ask.decode(body)
        except DecodeError as error:
            raise RefuseCall("malformed", str(error)) from error
        key, one = self._find(member, ask.commit.sender, ask.commit.key)
        granted = signer.grant(one.context, ask.commit)
        if isinstance(granted, Refuse):
            return signer.refusal(self._identity, ask.commit, granted).encode()
        approval = await self._approvals.ask(key, ask.purpose, ask.payload)
        row = RequestRow(
            request_id(ask.purpose, ask.payload), ask.purpose, ask.payload, member, self._clock()
        )
        await self._store.keep_request(row, self._verdict(key, "request", ask.purpose, ask.payload, approval))
        if isinstance(approval, Refused):
            self._log.info("request refused", purpose=ask.purpose, by=member, reason=approval.reason)
            no = Refuse(signer.REFUSED, approval.reason, approval.retryable)
            return signer.refusal(self._identity, ask.commit, no).encode()
        return self._issue(key, one, member, granted.count, ask.commit.era).encode()

    async def _shares(self, member: int, body: bytes) -> bytes:
        try:
            request = SharesRequest.decode(body)
        except (DecodeError, FrostError) as error:
            raise RefuseCall("malformed", str(error)) from error
        key, one = self._find(member, request.sender, request.key)
        approval = await self._approvals.ask(key, request.purpose, request.payload)
        spent = await self._store.nonces(signer.own_commitments(one.context, request))
        # From here to the new state nothing is awaited: two sessions cannot take one nonce.
        decision = signer.decide(one.context, one.state, request, approval, spent)
        match decision:
            case Replay(shares):
                return self._answer(key, one, request, shares).encode()
            case Release():
                one.state = decision.state
                return await self._release(key, one, request, decision, approval)
            case Refuse():
                return await self._refuse(key, request, decision, approval)

    async def _release(
        self, key: Key, one: _Signer, request: SharesRequest, plan: Release, approval: Approved | Refused
    ) -> bytes:
        try:
            shares = await asyncio.to_thread(self._sign, key, plan)
        except FrostError as error:
            return await self._refuse(key, request, Refuse("engine", str(error)), approval)
        verdict = self._verdict(key, "release", request.purpose, request.payload, approval)
        row = SessionRow(request.session, request.request, request.order.encode())
        seen = RequestRow(row.request_id, request.purpose, request.payload, request.sender, self._clock())
        try:
            rows = signer.rows(request, plan, shares)
            await self._store.insert_shares(self._boot_id, row, rows, verdict, seen)
        except NonceTaken as error:
            return await self._refuse(key, request, Refuse("nonce-taken", str(error)), approval)
        return self._answer(key, one, request, shares).encode()

    def _sign(self, key: Key, plan: Release) -> list[bytes]:
        return [self._engine.sign(key.share, signing.handle, signing.package) for signing in plan.plan]

    async def _refuse(
        self, key: Key, request: SharesRequest, refuse: Refuse, approval: Approved | Refused
    ) -> bytes:
        if isinstance(approval, Refused):
            verdict = self._verdict(key, "release", request.purpose, request.payload, approval)
            await self._store.record_verdict(verdict)
        if refuse.evidence is not None:
            found = collect.signing(self._engine, self._committee, key.info.public, refuse.evidence)
            await self._book.report([] if found is None else [found])
        self._log.info("shares refused", purpose=request.purpose, by=request.sender, reason=refuse.reason)
        return signer.refusal(self._identity, request, refuse).encode()

    def _answer(self, key: Key, one: _Signer, request: SharesRequest, shares: Sequence[bytes]) -> Shares:
        following = self._issue(key, one, request.sender, request.want, request.era)
        return signer.answer(self._identity, request, shares, following)

    def _issue(self, key: Key, one: _Signer, owner: int, count: int, era: bytes) -> Commitments:
        fresh = self._engine.commit(key.share, count) if count else []
        one.state, message, dropped = signer.issue(self._identity, one.context, one.state, owner, fresh, era)
        if dropped:
            self._engine.drop_nonces(key.share, dropped)
        return message

    def _find(self, member: int, sender: int, share_set: bytes) -> tuple[Key, _Signer]:
        if sender != member:
            raise RefuseCall("sender", "the message is not yours")
        key = self._keyring.by_share_set(share_set)
        if key is None:
            raise RefuseCall("unknown-key", "we hold no such key: run the key's `holdfast tss dkg` again")
        if share_set not in self._signers:
            threshold = key.info.public.threshold
            context = SignerContext(
                self._committee, self._identity.index, share_set, threshold, self._boot_id
            )
            self._signers[share_set] = _Signer(context, SignerState())
        return key, self._signers[share_set]

    def _verdict(
        self, key: Key, phase: str, purpose: str, payload: bytes, approval: Approved | Refused
    ) -> VerdictRow:
        public = key.info.public
        message = signer.verdict(self._identity, public.group_key, purpose, payload, approval)
        return VerdictRow(message.request, phase, message.approved, message.reason, message.encode())
