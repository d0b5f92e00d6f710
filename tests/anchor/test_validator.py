"""A validator: executes, asks its own bitcoind, writes down, then signs; and never otherwise."""

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web

from anchor.problem import answer
from anchor.rollup.block import Block, Certificate, CertifiedBlock
from anchor.rollup_client import RollupError
from anchor.rollup_keys import RollupKey
from anchor.rollup_wire import Blocks, Proposal
from anchor.validator import ChainLied, NotAValidator, Restored, Validator
from tests.anchor.feeding import Branch, serving
from tests.anchor.rollup.rollup_world import GEN, MALLORY, World, certified, nothing, reseal, vote
from tests.anchor.rollup_parts import a_sequencer, a_validator, keys, until


def back_up(path: Path, to: Path) -> None:
    """A consistent copy, as a careful operator makes it."""
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(to)) as target:
        source.backup(target)


class Liar:
    """A sequencer that serves what the test tells it to."""

    def __init__(self) -> None:
        self.chain: list[CertifiedBlock] = []
        self.offer: Block | None = None
        self.votes: list[str] = []

    async def blocks(self, request: web.Request) -> web.Response:
        after = int(request.query["after"])
        page = [b.encode().hex() for b in self.chain if b.height > after]
        return answer(Blocks(page, len(self.chain), 0))

    async def proposal(self, _: web.Request) -> web.Response:
        if self.offer is None:
            return web.Response(status=204)
        header = self.offer.header
        return answer(Proposal(header.height, header.hash(GEN.hash).hex(), self.offer.encode().hex()))

    async def take(self, request: web.Request) -> web.Response:
        self.votes += (await request.json())["votes"]
        return answer({"certified_height": 0})

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/v1/blocks", self.blocks),
            web.get("/v1/proposal", self.proposal),
            web.post("/v1/votes", self.take),
        ]


async def test_three_of_four_keys_in_two_processes_certify(tmp_path: Path) -> None:
    branch = Branch().mine(5)
    async with (
        a_sequencer(tmp_path, branch) as (s, client),
        a_validator(tmp_path, branch, client.url, (0, 1), db="a.db"),
        a_validator(tmp_path, branch, client.url, (3,), db="b.db"),
    ):
        await until(lambda: s.tracker.final >= 3, "three final blocks")
        [first, *_] = await client.blocks(0)
        assert [v.validator for v in first.certificate.votes] == [0, 1, 3]


async def test_without_a_quorum_nothing_is_certified_until_the_third_comes(tmp_path: Path) -> None:
    branch = Branch().mine(5)
    async with (
        a_sequencer(tmp_path, branch) as (s, client),
        a_validator(tmp_path, branch, client.url, (0, 1), db="a.db") as two,
    ):
        await until(lambda: len(s._votes) == 2, "two votes")
        assert s.state.height == 0
        async with a_validator(tmp_path, branch, client.url, (2,), db="b.db"):
            await until(lambda: two.state.height >= 2, "blocks to go on")


async def test_it_resumes_where_it_was_after_a_restart(tmp_path: Path) -> None:
    branch = Branch().mine(5)
    async with a_sequencer(tmp_path, branch) as (s, client):
        async with a_validator(tmp_path, branch, client.url) as v:
            await until(lambda: v.state.height >= 3, "blocks")
        async with a_validator(tmp_path, branch, client.url, run=False) as v:
            assert v.state.height >= 3, "from its own database"
        height = s.state.height
        async with a_validator(tmp_path, branch, client.url):
            await until(lambda: s.state.height >= height + 2, "more blocks")


async def test_it_waits_while_its_own_bitcoind_lacks_the_final_block(tmp_path: Path) -> None:
    rich, poor = Branch().mine(8), Branch()
    async with a_sequencer(tmp_path, rich) as (s, client), a_validator(tmp_path, poor, client.url) as v:
        await until(lambda: "does not have the final" in v._said, "the validator to say why")
        assert s._votes == {}
        poor.chain = rich.chain
        await until(lambda: s.state.height >= 1, "a certified block")


async def test_it_does_not_vote_for_a_lie(tmp_path: Path) -> None:
    liar, branch = Liar(), Branch()
    liar.offer = reseal(World().block(), state_after=nothing("x"))
    async with serving(liar.routes()) as url, a_validator(tmp_path, branch, url) as v:
        await until(lambda: "state-after" in v._said, "the validator to refuse")
        assert liar.votes == []


