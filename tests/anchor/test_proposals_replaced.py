"""A proposal on headers that were a lie gives way while nobody voted for it; one vote, and it never does."""

from pathlib import Path

import pytest

from anchor.headers.bundle import Bundle
from anchor.rollup.block import Block
from anchor.rollup.tx import Activate, RollupTx
from anchor.rollup_client import RollupRefused
from anchor.sequencer import Sequencer
from anchor.validator import Validator
from tests.anchor.feeding import Branch
from tests.anchor.rollup.rollup_world import ALICE, BOB, GEN, K, an_activation, signed, vote
from tests.anchor.rollup_parts import a_sequencer, a_validator, until
from tests.anchor.test_sequencer import Shadow, certify

SOON = 0.3  # seconds of patience, for tests that let time pass


def lying(honest: Branch, count: int = K + 1) -> Branch:
    """A source that shows headers of its own making upon the honest chain."""
    return Branch(list(honest.chain)).mine(count, salt=7)


def corrected(source: Branch, honest: Branch, more: int = 12) -> None:
    """The honest chain grows and the source shows it."""
    source.chain = list(honest.mine(more).chain)


def top(block: Block) -> bytes:
    """The last Bitcoin header that a block brings."""
    return Bundle.decode(block.bundle).new_tip


async def test_a_lie_that_was_corrected_does_not_stop_the_rollup(tmp_path: Path) -> None:
    honest = Branch().mine(5)
    source = Branch(list(honest.chain))
    async with (
        a_sequencer(tmp_path, source, patience=SOON) as (s, client),
        a_validator(tmp_path, honest, client.url) as v,
    ):
        await until(lambda: s.state.height >= 3, "blocks")
        source.chain = lying(honest).chain
        await until(lambda: "final Bitcoin block" in v._said, "the validator to object")
        stuck = s.after.height
        corrected(source, honest)
        await until(lambda: s.state.height >= stuck + 2, "blocks to go on")
        assert s.state.view.tip.hash == honest.chain[-1].hash
        assert [top(block) == honest.chain[-1].hash for block in await s.store.retired(stuck)] == [False]


async def test_a_height_that_was_stuck_on_a_lie_goes_on_after_a_restart_of_both(tmp_path: Path) -> None:
    honest = Branch().mine(5)
    source = lying(honest)
    async with a_sequencer(tmp_path, source) as (s, client), a_validator(tmp_path, honest, client.url) as v:
        await until(lambda: "final Bitcoin block" in v._said, "the validator to object")
        assert s.state.height == 0
    corrected(source, honest)
    async with (
        a_sequencer(tmp_path, source, patience=SOON) as (s, client),
        a_validator(tmp_path, honest, client.url),
    ):
        await until(lambda: s.state.height >= 2, "blocks to go on")


async def stuck(s: Sequencer, source: Branch, honest: Branch, *meanwhile: RollupTx) -> tuple[Block, Block]:
    """A proposal on a lie, and the one that took its place after the correction."""
    source.chain = lying(honest).chain
    first = await s.propose()
    corrected(source, honest)
    for tx in meanwhile:
        await s.submit(tx.encode())
    assert await s.reconsider()
    assert s.proposal is not None
    return first, s.proposal


async def test_votes_of_a_third_and_more_keep_a_proposal_for_ever(tmp_path: Path) -> None:
    honest = Branch().mine(5)
    source = lying(honest)
    async with a_sequencer(tmp_path, source, run=False, patience=0) as (s, client):
        block = await s.propose()
        await client.vote([vote(GEN, block, 2), vote(GEN, block, 0)])
        corrected(source, honest)
        assert not await s.reconsider()
    async with a_sequencer(tmp_path, source, run=False, patience=0) as (s, client):
        assert not await s.reconsider(), "nor after a restart"
        assert await client.proposal(1) == block


