"""A signer's answers: asks the approval port twice, keeps its verdicts, and lets no share out unrecorded.

The port is asked when the request arrives and again when shares leave. A request that comes with its session, its
commitments lying in the coordinator's pool, is asked about before signing and after, in one trip.

Per key and boot the pure state machine of `tss/signing/signer.py` says what to do. Between its decision and
the answer stands one durable transaction: commitment, package hash, share and verdict. No commit, no share.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import structlog

from tss.allowance import Allowance, Recent
from tss.approvals import Approvals
from tss.dkg.committee import Committee
from tss.dkg.ports import Identity
from tss.dkg.signed import read_purpose
from tss.evidence import collect
from tss.evidence_gossip import EvidenceBook
from tss.frost.codec import DecodeError, Reader, Writer
from tss.frost.engine import Engine
from tss.frost.errors import FrostError
from tss.key_proof import TEST, verify_payload
from tss.keyring import Key, Keyring
from tss.nonce_store import NonceBook, Spending
from tss.peers import Peers
from tss.peers import Refuse as RefuseCall
from tss.signing import signer
from tss.signing.approval import Approved, Refused
from tss.signing.messages import MAX_PAYLOAD, Commitments, CommitRequest, Shares, SharesRequest
from tss.signing.signer import NonceRow, Refuse, Release, Replay, SignerContext, SignerState
from tss.store import NonceTaken, RequestRow, SessionRow, Store, VerdictRow

REQUEST = "tss.sign.request"
SHARES = "tss.sign.shares"

_ASKED = 4096
_FEW = 4
_REFUSALS_A_MINUTE = 120  # stored per member; more are answered all the same


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
        nonces: NonceBook,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._engine, self._identity, self._committee, self._boot_id = engine, identity, committee, boot_id
        self._keyring, self._approvals, self._store, self._clock = keyring, approvals, store, clock
        self._book = book
        self._signers: dict[bytes, _Signer] = {}
        self._asked = Recent(
            _ASKED
        )  # requests that the port approved, durably, before their shares were wanted
        self._refusals: dict[int, Allowance] = {}
        self._peers: Peers | None = None
        self.nonces = nonces
        keyring.wiped = self._wiped
        self._log = structlog.get_logger("tss.sign")

    def register(self, peers: Peers) -> None:
        """Answer the topics of signing."""
        self._peers = peers
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
            self._count(member, granted)
            return signer.refusal(self._identity, ask.commit, granted).encode()
        approval = await self._approvals.ask(key, ask.purpose, ask.payload)
        verdict = self._verdict(key, "request", ask.purpose, ask.payload, approval)
        epoch, now = key.info.epoch, self._clock()
        seen = RequestRow(verdict.request_id, ask.purpose, epoch, ask.payload, member, now)
        if isinstance(approval, Refused):
            if await self._remember_no(member, verdict, seen if approval.retryable else None):
                self._log.info("request refused", purpose=ask.purpose, by=member, reason=approval.reason)
            no = Refuse(signer.REFUSED, approval.reason, approval.retryable)
            return signer.refusal(self._identity, ask.commit, no).encode()
        await self._store.keep_request(seen, verdict)
        self._asked.add(verdict.request_id)
        return self._issue(key, one, member, granted.count, ask.commit.era).encode()

    def _wiped(self, share_set: bytes) -> None:
        """A share left memory with its nonces: those that nobody used are void."""
        one = self._signers.pop(share_set, None)
        if one is not None:
            self.nonces.add(share_set, voided=len(one.state.issued))

    async def _remember_no(self, member: int, verdict: VerdictRow, seen: RequestRow | None) -> bool:
        """Keep a refusal, of each member so many a minute; with the request, when a later yes is possible."""
        if not self._refusals.setdefault(member, Allowance(_REFUSALS_A_MINUTE)).take():
            return False
        if seen is not None:
            await self._store.keep_request(seen, verdict)
        else:
            await self._store.record_verdict(verdict)
        return True

    def _count(self, member: int, refuse: Refuse) -> None:
        """A refusal in a signed answer counts like one of the line, and is logged as seldom."""
        if self._peers is not None and member != self._identity.index:
            name = self._committee.name_of(member)
            self._peers.refusals.add(member, name, f"sign-{refuse.code}", refuse.reason)

    async def _shares(self, member: int, body: bytes) -> bytes:
        try:
            request = SharesRequest.decode(body)
        except (DecodeError, FrostError) as error:
            raise RefuseCall("malformed", str(error)) from error
        key, one = self._find(member, request.sender, request.key)
        proves = request.purpose == TEST and request.payload == verify_payload(key.info.purpose, key.sid)
        async with self._keyring.proving if proves else nullcontext():
            return await self._decided(key, one, request)

    async def _decided(self, key: Key, one: _Signer, request: SharesRequest) -> bytes:
        approval = await self._approvals.ask(key, request.purpose, request.payload)
        own = signer.own_commitments(one.context, request)
        # What this boot issued and nobody used has no row; the write before the release says it once more.
        unused = all(commitment in one.state.issued for commitment in own)
        spent = {} if unused else await self._store.nonces(own)
        # From here to the new state nothing is awaited: two sessions cannot take one nonce.
        decision = signer.decide(one.context, one.state, request, approval, spent)
        match decision:
            case Replay(shares):
                return self._answer(key, one, request, shares).encode()
            case Release():
                one.state = decision.state
                return await self._release(key, one, request, decision, approval)
            case Refuse():
                self.nonces.add(request.key, refused=len(own))
                phase = "release" if request.request in self._asked else "request"
                return await self._refuse(key, request, decision, approval, phase)

    async def _release(
        self, key: Key, one: _Signer, request: SharesRequest, plan: Release, approval: Approved | Refused
    ) -> bytes:
        """Sign, ask once more where the request came only now, store all, and only then let the shares out."""
        spending, asked = Spending(self.nonces, request.key, len(plan.plan)), None
        try:
            few = len(plan.plan) <= _FEW  # a trip to a thread takes longer than a few shares
            shares = self._sign(key, plan) if few else await asyncio.to_thread(self._sign, key, plan)
            if request.request not in self._asked:
                asked = self._verdict(key, "request", request.purpose, request.payload, approval)
                approval = await self._again(key, request, approval)
            if isinstance(approval, Refused):
                spending.failed()
                if asked is not None:
                    await self._store.record_verdict(asked)
                no = Refuse(signer.REFUSED, approval.reason, approval.retryable)
                return await self._refuse(key, request, no, approval)
            verdict = (
                self._verdict(key, "release", request.purpose, request.payload, approval)
                if asked is None
                else replace(asked, phase="release")  # the port said the same both times
            )
            write = self._write(request, signer.rows(request, plan, shares), verdict, asked, spending)
            return await self._store_and_answer(key, one, request, shares, write)
        except (FrostError, NonceTaken) as error:
            spending.failed()
            code = "engine" if isinstance(error, FrostError) else "nonce-taken"
            return await self._refuse(key, request, Refuse(code, str(error)), approval)
        except BaseException:
            spending.failed()
            raise

    def _write(
        self,
        request: SharesRequest,
        rows: Sequence[NonceRow],
        verdict: VerdictRow,
        asked: VerdictRow | None,
        spending: Spending,
    ) -> Coroutine[Any, Any, None]:
        """The transaction without which no share leaves."""
        return self._store.insert_shares(
            self._boot_id,
            SessionRow(request.session, request.request, request.order.encode()),
            rows,
            verdict,
            self._seen(request),
            asked=asked,
            also=spending.save,
            committed=spending.committed,
        )

    async def _store_and_answer(
        self,
        key: Key,
        one: _Signer,
        request: SharesRequest,
        shares: Sequence[bytes],
        write: Coroutine[Any, Any, None],
    ) -> bytes:
        """Make the answer while the disk works; it leaves only when all is stored."""
        storing = asyncio.create_task(write)
        try:
            await asyncio.sleep(0)  # lets the write begin
            answer = self._answer(key, one, request, shares).encode()
        finally:
            await storing
        return answer

    def _seen(self, request: SharesRequest) -> RequestRow:
        what = (request.request, request.purpose, request.epoch, request.payload)
        return RequestRow(*what, request.sender, self._clock())

    async def _again(self, key: Key, request: SharesRequest, first: Approved | Refused) -> Approved | Refused:
        """The port's word now that the shares are made and about to leave; it must not have changed."""
        second = await self._approvals.ask(key, request.purpose, request.payload)
        if isinstance(second, Approved) and second != first:
            return Refused("what is to be signed changed while it was signed: ask again", retryable=True)
        return second

    def _sign(self, key: Key, plan: Release) -> list[bytes]:
        return [self._engine.sign(key.share, signing.handle, signing.package) for signing in plan.plan]

    async def _refuse(
        self,
        key: Key,
        request: SharesRequest,
        refuse: Refuse,
        approval: Approved | Refused,
        phase: str = "release",
    ) -> bytes:
        if isinstance(approval, Refused) and refuse.code == signer.REFUSED:
            verdict = self._verdict(key, phase, request.purpose, request.payload, approval)
            seen = self._seen(request) if approval.retryable else None
            await self._remember_no(request.sender, verdict, seen)
        if refuse.evidence is not None:
            found = collect.signing(self._engine, key.committee, key.info.public, refuse.evidence)
            await self._book.report([] if found is None else [found])
        self._count(request.sender, refuse)
        return signer.refusal(self._identity, request, refuse).encode()

    def _answer(self, key: Key, one: _Signer, request: SharesRequest, shares: Sequence[bytes]) -> Shares:
        following = self._issue(key, one, request.sender, request.want, request.era)
        return signer.answer(self._identity, request, shares, following)

    def _issue(self, key: Key, one: _Signer, owner: int, count: int, era: bytes) -> Commitments:
        fresh = [] if key.share.closed else self._engine.commit(key.share, count) if count else []
        one.state, message, dropped = signer.issue(self._identity, one.context, one.state, owner, fresh, era)
        if dropped and not key.share.closed:
            self._engine.drop_nonces(key.share, dropped)
        if fresh or dropped:
            self.nonces.add(one.context.key, made=len(fresh), voided=len(dropped))
        return message

    def _find(self, member: int, sender: int, share_set: bytes) -> tuple[Key, _Signer]:
        if sender != member:
            raise RefuseCall("sender", "the message is not yours")
        key = self._keyring.by_share_set(share_set)
        if key is None:
            raise RefuseCall(
                "unknown-key", "we hold no such key, or its shares were made new: see `holdfast tss keys`"
            )
        if share_set not in self._signers:
            threshold = key.info.public.threshold
            context = SignerContext(key.committee, self._identity.index, share_set, threshold, self._boot_id)
            self._signers[share_set] = _Signer(context, SignerState())
        return key, self._signers[share_set]

    def _verdict(
        self, key: Key, phase: str, purpose: str, payload: bytes, approval: Approved | Refused
    ) -> VerdictRow:
        of = (key.info.public.group_key, key.info.epoch)
        message = signer.verdict(self._identity, *of, purpose, payload, approval)
        return VerdictRow(message.request, phase, message.approved, message.reason, message.encode())
