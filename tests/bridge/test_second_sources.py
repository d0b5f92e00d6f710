"""A node asks the second sources of its config.toml, and what they see differently is an alarm and no more."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from bridge.node import Node
from bridge.papers import StartFault
from regtest.bitcoind import Bitcoind
from tests.bridge.observing import make_paper, observing, write_observer

pytestmark = pytest.mark.regtest


def name_second(folder: Path, *urls: str) -> None:
    file = folder / "config.toml"
    listed = ", ".join(f'"{url}"' for url in urls)
    file.write_text(file.read_text().replace("second = []", f"second = [{listed}]"))


async def test_a_second_source_on_another_branch_is_an_alarm_and_moves_nothing(
    tmp_path: Path, new_bitcoind: Callable[..., Bitcoind]
) -> None:
    own, other = new_bitcoind("own", wallet=True).start(), new_bitcoind("other", wallet=True).start()
    for node, blocks in ((own, 6), (other, 9)):
        node.ensure_wallet("miner")
        node.rpc("miner").generatetoaddress(blocks, node.rpc("miner").getnewaddress())
    folder = write_observer(tmp_path / "watcher", make_paper(tmp_path), own)
    name_second(folder, f"p2p://{other.p2p}", f"{other.rpc_url}?cookie={other.cookie}")
    async with observing(folder) as observer:
        await observer.reach(6)
        async with asyncio.timeout(60):
            while len(observer.node.header_alarms.standing) < 2:
                observer.node.wake()
                await asyncio.sleep(0.02)
        standing = observer.node.header_alarms.standing.values()
        assert {alarm.kind for alarm in standing} == {"sources_differ"}
        assert all("9 blocks there against our 6, with more work" in alarm.text for alarm in standing)
        assert observer.node.feed.chain.tip.height == 6


async def test_an_address_that_is_none_keeps_the_node_from_starting(
    tmp_path: Path, bitcoind: Bitcoind
) -> None:
    folder = write_observer(tmp_path / "watcher", make_paper(tmp_path), bitcoind)
    name_second(folder, "ftp://x")
    with pytest.raises(StartFault, match=r"second in config.toml: a second source is p2p"):
        await Node.open(folder)
