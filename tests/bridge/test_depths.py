"""Nodes may wait deeper than k, by use and by value; they never wait less."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from anchor.headers.finality import Policy
from anchor.rollup.genesis import MAX_K
from bridge import config
from bridge.config import BitcoindSection, Config, ConfigFault, HeadersSection, NodeSection, load, write
from bridge.treasury.refusal import Code, Refusal
from regtest.bitcoind import Bitcoind
from tests.bridge.office import PARAMS, activate, office

K = PARAMS.k


def test_a_use_and_a_value_ask_for_more_and_nothing_asks_for_less_than_k() -> None:
    policy = Policy(3, {"deposit": 5, "payout": 1}, ((1_000, 4), (50, 2), (9_000, 7)))
    asked = {
        (use, value): policy.k_for(use, value)
        for use in ("deposit", "payout", "")
        for value in (0, 1_000, 9_000)
    }
    assert asked == {
        ("deposit", 0): 5,
        ("deposit", 1_000): 5,
        ("deposit", 9_000): 7,
        ("payout", 0): 3,
        ("payout", 1_000): 4,
        ("payout", 9_000): 7,
        ("", 0): 3,
        ("", 1_000): 4,
        ("", 9_000): 7,
    }


def test_depths_are_read_from_the_configuration_and_wrong_ones_refused(tmp_path: Path) -> None:
    headers = HeadersSection(
        stale_minutes=30, deposit_depth=4, depth_by_value=((1_000_000, 6), (50_000_000, 12))
    )
    made = Config(
        NodeSection("alice", "regtest"), BitcoindSection("http://127.0.0.1:1", "c"), headers=headers
    )
    write(tmp_path, made)
    assert load(tmp_path) == made
    assert config.MAX_DEPTH == MAX_K
    path = tmp_path / "config.toml"
    good = path.read_text()
    for wrong in ("[[5]]", "[[5, 0]]", "[[-1, 6]]", f"[[5, {MAX_K + 1}]]", "[5, 6]", '"6"'):
        path.write_text(good.replace("[[1000000, 6], [50000000, 12]]", wrong))
        with pytest.raises(ConfigFault, match="depth_by_value"):
            load(tmp_path)


async def test_a_large_deposit_is_credited_later_than_a_small_one_and_no_signer_is_talked_into_less(
    tmp_path: Path, bitcoind: Bitcoind
) -> None:
    async with office(tmp_path, bitcoind, active=False) as it:
        it.depths = Policy(K, by_value=((500_000, K + 2),))
        await activate(it)
        small, large = await it.deposit(btc="0.003"), await it.deposit(name="bob", btc="0.006")
        await it.swept()
        it.mine(K - 1)
        await it.round()
        ((payload, _),) = it.nodes[0].active.book.wanted()  # the small one's
        certifier = it.nodes[1].active.certifier
        assert certifier.approve(payload)
        certifier.depths = replace(it.depths, uses={"deposit": K + 1})
        with pytest.raises(Refusal) as refused:
            certifier.approve(payload)
        assert (refused.value.code, refused.value.retryable) == (Code.BATCH_NOT_FINAL, True)
        certifier.depths = it.depths
        for _ in range(8):
            await it.blocks(1)
            await asyncio.sleep(0.02)
        assert list(it.rollup.state.minted) == [small]
        it.mine(2)
        for _ in range(100):
            await it.blocks(1)
            if large in it.rollup.state.minted:
                break
            await asyncio.sleep(0.02)
        assert set(it.rollup.state.minted) == {small, large}