@pytest.mark.parametrize("restarted", [False, True])
async def test_one_validator_of_four_cannot_hold_a_height_with_a_lie(tmp_path: Path, restarted: bool) -> None:
    honest = Branch().mine(5)
    source = lying(honest)
    async with a_sequencer(tmp_path, source, run=False, patience=0) as (s, client):
        first = await s.propose()
        await client.vote([vote(GEN, first, 2)])
        corrected(source, honest)
        assert restarted or await s.reconsider()
    async with a_sequencer(tmp_path, source, run=False, patience=0) as (s, client):
        assert not restarted or await s.reconsider()
        second = await client.proposal(1)
        assert second is not None
        assert second != first
        await client.vote([vote(GEN, first, 2)])  # it tells again what it voted for
        await client.vote([vote(GEN, second, i) for i in (0, 1, 3)])
        [made] = await client.blocks(0)
        assert made.block == second


async def test_a_proposal_stays_for_a_time_and_while_its_headers_stand(tmp_path: Path) -> None:
    honest = Branch().mine(5)
    source = Branch(list(honest.chain))
    async with a_sequencer(tmp_path, source, run=False, patience=0) as (s, _):
        await s.propose()
        source.mine(3)
        assert not await s.reconsider(), "the chain only grew"
        source.chain = lying(honest).chain
        assert not await s.reconsider(), "the chain turned above what it brought"
        source.chain = honest.chain[:4]
        s._patience = 1000
        assert not await s.reconsider(), "it is young"
        s._patience = 0
        assert await s.reconsider()


async def test_while_no_node_answers_nothing_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = Branch().mine(5)
    source = lying(honest)
    async with a_sequencer(tmp_path, source, run=False, patience=0) as (s, _):
        await s.propose()
        corrected(source, honest)
        monkeypatch.setattr(s._feed, "has", lambda *_: None)
        assert not await s.reconsider()


async def test_an_empty_block_is_not_replaced_by_an_empty_one(tmp_path: Path) -> None:
    source = Branch().mine(5)
    async with a_sequencer(tmp_path, source, run=False, patience=0) as (s, client):
        await certify(s, client)
        await s.propose()
        source.reorg(2, 2)
        assert not await s.reconsider(), "a tie turns nothing"
        source.mine(1)
        assert await s.reconsider()


async def test_the_newest_proposal_is_served_and_survives_a_restart(tmp_path: Path) -> None:
    honest = Branch().mine(5)
    source = Branch(list(honest.chain))
    async with a_sequencer(tmp_path, source, run=False, patience=0) as (s, client):
        first, second = await stuck(s, source, honest)
        assert top(second) == honest.chain[-1].hash
        assert await client.proposal(1) == second
    async with a_sequencer(tmp_path, source, run=False) as (s, client):
        assert await client.proposal(1) == second
        await client.vote([vote(GEN, second, i) for i in range(3)])
        assert (s.state.height, await s.store.retired(1)) == (1, [first])


async def test_transactions_of_a_replaced_proposal_are_in_the_next_one(tmp_path: Path) -> None:
    honest = Branch().mine(6)
    source = Branch(list(honest.chain))
    async with a_sequencer(tmp_path, source, run=False, patience=0) as (s, client):
        w = Shadow(honest)
        await certify(s, client, Activate(signed(an_activation())))
        await certify(s, client, w.at(s.state).mint(ALICE, 500_000))
        early, late = (w.at(s.state).transfer(ALICE, BOB, 5, nonce=n) for n in (0, 1))
        await client.submit(early.encode())
        source.chain = lying(honest).chain
        await s.propose()
        await client.submit(late.encode())
        corrected(source, honest)
        assert await s.reconsider()
        assert s.proposal is not None
        assert s.proposal.transactions == (early.encode(), late.encode())
        assert len(s.mempool) == 0
        assert (await client.account(ALICE.x)).next_nonce == 2
        await client.vote([vote(GEN, s.proposal, i) for i in range(3)])
        assert s.state.account(BOB.x).balance == 10


async def test_a_mint_under_a_lie_does_not_come_into_the_next_proposal(tmp_path: Path) -> None:
    honest = Branch().mine(6)
    source = Branch(list(honest.chain))
    async with a_sequencer(tmp_path, source, run=False, patience=0) as (s, client):
        await certify(s, client, Activate(signed(an_activation())))
        source.chain = lying(honest).chain
        await s.propose()
        false = source.chain[7]
        mint = Shadow(source).at(s.state).mint(ALICE, 500_000, block_hash=false.hash, height=7)
        await client.submit(mint.encode())
        corrected(source, honest)
        assert await s.reconsider()
        assert s.proposal is not None
        assert s.proposal.transactions == ()
        told = await client.transaction(mint.txid(GEN.hash))
        assert told is not None
        assert told.state == "dropped"


