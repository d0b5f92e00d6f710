"""What reorgs took out and what became of it, over Core's own chain in this process; through crashes, too."""

import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

import bridge.reorgs
from anchor.api_wire import TouchedView
from anchor.btc.ids import OutPoint, Txid
from anchor.header_ledger import HeaderLedger, ReorgRow
from anchor.headers.chain import HeaderAt
from anchor.headers.finality import leads
from anchor.jsonrpc import NodeError
from anchor.store import headers, metadata
from anchor.stream import Stream
from bridge.reorgs import Now, ReorgBook
from bridge.treasury.manifest import Manifest
from bridge.watch import ChainWatch
from migrations.database import open_database
from tests.bridge.keys import PARAMS
from tests.bridge.test_watch import ANYONE, DEPOSIT, Story, engine, watching

__all__ = ["engine"]  # a fixture
K = PARAMS.k


class Node:
    """A node's header ledger, chain watch and reorg book over a story; what bitcoind's mempool and coins are."""

    def __init__(self, story: Story, engine: AsyncEngine, watch: ChainWatch) -> None:
        self.story, self.engine, self.watch = story, engine, watch
        self.ledger = HeaderLedger(engine, headers)
        self.stream = Stream("t")
        self.mempool: set[Txid] = set()
        self.down = False
        self.spent: set[OutPoint] = set()
        self.manifests: dict[bytes, Manifest] = {}
        self.tip: HeaderAt = story.chain.tip
        self.start()

    @classmethod
    async def over(cls, story: Story, engine: AsyncEngine) -> "Node":
        node = cls(story, engine, await watching(story, engine))
        await node.tick()
        return node

    def start(self) -> None:
        """A book that remembers nothing."""
        self.book = ReorgBook(
            self,
            self.watch.items,
            self,
            self._final,
            K,
            self.stream,
            lambda: 7,
        )

    async def restart(self) -> None:
        """All that was not stored is gone."""
        self.watch = await watching(self.story, self.engine)
        self.start()

    def _final(self, block: Any) -> bool:
        return leads(self.story.chain, block, K)

    # What a book asks a feed and a bitcoind

    @property
    def chain(self) -> Any:
        return self.story.chain

    async def reorgs(self, limit: int = 50) -> list[ReorgRow]:
        return await self.ledger.reorgs(limit, None)

    async def in_mempool(self, txid: Txid) -> bool:
        if self.down:
            raise NodeError("bitcoind does not answer")
        return txid in self.mempool

    async def txout(self, outpoint: OutPoint, include_mempool: bool = True) -> object | None:
        return None if outpoint in self.spent else object()

    # A round

    async def sync(self) -> None:
        """The header ledger learns of the turn, as the feed tells it."""
        turn = self.story.chain.reorg(self.tip, self.story.chain.tip)
        if turn.depth:
            await self.ledger.keep([], turn, "info", 1)
        self.tip = self.story.chain.tip

    async def tick(self) -> None:
        """One round of a node, without its machines."""
        await self.sync()
        await self.watch.advance()
        assert self.watch.view is not None
        rows = await self.watch.store.deposits()
        await self.book.tick(Now(self.watch.view, rows, {}, self.manifests))

    async def touched(self, reorg: int = 1) -> Sequence[TouchedView]:
        return (await self.book.touched([reorg])).get(reorg, [])

    async def fates(self, reorg: int = 1) -> dict[str, str]:
        found = await self.touched(reorg)
        assert max(Counter(t.kind for t in found).values(), default=0) <= 1, (
            "one of each kind in these stories"
        )
        return {t.kind: t.outcome for t in found}


async def swept(tmp_path: Path, engine: AsyncEngine) -> tuple[Node, Any, Any]:
    """A node whose newest block holds a sweep and the one before its deposit."""
    story = Story(tmp_path)
    node = await Node.over(story, engine)
    deposit = story.pay(DEPOSIT, 50_000, story.money[0])
    story.mine(deposit)
    manifest, sweep = story.sweep(deposit, story.activation.treasury, int(story.value))
    story.mine(sweep)
    node.manifests[manifest.hash] = manifest
    await node.tick()
    return node, deposit, sweep


async def test_a_reorg_that_touches_nothing_has_nothing_to_tell(tmp_path: Path, engine: AsyncEngine) -> None:
    story = Story(tmp_path)
    node = await Node.over(story, engine)
    story.reorg(2)
    await node.tick()
    assert await node.touched() == []


