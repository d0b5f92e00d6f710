"""The admin routes of operations: the audit log, the stop, metrics, TLS certificates.

GET /v1/tss/audit?after=N&limit=N → rows and the next number · GET /v1/tss/audit/heads → what others said of theirs,
alarms · POST /v1/tss/audit/take-out {through, hash} · GET /v1/tss/pause, POST /v1/tss/pause {reason},
POST /v1/tss/resume · GET /v1/tss/certificates, POST /v1/tss/certificates/rotate {overlap, days} (both in days) ·
GET /v1/metrics (Prometheus text).
Hashes plain hex, times Unix seconds.
"""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import msgspec
from aiohttp import web

from tss.audit_watch import TakeOutRefused
from tss.certificate import DAY
from tss.certificates import CertificateRefused

if TYPE_CHECKING:
    from tss.node import TssNode

_MOST = 10_000


class PauseRequest(msgspec.Struct, forbid_unknown_fields=True):
    """Why nothing is to be signed."""

    reason: str


class TakeOutRequest(msgspec.Struct, forbid_unknown_fields=True):
    """The last row to take out, and its hash (hex), as the file has them."""

    through: int
    hash: str


class RotateRequest(msgspec.Struct, forbid_unknown_fields=True):
    """For how many days the present certificate stays good beside the new one, and how long the new one lasts."""

    overlap: float
    days: int


def routes(tss: "TssNode") -> list[web.RouteDef]:
    """The routes of the admin application."""
    return [*_log_and_stop(tss), *_certificates(tss)]


def _certificates(tss: "TssNode") -> list[web.RouteDef]:
    async def listed(_request: web.Request) -> web.Response:
        return _json({"certificates": _standings(tss)})

    async def rotate(request: web.Request) -> web.Response:
        try:
            wanted = msgspec.json.decode(await request.read(), type=RotateRequest)
            made = await tss.certificates.rotate(overlap=wanted.overlap * DAY, days=wanted.days)
        except (ValueError, CertificateRefused) as error:
            return _bad(str(error))
        except OSError as error:
            return _bad(
                f"the new certificate cannot be written ({error.strerror}): make room, then try again"
            )
        mine = next(row for row in _standings(tss) if row["name"] == tss.identity.name)
        return _json(mine | {"missing": made.missing})

    return [web.get("/v1/tss/certificates", listed), web.post("/v1/tss/certificates/rotate", rotate)]


def _standings(tss: "TssNode") -> list[dict[str, Any]]:
    rows = []
    for standing in tss.certificates.standings():
        one = standing.certificate
        row: dict[str, Any] = {"name": standing.name, "known": one is not None, "trouble": standing.trouble}
        if one is not None:
            more = {"number": one.number, "fingerprint": one.fingerprint.hex(), "ends": one.not_after}
            overlap = one.notice is not None and one.notice.before != one.number
            row |= more | {"older_until": one.notice.until if one.notice is not None and overlap else None}
        rows.append(row)
    return rows


def _log_and_stop(tss: "TssNode") -> list[web.RouteDef]:

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
        name = tss.seats.name
        number, digest = await tss.audit.store.head()
        said = [_plain(asdict(head)) for _, head in sorted((await tss.audit.store.remembered()).items())]
        alarms = [_plain(asdict(alarm)) for alarm in await tss.audit.store.alarms()]
        for head in said:
            head["member"] = name(head["member"], head["at_ms"] / 1000)
        for alarm in alarms:
            alarm |= {who: name(alarm[who], alarm["at"]) for who in ("member", "reporter")}
        return _json({"number": number, "hash": digest.hex(), "heads": said, "alarms": alarms})

    async def take_out(request: web.Request) -> web.Response:
        try:
            wanted = msgspec.json.decode(await request.read(), type=TakeOutRequest)
            gone = await tss.audit.take_out(wanted.through, bytes.fromhex(wanted.hash))
        except (ValueError, TakeOutRefused) as error:
            return _bad(str(error))
        return _json({"rows": gone})

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
        web.post("/v1/tss/audit/take-out", take_out),
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
