"""A sequencer on an older copy of its database is told, is fed what was certified, and believes no stranger."""

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from anchor.rollup.block import CertifiedBlock
from anchor.rollup_client import RollupRefused
from anchor.validator import RollupBehind
from tests.anchor.feeding import Branch, serving
from tests.anchor.rollup.rollup_world import (
    ALICE,
    BOB,
    GEN,
    MALLORY,
    World,
    certified,
    nothing,
    reseal,
    vote,
)
from tests.anchor.rollup_parts import a_sequencer, a_validator, until
from tests.anchor.test_sequencer import certify
from tests.anchor.test_validator import Liar, back_up


async def forgotten(folder: Path, source: Branch, copied: int, known: int) -> Path:
    """The folder of a sequencer that was copied at one height; the validator beside it knows a higher one."""
    (folder / "old").mkdir()
    async with (
        a_sequencer(folder, source, run=False) as (s, client),
        a_validator(folder, source, client.url, run=False) as v,
    ):
        await v.feed.sync()
        while v.state.height < known:
            await s.propose()
            if s.state.height == copied:
                back_up(folder / "sequencer.db", folder / "old" / "sequencer.db")
            await v.step()
    return folder / "old"


async def test_a_sequencer_on_an_older_copy_is_fed_by_a_validator_and_goes_on(tmp_path: Path) -> None:
    source = Branch().mine(5)
    old = await forgotten(tmp_path, source, 3, 6)
    with capture_logs() as logs:
        async with (
            a_sequencer(old, source) as (s, client),
            a_validator(tmp_path, source, client.url) as v,
        ):
            await until(lambda: s.state.height >= 8, "the sequencer to catch up and go on")
            assert [b.height for b in await client.blocks(0, 6)] == [1, 2, 3, 4, 5, 6]
            await until(lambda: v.state.height >= 8, "the validator to follow")
    told = [line for line in logs if line["event"] == "rollup_behind"]
    assert "height 3, we know 6: start the sequencer on its newest database, or feed it" in told[0]["why"]
    assert len(told) == 1
    async with a_sequencer(old, source, run=False) as (s, _):
        assert s.state.height >= 8, "durably"


async def test_a_block_that_only_voters_remember_is_certified_again(tmp_path: Path) -> None:
    source = Branch().mine(5)
    old = await forgotten(tmp_path, source, 2, 3)
    source.mine(1)
    async with a_sequencer(tmp_path, source, run=False) as (s, client):
        async with a_validator(tmp_path, source, client.url, run=False) as v:
            await v.feed.sync()
            lost = await s.propose()
            await v._vote(lost, s.after)
        assert s.state.height == 4, "certified, and the validator ended before it heard of it"
        [*_, fourth] = await client.blocks(0)
    source.mine(1)
    async with (
        a_sequencer(old, source) as (s, client),
        a_validator(tmp_path, source, client.url),
    ):
        await until(lambda: s.state.height >= 6, "the sequencer to go on")
        assert (await client.blocks(3, 1))[0].block == fourth.block == lost


async def test_a_forgotten_block_is_known_again_only_with_votes_and_when_it_executes(tmp_path: Path) -> None:
    lost, ours = World().block(), World()
    ours.state.time = 5
    other = ours.block()
    false = reseal(lost, state_after=nothing("x"))
    async with a_sequencer(tmp_path, Branch(), run=False) as (s, client):
        served = await s.propose()
        for block, votes, code in (
            (lost, [vote(GEN, lost, 0, MALLORY)], "bad_vote"),
            (false, [vote(GEN, false, 0)], "bad_block"),
            (lost, [vote(GEN, other, 0)], "not_this_block"),
        ):
            with pytest.raises(RollupRefused, match=code):
                await client.vote(votes, block)
        assert (s._votes, await s.store.retired(1)) == ({}, [])
        await client.vote([vote(GEN, lost, 0)], lost)
        assert await client.proposal(1) == served, "one voter does not choose what is proposed"
        with pytest.raises(RollupRefused, match="voted for other blocks"):
            await client.vote([vote(GEN, other, 0)], other)
        assert await s.store.retired(1) == [lost]
    async with a_sequencer(tmp_path, Branch(), run=False) as (s, client):
        await client.vote([vote(GEN, lost, 1), vote(GEN, lost, 2)])
        assert (await client.blocks(0))[0].block == lost


