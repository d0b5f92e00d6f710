"""What an operator may ask of a running node over its admin port; every error is problem+json (RFC 9457).

GET /v1/tss/keys, /v1/tss/sessions, /v1/tss/peers, /v1/tss/watch (all in one) · POST /v1/tss/dkg {purpose},
/v1/tss/sign-test {key, text}.
Evidence, nonces and requests: `evidence_api.py`.
Hashes and keys are plain hex, times Unix seconds. The admin application checks the token before any of this.
"""

import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import msgspec
from aiohttp import web

from tss import ops_api, rehearsal_api, rotation_api
from tss.evidence_api import EvidenceApi
from tss.key_proof import TEST, message_for_test, payload_for_test
from tss.node import DkgFailed, KeyInfo, SessionInfo, SigningFailed, TssNode

_T = TypeVar("_T")
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class DkgRequest(msgspec.Struct, forbid_unknown_fields=True):
    """Which key to make."""

    purpose: str


class SignTestRequest(msgspec.Struct, forbid_unknown_fields=True):
    """What to sign, and under the key of which purpose and epoch (by default the newest that serves)."""

    text: str
    key: str
    epoch: int | None = None


class _BadRequest(Exception):
    """The body is not as documented."""


def routes(tss: TssNode) -> list[web.RouteDef]:
    """The routes of the admin application."""
    api, more = _Api(tss), EvidenceApi(tss)
    return [
        web.get("/v1/tss/keys", _told(api.keys)),
        web.get("/v1/tss/sessions", _told(api.sessions)),
        web.get("/v1/tss/peers", _told(api.peers)),
        web.get("/v1/tss/watch", _told(api.watch)),
        web.post("/v1/tss/dkg", _told(api.dkg)),
        web.post("/v1/tss/sign-test", _told(api.sign_test)),
        web.get("/v1/tss/evidence", _told(more.evidence)),
        web.get("/v1/tss/evidence/{id}", _told(more.piece)),
        web.get("/v1/tss/nonces", _told(more.nonces)),
        web.get("/v1/tss/requests", _told(more.requests)),
        web.post("/v1/tss/requests/{id}", _told(more.lead)),
        *rehearsal_api.routes(tss),
        *ops_api.routes(tss),
        *rotation_api.routes(tss, _told, _read, _json),
    ]


