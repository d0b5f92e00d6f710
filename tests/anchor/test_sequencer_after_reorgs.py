"""A sequencer across deep reorgs: what a reorg undid is taken again, with the same bytes when its block is back."""

from pathlib import Path

import pytest

from anchor.rollup.tx import Activate
from anchor.rollup_client import RollupRefused
from tests.anchor.feeding import Branch
from tests.anchor.rollup.rollup_world import ALICE, GEN, K, an_activation, signed
from tests.anchor.rollup_parts import a_sequencer
from tests.anchor.test_sequencer import Shadow, certify


async def test_the_same_settlement_counts_again_when_its_lost_block_is_back(tmp_path: Path) -> None:
    branch = Branch().mine(6)
    async with a_sequencer(tmp_path, branch, run=False) as (s, client):
        w = Shadow(branch)
        await certify(s, client, Activate(signed(an_activation())))
        mint = w.at(s.state).mint(ALICE, 500_000)
        await certify(s, client, mint)
        lock = w.at(s.state).lock(ALICE, 50_000)
        await certify(s, client, lock)
        settle = w.settle(lock)
        await certify(s, client, settle)
        identity = lock.txid(GEN.hash)
        first = list(branch.chain)
        branch.reorg(K + 1, K + 2)
        await certify(s, client)
        assert s.state.withdrawals[identity].settled is None
        with pytest.raises(RollupRefused, match="decision") as refused:
            await client.submit(w.at(s.state).lock(ALICE, 50_000).encode())
        assert refused.value.code == "paused"
        await client.submit(settle.encode())  # paused: taken without effect, as every known one
        await certify(s, client, w.at(s.state).decide())
        branch.chain = Branch(first).mine(3, salt=4).chain
        await certify(s, client)
        pause = s.state.pause
        assert pause is not None
        await certify(s, client, w.at(s.state).decide())
        await certify(s, client, settle)
        assert s.state.withdrawals[identity].settled == settle.statement
        assert (s.state.escrow, s.state.supply) == (0, 450_000)
        await certify(s, client, settle, mint, lock)
        assert (s.state.escrow, s.state.supply) == (0, 450_000), "and no second time"


async def test_a_rollup_that_was_paused_is_still_paused_after_a_restart_and_resumes(tmp_path: Path) -> None:
    branch = Branch().mine(6)
    async with a_sequencer(tmp_path, branch, run=False) as (s, client):
        await certify(s, client)
        branch.reorg(K, K + 1)
        await certify(s, client)
        name = s.state.pause
        assert name is not None
    async with a_sequencer(tmp_path, branch, run=False) as (s, client):
        assert s.state.pause == name
        found = (await client.pause()).pause
        assert found is not None
        assert found.id == name.id(GEN.hash).hex()
        decide = Shadow(branch).at(s.state).decide()
        assert await client.submit(decide.encode()) == decide.txid(GEN.hash)
        await certify(s, client)
        assert (await client.pause()).paused is None
    async with a_sequencer(tmp_path, branch, run=False) as (s, client):
        assert s.state.pause is None
        assert [d.operators for d in await client.decisions()] == [[1, 2]]