async def test_its_own_proposal_gives_way_and_the_transactions_wait_again(tmp_path: Path) -> None:
    source = Branch().mine(6)
    w = World()
    async with a_sequencer(tmp_path, source, run=False) as (s, client):
        w.bitcoin = source.chain
        made = [certified(GEN, w.activate().blocks[0]), certified(GEN, w.block(w.mint(ALICE, 500_000)))]
        await client.hand_over(made)
        await client.submit(w.transfer(ALICE, BOB, 5).encode())
        ours = await s.propose()
        third = certified(GEN, w.block(bundle=b""))
        assert third.block != ours
        assert await client.hand_over([third]) == 3
        assert (s.proposal, await s.store.retired(3)) == (None, [ours])
        assert len(s.mempool) == 1
        block = await certify(s, client)
        assert block.header.tx_count == 1
        assert await client.hand_over([*made, third]) == 4, "known blocks are no fault"


async def test_a_sequencer_takes_only_the_next_certified_block_that_executes(tmp_path: Path) -> None:
    w = World()
    first, second = w.block(), w.block()
    bad = [
        certified(GEN, second),  # not the next
        certified(GEN, first, (0, 1)),  # no quorum
        CertifiedBlock(first, certified(GEN, second).certificate),  # votes for another block
        certified(GEN, reseal(first, parent=nothing("x"))),
        certified(GEN, reseal(first, state_after=nothing("x"))),
    ]
    async with a_sequencer(tmp_path, Branch(), run=False) as (s, client):
        for block in bad:
            with pytest.raises(RollupRefused, match="bad_block") as caught:
                await client.hand_over([block])
            assert (caught.value.status, caught.value.remedy) == (
                422,
                "send certified blocks from height 1 on",
            )
            assert (s.state.height, s.tracker.certified, await client.blocks(0)) == (0, 0, [])
        with pytest.raises(RollupRefused, match="bad_block"):
            await client.hand_over([certified(GEN, first), certified(GEN, second, (0, 1))])
        assert await client.blocks(0) == [certified(GEN, first)], "what was right before the fault stays"
        await certify(s, client)


async def test_a_validator_says_that_the_rollup_is_behind_and_votes_for_nothing(tmp_path: Path) -> None:
    source, liar = Branch().mine(5), Liar()
    await forgotten(tmp_path, source, 1, 3)
    liar.offer = World().block()
    async with serving(liar.routes()) as url, a_validator(tmp_path, source, url, run=False) as v:
        await v.feed.sync()
        with pytest.raises(RollupBehind, match=r"height 0, we know 3: start .* \(it took none from us: "):
            await v.step()
        assert liar.votes == []
    async with serving(liar.routes()) as url, a_validator(tmp_path, source, url) as v:
        await until(lambda: "height 0, we know 3" in v._said, "the log to say so")
        assert liar.votes == []


async def test_a_rollup_that_claims_to_be_behind_for_ever_is_asked_again_and_not_fed_in_circles(
    tmp_path: Path,
) -> None:
    source, liar = Branch().mine(5), Liar()
    await forgotten(tmp_path, source, 1, 3)
    async with serving(liar.routes()) as url, a_validator(tmp_path, source, url, run=False) as v:

        async def taken(_: object) -> int:
            return 0

        async def page(*_: object, **__: object) -> tuple[list[CertifiedBlock], int]:
            return [], -5

        v.client.hand_over = taken  # says yes and takes nothing
        v.client.page = page
        with pytest.raises(RollupBehind, match="it took none"):
            await v.catch_up()


async def test_many_blocks_are_handed_over_in_several_requests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("anchor.validator.HANDOVER_BYTES", 1000)
    source = Branch().mine(5)
    old = await forgotten(tmp_path, source, 1, 5)
    async with (
        a_sequencer(old, source, run=False) as (s, client),
        a_validator(tmp_path, source, client.url, run=False) as v,
    ):
        sizes: list[int] = []
        send = v.client.hand_over

        async def counted(blocks: list[CertifiedBlock]) -> int:
            sizes.append(len(blocks))
            return await send(blocks)

        v.client.hand_over = counted
        await v.catch_up()
        assert s.state.height == 5
        assert sum(sizes) == 4
        assert len(sizes) > 1
