"""A whole node is told of the activation by several at once, and by liars."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

import bridge.node
from anchor.btc.ids import from_display
from anchor.rollup.activation import ActivationRefused, SignedActivation
from bridge.active import Active
from bridge.node import Node
from regtest.bitcoind import Bitcoind
from tests.bridge.observing import make_paper, write_observer, write_operator


async def test_a_record_that_two_bring_at_once_is_followed_once(
    tmp_path: Path, bitcoind: Bitcoind, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Active] = []

    class Counted(Active):
        def __init__(self, *parts: object) -> None:
            super().__init__(*parts)
            made.append(self)

    monkeypatch.setattr(bridge.node, "Active", Counted)
    paper = make_paper(tmp_path)
    node = await Node.open(write_observer(tmp_path / "watcher", paper, bitcoind))
    try:
        signed = paper.activation(1)
        await asyncio.gather(*(node.activate(signed) for _ in range(3)))
        assert made == [node.active]
        await node.activate(signed)
        with pytest.raises(ActivationRefused, match="active under another record"):
            await node.activate(paper.activation(2))
        assert made == [node.active]
    finally:
        await node.close()


async def test_an_operator_without_shares_follows_its_bridge_and_says_that_they_are_lost(
    tmp_path: Path, bitcoind: Bitcoind
) -> None:
    paper = make_paper(tmp_path)
    folder = write_operator(tmp_path / "alice", paper, bitcoind)
    for _ in range(2):  # and again when it is started anew
        node = await Node.open(folder)
        try:
            await node.activate(paper.activation(1))
            (keys,) = [check for check in node.health() if check.name == "keys"]
        finally:
            await node.close()
        assert not keys.ok
        assert "the shares are lost of treasury, anchor, mint" in keys.text
        assert "holdfast node restore" in keys.text
        assert "dkg" not in keys.text


async def test_a_bitcoind_that_looks_swapped_is_asked_about_with_the_command_to_answer(
    tmp_path: Path, bitcoind: Bitcoind
) -> None:
    paper = make_paper(tmp_path)
    node = await Node.open(write_observer(tmp_path / "watcher", paper, bitcoind))
    try:
        await node._round()
        rpc = bitcoind.rpc("miner")
        top = rpc.getblockcount()
        rpc.generatetoaddress(11, rpc.getnewaddress())
        await node._round()
        rpc.invalidateblock(rpc.getblockhash(top + 1))
        for _ in range(12):  # into other addresses, so that no block is one of those before
            rpc.generatetoaddress(1, rpc.getnewaddress())
        await node._round()
        tip = rpc.getbestblockhash()
        (check,) = [check for check in node.health() if check.name == "bitcoind"]
        assert not check.ok
        assert "lacks 11 blocks" in check.text
        assert f"holdfast node confirm-tip --dir … {tip}" in check.text
        node.feed.confirm(from_display(tip))
        await node._round()
        assert all(check.ok for check in node.health() if check.name == "bitcoind")
    finally:
        await node.close()


async def test_a_record_that_not_all_signed_or_that_is_anothers_is_refused_and_nothing_kept(
    tmp_path: Path, bitcoind: Bitcoind
) -> None:
    paper = make_paper(tmp_path)
    node = await Node.open(write_observer(tmp_path / "watcher", paper, bitcoind))
    try:
        signed = paper.activation(1)
        swapped = SignedActivation(signed.activation, signed.signatures[::-1])
        short = SignedActivation(signed.activation, signed.signatures[:2])
        record = replace(signed.activation, genesis_hash=bytes(32))
        foreign = SignedActivation(record, tuple(i.sign(record.hash) for i in paper.identities))
        for bad in (swapped, short, foreign):
            with pytest.raises(ActivationRefused):
                await node.activate(bad)
        assert node.active is None
        assert await node.store.document("activation") is None
    finally:
        await node.close()


async def test_no_share_is_wiped_while_the_node_follows_no_bridge(tmp_path: Path, bitcoind: Bitcoind) -> None:
    """Its bitcoind may be away, or its record not read yet: the coins are there all the same."""
    paper = make_paper(tmp_path)
    node = await Node.open(write_operator(tmp_path / "alice", paper, bitcoind))
    try:
        guard = node.tss.key_work.guard if node.tss is not None else None
        assert guard is not None
        assert "does not follow its bridge yet" in str(await guard("treasury", 1))
        await node.activate(paper.activation(1))
        guard = node.tss.key_work.guard if node.tss is not None else None
        assert guard is not None
        assert "does not follow" not in str(await guard("treasury", 1))
        assert await guard("treasury", 1) is not None
        assert await guard("treasury", 0) is None, "the bridge began with epoch 1"
    finally:
        await node.close()