class _Api:
    def __init__(self, tss: TssNode) -> None:
        self._tss = tss

    async def keys(self, _request: web.Request) -> web.Response:
        committee = self._tss.committee
        return _json(
            {
                "committee": {"name": committee.name, "hash": committee.hash.hex(), "words": committee.words},
                "keys": [_key(info) for info in self._tss.every_key()],
            }
        )

    async def sessions(self, _request: web.Request) -> web.Response:
        rows = [self._session(info) for info in self._tss.sessions()]
        return _json({"boot_id": self._tss.boot_id.hex(), "sessions": rows})

    async def watch(self, _request: web.Request) -> web.Response:
        attempts = await self._tss.attempts()
        paused = self._tss.pause.now
        return _json(
            {
                "name": self._tss.identity.name,
                "at": time.time(),
                "paused": None if paused is None else paused.reason,
                "members": self._members(),
                "keys": [_key(info) for info in self._tss.every_key() if info.state != "retired"],
                "attempts": [
                    {
                        "purpose": row.purpose,
                        "attempt": row.attempt,
                        "relay": self._tss.seats.in_epoch(row.relay, row.epoch),
                        "state": row.state,
                        "reason": row.reason,
                    }
                    for row in attempts
                ],
                "rounds": await self._rounds(),
                "places": self._places(),
                "sessions": [self._session(info) for info in self._tss.sessions()],
            }
        )

    def _places(self) -> list[dict[str, Any]]:
        name = self._tss.committee.name_of
        return [
            {
                "work": one.work,
                "driver": name(one.driver),
                "seconds": round(one.held, 1),
                "idle": round(one.idle, 1),
                "waiting": [name(member) for member in one.waiting],
            }
            for one in self._tss.places()
        ]

    async def _rounds(self) -> list[dict[str, Any]]:
        name = self._tss.committee.name_of
        return [
            {
                "work": one.work,
                "purpose": one.purpose,
                "driver": name(driver),
                "step": one.step,
                "waiting": [name(member) for member in sorted(one.waiting)],
            }
            for driver, rounds in sorted((await self._tss.rounds()).items())
            for one in rounds
        ]

    async def peers(self, _request: web.Request) -> web.Response:
        rows = self._members()
        return _json({"name": self._tss.identity.name, "boot_id": self._tss.boot_id.hex(), "peers": rows})

    def _members(self) -> list[dict[str, Any]]:
        return [
            {
                "index": index,
                "name": info.name,
                "up": info.down is None,
                "why": info.down,
                "last_seen": info.last_seen,
                "rtt": info.rtt,
                "skew": info.skew,
                "boot_id": info.boot_id.hex() or None,
                "version": info.version,
            }
            for index, info in sorted(self._tss.peers.seen.items())
        ]

    async def dkg(self, request: web.Request) -> web.Response:
        wanted = await _read(request, DkgRequest)
        begun, epoch = time.monotonic(), self._tss.committee.epoch
        existed = self._tss.public(wanted.purpose, epoch) is not None
        info = await self._tss.dkg(wanted.purpose)
        return _json(_key(info) | {"existed": existed, "seconds": round(time.monotonic() - begun, 3)})

    async def sign_test(self, request: web.Request) -> web.Response:
        wanted = await _read(request, SignTestRequest)
        begun = time.monotonic()
        payload = payload_for_test(wanted.key, wanted.text.encode())
        public, epoch = self._tss.public(wanted.key, wanted.epoch), wanted.epoch
        if epoch is None and public is not None:
            epoch = self._tss.keys()[wanted.key].epoch
        (signature,) = await self._tss.sign(TEST, payload, epoch=epoch)
        return _json(
            {
                "key": wanted.key,
                "epoch": epoch,
                "text": wanted.text,
                "message": message_for_test(payload).hex(),
                "public_key": "" if public is None else public.x_only.hex(),
                "signature": signature.hex(),
                "seconds": round(time.monotonic() - begun, 3),
            }
        )

    def _session(self, info: SessionInfo) -> dict[str, Any]:
        names = self._tss.committee.name_of
        return {
            "id": info.id.hex(),
            "purpose": info.purpose,
            "epoch": info.epoch,
            "state": info.state,
            "members": [names(member) for member in info.members],
            "pending": [names(member) for member in info.pending],
            "started": info.started,
        }


def _key(info: KeyInfo) -> dict[str, Any]:
    return {
        "purpose": info.purpose,
        "epoch": info.epoch,
        "state": info.state,
        "threshold": info.public.threshold,
        "members": len(info.public.verifying_shares),
        "group_key": info.public.group_key.hex(),
        "generation": info.generation,
    }


def _told(handler: _Handler) -> _Handler:
    """Turn refusals into problem+json with the next move."""

    async def guarded(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except _BadRequest as error:
            return problem(
                400, "bad_request", "the body is not as documented", str(error), remedy="correct it"
            )
        except DkgFailed as failed:
            status = 503 if failed.retryable else 409
            title = "no key was made" if request.path.endswith("/dkg") else "it was not done"
            return problem(status, f"dkg_{failed.code}", title, failed.reason, retryable=failed.retryable)
        except SigningFailed as failed:
            status = 503 if failed.retryable else 409
            title = "nothing was signed"
            return problem(status, f"sign_{failed.code}", title, failed.reason, retryable=failed.retryable)

    return guarded


def problem(
    status: int, code: str, title: str, detail: str, *, retryable: bool = False, remedy: str = ""
) -> web.Response:
    """An RFC 9457 answer; `code` is a stable word for programs."""
    code = code.replace("-", "_")
    body = {
        "type": f"urn:holdfast:problem:{code}",
        "code": code,
        "title": title,
        "status": status,
        "detail": detail,
        "retryable": retryable,
        "remedy": remedy or ("then try again" if retryable else "then repeat the command"),
    }
    data = msgspec.json.encode(body)
    return web.Response(status=status, body=data, content_type="application/problem+json")


async def _read(request: web.Request, kind: type[_T]) -> _T:
    try:
        return msgspec.json.decode(await request.read(), type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _BadRequest(str(error)) from error


def _json(value: Any) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), content_type="application/json")
