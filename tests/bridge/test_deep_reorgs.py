"""Real nodes and a reorg of k and more: value stops, t operators decide, and what was undone is done once more."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from anchor.rollup.decisions import SignedDecision
from anchor.rollup.tx import Decide
from bridge.decisions import DecisionDesk, DecisionFault, Operator, PauseNews
from bridge.withdrawal import states as wst
from regtest.bitcoind import Bitcoind
from tests.bridge.office import PARAMS, Office, OfficeNode, office

PAYEE = b"\x00\x14" + bytes(range(20))


def desk(node: OfficeNode) -> DecisionDesk:
    assert node.active is not None
    signer = node.seat.node
    assert signer is not None
    operator = Operator(node.seat.identity.host_key, signer.host_sign)
    return DecisionDesk(node.follower, node.feed, node.active.totals, operator)


async def blocks_until(it: Office, condition: Callable[[], Any], what: str) -> None:
    """Rollup blocks until something holds; sessions run between them."""
    for _ in range(1000):
        await it.blocks(1)
        if condition():
            return
        await asyncio.sleep(0.01)  # a session's messages travel
    raise AssertionError(f"1000 blocks in vain for {what}: {it.rollup.rejected}")


async def settled(it: Office, identity: bytes) -> None:
    """The withdrawal is paid, its payout final, the rollup told."""
    it.mine(PARAMS.k)
    await blocks_until(
        it, lambda: it.rollup.state.withdrawals[identity].settled is not None, "the settlement"
    )


async def paid_out(it: Office) -> bytes:
    """A deposit was credited and part of it paid out again; the withdrawal's id."""
    coin = await it.deposit()
    await it.swept()
    await it.credited(coin)
    identity = it.rollup.lock(50_000, PAYEE)
    await it.blocks(3)
    await it.swept()
    await settled(it, identity)
    return identity


@pytest.mark.regtest
async def test_a_settlement_lost_with_its_block_is_paid_once_and_value_moves_by_decision(
    tmp_path: Path, bitcoind: Bitcoind
) -> None:
    async with office(tmp_path, bitcoind) as it:
        identity = await paid_out(it)
        told = []

        async def tell(alarm: object) -> None:
            told.append(alarm)

        news = PauseNews(it.nodes[0].follower, tell)
        supply = it.rollup.state.supply
        it.reorg(PARAMS.k + 1)
        await it.blocks(2)
        pause = it.rollup.state.pause
        assert pause is not None
        assert (pause.mints, pause.settles) == ((), (identity,))
        assert it.rollup.state.withdrawals[identity].settled is None
        await news.look()
        assert [(a.level, a.kind) for a in told] == [("pause", "pause")]
        assert told[0].data["settlements"] == [{"id": identity.hex(), "amount": 50_000, "state": "locked"}]
        for node in it.nodes:
            assert "disconnected" in str(node.active.paused())
            assert node.active.totals().holds
            assert not isinstance(node.active.book.withdrawals[identity], wst.Settled)
        await decided(it)
        await news.look()
        assert [(a.level, a.kind) for a in told[1:]] == [("info", "decision")]
        assert "operators 1, 2: seen and understood" in told[1].text
        assert all(node.active.paused() is None for node in it.nodes)
        await it.until(
            lambda: it.rollup.state.withdrawals[identity].settled or _mined(it), "the payout again"
        )
        await settled(it, identity)
        assert it.rollup.state.supply == supply
        assert [k for k, w in it.rollup.state.withdrawals.items() if w.settled] == [identity]
        for node in it.nodes:
            await it.until(
                lambda node=node: isinstance(node.active.book.withdrawals[identity], wst.Settled), "its book"
            )
            assert node.active.totals().holds
        await it.round()
        for node in it.nodes:
            assert node.active.journal.books.settled == {identity: 50_000}


def _mined(it: Office) -> bool:
    """Mine what waits; True once something did."""
    waits = bool(it.mempool())
    if waits:
        it.mine()
    return waits


async def decided(it: Office) -> None:
    """Two of three operators sign, after what none of them would sign; the rollup takes it."""
    alice, bob, _ = it.nodes
    made = desk(alice).make("seen and understood")
    with pytest.raises(DecisionFault, match="about another pause"):
        desk(alice).sign(_other_pause(made))
    alone = desk(alice).sign(made)
    await it.rollup.submit(Decide(alone).encode())
    await it.blocks(1)
    assert it.rollup.state.pause is not None
    assert it.rollup.rejected[-1][1].code == "too_few_signatures"
    both = desk(bob).sign(alone)
    await it.rollup.submit(Decide(both).encode())
    await it.blocks(1)
    assert it.rollup.state.pause is None, it.rollup.rejected[-1]
    with pytest.raises(DecisionFault, match="nothing to decide"):
        desk(alice).sign(made)
    with pytest.raises(DecisionFault, match="nothing to decide"):
        desk(alice).make("again")


def _other_pause(made: SignedDecision) -> SignedDecision:
    return replace(made, decision=replace(made.decision, pause=b"\x07" * 32))


@pytest.mark.regtest
async def test_an_operator_signs_only_what_his_own_node_sees(tmp_path: Path, bitcoind: Bitcoind) -> None:
    async with office(tmp_path, bitcoind) as it:
        coin = await it.deposit()
        await it.swept()
        await it.credited(coin)
        it.reorg(PARAMS.k)
        await it.blocks(2)
        pause = it.rollup.state.pause
        assert pause is not None
        assert pause.mints == (coin,)
        alice = desk(it.nodes[0])
        facts = alice.standing()
        [mint] = facts["pause"]["mints"]
        assert (mint["outpoint"], mint["backed"]) == (str(coin), False)
        made = alice.make("the sweep comes back")
        totals = it.nodes[0].active.totals()
        assert totals is not None
        lacking = totals.deficit
        if lacking:  # until the sweep is back
            with pytest.raises(DecisionFault, match=f"--despite-deficit {lacking}"):
                alice.sign(made)
        it.nodes[1].feed.node_tip = it.nodes[1].feed.chain.start
        with pytest.raises(DecisionFault, match="not on our own bitcoind's chain"):
            desk(it.nodes[1]).sign(made, despite_deficit=lacking)
        observer = DecisionDesk(it.nodes[0].follower, it.nodes[0].feed, it.nodes[0].active.totals, None)
        with pytest.raises(DecisionFault, match="observer signs nothing"):
            observer.sign(made)
        await it.nodes[1].feed.sync()
        signed = desk(it.nodes[2]).sign(alice.sign(made, despite_deficit=lacking), despite_deficit=lacking)
        await it.rollup.submit(Decide(signed).encode())
        await it.blocks(1)
        assert it.rollup.state.pause is None
        balance = it.rollup.state.supply
        await it.until(lambda: _mined(it), "the sweep again")
        it.mine(PARAMS.k)
        minted = it.rollup.state.minted
        await blocks_until(
            it,
            lambda: it.rollup.state.view.is_main(it.rollup.state.minted[coin].statement.block_hash),
            "the credit to stand on its new sweep",
        )
        assert minted.keys() == it.rollup.state.minted.keys()
        assert it.rollup.state.supply == balance, "credited once"
        assert all(node.active.totals().holds for node in it.nodes)
