"""HTTP about headers and reorgs: raw headers, what a block lacks to be settled, the ledger of reorgs, its pages."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from aiohttp import web

from anchor import problem
from anchor.api_wire import (
    BranchBlock,
    ConditionView,
    HeaderPage,
    HeaderTip,
    HeaderView,
    ReorgDetail,
    ReorgEntry,
    Reorgs,
    TipSeen,
    TouchedView,
)
from anchor.btc.ids import BlockHash, display, from_display
from anchor.header_ledger import HeaderLedger, ReorgRow
from anchor.headers.chain import HeaderAt, HeaderChain, branch
from anchor.headers.finality import Policy, conditions, missing
from anchor.headers.picture import draw
from anchor.pages_reorgs import fork_of, page_of_all, page_of_one, respond
from anchor.problem import Problem, answer
from anchor.rollup.bitcoin_view import ViewReorg
from anchor.rollup_wire import reorg_view

PAGE, MAX_PAGE = 50, 500
HEADERS_PAGE = 2000
MAX_NUMBER = 1 << 62
USES = ("", "anchor", "deposit", "payout")
MOST_TOUCHED = 100  # things named per reorg of a list, unsettled ones first; one reorg alone names MOST_ALONE
MOST_ALONE = 5000
END = 5  # blocks that are shown at each end of a long branch

Touched = Callable[[Sequence[int]], Awaitable[dict[int, list[TouchedView]]]]


@dataclass(frozen=True, slots=True)
class HeaderSources:
    """Where the answers come from: own chain and ledger, own depths, what reorgs touched, the rollup's view."""

    name: str
    k: int
    chain: HeaderChain
    ledger: HeaderLedger
    depths: Callable[[], Policy]
    touched: Touched
    paused: Callable[[], str | None]
    rollup_reorgs: Callable[[], Sequence[ViewReorg]]


class HeaderApi:
    """Handlers over one node's headers."""

    def __init__(self, sources: HeaderSources) -> None:
        self._s = sources

    def routes(self) -> list[web.RouteDef]:
        """All routes."""
        return [
            web.get("/v1/headers", self.headers),
            web.get("/v1/headers/{hash}", self.header),
            web.get("/v1/reorgs", self.reorgs),
            web.get("/v1/reorgs/{id}", self.reorg),
            web.get("/v1/reorgs/{id}/fork.svg", self.picture),
            web.get("/reorgs", self.page),
            web.get("/reorgs/{id}", self.page_of_one),
        ]

    async def headers(self, request: web.Request) -> web.Response:
        """The tip, or with `from` and `count` raw headers of the main chain."""
        chain, tip = self._s.chain, self._s.chain.tip
        if "from" not in request.query and "count" not in request.query:
            return answer(HeaderTip(tip.height, display(tip.hash), f"{tip.work:x}"))
        start = problem.read_number(request, "from", 0, MAX_NUMBER)
        count = min(problem.read_number(request, "count", HEADERS_PAGE, MAX_NUMBER), HEADERS_PAGE)
        start = max(start, chain.start.height)
        raw = chain.raws(start, count)
        return answer(HeaderPage(start, raw.hex(), tip.height, display(tip.hash)))

    async def header(self, request: web.Request) -> web.Response:
        """One header, on whatever branch it is; `use` and `value` ask for a use's own depth."""
        block = read_block_hash(request.match_info["hash"])
        use = request.query.get("use", "")
        if use not in USES:
            remedy = f"leave it out, or say one of {', '.join(USES[1:])}"
            raise Problem(400, "bad_use", "there is no such use of a block", use[:40], remedy=remedy)
        value = problem.read_number(request, "value", 0, MAX_NUMBER)
        chain, at = self._s.chain, self._s.chain.get(block)
        if at is None:
            raise unknown("header", "this node never saw that block; check the hash")
        need = self._s.depths().k_for(use, value)
        lacks, own = missing(chain, block, self._s.k), conditions(chain, block, need)
        seen = await self._s.ledger.sightings([block])
        return answer(
            HeaderView(
                height=at.height,
                hash=display(block),
                main=chain.is_main(block),
                depth=chain.depth(block),
                final=lacks is None,
                missing=lacks,
                raw=at.header.raw.hex(),
                needed=need,
                settled=all(c.met for c in own),
                conditions=[ConditionView(c.name, c.met, c.have, c.need, c.text) for c in own],
                seen=seen.get(block, {}),
            )
        )

    # Reorgs

    async def reorgs(self, request: web.Request) -> web.Response:
        """Every reorg this node and the rollup's view have seen; the node's by pages."""
        return answer(await self._page(request))

    async def reorg(self, request: web.Request) -> web.Response:
        """One reorg with both branches."""
        return answer(await self._detail(request))

    async def picture(self, request: web.Request) -> web.Response:
        """The fork of one reorg as SVG."""
        return respond(draw(fork_of(await self._detail(request))), "image/svg+xml")

    async def page(self, request: web.Request) -> web.Response:
        """Every reorg for people."""
        return respond(page_of_all(self._s.name, await self._page(request), self._s.paused()), "text/html")

    async def page_of_one(self, request: web.Request) -> web.Response:
        """One reorg for people, with its picture."""
        return respond(page_of_one(self._s.name, await self._detail(request), self._s.paused()), "text/html")

    async def _page(self, request: web.Request) -> Reorgs:
        before = problem.read_number(request, "before", 0, MAX_NUMBER)
        limit = max(1, min(problem.read_number(request, "limit", PAGE, MAX_NUMBER), MAX_PAGE))
        rows = await self._s.ledger.reorgs(limit + 1, before or None)
        shown = rows[:limit]
        entries = await self._entries(shown)
        rollup = [reorg_view(r) for r in self._s.rollup_reorgs()]
        return Reorgs(entries, rollup, shown[-1].id if len(rows) > limit else None)

    async def _entries(self, rows: Sequence[ReorgRow], most: int = MOST_TOUCHED) -> list[ReorgEntry]:
        touched = await self._s.touched([row.id for row in rows])
        tips = [tip for row in rows for tip in (row.old_tip, row.new_tip)]
        seen = await self._s.ledger.sightings(tips)
        return [_entry(row, seen, touched.get(row.id, []), most) for row in rows]

    async def _detail(self, request: web.Request) -> ReorgDetail:
        text = request.match_info["id"]
        row = None
        if text.isascii() and text.isdigit() and len(text) <= 18:
            row = await self._s.ledger.reorg(int(text))
        if row is None:
            raise unknown("reorg", "list what there is with /v1/reorgs")
        (entry,) = await self._entries([row], MOST_ALONE)
        chain = self._s.chain
        fork = chain.get(row.fork_hash)
        old, old_hidden = _ends(chain.get(row.old_tip), fork)
        new, new_hidden = _ends(chain.get(row.new_tip), fork)
        shared = [at for at in (fork and fork.parent, fork) if at is not None]
        seen = await self._s.ledger.sightings([at.hash for at in (*shared, *old, *new)])
        foot, left, taken = ([_block(at, seen) for at in side] for side in (shared, old, new))
        return ReorgDetail(entry, foot, left, taken, old_hidden, new_hidden)


