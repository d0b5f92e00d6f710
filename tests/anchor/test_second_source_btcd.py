"""A real btcd, peered with a real bitcoind, as the second source: other people's rules, the same chain."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from anchor.bitcoind import Bitcoind
from anchor.btc.address import address_of
from anchor.btc.network import REGTEST
from anchor.second_source import Opinion, SecondSource, open_source
from regtest.btcd import PASSWORD, USER, Btcd, NoBtcd, ensure
from regtest.waiting import wait_until
from tests.anchor.feeding import FeedHome

pytestmark = pytest.mark.regtest


def clock() -> float:
    return 2_000_000_000.0


def address(name: int) -> str:
    return address_of(b"\x51\x20" + bytes([name]) * 32, REGTEST)


@pytest.fixture(scope="module")
def btcd_path() -> Path:
    try:
        return ensure()
    except NoBtcd as why:
        pytest.skip(str(why))


@pytest.fixture
def core(new_bitcoind: Callable[..., Any]) -> Any:
    return new_bitcoind().start()


@pytest.fixture
def btcd(btcd_path: Path, core: Any, tmp_path: Path) -> Iterator[Btcd]:
    with Btcd(btcd_path, tmp_path / "btcd", peer=core.p2p) as node:
        wait_until(lambda: len(core.rpc().getpeerinfo()) == 1, "btcd to connect to bitcoind", seconds=120)
        yield node


async def until(source: SecondSource, chain: Any, wanted: Callable[[Opinion], bool]) -> Opinion:
    """Look until the source says it."""
    async with asyncio.timeout(120):
        while not wanted(opinion := await source.look(chain)):
            pass
    return opinion


@pytest.mark.parametrize("way", ["rpc", "p2p"])
async def test_btcd_agrees_lags_and_stands_apart_as_its_chain_does(
    core: Any, btcd: Btcd, tmp_path: Path, way: str
) -> None:
    secret = tmp_path / "password"
    secret.write_text(PASSWORD)
    url = f"http://{USER}@{btcd.rpc}?password_file={secret}" if way == "rpc" else f"p2p://{btcd.p2p}"
    source = open_source(url, REGTEST, clock=clock)
    assert "holdfast" not in source.name
    async with Bitcoind(core.rpc_url, cookie=core.cookie) as client, FeedHome(tmp_path).feed(client) as feed:
        await client.call("generatetoaddress", 120, address(2))
        await feed.sync()
        same = await until(source, feed.chain, lambda o: o.relation == "same")
        assert same.height == feed.chain.tip.height

        await client.call("disconnectnode", core.rpc().getpeerinfo()[0]["addr"])
        await client.call("setnetworkactive", False)
        await client.call("generatetoaddress", 2, address(2))
        await feed.sync()
        lag = await source.look(feed.chain)
        assert (lag.relation, lag.differs, lag.data["ours"]) == ("behind", None, 2)

        # Ours leaves three blocks behind that btcd keeps.
        lost = await client.block_hash(118)
        assert lost is not None
        await client.call("invalidateblock", lost[::-1].hex())
        await client.call("generatetoaddress", 6, address(3))
        await feed.sync()
        apart = await source.look(feed.chain)
        assert apart.relation == "apart"
        assert "since height 117, 3 blocks there against our 6, with less work" in str(apart.differs)
    await source.close()
