"""The chain watch over Core's own chain in this process: reorgs of every depth end where a fresh reading ends."""

import asyncio
import random
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

import bridge.watch
from anchor.btc.amounts import Sats
from anchor.btc.block import Block
from anchor.btc.ids import OutPoint
from anchor.btc.network import REGTEST
from anchor.btc.taproot import compact_size, sighash
from anchor.btc.tx import Tx, TxIn, TxOut
from anchor.headers.chain import HeaderChain
from anchor.headers.rules import rules_of
from anchor.rollup.activation import Lane
from anchor.store import metadata
from bridge.deposit import states as dst
from bridge.deposit.address import output, treasury_script
from bridge.store import BridgeStore, DepositRow, KnownAddress
from bridge.treasury.builder import build
from bridge.treasury.manifest import Manifest
from bridge.watch import ChainView, ChainWatch
from migrations.database import open_database
from tests.anchor.inscription.core import CoreChain
from tests.bridge.keys import ACTIVATION, EVEN, KEYS, PARAMS, TREASURY, params_of, sweep_manifest, swept

USER = params_of("alice")
DEPOSIT = output(USER, TREASURY).script_pubkey
ANYONE = b"\x51"  # OP_TRUE: coins of the story's crowd


class Story:
    """Core's chain, the header chain that follows it, and the raw blocks a bitcoind would serve."""

    def __init__(self, folder: Path) -> None:
        self.core = CoreChain(folder / "core")
        self.raw: dict[bytes, bytes] = {}
        self.chain = HeaderChain(rules_of(REGTEST), self.core.headers[0])
        first = self.core.mine(reward=ANYONE)
        treasury = self.core.mine(reward=treasury_script(TREASURY))
        lane = self.core.mine(reward=ANYONE)
        crowd = [self.core.mine(reward=ANYONE) for _ in range(8)]
        for _ in range(100):
            self.core.mine()
        self.money = [b.txs[0].outpoint(0) for b in (first, *crowd)]
        self.value = treasury.txs[0].outputs[0].value
        self.activation = replace(
            ACTIVATION,
            treasury=treasury.txs[0].outpoint(0),
            treasury_value=self.value,
            lanes=(Lane(0, lane.txs[0].outpoint(0), self.value),),
            height=2,
        )
        self.follow()

    async def raw_block(self, block: bytes) -> bytes:
        await asyncio.sleep(0)
        return self.raw[block]

    def follow(self) -> None:
        for height, block in self.core.blocks.items():
            self.raw.setdefault(block.header.hash, serialized(block))
            if self.chain.get(block.header.hash) is None:
                self.chain.add(self.core.headers[height])

    def mine(self, *txs: Tx, reward: bytes = ANYONE) -> None:
        self.core.mine(txs, reward)
        self.follow()

    def reorg(self, depth: int, *txs: Tx) -> None:
        """Replace the newest blocks by one more; `txs` go into the first."""
        self.core.fork(depth)
        self.core.mine(txs)
        for _ in range(depth):
            self.core.mine()
        self.follow()

    def pay(self, script: bytes, value: int, source: OutPoint) -> Tx:
        spent = TxIn(source, 0xFFFFFFFD)
        return Tx(2, (spent,), (TxOut(Sats(value), script), TxOut(Sats(self.value - value - 1_000), ANYONE)))

    def sweep(self, deposit: Tx, tip: OutPoint, value: int, **changes: object) -> tuple[Manifest, Tx]:
        item = replace(
            swept("alice", int(deposit.outputs[0].value)), outpoint=deposit.outpoint(0), params=USER
        )
        manifest = sweep_manifest(
            item, tip=tip, tip_value=Sats(value), previous=self.activation.hash, **changes
        )
        batch = build(manifest, KEYS)
        tx = batch.tx
        for index, signature in enumerate(EVEN.sign(batch)):
            tx = tx.with_witness(index, (signature,))
        return manifest, tx


