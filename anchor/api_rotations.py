"""HTTP about a lane's rotations: the file that `holdfast anchor verify --rotations` takes."""

from collections.abc import Iterable, Iterator

from aiohttp import web

from anchor import problem
from anchor.api import PlacedRotation, Sources, mined, moving
from anchor.api_headers import unknown
from anchor.bitcoind import NodeError
from anchor.btc.ids import BlockHash, Txid
from anchor.problem import Problem
from anchor.proofs.rotation_file import RotationProof, RotationProofs
from anchor.proofs.rotation_maker import Found, make_rotation, sequence_of, steps_between
from anchor.rollup.activation import Lane
from anchor.rollup.succession import SignedSuccession


class RotationApi:
    """Handlers over one node's sources."""

    def __init__(self, sources: Sources) -> None:
        self._s = sources
        self._made: dict[tuple[Txid, BlockHash], RotationProof] = {}  # a txid fixes all of its lane before it
        self._files: dict[int, tuple[tuple[tuple[Txid, BlockHash], ...], bytes]] = {}  # by lane

    def routes(self) -> list[web.RouteDef]:
        """All routes."""
        return [web.get("/v1/rotations", self.rotations)]

    async def rotations(self, request: web.Request) -> web.Response:
        """All rotations of a lane with their proofs, byte for byte; none is an answer, too."""
        number = problem.read_number(request, "lane", 0, 0xFFFF)
        lane = next((lane for lane in self._s.lanes() if lane.number == number), None)
        if lane is None:
            raise unknown("lane", "lanes are named by the activation record, /v1/activation")
        return web.Response(body=await self._file(lane), content_type="application/json")

    async def _file(self, lane: Lane) -> bytes:
        """The file's bytes, written once for the rotations that there are: it holds every anchor below them."""
        there = tuple((at.found.txid, at.block) for at in self._s.rotations() if at.found.lane == lane.number)
        known, data = self._files.get(lane.number, (None, b""))
        if known != there:
            try:
                proofs = await self._prove(lane)
            except (NodeError, ValueError) as error:
                raise moving(error) from error
            data = RotationProofs(self._s.network.name, lane.number, tuple(proofs)).encode()
            self._files[lane.number] = there, data
        return data

    async def _prove(self, lane: Lane) -> list[RotationProof]:
        rotations = {at.found.txid: at for at in self._s.rotations() if at.found.lane == lane.number}
        found = sorted(self._found(lane, rotations.values()), key=sequence_of)
        proofs = []
        for one, steps in steps_between(found, lane.value):
            at = rotations[one.txid].block
            made = self._made.get((one.txid, at))
            if made is None:
                commit, block = await mined(self._s, one, at)
                made = make_rotation(steps, self._record(one.successor.record), commit, block, one)
                self._made[one.txid, at] = made
            proofs.append(made)
        return proofs

    def _found(self, lane: Lane, rotations: Iterable[PlacedRotation]) -> Iterator[Found]:
        yield from (at.found for at in self._s.anchors() if at.found.payload.lane == lane.number)
        yield from (at.found for at in rotations)
        yield from (void for void in self._s.voids() if void.lane == lane.number)

    def _record(self, name: bytes) -> SignedSuccession:
        for signed in self._s.successions():
            if signed.succession.hash == name:
                return signed
        raise Problem(
            503,
            "record_unknown",
            "the record behind a rotation is not in this node's copy of the rollup yet",
            name.hex(),
            retryable=True,
            remedy="ask again when the node has caught up, or ask another",
        )
