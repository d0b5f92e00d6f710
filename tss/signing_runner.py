"""Coordinates signatures from this node: drives the pure ROAST machine over the peers' lines.

A member that does not answer within `share_timeout` is "not ready": the next session opens with others, and a
late answer still counts. Several coordinators at once are safe; so is asking twice for the same request.
"""

import asyncio
import secrets
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from hashlib import sha256

import structlog

from tss.allowance import Grudges
from tss.approvals import Approvals
from tss.dkg.committee import Committee
from tss.dkg.ports import Identity
from tss.dkg.signed import is_slug
from tss.evidence import collect
from tss.evidence_gossip import EvidenceBook
from tss.frost.engine import Engine, verify
from tss.frost.path import INTERNAL
from tss.key_proof import TEST, KeyProof, message_for_test, verify_payload
from tss.keyring import Key, Keyring
from tss.peer_bounds import RoundTrips
from tss.peers import PeerDown, PeerError, Peers
from tss.rotation.succession import staying
from tss.signing import effects, events
from tss.signing.answers import read_event
from tss.signing.approval import Approved, Refused
from tss.signing.coordinator import Coordinator
from tss.signing.messages import ERA_SIZE, MAX_PAYLOAD, CommitRequest, SharesRequest
from tss.signing.pool import Pool
from tss.signing.slots import request_id
from tss.signing.states import Task
from tss.signing_member import REQUEST, SHARES, Ask
from tss.store import Store

_ANSWER_SECONDS = 20.0  # how long a late answer may still count
_PROVE_SECONDS = 30.0
_SPARE = 4  # commitments kept in reserve per member
_KEPT_SESSIONS = 20
_WRONG = 32  # strikes: asked last for an hour
_SOON = 0.1  # nobody is late before
_NEAR_SECONDS = 0.05  # round trips that differ by less are equal
_AT_ONCE = 4  # more at once would only make each other late


class SigningFailed(Exception):
    """No signature came of it: a stable code, a sentence that names members, whether to try again."""

    def __init__(self, code: str, reason: str, *, retryable: bool) -> None:
        super().__init__(reason)
        self.code, self.reason, self.retryable = code, reason, retryable


class _TooSlow(SigningFailed):
    """Too few answered, some of them perhaps only too late."""


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """A signing session of this coordinator; `state` is gathering, open, done or failed; Unix seconds.

    `epoch` is that of the key which signs.
    """

    id: bytes
    purpose: str
    epoch: int
    members: tuple[int, ...]
    pending: tuple[int, ...]
    state: str
    started: float


@dataclass(slots=True)
class _Run:
    purpose: str
    request: bytes
    coordinator: Coordinator
    committee: Committee  # the key's
    started: float
    share_timeout: float
    slow: set[int] = field(default_factory=set)
    inbox: asyncio.Queue[events.Event] = field(default_factory=asyncio.Queue)
    orders: dict[bytes, SharesRequest] = field(default_factory=dict)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)