def serialized(block: Block) -> bytes:
    return block.header.raw + compact_size(len(block.txs)) + b"".join(tx.serialize() for tx in block.txs)


async def watching(story: Story, engine: AsyncEngine, scripts: tuple[bytes, ...] = (DEPOSIT,)) -> ChainWatch:
    store = BridgeStore(engine)
    for script in scripts:
        await store.add_params(script, KnownAddress(USER.encode(), 1), 0)
    watch = ChainWatch(
        story.activation, story.chain, story, store, new_deposit=dst.encode(dst.Issued()), clock=lambda: 0
    )
    await watch.start()
    await watch.advance()
    return watch


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[AsyncEngine]:
    made = open_database(tmp_path / "node.db")
    async with made.begin() as db:
        await db.run_sync(metadata.create_all)
    yield made
    await made.dispose()


async def fresh(story: Story, folder: Path) -> tuple[ChainView | None, list[DepositRow]]:
    """What a node that begins now reads."""
    made = open_database(folder / f"fresh-{story.chain.tip.hash.hex()[:16]}.db")
    async with made.begin() as db:
        await db.run_sync(metadata.create_all)
    watch = await watching(story, made)
    rows = await watch.store.deposits()
    await made.dispose()
    return watch.view, rows


def on_chain(rows: list[DepositRow]) -> list[DepositRow]:
    return [row for row in rows if row.height is not None]


async def same_as_fresh(story: Story, watch: ChainWatch, folder: Path) -> None:
    await watch.advance()
    view, rows = await fresh(story, folder)
    assert watch.view == view
    assert on_chain(await watch.store.deposits()) == rows


@pytest.mark.parametrize("depth", range(1, PARAMS.k + 3))
async def test_a_reorg_of_any_depth_ends_where_a_fresh_reading_ends(
    tmp_path: Path, engine: AsyncEngine, depth: int
) -> None:
    story = Story(tmp_path)
    watch = await watching(story, engine)
    paid = story.pay(DEPOSIT, 1_000_000, story.money[0])
    story.mine(paid)
    await same_as_fresh(story, watch, tmp_path)
    _, sweep = story.sweep(paid, story.activation.treasury, story.value)
    story.mine(sweep)
    await same_as_fresh(story, watch, tmp_path)
    assert watch.view.treasury.tip.txid == sweep.txid
    [row] = await watch.store.deposits()
    assert row.spent_by == sweep.txid
    while story.core.height < 111 + depth:
        story.mine()
    story.reorg(depth)
    await same_as_fresh(story, watch, tmp_path)
    story.reorg(depth + 2, paid) if depth < 4 else story.mine()
    await same_as_fresh(story, watch, tmp_path)
    story.mine()
    await same_as_fresh(story, watch, tmp_path)


async def test_a_reorg_deeper_than_the_kept_views_reads_all_again(
    tmp_path: Path, engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bridge.watch, "KEEP", 5)
    story = Story(tmp_path)
    watch = await watching(story, engine)
    paid = story.pay(DEPOSIT, 1_000_000, story.money[0])
    story.mine(paid)
    _, sweep = story.sweep(paid, story.activation.treasury, story.value)
    story.mine(sweep)
    for _ in range(7):
        story.mine()
    await same_as_fresh(story, watch, tmp_path)
    story.reorg(8)
    await same_as_fresh(story, watch, tmp_path)
    [row] = await watch.store.deposits()
    assert row.spent_by is None, "the sweep is in no block of the new branch"


async def test_a_rival_sweep_on_the_other_branch_takes_the_place_of_the_first(
    tmp_path: Path, engine: AsyncEngine
) -> None:
    story = Story(tmp_path)
    watch = await watching(story, engine)
    paid = story.pay(DEPOSIT, 1_000_000, story.money[0])
    story.mine(paid)
    _, one = story.sweep(paid, story.activation.treasury, story.value)
    _, other = story.sweep(paid, story.activation.treasury, story.value, fee=Sats(2_000))
    story.mine(one)
    await watch.advance()
    story.reorg(1, other)
    await same_as_fresh(story, watch, tmp_path)
    [batch] = watch.view.treasury.batches
    assert batch.txid == other.txid
    assert watch.view.block_of(batch) == story.core.headers[-2].hash