async def test_votes_that_were_under_way_count_for_the_replaced_proposal(tmp_path: Path) -> None:
    honest = Branch().mine(5)
    source = Branch(list(honest.chain))
    async with a_sequencer(tmp_path, source, run=False, patience=0) as (s, client):
        activate = Activate(signed(an_activation()))
        first, second = await stuck(s, source, honest, activate)
        assert second.transactions == (activate.encode(),)
        await client.vote([vote(GEN, first, 0)])
        await client.vote([vote(GEN, second, 1)])
        await client.vote([vote(GEN, first, 2)])
        assert s.state.height == 0, "two blocks with two and one of four votes"
    async with a_sequencer(tmp_path, source, run=False) as (s, client):
        await client.vote([vote(GEN, first, 3)])
        [made] = await client.blocks(0)
        assert made.block == first, "one of them can have a quorum, whichever"
        assert (s.proposal, await s.store.retired(1)) == (None, [first, second])
        with pytest.raises(RollupRefused, match="not_this_block"):
            await client.vote([vote(GEN, second, 0)])
        assert (await certify(s, client)).transactions == second.transactions, "they waited again"


async def test_a_validator_looks_at_the_newest_proposal_until_it_voted(tmp_path: Path) -> None:
    honest = Branch().mine(5)
    source = lying(honest)
    async with (
        a_sequencer(tmp_path, source, run=False, patience=0) as (s, client),
        a_validator(tmp_path, honest, client.url) as v,
    ):
        first = await s.propose()
        await until(lambda: "final Bitcoin block" in v._said, "the validator to object")
        corrected(source, honest)
        assert await s.reconsider()
        await until(lambda: s.state.height == 1, "the certificate")
        signed_for = await v.store.signed_at(GEN.validators[0].key, 1)
        assert signed_for == s.state.tip != first.header.hash(GEN.hash)


async def test_a_validator_tells_again_what_it_voted_for(tmp_path: Path) -> None:
    honest = Branch().mine(5)
    source = Branch(list(honest.chain))
    async with (
        a_sequencer(tmp_path, source, run=False, patience=0) as (s, client),
        a_validator(tmp_path, honest, client.url, run=False) as v,
    ):
        first, _ = await stuck(s, source, honest)
        await remember_a_lost_vote(v, first)
        await v.feed.sync()
        await v.step()
        assert s.state.tip == first.header.hash(GEN.hash)


async def remember_a_lost_vote(v: Validator, block: Block) -> None:
    keys = [key.public for key in v._keys.values()]
    await v.store.will_sign(keys, block.header.height, block.header.hash(GEN.hash))


async def test_a_block_that_moves_value_on_a_view_that_lost_gives_way_to_one_that_turns_it(
    tmp_path: Path,
) -> None:
    honest = Branch().mine(8)
    source = Branch(list(honest.chain))
    async with (
        a_sequencer(tmp_path, source, run=False, patience=0) as (s, client),
        a_validator(tmp_path, honest, client.url, run=False, resume_above=1) as v,
    ):
        w = Shadow(source)
        await certify(s, client, Activate(signed(an_activation())))
        mint = w.at(s.state).mint(ALICE, 500_000)
        await client.submit(mint.encode())
        assert (await s.propose()).transactions == (mint.encode(),)
        honest.reorg(K + 2, K + 4)
        await v.feed.sync()
        await v.step()
        assert "moves value before" in v._said
        source.chain = honest.chain
        assert await s.reconsider()
        await v.step()
        assert s.state.height == 2
        assert s.state.supply == 0
        told = await client.transaction(mint.txid(GEN.hash))
        assert told is not None
        assert (told.state, "paused" in str(told.reason)) == ("dropped", True)
        assert s.state.paused is not None
