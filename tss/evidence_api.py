"""Admin routes for what signers remember: evidence, nonces, requests that another member may lead.

GET /v1/tss/evidence, /v1/tss/evidence/{id} · GET /v1/tss/nonces · GET /v1/tss/requests, POST /v1/tss/requests/{id}
(leads it). Ids and keys are plain hex, times Unix seconds.
"""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import msgspec
from aiohttp import web

from tss.evidence_store import EvidenceRow
from tss.handover import AmbiguousRequest, UnknownRequest
from tss.nonce_store import BootCounts

if TYPE_CHECKING:
    from tss.node import KeyInfo, TssNode


class EvidenceApi:
    """The handlers; `tss/api.py` turns what they raise into problems."""

    def __init__(self, tss: "TssNode") -> None:
        self._tss = tss

    async def evidence(self, _request: web.Request) -> web.Response:
        """Every stored piece, oldest first, without its bytes."""
        rows = [self._row(row) for row in await self._tss.evidence()]
        return _json({"evidence": rows, "counts": asdict(self._tss.evidence_counts)})

    async def piece(self, request: web.Request) -> web.Response:
        """One piece with its bytes as hex."""
        wanted = request.match_info["id"]
        for row in await self._tss.evidence():
            if row.id.hex() == wanted:
                return _json(self._row(row) | {"evidence": row.body.hex()})
        return _missing(
            "evidence", f"this node holds no evidence {wanted}", "list it with GET /v1/tss/evidence"
        )

    async def nonces(self, _request: web.Request) -> web.Response:
        """What became of the nonces of each key and boot, and every sign of a second copy of a node."""
        keys = {info.public.share_set: info for info in self._tss.every_key()}
        rows = [self._counts(row, keys) for row in await self._tss.nonces()]
        clones = [
            {
                "member": self._tss.seats.name(alarm.member, alarm.at),
                "left": alarm.left.hex(),
                "present": alarm.present.hex(),
                "at": alarm.at,
            }
            for alarm in self._tss.clones
        ]
        return _json({"boot_id": self._tss.boot_id.hex(), "boots": rows, "clones": clones})

    async def requests(self, _request: web.Request) -> web.Response:
        """Requests of the last day that were not brought to their end here, newest first."""
        rows = [
            {
                "id": row.request_id.hex(),
                "purpose": row.purpose,
                "epoch": row.epoch,
                "coordinator": self._tss.seats.name(row.coordinator, row.at),
                "at": row.at,
            }
            for row in await self._tss.requests()
        ]
        return _json({"requests": rows})

    async def lead(self, request: web.Request) -> web.Response:
        """Lead a request that another member began."""
        try:
            wanted = await self._tss.named_request(request.match_info["id"])
            signatures = await self._tss.take_over(wanted)
        except UnknownRequest as error:
            return _missing(
                "request", str(error), "give an id of `holdfast tss requests`, or its first digits"
            )
        except AmbiguousRequest as error:
            from tss.api import problem

            remedy = "give more digits"
            return problem(409, "ambiguous_request", "no one request", str(error), remedy=remedy)
        return _json({"id": wanted.hex(), "signatures": [signature.hex() for signature in signatures]})

    def _row(self, row: EvidenceRow) -> dict[str, Any]:
        return {
            "id": row.id.hex(),
            "member": row.culprit,
            "kind": row.kind,
            "reason": row.reason,
            "reporter": self._tss.seats.name(row.reporter, row.at),
            "at": row.at,
            "bytes": len(row.body),
        }

    def _counts(self, row: BootCounts, keys: dict[bytes, "KeyInfo"]) -> dict[str, Any]:
        counts = row.counts
        key = keys.get(counts.share_set)
        return {
            "purpose": None if key is None else key.purpose,
            "epoch": None if key is None else key.epoch,
            "share_set": counts.share_set.hex(),
            "boot_id": counts.boot_id.hex(),
            "boot": row.number,
            "started": row.at,
            "running": counts.boot_id == self._tss.boot_id,
            "made": counts.made,
            "spent": counts.spent,
            "voided": counts.voided,
            "refused": counts.refused,
            "unused": counts.unused,
        }


def _missing(what: str, detail: str, remedy: str) -> web.Response:
    from tss.api import problem

    return problem(404, f"unknown_{what}", f"no such {what}", detail, remedy=remedy)


def _json(value: Any) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), content_type="application/json")