async def test_a_foreign_spend_halts_until_a_reorg_takes_it_away_and_strangers_coins_are_set_aside(
    tmp_path: Path, engine: AsyncEngine
) -> None:
    story = Story(tmp_path)
    watch = await watching(story, engine)
    story.mine(story.pay(treasury_script(TREASURY), 5_000, story.money[0]))
    await watch.advance()
    assert [c.value for c in watch.view.strangers] == [5_000]
    assert watch.view.treasury.tip == story.activation.treasury
    spend = Tx(2, (TxIn(story.activation.treasury, 0xFFFFFFFD),), (TxOut(Sats(story.value - 500), ANYONE),))
    prevout = TxOut(Sats(story.value), treasury_script(TREASURY))
    signature = EVEN.sign_key_path(sighash(spend, 0, [prevout]), None)
    story.mine(spend.with_witness(0, (signature,)))
    await same_as_fresh(story, watch, tmp_path)
    assert "no batch" in str(watch.view.treasury.halted)
    story.reorg(1)
    await same_as_fresh(story, watch, tmp_path)
    assert watch.view.treasury.halted is None


async def test_an_address_learnt_late_is_found_by_reading_again_and_a_restart_changes_nothing(
    tmp_path: Path, engine: AsyncEngine
) -> None:
    story = Story(tmp_path)
    watch = await watching(story, engine, scripts=())
    paid = story.pay(DEPOSIT, 1_000_000, story.money[0])
    story.mine(paid)
    _, sweep = story.sweep(paid, story.activation.treasury, story.value)
    story.mine(sweep)
    await watch.advance()
    assert not await watch.store.deposits()
    await watch.store.add_params(DEPOSIT, KnownAddress(USER.encode(), 1), 0)
    watch.know(DEPOSIT)
    assert not watch.sees(paid.outpoint(0).encode())
    await watch.read_again(story.activation.height)
    await same_as_fresh(story, watch, tmp_path)
    before = await watch.store.deposits()
    await watch.start()
    assert watch.view is None
    assert not on_chain(await watch.store.deposits()), "rows say nothing that the blocks have not said"
    await watch.advance()
    assert await watch.store.deposits() == before


async def test_nothing_is_said_before_bitcoind_has_reached_the_activation(
    tmp_path: Path, engine: AsyncEngine
) -> None:
    story = Story(tmp_path)
    story.activation = replace(story.activation, height=10_000)
    watch = await watching(story, engine)
    assert watch.view is None
    assert not await watch.advance()


@pytest.mark.parametrize("seed", range(4))
async def test_random_reorgs_end_where_a_fresh_reading_ends(
    tmp_path: Path, engine: AsyncEngine, seed: int
) -> None:
    story, rng = Story(tmp_path), random.Random(seed)
    watch = await watching(story, engine)
    known: list[Tx] = []
    for _ in range(10):
        if rng.random() < 0.5:
            spent = {i.outpoint for b in story.core.blocks.values() for tx in b.txs for i in tx.inputs}
            free = [m for m in story.money if m not in spent]
            known = [t for t in known if t.inputs[0].outpoint in free][:1]
            new = known or [story.pay(DEPOSIT, rng.randrange(20_000, 90_000), free[0])]
            known = []
            story.mine(*new)
        else:
            depth = rng.randrange(1, 6)
            known = [
                tx
                for h in range(story.core.height - depth + 1, story.core.height + 1)
                for tx in story.core.blocks[h].txs[1:]
            ]
            story.reorg(depth, *known[: rng.randrange(2)])
        if rng.random() < 0.7:
            await watch.advance()
    await same_as_fresh(story, watch, tmp_path)