async def test_what_was_lost_waits_then_is_there_again_and_at_last_finally(
    tmp_path: Path, engine: AsyncEngine
) -> None:
    node, deposit, sweep = await swept(tmp_path, engine)
    node.story.reorg(2)
    await node.tick()
    assert await node.fates() == {"deposit": "waiting", "batch": "waiting", "sweep": "waiting"}
    node.story.mine(deposit)
    await node.tick()
    assert await node.fates() == {"deposit": "confirmed", "batch": "waiting", "sweep": "waiting"}
    node.story.mine(sweep)
    await node.tick()
    assert set((await node.fates()).values()) == {"confirmed"}
    assert not any(t.settled for t in await node.touched())
    for _ in range(K):
        node.story.mine()
    await node.tick()
    assert all(t.settled for t in await node.touched())
    await node.tick()
    assert node.book.counts == {"confirmed": 3}
    told = [kind for _, kind, _ in node.stream._ring]
    assert set(told) == {"outcome"}
    assert len(told) == 3 + 3, "each came back once and became final once"


async def test_a_crash_between_the_reorg_and_its_examination_loses_nothing(
    tmp_path: Path, engine: AsyncEngine
) -> None:
    node, deposit, _ = await swept(tmp_path, engine)
    node.story.reorg(2, deposit)
    await node.sync()  # the header ledger has it, and the process dies
    await node.restart()
    await node.tick()
    assert await node.fates() == {"deposit": "confirmed", "batch": "waiting", "sweep": "waiting"}
    await node.restart()
    await node.tick()
    assert await node.fates() == {"deposit": "confirmed", "batch": "waiting", "sweep": "waiting"}


async def test_a_reorg_while_the_node_was_down_is_told_from_what_was_stored_before(
    tmp_path: Path, engine: AsyncEngine
) -> None:
    node, _, _ = await swept(tmp_path, engine)
    node.story.reorg(K + 2)
    node.story.mine()
    await node.restart()
    await node.tick()
    assert await node.fates() == {"deposit": "waiting", "batch": "waiting", "sweep": "waiting"}


async def test_a_deposit_whose_coins_a_rival_spent_is_gone_with_its_sweep_until_another_reorg_brings_it_back(
    tmp_path: Path, engine: AsyncEngine
) -> None:
    node, deposit, _ = await swept(tmp_path, engine)
    coin = deposit.inputs[0].outpoint
    rival = node.story.pay(ANYONE, 40_000, coin)
    node.story.reorg(2, rival)
    node.spent.add(coin)
    await node.tick()
    assert await node.fates() == {"deposit": "gone", "batch": "waiting", "sweep": "gone"}
    node.story.reorg(3, deposit)
    await node.tick()
    assert (await node.fates())["deposit"] == "confirmed"
    assert (await node.fates())["sweep"] == "waiting"


async def test_what_is_gone_for_k_blocks_is_settled_and_its_sweep_stays_gone_over_a_restart(
    tmp_path: Path, engine: AsyncEngine
) -> None:
    node, deposit, _ = await swept(tmp_path, engine)
    coin = deposit.inputs[0].outpoint
    node.story.reorg(2, node.story.pay(ANYONE, 40_000, coin))
    node.spent.add(coin)
    await node.tick()
    for _ in range(K + 1):
        node.story.mine()
        await node.tick()
    fate = {t.kind: (t.outcome, t.settled) for t in await node.touched()}
    assert (fate["deposit"], fate["sweep"]) == (("gone", True), ("gone", True))
    await node.restart()
    await node.tick()
    assert (await node.fates())["sweep"] == "gone"


async def test_a_deposit_in_the_mempool_or_with_a_parent_there_is_not_gone(
    tmp_path: Path, engine: AsyncEngine
) -> None:
    node, deposit, _ = await swept(tmp_path, engine)
    coin = deposit.inputs[0].outpoint
    node.story.reorg(2)
    node.spent.add(coin)
    node.mempool.add(deposit.txid)
    await node.tick()
    assert (await node.fates())["deposit"] == "waiting"
    node.mempool = {coin.txid}
    node.story.mine()
    await node.tick()
    assert (await node.fates())["deposit"] == "waiting"
    node.mempool.clear()
    node.story.mine()
    await node.tick()
    assert (await node.fates())["deposit"] == "gone"


