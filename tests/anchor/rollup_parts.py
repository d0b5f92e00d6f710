"""A sequencer and a validator on real sockets, with whole test keys and a header source of the test's own."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from anchor.btc.ids import BlockHash
from anchor.btc.network import REGTEST
from anchor.feed import HeaderFeed
from anchor.headers import bundle as bundles
from anchor.headers.bundle import Bundle
from anchor.headers.chain import HeaderChain
from anchor.rollup.genesis import Genesis
from anchor.rollup_api import RollupApi
from anchor.rollup_client import RollupClient
from anchor.rollup_keys import RollupKey
from anchor.rollup_store import RollupStore, headers
from anchor.sequencer import PATIENCE, Sequencer
from anchor.validator import Validator
from tests.anchor.feeding import Branch, serving
from tests.anchor.headers.minting import chain_of
from tests.anchor.rollup.rollup_world import GEN, VALIDATORS

NOW = 2_000_000_000


class BranchFeed:
    """A sequencer's feed straight from a branch; `most` headers at a time."""

    def __init__(self, branch: Branch, most: int = 2000) -> None:
        self.branch, self.most = branch, most

    async def sync(self) -> object:
        return None

    def bundle_for(self, view: HeaderChain, limit: int = 2000) -> Bundle | None:
        return bundles.make(view, chain_of(*self.branch.chain[1:]), min(limit, self.most))

    def has(self, height: int, block: BlockHash) -> bool | None:
        return height < len(self.branch.chain) and self.branch.chain[height].hash == block


def keys(which: Sequence[int] = range(4)) -> list[RollupKey]:
    return [RollupKey.of(VALIDATORS[i].secret) for i in which]


@asynccontextmanager
async def a_sequencer(
    folder: Path,
    branch: Branch,
    genesis: Genesis = GEN,
    *,
    run: bool = True,
    patience: float = PATIENCE,
    most: int = 2000,
) -> AsyncIterator[tuple[Sequencer, RollupClient]]:
    """An open sequencer behind its API; with `run` it makes blocks."""
    store = await RollupStore.open(folder / "sequencer.db", genesis.hash, "sequencer")
    try:
        sequencer = Sequencer(
            genesis, store, lambda _: BranchFeed(branch, most), clock=lambda: NOW, patience=patience
        )
        await sequencer.open()
        async with (
            serving(RollupApi(sequencer).app()) as url,
            RollupClient(url) as client,
            background(sequencer.run if run else None),
        ):
            yield sequencer, client
    finally:
        await store.close()


@asynccontextmanager
async def a_validator(
    folder: Path,
    branch: Branch,
    url: str,
    which: Sequence[int] = range(4),
    *,
    genesis: Genesis = GEN,
    run: bool = True,
    resume_above: int | None = None,
    db: str = "validator.db",
) -> AsyncIterator[Validator]:
    """An open validator; with `run` it follows and votes."""
    store = await RollupStore.open(folder / db, genesis.hash, "validator")
    feed = HeaderFeed(
        branch, REGTEST, folder / f"{db}-headers", store.engine, headers, k=genesis.k, hold=False
    )
    try:
        await feed.open()
        async with RollupClient(url) as client:
            validator = Validator(genesis, keys(which), store, client, feed, clock=lambda: NOW)
            await validator.open(resume_above=resume_above)
            async with background(validator.run if run else None):
                yield validator
    finally:
        await feed.close()
        await store.close()


@asynccontextmanager
async def background(work: Callable[[], object] | None) -> AsyncIterator[None]:
    """Run beside the body; an error of it fails the test."""
    if work is None:
        yield
        return
    task = asyncio.ensure_future(work())
    try:
        yield
    finally:
        task.cancel()
        [result] = await asyncio.gather(task, return_exceptions=True)
        if isinstance(result, BaseException) and not isinstance(result, asyncio.CancelledError):
            raise result


async def until(condition: Callable[[], bool], what: str, seconds: float = 40) -> None:
    """Wait for a condition, looking often."""
    try:
        async with asyncio.timeout(seconds):
            while not condition():  # noqa: ASYNC110 the parts under test have no event for it
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(f"waited {seconds} s in vain for {what}") from None
