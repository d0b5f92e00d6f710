"""The admin routes of key work.

POST /v1/tss/refresh {purpose, without, consent}, /v1/tss/repair {purpose, helpers}, /v1/tss/key-state {purpose,
epoch, state}. Members by name, hashes plain hex. Errors are those of `tss/api.py`.
"""

import time
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from aiohttp import web

from tss.node import KeyInfo, TssNode
from tss.rotation_relay import KeyWorkInfo

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class RefreshRequest(msgspec.Struct, forbid_unknown_fields=True):
    """Which key, whom to leave out, and whether only to agree to that."""

    purpose: str
    without: list[str] = []
    consent: bool = False


class RepairRequest(msgspec.Struct, forbid_unknown_fields=True):
    """Which key, and who helps (who is up, when nobody is named)."""

    purpose: str
    helpers: list[str] = []


class KeyStateRequest(msgspec.Struct, forbid_unknown_fields=True):
    """Which key, and the state it moves to: retiring, active or retired."""

    purpose: str
    epoch: int
    state: str


def routes(
    tss: TssNode, told: Callable[[Handler], Handler], read: Any, answer: Callable[[Any], web.Response]
) -> list[web.RouteDef]:
    """The routes; the three callables are how `tss/api.py` reads, answers and refuses."""

    async def refresh(request: web.Request) -> web.Response:
        wanted = await read(request, RefreshRequest)
        begun = time.monotonic()
        work = tss.key_work.consent if wanted.consent else tss.key_work.refresh
        return answer(_work(tss, await work(wanted.purpose, wanted.without), begun))

    async def repair(request: web.Request) -> web.Response:
        wanted = await read(request, RepairRequest)
        begun = time.monotonic()
        return answer(_work(tss, await tss.key_work.repair(wanted.purpose, wanted.helpers), begun))

    async def key_state(request: web.Request) -> web.Response:
        wanted = await read(request, KeyStateRequest)
        return answer(_key(await tss.key_work.move(wanted.purpose, wanted.epoch, wanted.state)))

    return [
        web.post("/v1/tss/refresh", told(refresh)),
        web.post("/v1/tss/repair", told(repair)),
        web.post("/v1/tss/key-state", told(key_state)),
    ]


def _work(tss: TssNode, info: KeyWorkInfo, begun: float) -> dict[str, Any]:
    name = tss.committee.name_of
    return {
        "work": info.work,
        "purpose": info.purpose,
        "epoch": info.epoch,
        "generation": info.generation,
        "members": [name(member) for member in info.members],
        "removed": [name(member) for member in info.removed],
        "share_set": info.share_set.hex(),
        "seconds": round(time.monotonic() - begun, 3),
    }


def _key(info: KeyInfo) -> dict[str, Any]:
    return {"purpose": info.purpose, "epoch": info.epoch, "state": info.state}