def read_block_hash(text: str) -> BlockHash:
    """Read a block hash or txid in display order; Problem 400 otherwise."""
    try:
        return BlockHash(from_display(text))
    except ValueError as error:
        raise Problem(
            400, "bad_hash", "that is not 64 hex digits", text[:80], remedy="send 64 hex digits"
        ) from error


def unknown(what: str, remedy: str) -> Problem:
    """Make the refusal of something that is not there."""
    return Problem(404, f"unknown_{what}", f"there is no such {what}", remedy=remedy)


def _ends(tip: HeaderAt | None, fork: HeaderAt | None) -> tuple[list[HeaderAt], int]:
    """A branch above the fork, lowest first, without the middle of a long one; how many are left out."""
    if tip is None or fork is None:
        return [], 0
    length = tip.height - fork.height
    if length <= 2 * END + 1:
        return list(branch(tip, fork))[::-1], 0
    heights = [*range(fork.height + 1, fork.height + 1 + END), *range(tip.height - END + 1, tip.height + 1)]
    found = [at for height in heights if (at := tip.ancestor(height)) is not None]
    return found, length - len(found)


def _block(at: HeaderAt, seen: dict[BlockHash, dict[str, int]]) -> BranchBlock:
    return BranchBlock(at.height, display(at.hash), at.header.time, seen.get(at.hash, {}))


def _entry(
    row: ReorgRow, seen: dict[BlockHash, dict[str, int]], touched: list[TouchedView], most: int
) -> ReorgEntry:
    old, new = seen.get(row.old_tip, {}), seen.get(row.new_tip, {})
    sources = [TipSeen(name, old.get(name), new.get(name)) for name in sorted(old.keys() | new.keys())]
    return ReorgEntry(
        row.id,
        row.seen_at,
        row.level,
        row.depth,
        row.fork_height,
        display(row.fork_hash),
        row.old_height,
        display(row.old_tip),
        row.new_height,
        display(row.new_tip),
        f"{row.work_lost:x}",
        f"{row.work_gained:x}",
        sources,
        touched if len(touched) <= most else sorted(touched, key=lambda item: item.settled)[:most],
        len(touched),
        sum(not item.settled for item in touched),
    )