async def test_it_signs_one_block_per_height_whatever_is_offered(tmp_path: Path) -> None:
    liar, branch = Liar(), Branch()
    first = World().block()
    w = World()
    w.state.time = 5
    second = w.block()
    assert first != second
    liar.offer = first
    async with serving(liar.routes()) as url:
        async with a_validator(tmp_path, branch, url):
            await until(lambda: len(liar.votes) >= 4, "the votes")
        liar.offer = second
        seen = len(set(liar.votes))
        async with a_validator(tmp_path, branch, url) as v:
            await until(lambda: "signed up to height 1" in v._said, "the refusal")
    assert {bytes.fromhex(x)[10:42] for x in liar.votes} == {first.header.hash(GEN.hash)}
    assert seen >= 4


async def test_a_row_is_durable_before_the_vote_leaves(tmp_path: Path) -> None:
    liar, branch = Liar(), Branch()
    liar.offer = World().block()
    wanted = liar.offer.header.hash(GEN.hash)
    async with serving(liar.routes()) as url, a_validator(tmp_path, branch, url, run=False) as v:
        rows: list[bytes | None] = []

        async def look(votes: object) -> int:
            rows.extend([await v.store.signed_at(key.public, 1) for key in keys()])
            raise RollupError("the vote is lost on its way")

        await v.feed.sync()
        v.client.vote = look  # a line that breaks after the row was written
        with pytest.raises(RollupError, match="lost"):
            await v.step()
        assert rows == [wanted] * 4


async def test_an_old_copy_of_its_database_is_noticed(tmp_path: Path) -> None:
    branch = Branch().mine(5)
    async with a_sequencer(tmp_path, branch) as (s, client):
        async with a_validator(tmp_path, branch, client.url) as v:
            await until(lambda: v.state.height >= 2, "blocks")
        back_up(tmp_path / "validator.db", tmp_path / "restored.db")
        height = s.state.height
        async with a_validator(tmp_path, branch, client.url):
            await until(lambda: s.state.height >= height + 3, "more blocks")
        async with a_validator(tmp_path, branch, client.url, run=False, db="restored.db") as v:
            with pytest.raises(Restored, match="--resume-above"):
                await v.catch_up()
        floor = s.after.height
        async with a_validator(
            tmp_path, branch, client.url, run=False, resume_above=floor, db="restored.db"
        ) as v:
            await v.catch_up()
            assert v.state.height == s.state.height


async def test_a_lost_database_signs_nothing_below_the_operators_word(tmp_path: Path) -> None:
    liar, branch = Liar(), Branch()
    liar.offer = World().block()
    async with serving(liar.routes()) as url, a_validator(tmp_path, branch, url, resume_above=1) as v:
        await until(lambda: "votes up to 1 may be lost" in v._said, "the refusal")
        assert liar.votes == []


async def test_blocks_that_no_quorum_certified_are_not_followed(tmp_path: Path) -> None:
    liar, branch = Liar(), Branch()
    w = World()
    block = w.block()
    forged = Certificate(block.header.hash(GEN.hash), tuple(vote(GEN, block, i, MALLORY) for i in range(3)))
    async with serving(liar.routes()) as url, a_validator(tmp_path, branch, url, (3,), run=False) as v:
        for bad in (
            CertifiedBlock(block, forged),
            certified(GEN, block, (0, 1)),
            certified(GEN, replace(block, header=replace(block.header, height=2))),
        ):
            liar.chain = [bad]
            with pytest.raises(RollupError, match="not certified"):
                await v.catch_up()
            assert v.state.height == 0
        liar.chain = [certified(GEN, block)]
        await v.catch_up()
        assert v.state.height == 1


async def test_a_certified_block_that_does_not_execute_stops_it(tmp_path: Path) -> None:
    liar, branch = Liar(), Branch()
    liar.chain = [certified(GEN, reseal(World().block(), state_after=nothing("x")))]
    async with serving(liar.routes()) as url, a_validator(tmp_path, branch, url, (3,), run=False) as v:
        with pytest.raises(ChainLied, match="does not execute"):
            await v.catch_up()


async def test_keys_that_the_genesis_does_not_name_are_refused() -> None:
    with pytest.raises(NotAValidator, match="no validator"):
        Validator(GEN, [RollupKey.of(MALLORY.secret)], None, None, None)  # refused before use
    with pytest.raises(NotAValidator):
        Validator(GEN, [], None, None, None)  # refused before use
