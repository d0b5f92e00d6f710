"""`/v1/headers` and `/v1/reorgs` of a node, over its feed; what a rollup's sequencer and auditors read."""

from aiohttp import web

from anchor import problem
from anchor.btc.ids import BlockHash, display, from_display
from anchor.feed import HeaderFeed
from anchor.header_ledger import ReorgRow
from anchor.problem import Problem, answer

MAX_PAGE = 2000
MAX_HEIGHT = 1 << 32
MAX_REORGS = 200


def routes(feed: HeaderFeed) -> list[web.RouteDef]:
    """The routes; add them to the public application."""
    api = HeadersApi(feed)
    return [
        web.get("/v1/headers", api.headers),
        web.get("/v1/headers/{hash}", api.header),
        web.get("/v1/reorgs", api.reorgs),
    ]


class HeadersApi:
    """Handlers over one feed."""

    def __init__(self, feed: HeaderFeed) -> None:
        self._feed = feed

    async def headers(self, request: web.Request) -> web.Response:
        """The tip; with `from` also up to `count` headers of the main chain, 80 bytes each, joined, in hex."""
        tip = self._feed.chain.tip
        facts = {"tip_height": tip.height, "tip_hash": display(tip.hash)}
        if "from" not in request.query:
            return answer({**facts, "work": f"{tip.work:x}", "start_height": self._feed.chain.start.height})
        start = problem.read_number(request, "from", 0, MAX_HEIGHT)
        count = min(problem.read_number(request, "count", MAX_PAGE, MAX_HEIGHT), MAX_PAGE)
        page = self._feed.chain.main(start, count) if count else []
        raw = b"".join(at.header.raw for at in page)
        return answer({"from": page[0].height if page else start, "headers": raw.hex(), **facts})

    async def header(self, request: web.Request) -> web.Response:
        """One header by hash, on whatever branch."""
        try:
            block = BlockHash(from_display(request.match_info["hash"]))
        except ValueError as error:
            raise Problem(
                400,
                "bad_hash",
                "not a block hash",
                str(error)[:200],
                remedy="send 64 hex digits, display order",
            ) from error
        at = self._feed.chain.get(block)
        if at is None:
            raise Problem(
                404, "unknown_header", "this node does not know that block", remedy="check the hash"
            )
        depth = self._feed.chain.depth(block)
        facts = {
            "hash": display(block),
            "height": at.height,
            "work": f"{at.work:x}",
            "header": at.header.raw.hex(),
        }
        return answer({**facts, "confirmations": depth, "main_chain": depth > 0})

    async def reorgs(self, request: web.Request) -> web.Response:
        """The ledger of reorgs, newest first; `before` is the id of the last one already seen."""
        limit = min(problem.read_number(request, "limit", 50, MAX_HEIGHT), MAX_REORGS)
        before = problem.read_number(request, "before", 0, MAX_HEIGHT) or None
        return answer({"reorgs": [_reorg(row) for row in await self._feed.reorgs(limit, before)]})


def _reorg(row: ReorgRow) -> dict[str, object]:
    return {
        "id": row.id,
        "seen_at": row.seen_at,
        "level": row.level,
        "depth": row.depth,
        "fork_height": row.fork_height,
        "fork_hash": display(row.fork_hash),
        "old_height": row.old_height,
        "old_tip": display(row.old_tip),
        "new_height": row.new_height,
        "new_tip": display(row.new_tip),
        "work_lost": f"{row.work_lost:x}",
        "work_gained": f"{row.work_gained:x}",
    }
