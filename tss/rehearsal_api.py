"""The admin routes by which a rehearsal asks the running node for what only it can do: to announce, to write down.

POST /v1/tss/rehearsals {boot_id} → {announced: [name], missing: {name: why}} ·
POST /v1/tss/rehearsals/ended {boot_id, said}. Hex and short text.
"""

from typing import TYPE_CHECKING

import msgspec
from aiohttp import web

from tss.peers import PeerError

if TYPE_CHECKING:
    from tss.node import TssNode


class Begin(msgspec.Struct, forbid_unknown_fields=True):
    """A rehearsal's boot id, 16 bytes as hex."""

    boot_id: str


class End(msgspec.Struct, forbid_unknown_fields=True):
    """How it went, for the audit log."""

    boot_id: str
    said: str


def routes(tss: "TssNode") -> list[web.RouteDef]:
    """The routes of the admin application."""

    async def begin(request: web.Request) -> web.Response:
        try:
            boot_id = bytes.fromhex(msgspec.json.decode(await request.read(), type=Begin).boot_id)
        except ValueError as error:
            return _bad(str(error))
        if len(boot_id) != len(tss.boot_id) or boot_id == tss.boot_id:
            return _bad("a rehearsal has a boot id of its own, 16 bytes")
        answers = await tss.rehearsals.announce(boot_id)
        heard = {member: a for member, a in answers.items() if not isinstance(a, PeerError)}
        missing = {tss.peers.name(m): a.reason for m, a in answers.items() if isinstance(a, PeerError)}
        return _json({"announced": sorted(tss.peers.name(member) for member in heard), "missing": missing})

    async def end(request: web.Request) -> web.Response:
        try:
            body = msgspec.json.decode(await request.read(), type=End)
            boot_id = bytes.fromhex(body.boot_id)
        except ValueError as error:
            return _bad(str(error))
        await tss.rehearsals.ended(boot_id[:16], body.said[:500])
        return _json({})

    return [web.post("/v1/tss/rehearsals", begin), web.post("/v1/tss/rehearsals/ended", end)]


def _json(value: object) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), content_type="application/json")


def _bad(detail: str) -> web.Response:
    from tss.api import problem

    return problem(400, "bad_request", "the body is not as documented", detail, remedy="correct it")
