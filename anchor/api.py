"""HTTP about anchors, records and proofs. It reads; everything comes in through `Sources`."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from aiohttp import web

from anchor import problem
from anchor.api_headers import MAX_NUMBER, MAX_PAGE, PAGE, unknown
from anchor.api_wire import (
    Anchors,
    AnchorView,
    BlockStatus,
    RecordView,
    SuccessorView,
)
from anchor.bitcoind import NodeError
from anchor.btc.block import Block, parse_block
from anchor.btc.ids import BlockHash, display
from anchor.btc.network import Network
from anchor.btc.tx import Tx
from anchor.headers.chain import HeaderChain
from anchor.headers.finality import missing
from anchor.inscription.reader import FIRST_ROOT, AnchorFound, RotationFound, VoidFound
from anchor.problem import Problem, answer
from anchor.proofs.coverage import Coverage
from anchor.proofs.manifest import manifest_of
from anchor.proofs.proof_maker import make_proof
from anchor.proofs.records import Record, record_hash
from anchor.rollup.activation import Lane
from anchor.rollup.succession import SignedSuccession


class Placed(Protocol):
    """An anchor in its block."""

    @property
    def found(self) -> AnchorFound:
        """What the lane's reader found."""

    @property
    def block(self) -> BlockHash:
        """The block that holds the reveal."""


class PlacedRotation(Protocol):
    """A rotation in its block."""

    @property
    def found(self) -> RotationFound:
        """What the lane's reader found."""

    @property
    def block(self) -> BlockHash:
        """The block that holds the reveal."""


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the answers come from: own chain, own reading of lanes, own copy of the rollup.

    `lanes` are the activation record's, none before it; `anchors`, `rotations` and `voids` those of all lanes,
    oldest first; `successions` what the rollup decided; `coverage` of a lane is None before the activation; `block`
    fetches a raw block and may raise NodeError.
    """

    network: Network
    k: int
    chain: HeaderChain
    anchors: Callable[[], Sequence[Placed]]
    ranges: Callable[[], Sequence[Record]]
    coverage: Callable[[], Coverage | None]
    block: Callable[[BlockHash], Awaitable[bytes]]
    lanes: Callable[[], Sequence[Lane]]
    rotations: Callable[[], Sequence[PlacedRotation]]
    voids: Callable[[], Sequence[VoidFound]]
    successions: Callable[[], Sequence[SignedSuccession]]


class AnchorApi:
    """Handlers over one node's sources. One rollup has one lane, number 0: its coverage is known."""

    def __init__(self, sources: Sources) -> None:
        self._s = sources

    def routes(self) -> list[web.RouteDef]:
        """All routes."""
        return [
            web.get("/v1/anchors", self.anchors),
            web.get("/v1/anchors/{sequence}", self.anchor),
            web.get("/v1/records", self.records),
            web.get("/v1/records/{hash}", self.record),
            web.get("/v1/records/{hash}/proof", self.proof),
        ]

    # Anchors

    async def anchors(self, request: web.Request) -> web.Response:
        """Anchors and rotations of a lane after a sequence number, oldest first."""
        after = problem.read_number(request, "after", 0, MAX_NUMBER)
        limit = _limit(request)
        found = [a for a in self._of_lane(request) if a.found.payload.sequence > after]
        spans = self._spans()
        page = [self._view(a, spans) for a in found[:limit]]
        return answer(Anchors(page, page[-1].sequence if len(found) > limit else None))

    async def anchor(self, request: web.Request) -> web.Response:
        """One anchor or rotation of a lane."""
        text = request.match_info["sequence"]
        for found in self._of_lane(request):
            if str(found.found.payload.sequence) == text:
                return answer(self._view(found, self._spans()))
        raise unknown("anchor", "list what there is with /v1/anchors")

    def _of_lane(self, request: web.Request) -> list[Placed | PlacedRotation]:
        lane = problem.read_number(request, "lane", 0, 0xFFFF)
        placed: list[Placed | PlacedRotation] = [*self._s.anchors(), *self._s.rotations()]
        found = [a for a in placed if a.found.payload.lane == lane]
        return sorted(found, key=lambda a: a.found.payload.sequence)

    def _spans(self) -> dict[int, tuple[int, int]]:
        """Which ranges lane 0's anchors cover, by sequence number."""
        coverage = self._s.coverage()
        mine = [a.found.payload.sequence for a in self._s.anchors() if a.found.payload.lane == 0]
        return {} if coverage is None else dict(zip(mine, coverage.spans, strict=False))

    def _view(self, anchor: Placed | PlacedRotation, spans: dict[int, tuple[int, int]]) -> AnchorView:
        found, payload = anchor.found, anchor.found.payload
        successor = found.successor if isinstance(found, RotationFound) else None
        span = spans.get(payload.sequence) if payload.lane == 0 else None
        ranges = self._s.ranges()
        return AnchorView(
            lane=payload.lane,
            sequence=payload.sequence,
            epoch=payload.epoch,
            root=payload.root.hex(),
            count=max(0, payload.count - 1),  # leaf 0 is the manifest; a rotation has none
            txid=display(found.txid),
            commit_txid=display(found.commit),
            fee=found.fee,
            first=None if span is None else ranges[span[0]].first,
            last=None if span is None else ranges[span[1] - 1].last,
            status=block_status(self._s.chain, anchor.block, self._s.k),
            kind="anchor" if successor is None else "rotation",
            successor=None if successor is None else SuccessorView.of(successor),
        )

    # Records

    async def records(self, request: web.Request) -> web.Response:
        """Records, newest first; only those that start before a block, or the one that holds a block."""
        limit = _limit(request)
        before = problem.read_number(request, "before", MAX_NUMBER, MAX_NUMBER)
        block = problem.read_number(request, "block", 0, MAX_NUMBER)
        anchors = self._anchor_of()
        page: list[RecordView] = []
        for index in range(len(self._s.ranges()) - 1, -1, -1):
            record = self._s.ranges()[index]
            if record.first < before and (not block or record.first <= block <= record.last):
                page.append(_record(record, anchors.get(index)))
                if len(page) == limit:
                    break
        return answer(page)

    async def record(self, request: web.Request) -> web.Response:
        """One record."""
        index = self._find(request)
        return answer(_record(self._s.ranges()[index], self._anchor_of().get(index)))

    def _anchor_of(self) -> dict[int, int]:
        """Sequence number of the anchor that covers a range, by the range's index."""
        return {i: sequence for sequence, (start, stop) in self._spans().items() for i in range(start, stop)}

    def _find(self, request: web.Request) -> int:
        wanted = problem.read_hash(request.match_info["hash"], "the record's hash")
        for index, record in enumerate(self._s.ranges()):
            if record_hash(record.encode()) == wanted:
                return index
        raise unknown("record", "list what there is with /v1/records; a new one needs final rollup blocks")

    async def proof(self, request: web.Request) -> web.Response:
        """The proof file of an anchored record, byte for byte as `holdfast anchor verify` takes it."""
        index = self._find(request)
        spans = self._spans()
        for place, (sequence, (start, stop)) in enumerate(spans.items()):
            if start <= index < stop:
                try:
                    data = await self._prove(index - start, sequence, place)
                except (NodeError, ValueError) as error:
                    raise moving(error) from error
                return web.Response(body=data, content_type="application/json")
        raise Problem(
            409,
            "not_anchored",
            "the record is not anchored yet",
            retryable=True,
            remedy="ask again after the next anchor has a confirmation",
        )

    async def _prove(self, which: int, sequence: int, place: int) -> bytes:
        lane = [a for a in self._s.anchors() if a.found.payload.lane == 0]
        anchor = next(a for a in lane if a.found.payload.sequence == sequence)
        start, stop = self._spans()[sequence]
        records = self._s.ranges()[start:stop]
        previous = lane[place - 1].found.payload.root if place else FIRST_ROOT
        manifest = manifest_of(previous, 0, sequence, records)
        found = anchor.found
        commit, block = await mined(self._s, found, anchor.block)
        proof = make_proof(self._s.network, manifest, records, which, commit, block, found.height, found.txid)
        return proof.encode()


