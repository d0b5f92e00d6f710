"""The HTTP of key epochs: what there is, for everybody; the next one's record, for the operator."""

import json
from typing import Any

import msgspec
from aiohttp import web

from anchor import problem
from anchor.problem import Problem, answer
from anchor.rollup.succession import KeyEpoch
from bridge.api_active import active_of
from bridge.api_wire import Consent
from bridge.ceremony import PURPOSES
from bridge.epochs import told_of
from bridge.node import Node
from bridge.succession import SuccessionDesk, SuccessionFault
from tss.committee_files import not_taken_up


class EpochApi:
    """Handlers for everybody."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def routes(self) -> list[web.RouteDef]:
        """All routes."""
        return [web.get("/v1/epochs", self.epochs), web.get("/v1/successions", self.successions)]

    async def epochs(self, _: web.Request) -> web.Response:
        """Every key epoch, oldest first, with its keys, addresses and state."""
        return answer(told_of(self._node, active_of(self._node)))

    async def successions(self, _: web.Request) -> web.Response:
        """The signed records that began the epochs after the first, oldest first, as succession.json."""
        active_of(self._node)
        records = [json.loads(each.signed.to_json()) for each in self._node.follower.state.successions]
        return answer({"successions": records})


class Nothing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A request that says all by its path."""


class NextEpoch(msgspec.Struct, frozen=True):
    """What this node would sign for the next epoch, to be compared with the others before anybody consents.

    `record` is the hash, null while something is missing: `waits_for` says what, or why it is not signed now.
    `words` are the committee file's, to be read aloud; keys are compressed points of 33 bytes in hex.
    """

    epoch: int
    words: str
    threshold: int
    members: list[str]
    record: str | None = None
    keys: dict[str, str] | None = None
    waits_for: str | None = None


class Proposed(msgspec.Struct, frozen=True):
    """A succession that all signed; `rollup_height` once this node's copy of the rollup holds it.

    `refusal` is what the rollup last said against it.
    """

    epoch: int
    record: str
    rollup_height: int | None
    refusal: str | None = None
    succession: dict[str, Any] | None = None


class EpochAdminApi:
    """Handlers for the operator."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def routes(self) -> list[web.RouteDef]:
        """All routes."""
        return [
            web.get("/v1/bridge/epoch", self.following),
            web.post("/v1/bridge/epoch/propose", self.propose),
            web.post("/v1/bridge/epoch/consent", self.consent),
        ]

    def _desk(self) -> SuccessionDesk:
        if self._node.successions is None:
            title = "an observer takes no part in a succession"
            raise Problem(409, "observer", title, remedy="ask an operator's node")
        return self._node.successions

    async def following(self, _: web.Request) -> web.Response:
        """The epochs, and what this node would sign next; an observer signs nothing."""
        told, desk = told_of(self._node, active_of(self._node)), self._node.successions
        following = None if desk is None else self._next(desk)
        return answer({**msgspec.to_builtins(told), "next": following})

    def _next(self, desk: SuccessionDesk) -> NextEpoch:
        ours = desk.tss.committee
        file = ours.epoch, ours.words, ours.threshold, [member.name for member in ours.members]
        try:
            record = desk.own()
        except SuccessionFault as fault:
            return NextEpoch(*file, waits_for=self._why(desk, fault))
        keys = {name: getattr(record, f"{name}_key").hex() for name in PURPOSES}
        return NextEpoch(*file, record.hash.hex(), keys, desk.bridge.hinders())

    async def propose(self, request: web.Request) -> web.Response:
        """Have all members and the old mint key sign the next epoch's record, and hand it to the rollup.

        Asked again it makes the same record; once the rollup has it, that is what is answered.
        """
        await problem.read_json(request, Nothing)
        desk = self._desk()
        if (begun := desk.begun()) is not None:
            if (waits := not_taken_up(self._node.folder, desk.tss.committee)) is not None:
                title = "the next committee's file is accepted and not taken up"
                raise Problem(409, "restart_first", title, waits, remedy="then ask again")
            return answer(self._begun(begun))
        try:
            signed = await desk.propose()
            await desk.bring()
        except SuccessionFault as fault:
            raise self._refused(desk, fault) from fault
        self._node.wake()
        epoch, record = signed.succession.epoch, signed.succession.hash.hex()
        return answer(Proposed(epoch, record, None, desk.refusal, json.loads(signed.to_json())))

    async def consent(self, request: web.Request) -> web.Response:
        """Agree to one record, so that this node signs it when it is proposed."""
        body = await problem.read_json(request, Consent)
        desk, digest = self._desk(), problem.read_hash(body.hash, "the record's hash")
        try:
            record = await desk.consent(digest)
        except SuccessionFault as fault:
            raise self._refused(desk, fault) from fault
        return answer({"epoch": record.epoch, "record": record.hash.hex()})

    def _begun(self, epoch: KeyEpoch) -> Proposed:
        """The succession that the rollup holds."""
        records = [each.signed for each in self._node.follower.state.successions]
        signed = next(each for each in records if each.succession.hash == epoch.record)
        told = json.loads(signed.to_json())
        return Proposed(epoch.number, epoch.record.hex(), epoch.since, succession=told)

    def _why(self, desk: SuccessionDesk, fault: SuccessionFault) -> str:
        """The reason; where the next committee's file only waits for a restart, that."""
        waits = not_taken_up(self._node.folder, desk.tss.committee)
        return waits if waits is not None and fault.code == "no_next_committee" else fault.reason

    def _refused(self, desk: SuccessionDesk, fault: SuccessionFault) -> Problem:
        title, why, remedy = "the bridge is not handed on", self._why(desk, fault), "then ask again"
        return Problem(409, fault.code, title, why, retryable=fault.retryable, remedy=remedy)
