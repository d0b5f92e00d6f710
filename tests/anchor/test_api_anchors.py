"""What the HTTP says about anchors, records and proofs, against Core's own chain."""

import aiohttp
import pytest

from anchor.btc.ids import display
from anchor.btc.network import REGTEST
from anchor.proofs.proof import verify
from anchor.proofs.records import record_hash
from tests.anchor.anchored import RANGES, Anchored, anchor_twice, headers_of, served


@pytest.fixture(scope="module")
def anchored(tmp_path_factory) -> Anchored:
    return anchor_twice(tmp_path_factory.mktemp("chain"))


@pytest.fixture
async def get(anchored):
    async with served(anchored) as url, aiohttp.ClientSession(url) as session:

        async def ask(path: str, status: int = 200):
            async with session.get(path) as answer:
                body = await (
                    answer.read()
                    if path.endswith("/proof") and status == 200
                    else answer.json(content_type=None)
                )
                assert answer.status == status, body
                return body

        yield ask


def name(number: int) -> str:
    return record_hash(RANGES[number].encode()).hex()


async def test_anchors_tell_what_they_cover_where_they_are_and_what_they_cost(get, anchored):
    listed = await get("/v1/anchors")
    assert listed["next"] is None
    first, second = listed["anchors"]
    place = anchored.anchors[0]
    assert (first["sequence"], first["count"], first["first"], first["last"]) == (1, 2, 1, 20)
    assert (second["sequence"], second["count"], second["first"], second["last"]) == (2, 1, 21, 30)
    assert (first["txid"], first["commit_txid"]) == (display(place.found.txid), display(place.found.commit))
    assert first["fee"] == place.found.fee > 0
    assert first["status"] == {
        "confirmed": True,
        "block_height": place.found.height,
        "block_hash": display(place.block),
        "block_time": anchored.chain.get(place.block).header.time,
        "depth": 3,
        "final": True,
    }
    assert (second["status"]["depth"], second["status"]["final"]) == (2, False)
    assert await get("/v1/anchors/2") == second


async def test_anchors_come_in_pages_and_by_lane(get):
    page = await get("/v1/anchors?limit=1")
    assert ([a["sequence"] for a in page["anchors"]], page["next"]) == ([1], 1)
    page = await get(f"/v1/anchors?limit=1&after={page['next']}")
    assert ([a["sequence"] for a in page["anchors"]], page["next"]) == ([2], None)
    assert (await get("/v1/anchors?lane=5"))["anchors"] == []
    assert (await get("/v1/anchors/2?lane=5", 404))["code"] == "unknown_anchor"


async def test_records_come_newest_first_with_the_anchor_that_covers_them(get):
    found = await get("/v1/records")
    assert [(r["first"], r["anchor"]) for r in found] == [(31, None), (21, 2), (11, 1), (1, 1)]
    assert [r["hash"] for r in found] == [name(n) for n in (3, 2, 1, 0)]
    assert [r["first"] for r in await get("/v1/records?limit=2&before=31")] == [21, 11]
    assert [r["first"] for r in await get("/v1/records?block=15")] == [11]
    assert await get("/v1/records?block=99") == []
    assert await get(f"/v1/records/{name(1)}") == found[2]


async def test_the_proof_of_every_anchored_record_convinces_without_the_server(get, anchored):
    headers = headers_of(anchored.chain)
    for number, sequence in ((0, 1), (1, 1), (2, 2)):
        data = await get(f"/v1/records/{name(number)}/proof")
        said = verify(data, headers, anchored.activation, REGTEST)
        assert (said.record, said.sequence) == (RANGES[number], sequence)


async def test_a_record_that_waits_has_no_proof_yet_and_one_may_ask_again(get):
    problem = await get(f"/v1/records/{name(3)}/proof", 409)
    assert (problem["code"], problem["retryable"]) == ("not_anchored", True)


async def test_without_bitcoind_a_proof_is_retryable_trouble_not_a_crash(get, anchored):
    anchored.down = True
    try:
        problem = await get(f"/v1/records/{name(0)}/proof?", 503)
    finally:
        anchored.down = False
    assert (problem["code"], problem["retryable"]) == ("chain_moving", True)