async def mined(sources: Sources, found: AnchorFound | RotationFound, at: BlockHash) -> tuple[Tx, Block]:
    """Fetch a commit and the block `at` that holds its reveal. ValueError after a reorg, NodeError."""
    block = await asyncio.to_thread(parse_block, await sources.block(at))
    holder = block
    if found.commit_height != found.height:
        below = sources.chain.at_height(found.commit_height)
        if below is None:
            raise ValueError(f"there is no block {found.commit_height} here")
        holder = await asyncio.to_thread(parse_block, await sources.block(below.hash))
    commit = next((tx for tx in holder.txs if tx.txid == found.commit), None)
    if commit is None:
        raise ValueError(f"the commit is not in block {found.commit_height} any more")
    return commit, block


def moving(error: Exception) -> Problem:
    """Make the refusal of a proof whose blocks are not to be had: a reorg between two questions, or no bitcoind."""
    return Problem(
        503,
        "chain_moving",
        "the blocks of this proof cannot be read now",
        str(error),
        retryable=True,
        remedy="ask again in a moment",
    )


def block_status(chain: HeaderChain, block: BlockHash | None, k: int) -> BlockStatus:
    """Say where a block stands on a node's own chain; not confirmed when it is None or off the main chain."""
    at = None if block is None else chain.get(block)
    if block is None or at is None or not chain.is_main(block):
        return BlockStatus(confirmed=False)
    final = missing(chain, block, k) is None
    return BlockStatus(True, at.height, display(block), at.header.time, chain.depth(block), final)


def _limit(request: web.Request) -> int:
    return max(1, min(problem.read_number(request, "limit", PAGE, MAX_NUMBER), MAX_PAGE))


def _record(record: Record, anchor: int | None) -> RecordView:
    return RecordView(
        hash=record_hash(record.encode()).hex(),
        kind="range",
        rollup_id=record.rollup_id,
        first=record.first,
        last=record.last,
        state_before=record.state_before.hex(),
        state_after=record.state_after.hex(),
        tx_root=record.tx_root.hex(),
        data_root=record.data_root.hex(),
        final_height=record.final_height,
        final_hash=display(record.final_hash),
        anchor=anchor,
    )
