"""Fixtures for every room: published vectors, and real bitcoinds that end with their test."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from regtest import core
from regtest.bitcoind import Bitcoind
from regtest.network import Network


def pytest_configure() -> None:
    """Have tests' processes hear SIGINT, which a background shell ignores, and not the caller's own settings."""
    for name in ("HOLDFAST_DIR", "HOLDFAST_NODE", "HOLDFAST_ROLLUP"):
        os.environ.pop(name, None)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def vectors() -> Path:
    """The folder of published test data that HOLDFAST_VECTORS names; skips when it is not there."""
    named = os.environ.get("HOLDFAST_VECTORS")
    if not named:
        pytest.skip("HOLDFAST_VECTORS is not set: it names the folder of published vectors")
    folder = Path(named)
    if not folder.is_dir():
        pytest.skip(f"HOLDFAST_VECTORS names {folder}, which is not a folder")
    return folder


@pytest.fixture(scope="session")
def bitcoind_path() -> Path:
    """The bitcoind that all tests use; fails in clear words when there is none."""
    found = core.find()
    if found is None:
        pytest.fail("There is no bitcoind yet: run `make setup`, or set BITCOIND.")
    return found


@pytest.fixture
def new_bitcoind(bitcoind_path: Path, tmp_path: Path) -> Iterator[Callable[..., Bitcoind]]:
    """Make described, not yet started bitcoinds: `new_bitcoind("name", wallet=True, …)`."""
    with ExitStack() as stack:

        def make(name: str = "bitcoind", **options: Any) -> Bitcoind:
            node = Bitcoind(tmp_path / name, binary=bitcoind_path, **options)
            stack.callback(node.close)
            return node

        yield make


@pytest.fixture
def bitcoind(new_bitcoind: Callable[..., Bitcoind]) -> Bitcoind:
    """One running bitcoind with the wallet `miner`; its chain stands at genesis."""
    node = new_bitcoind(wallet=True).start()
    node.ensure_wallet("miner")
    return node


@pytest.fixture
def bitcoind_pair(bitcoind_path: Path, tmp_path: Path) -> Iterator[Network]:
    """Two peered bitcoinds: 0 without a wallet, 1 with the miner's; 110 blocks, 500 BTC spendable."""
    with Network(tmp_path / "network", 2, binary=bitcoind_path) as network:
        yield network


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what starts a bitcoind, however deep among its fixtures, and what touches the world in another way.

    Tests mirror the source: those of a package's folders are pure, those of its top files use sockets, databases
    and processes. `make unit` runs the first kind only.
    """
    here = Path(__file__).parent
    for item in items:
        parts = item.path.parent.relative_to(here).parts
        if "bitcoind_path" in getattr(item, "fixturenames", ()):
            item.add_marker("regtest")
        if len(parts) == 1 or parts[:1] in (("regtest",), ("soak",)):
            item.add_marker("live")