async def test_another_version_of_a_batch_is_told_as_such(tmp_path: Path, engine: AsyncEngine) -> None:
    node, deposit, sweep = await swept(tmp_path, engine)
    other, again = node.story.sweep(deposit, node.story.activation.treasury, int(node.story.value), fee=900)
    assert again.txid != sweep.txid
    node.manifests[other.hash] = other
    node.story.reorg(1, again)
    await node.tick()
    assert await node.fates() == {"batch": "replaced", "sweep": "replaced"}
    assert all("done instead in block" in t.text for t in await node.touched())


async def test_nested_reorgs_each_keep_their_own_rows(tmp_path: Path, engine: AsyncEngine) -> None:
    node, deposit, sweep = await swept(tmp_path, engine)
    node.story.reorg(2, deposit, sweep)
    await node.tick()
    node.story.reorg(3)
    await node.tick()
    for reorg in (1, 2):
        assert await node.fates(reorg) == {"deposit": "waiting", "batch": "waiting", "sweep": "waiting"}
    assert {t.height for t in await node.touched(1)} != {t.height for t in await node.touched(2)}


class Dies(Exception):
    """The process ends here."""


@asynccontextmanager
async def dying(monkeypatch: pytest.MonkeyPatch, at: int, *, kept: bool) -> AsyncIterator[list[int]]:
    """The process ends at write number `at` to node.db, after it when it is `kept`; yields the count of writes."""
    begin, writes = AsyncEngine.begin, [0]

    @asynccontextmanager
    async def counted(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
        number = writes[0]
        writes[0] += 1
        if number == at and not kept:
            raise Dies
        async with begin(engine) as db:
            yield db
        if number == at:
            raise Dies

    with monkeypatch.context() as patched, contextlib.suppress(Dies):
        patched.setattr(AsyncEngine, "begin", counted)
        yield writes


async def test_a_kill_before_or_after_any_write_of_a_reorg_ends_where_an_undisturbed_node_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at, more = 0, True
    while more:
        for kept in (False, True):
            folder = tmp_path / f"{at}-{kept}"
            folder.mkdir()
            async with database(folder) as made:
                node, deposit, sweep = await swept(folder, made)
                before = node.tip
                node.story.reorg(2, deposit)
                async with dying(monkeypatch, at, kept=kept) as writes:
                    await node.tick()
                more = writes[0] > at
                node.tip = before  # the feed finds the turn again, from its file
                await node.restart()
                await node.tick()
                assert await node.fates() == {"deposit": "confirmed", "batch": "waiting", "sweep": "waiting"}
                assert len(await node.reorgs()) == 1
                node.story.mine(sweep)
                await node.tick()
                assert set((await node.fates()).values()) == {"confirmed"}
        at += 1
    assert at > 4, "ledger, disconnected deposits, what a block holds, what was touched, its fates"


@asynccontextmanager
async def database(folder: Path) -> AsyncIterator[AsyncEngine]:
    made = open_database(folder / "node.db")
    async with made.begin() as db:
        await db.run_sync(metadata.create_all)
    try:
        yield made
    finally:
        await made.dispose()


async def test_of_very_many_lost_deposits_each_is_asked_about_in_its_turn(
    tmp_path: Path, engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bridge.reorgs, "MOST_LOST", 1)
    story = Story(tmp_path)
    node = await Node.over(story, engine)
    pays = [story.pay(DEPOSIT, 50_000, story.money[n]) for n in range(3)]
    story.mine(*pays)
    await node.tick()
    node.spent = {pay.inputs[0].outpoint for pay in pays}
    story.reorg(1)
    for _ in range(3):
        await node.tick()
        story.mine()
    await node.tick()
    assert [t.outcome for t in await node.touched()] == ["gone"] * 3


async def test_a_bitcoind_that_does_not_answer_delays_what_is_gone_and_nothing_else(
    tmp_path: Path, engine: AsyncEngine
) -> None:
    node, deposit, _ = await swept(tmp_path, engine)
    coin = deposit.inputs[0].outpoint
    node.story.reorg(2, node.story.pay(ANYONE, 40_000, coin))
    node.spent.add(coin)
    node.down = True
    await node.tick()
    assert (await node.fates())["deposit"] == "waiting"
    node.down = False
    await node.tick()
    assert (await node.fates())["deposit"] == "gone"
