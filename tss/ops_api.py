"""The admin routes of operations: the audit log, the stop, metrics.

GET /v1/tss/audit?after=N&limit=N → rows and the next number · GET /v1/tss/audit/heads → what others said of theirs,
alarms · GET /v1/tss/pause, POST /v1/tss/pause {reason}, POST /v1/tss/resume · GET /v1/metrics (Prometheus text).
Hashes plain hex, times Unix seconds.
"""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import msgspec
from aiohttp import web

if TYPE_CHECKING:
    from tss.node import TssNode

_MOST = 10_000


class PauseRequest(msgspec.Struct, forbid_unknown_fields=True):
    """Why nothing is to be signed."""

    reason: str


def routes(tss: "TssNode") -> list[web.RouteDef]:
    """The routes of the admin application."""

    async def rows(request: web.Request) -> web.Response:
        try:
            after, limit = int(request.query.get("after", "0")), int(request.query.get("limit", "1000"))
        except ValueError:
            return _bad("after and limit are whole numbers")
        if not 0 <= after < 2**63 or not 0 < limit <= _MOST:
            return _bad(f"after is at least 0 and limit 1 to {_MOST}")
        found = [_plain(asdict(row)) for row in await tss.audit.store.rows(after, limit)]
        return _json({"rows": found, "next": found[-1]["number"] if found else None})

    async def heads(_request: web.Request) -> web.Response:
        name = tss.committee.name_of
        number, digest = await tss.audit.store.head()
        said = [_plain(asdict(head)) for _, head in sorted((await tss.audit.store.remembered()).items())]
        alarms = [_plain(asdict(alarm)) for alarm in await tss.audit.store.alarms()]
        for one in (*said, *alarms):
            one["member"] = name(one["member"])
        for one in alarms:
            one["reporter"] = name(one["reporter"])
        return _json({"number": number, "hash": digest.hex(), "heads": said, "alarms": alarms})

    async def paused(_request: web.Request) -> web.Response:
        return _json(_stand(tss))

    async def pause(request: web.Request) -> web.Response:
        try:
            await tss.pause.pause(msgspec.json.decode(await request.read(), type=PauseRequest).reason)
        except ValueError as error:  # msgspec's are ValueErrors too
            return _bad(str(error))
        return _json(_stand(tss))

    async def resume(_request: web.Request) -> web.Response:
        ended = await tss.pause.resume()
        return _json(_stand(tss) | {"ended": None if ended is None else asdict(ended)})

    return [
        web.get("/v1/tss/audit", rows),
        web.get("/v1/tss/audit/heads", heads),
        web.get("/v1/tss/pause", paused),
        web.post("/v1/tss/pause", pause),
        web.post("/v1/tss/resume", resume),
    ]


def _stand(tss: "TssNode") -> dict[str, Any]:
    now = tss.pause.now
    return {"paused": now is not None} | ({} if now is None else asdict(now))


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value.hex() if isinstance(value, bytes) else value for name, value in values.items()}


def _json(value: object) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), content_type="application/json")


def _bad(detail: str) -> web.Response:
    from tss.api import problem

    return problem(400, "bad_request", "the request is not as documented", detail, remedy="correct it")