class SigningRunner:
    """This node's sessions as coordinator."""

    def __init__(
        self,
        engine: Engine,
        identity: Identity,
        committee: Committee,
        peers: Peers,
        keyring: Keyring,
        approvals: Approvals,
        store: Store,
        book: EvidenceBook,
        clock: Callable[[], float] = time.time,
        *,
        share_timeout: float = 2.0,
    ) -> None:
        self._engine, self._identity, self._committee, self._peers = engine, identity, committee, peers
        self._keyring, self._approvals, self._store, self._clock = keyring, approvals, store, clock
        self._book = book
        self._share_timeout = share_timeout
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._pools: dict[bytes, Pool] = {}
        self._grudges = Grudges()
        self._paces: dict[int, RoundTrips] = {}
        self._running: dict[bytes, asyncio.Task[list[bytes]]] = {}
        self._runs: list[_Run] = []
        self._ended: deque[SessionInfo] = deque(maxlen=_KEPT_SESSIONS)
        self.counts: Counter[tuple[str, int, str]] = (
            Counter()
        )  # (purpose, epoch, done or failed) since the start
        self._log = structlog.get_logger("tss.sign")

    async def close(self) -> None:
        """Give up what is under way."""
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def sessions(self) -> list[SessionInfo]:
        """What is under way, then the last that ended."""
        found: list[SessionInfo] = []
        for run in self._runs:
            views, what = run.coordinator.sessions, (run.purpose, run.committee.epoch)
            found += [SessionInfo(v.session, *what, v.members, v.pending, "open", run.started) for v in views]
            if not views:
                found.append(SessionInfo(run.request, *what, (), (), "gathering", run.started))
        return found + list(self._ended)

    async def sign(
        self, purpose: str, payload: bytes, timeout: float, epoch: int | None = None, *, own: bool = False
    ) -> list[bytes]:
        """Signatures over what our own approval port returns for the payload, in its order.

        Under the serving key, or under that of a certain epoch, which may be retiring; `own`: with our share.
        """
        if len(payload) > MAX_PAYLOAD:
            raise SigningFailed("too-large", f"a payload is at most {MAX_PAYLOAD} bytes", retryable=False)
        key = self._key(purpose, payload, epoch)
        request = request_id(purpose, payload, key.info.epoch)
        running = request + key.sid
        task = self._running.get(running)
        if task is None:
            task = asyncio.create_task(self._sign(key, purpose, payload, own=own))
            self._running[running] = task
            task.add_done_callback(lambda done: self._forget(running, done))
        # Who runs out of patience leaves; the work goes on, and the next to ask joins it or finds its result.
        done, _ = await asyncio.wait({task}, timeout=timeout)
        if not done:
            late = f"no quorum within {timeout:g} s{self._waiting_for(request)}"
            raise SigningFailed("timeout", late, retryable=True)
        if task.cancelled():
            raise SigningFailed("closing", "this node is stopping", retryable=True)
        return task.result()

    async def prove(self, key: Key, payload: bytes = b"") -> KeyProof:
        """The test signature of all who hold a share, which ends a DKG or refresh; every member must be up."""
        payload = payload or verify_payload(key.info.purpose, key.sid)
        approved = Approved(((message_for_test(payload), INTERNAL),))
        task = self._task(key, TEST, payload, approved, len(key.info.public.verifying_shares))
        try:
            async with asyncio.timeout(_PROVE_SECONDS):
                signatures, order = await self._drive(key, task, max(self._share_timeout, 8.0))
        except TimeoutError:
            raise SigningFailed(
                "timeout", f"not all answered within {_PROVE_SECONDS:g} s", retryable=True
            ) from None
        return KeyProof(order.packages[0], signatures[0])

    def _key(self, purpose: str, payload: bytes, epoch: int | None) -> Key:
        name = payload.partition(b"\0")[0].decode("ascii", "replace") if purpose == TEST else purpose
        if not is_slug(name):
            raise SigningFailed("purpose", "a request names a purpose of a-z, 0-9 and -", retryable=False)
        key = self._keyring.serving(name) if epoch is None else self._keyring.signing(name, epoch)
        if key is None and epoch is not None:
            reason = f"no {name} key of epoch {epoch} can sign here: see `holdfast tss keys`"
            raise SigningFailed("no-key", reason, retryable=False)
        if key is None:
            later = not self._keyring.never(name)
            raise SigningFailed("no-key", self._keyring.why_none(name), retryable=later)
        return key

    async def _sign(self, key: Key, purpose: str, payload: bytes, *, own: bool) -> list[bytes]:
        approval = await self._approvals.ask(key, purpose, payload)
        if isinstance(approval, Refused):
            raise SigningFailed(
                "refused", f"this node refuses: {approval.reason}", retryable=approval.retryable
            )
        request = request_id(purpose, payload, key.info.epoch)
        known = None if purpose == TEST else await self._store.signatures(request)
        if known is not None and known[0] == approval.digest and _made_by(key, approval, known[1]):
            return [known[1][at : at + 64] for at in range(0, len(known[1]), 64)]
        async with self._turns:
            task = self._task(key, purpose, payload, approval, key.info.public.threshold)
            task = replace(task, must=frozenset({self._peers.index})) if own else task
            try:
                signatures, _order = await self._drive(key, task, self._share_timeout)
            except _TooSlow:
                # All that is known of the missing members is that they were slow, so be patient once.
                signatures, _order = await self._drive(key, task, 3 * self._share_timeout)
        await self._store.save_signatures(request, approval.digest, b"".join(signatures))
        return signatures

    def _task(self, key: Key, purpose: str, payload: bytes, approved: Approved, quorum: int) -> Task:
        order = self._preferred(request_id(purpose, payload, key.info.epoch))
        reach = staying(key.committee, self._committee, key.info.public.verifying_shares)
        if len(reach) < quorum:
            reason = (
                f"only {len(reach)} of those who hold the {key.info.purpose} key of epoch {key.info.epoch} are in "
                f"this committee, and it needs {quorum}"
            )
            raise SigningFailed("too-few-signers", reason, retryable=False)
        return Task(
            self._engine,
            key.info.public,
            key.committee,
            self._peers.index,
            purpose,
            payload,
            approved.messages,
            quorum,
            order=(self._peers.index, *order),
            spare=_SPARE,
            reach=frozenset(reach),
        )

    def _pool(self, key: Key) -> Pool:
        name = key.info.public.share_set
        if name not in self._pools:
            self._pools[name] = Pool(secrets.token_bytes(ERA_SIZE))
        return self._pools[name]

    def _preferred(self, request: bytes) -> list[int]:
        """Who is up first, who did wrong last, who stalled before them; near before far; equals take turns."""

        def rank(member: int) -> tuple[bool, int, int, bytes]:
            info = self._peers.seen[member]
            far = int((info.rtt or 0.0) / _NEAR_SECONDS)
            turn = sha256(request + member.to_bytes(2, "big")).digest()
            return info.down is not None, self._grudges.level(member), far, turn

        return sorted(self._peers.seen, key=rank)

    async def _drive(self, key: Key, task: Task, share_timeout: float) -> tuple[list[bytes], SharesRequest]:
        pool = self._pool(key)
        for member, info in self._peers.seen.items():
            if info.boot_id:
                pool.saw_boot(member, info.boot_id)
        coordinator = Coordinator(task, pool)
        request = request_id(task.purpose, task.payload, task.committee.epoch)
        run = _Run(task.purpose, request, coordinator, task.committee, self._clock(), share_timeout)
        self._runs.append(run)
        session, state = request, "failed"
        try:
            made = coordinator.start()
            while True:
                for effect in made:
                    if isinstance(effect, effects.Done):
                        session, state = effect.session, "done"
                        return list(effect.signatures), run.orders[effect.session]
                    await self._perform(run, task, effect)
                made = coordinator.step(await run.inbox.get())
        finally:
            self._runs.remove(run)
            self._grudges.note(dict.fromkeys(coordinator.stalled, 1) | dict(coordinator.strikes))
            self._end(run, session, state)
            for child in run.tasks:
                child.cancel()

    async def _perform(self, run: _Run, task: Task, effect: effects.Effect) -> None:
        match effect:
            case effects.AskCommitments(member, _count, message):
                signed = message.signed(self._identity)
                ask = Ask(task.purpose, task.payload, signed)
                self._send(run, member, signed, ask.encode())
            case effects.OpenSession(session, members, request):
                self._log.info(
                    "session opens",
                    purpose=task.purpose,
                    epoch=task.committee.epoch,
                    session=session.hex()[:16],
                    members=members,
                )
                order = request.signed(self._identity)
                run.orders[session] = order
                body, own = order.encode(), self._peers.index
                for member in sorted(members, key=lambda member: member == own):
                    self._send(run, member, order, body)
            case effects.Blame(member, reason, evidence):
                self._grudges.note({member: _WRONG})
                self._log.warning("a member did wrong", member=self._peers.name(member), reason=reason)
                if evidence is not None:  # garbage that only we saw proves nothing to others
                    found = collect.signing(self._engine, task.committee, task.public, evidence)
                    await self._book.report([] if found is None else [found])
            case effects.Failed(code, reason, retryable):
                kind = _TooSlow if run.slow and retryable else SigningFailed
                raise kind(code, reason, retryable=retryable)
            case effects.Ignored() | effects.Done():
                pass

    def _send(self, run: _Run, member: int, asked: CommitRequest | SharesRequest, body: bytes) -> None:
        child = asyncio.create_task(self._exchange(run, member, asked, body))
        run.tasks.add(child)
        child.add_done_callback(run.tasks.discard)

    async def _exchange(
        self, run: _Run, member: int, asked: CommitRequest | SharesRequest, body: bytes
    ) -> None:
        """One question to one member; its silence is reported once, and its late answer all the same."""
        # Commitments hold nobody up while others are ready; shares hold up the whole session.
        topic = REQUEST if isinstance(asked, CommitRequest) else SHARES
        # A batch takes longer than a single message: each size has a measure of its own.
        size = f"{len(asked.packages).bit_length()}" if isinstance(asked, SharesRequest) else ""
        pace = self._paces.setdefault(member, RoundTrips())
        alarms = self._alarms(run, member, topic, asked, lambda usual: pace.patience(size, _SOON, usual))
        begun = time.monotonic()
        try:
            if member == self._peers.index:
                await asyncio.sleep(0)  # what the others are asked leaves first: they work while we do
            data = await self._peers.call(member, topic, body, timeout=_ANSWER_SECONDS)
            pace.heard(size, time.monotonic() - begun)
            run.inbox.put_nowait(read_event(run.committee, member, asked, data))
        except PeerDown as down:
            run.inbox.put_nowait(events.Silent(member, down.why))
        except PeerError as refused:
            why = f"refused the call ({refused.reason})"
            run.inbox.put_nowait(events.Silent(member, why))
        finally:
            for alarm in alarms:
                alarm.cancel()

    def _alarms(
        self,
        run: _Run,
        member: int,
        topic: str,
        asked: CommitRequest | SharesRequest,
        pace: Callable[[float], float],
    ) -> list[asyncio.TimerHandle]:
        """When a member counts as late by its own measure, once that is known, and when as silent."""
        loop = asyncio.get_running_loop()
        usual = run.share_timeout * (3 if topic == REQUEST else 1)
        patience = self._peers.patience(member, topic, usual)

        def silent() -> None:
            run.slow.add(member)
            run.inbox.put_nowait(events.Silent(member, f"did not answer within {patience:.3g} s"))

        alarms = [loop.call_later(patience, silent)]
        soon = pace(patience)
        if isinstance(asked, SharesRequest) and soon < patience:
            late = events.Late(member, asked.session)
            alarms.append(loop.call_later(soon, run.inbox.put_nowait, late))
        return alarms

    def _forget(self, request: bytes, done: asyncio.Task[list[bytes]]) -> None:
        self._running.pop(request, None)
        if not done.cancelled():
            done.exception()  # its callers may all have left

    def _waiting_for(self, request: bytes) -> str:
        names: set[str] = set()
        for run in self._runs:
            if run.request == request:
                pending = {member for view in run.coordinator.sessions for member in view.pending}
                names |= {self._peers.name(member) for member in pending}
        return f": waiting for {', '.join(sorted(names))}" if names else ""

    def _end(self, run: _Run, session: bytes, state: str) -> None:
        what = (run.purpose, run.committee.epoch)
        self.counts[*what, state] += 1
        order = run.orders.get(session)
        members = order.members if order is not None else ()
        self._ended.appendleft(SessionInfo(session, *what, members, (), state, run.started))


def _made_by(key: Key, approved: Approved, signatures: bytes) -> bool:
    """Whether stored signatures are this key's: of two certified keys of one epoch one may have signed alone."""
    message, path = approved.messages[0]
    return verify(key.info.public.output_key(path)[0], message, signatures[:64])
