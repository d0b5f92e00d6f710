"""Evidence among the members: what one can prove, all keep.

Whoever finds a fault tells all. A piece is judged before it is stored, whoever brings it; what does not convict is
dropped and counted. Members that were away, or that a culprit avoided, compare ids with one other member from time
to time and fetch what they miss.
"""

import asyncio
from collections.abc import Coroutine, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import structlog

from tss.allowance import Allowance, Recent
from tss.dkg.committee import Committee
from tss.dkg.ports import Sealer
from tss.evidence.form import Evidence
from tss.evidence.judge import Judgement, judge
from tss.evidence_store import EvidenceRow, EvidenceStore, Kept
from tss.frost.codec import DecodeError
from tss.frost.engine import Engine
from tss.peers import PeerError, Peers, Refuse

TELL = "tss.evidence.tell"
LIST = "tss.evidence.list"
FETCH = "tss.evidence.fetch"

_ID = 32
_ALL = b"all"
_MAX_IDS = 4096
_TELL_SECONDS = 5.0
_PER_MINUTE = 30  # pieces judged per member and minute: judging costs us up to 0.1 s each
_MISSING_AT_ONCE = 16


@dataclass(slots=True)
class EvidenceCounts:
    """What became of the pieces that reached this node since its start, its own included."""

    stored: int = 0
    known: int = 0
    unproven: int = 0
    unreadable: int = 0
    full: int = 0
    too_many: int = 0


class EvidenceBook:
    """Judges, keeps and spreads evidence."""

    def __init__(
        self,
        engine: Engine,
        sealer: Sealer,
        committees: Sequence[Committee],
        index: int,
        store: EvidenceStore,
        *,
        compare_every: float = 30.0,
    ) -> None:
        """`committees` are those of all epochs that the folder vouches for, the present one the last."""
        self._engine, self._sealer, self._committee, self._index = engine, sealer, committees[-1], index
        self._committees = {one.hash: one for one in committees}
        self._store, self._compare_every = store, compare_every
        self._peers: Peers | None = None
        self._allowances: dict[int, Allowance] = {}
        self._judging = asyncio.Semaphore(1)
        self._aside = Recent(_MAX_IDS)  # not to be fetched again
        self._tasks: set[asyncio.Task[None]] = set()
        self._log = structlog.get_logger("tss.evidence")
        self.counts = EvidenceCounts()

    def register(self, peers: Peers) -> None:
        """Answer the topics of evidence."""
        self._peers = peers
        peers.handle(TELL, self._told)
        peers.handle(LIST, self._list)
        peers.handle(FETCH, self._fetch)

    def start(self) -> None:
        """Begin to compare with the others."""
        self._keep(self._compare_for_ever())

    async def close(self) -> None:
        """Stop telling and comparing."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def report(self, found: Iterable[Evidence]) -> list[Evidence]:
        """Judge what this node found, keep what convicts and tell all members; gives what convicts."""
        proven = []
        for evidence in found:
            kept, judgement = await self._take(evidence, self._index)
            if judgement.proven:
                proven.append(evidence)
            if kept is Kept.STORED:
                self._keep(self._tell(evidence))
        return proven

    async def all(self) -> list[EvidenceRow]:
        """Every stored piece, oldest first."""
        return await self._store.all()

    async def _take(self, evidence: Evidence, reporter: int) -> tuple[Kept | None, Judgement]:
        committee = self._committees.get(evidence.committee.hash, self._committee)
        async with self._judging:
            judgement = await asyncio.to_thread(judge, self._engine, self._sealer, evidence, committee)
        if not judgement.proven:
            # Of a complaint two readings are tried here, one of which must fail: only others' count.
            self.counts.unproven += reporter != self._index
            return None, judgement
        kept = await self._store.add(evidence, judgement.reason, reporter)
        match kept:
            case Kept.STORED:
                self.counts.stored += 1
                self._log.warning(
                    "a member did wrong",
                    kind=evidence.kind.slug,
                    reason=judgement.reason,
                    id=evidence.id.hex(),
                )
            case Kept.KNOWN:
                self.counts.known += 1
            case Kept.FULL:
                self.counts.full += 1
        return kept, judgement

    async def _tell(self, evidence: Evidence) -> None:
        if self._peers is None:
            return
        answers = await self._peers.gather(TELL, evidence.encode(), timeout=_TELL_SECONDS)
        for member, answer in answers.items():
            if isinstance(answer, PeerError):
                self._log.info("evidence not delivered", member=self._peers.name(member), why=answer.reason)

    async def _told(self, member: int, body: bytes) -> bytes:
        evidence = self._read(body)
        if await self._store.get(evidence.id) is not None:
            self.counts.known += 1
            return b""
        if not self._allowances.setdefault(member, Allowance(_PER_MINUTE)).take():
            self.counts.too_many += 1
            raise Refuse("too-many", f"at most {_PER_MINUTE} pieces of evidence a minute: send it later")
        kept, judgement = await self._take(evidence, member)
        if kept is None or kept is Kept.FULL:
            self._aside.add(evidence.id)
        if not judgement.proven:
            raise Refuse("unproven", judgement.reason)
        return b""

    def _read(self, body: bytes) -> Evidence:
        try:
            return Evidence.decode(body)
        except DecodeError as error:
            self.counts.unreadable += 1
            raise Refuse("malformed", str(error)) from error

    async def _list(self, _member: int, body: bytes) -> bytes:
        if body != _ALL:
            raise Refuse("malformed", "only all ids can be asked for")
        return b"".join((await self._store.ids())[-_MAX_IDS:])

    async def _fetch(self, _member: int, body: bytes) -> bytes:
        row = await self._store.get(body)
        if row is None:
            raise Refuse("unknown-evidence", "we hold no such evidence")
        return row.body

    async def _compare_for_ever(self) -> None:
        """Ask one member after the other what it knows."""
        turn = self._index
        while True:
            await asyncio.sleep(self._compare_every)
            turn = turn % self._committee.size + 1
            if turn == self._index:
                continue
            try:
                await self.compare(turn)
            except PeerError as error:
                self._log.debug("evidence not compared", why=error.reason)
            except Exception:
                self._log.exception("comparing evidence failed")

    async def compare(self, member: int) -> None:
        """Fetch from a member what we miss; PeerError when it does not answer."""
        assert self._peers is not None, "register first"
        listed = await self._peers.call(member, LIST, _ALL)
        known = {*await self._store.ids(), *self._aside}
        ids = (listed[at : at + _ID] for at in range(0, min(len(listed), _MAX_IDS * _ID), _ID))
        missing = [one for one in dict.fromkeys(ids) if one not in known]
        for one in missing[:_MISSING_AT_ONCE]:
            with suppress(Refuse):
                await self._told(member, await self._peers.call(member, FETCH, one))

    def _keep(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
