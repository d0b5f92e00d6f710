"""A whole node is told of the activation by several at once, and by liars."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

import bridge.node
from anchor.rollup.activation import ActivationRefused, SignedActivation
from bridge.active import Active
from bridge.node import Node
from regtest.bitcoind import Bitcoind
from tests.bridge.observing import make_paper, write_observer


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
