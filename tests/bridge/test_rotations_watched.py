"""What a node's own view says of rotations: who holds a lane, what a reorg took, where a signed batch is."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from anchor.btc.ids import BlockHash, display
from anchor.inscription.reader import AnchorFound, RotationFound, VoidFound
from anchor.outbox.events import Spender
from anchor.store import metadata
from bridge.deposit import states as dst
from bridge.reorgs import _lane_places
from bridge.store import BridgeStore
from bridge.watch import ChainView, ChainWatch
from bridge.whereabouts import of_lane_batch
from migrations.database import open_database
from tests.anchor.inscription.whole_key import ANCHOR, NEXT
from tests.anchor.moved import Moved
from tests.anchor.proofs.moving import THIRD, Moving, move_twice


class Served(Moved):
    """The lane's blocks as a bitcoind serves them."""

    async def raw_block(self, block: BlockHash) -> bytes:
        return await self.block(block)


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[AsyncEngine]:
    made = open_database(tmp_path / "node.db")
    async with made.begin() as db:
        await db.run_sync(metadata.create_all)
    yield made
    await made.dispose()


@pytest.fixture(scope="module")
def it(tmp_path_factory: pytest.TempPathFactory) -> Moving:
    return move_twice(tmp_path_factory.mktemp("chain"))


async def watching(node: Served, engine: AsyncEngine) -> ChainWatch:
    watch = ChainWatch(
        node.activation,
        node.chain,
        node,
        BridgeStore(engine),
        new_deposit=dst.encode(dst.Issued()),
        clock=lambda: 0,
    )
    await watch.start()
    await watch.advance()
    return watch


def seen(watch: ChainWatch) -> ChainView:
    assert watch.view is not None
    return watch.view


async def test_a_view_names_every_rotation_in_its_block_and_who_holds_the_lane(
    it: Moving, engine: AsyncEngine
) -> None:
    view = seen(await watching(Served.of(it), engine))
    lane = view.lane(0)
    assert lane == it.state
    assert (lane.epoch, lane.key33, lane.halted) == (3, THIRD.key33, None)
    for kind, found in (
        (AnchorFound, [a.found for a in view.anchors]),
        (RotationFound, [r.found for r in view.rotations]),
        (VoidFound, list(view.voids)),
    ):
        assert found == [f for f in it.found if isinstance(f, kind)]
    for at in view.rotations:
        assert at.block == it.core.headers[at.found.height].hash


async def test_a_reorg_of_a_rotation_gives_the_lane_back_and_the_ledger_knows_what_was_lost(
    tmp_path: Path, engine: AsyncEngine
) -> None:
    it = Moving.begin(tmp_path)
    it.anchor(0)
    it.rotate()
    node = Served.of(it)
    watch = await watching(node, engine)
    assert (seen(watch).lane(0).key33, len(seen(watch).rotations)) == (NEXT.key33, 1)
    lost = it.found[1]
    held = await watch.items.of_blocks([it.core.headers[lost.height].hash])
    items = {t.item.key: t.item for t in held if t.item.kind == "rotation"}
    assert items["0:2"].txid == lost.txid
    assert items["0:2"].more["commit"] == display(lost.commit)
    it.fork(1)
    it.anchor(1)
    it.core.mine()
    later = Served.of(it)
    node.blocks |= later.blocks
    for header in it.core.headers[1:]:
        if node.chain.get(header.hash) is None:
            node.chain.add(header)
    await watch.advance()
    view = seen(watch)
    assert (view.lane(0).epoch, view.lane(0).key33, view.rotations) == (1, ANCHOR.key33, ())
    assert [a.found.payload.sequence for a in view.anchors] == [1, 2]


async def test_a_signed_rotation_is_found_on_the_chain_or_displaced_by_what_took_its_place(
    it: Moving, engine: AsyncEngine
) -> None:
    node = Served.of(it)
    view, found = seen(await watching(node, engine)), it.found[2]
    tip = it.tx(found.commit).inputs[0].outpoint
    ours = ((found.commit,), (found.txid,))
    here = of_lane_batch(view, node.chain, lambda _: False, found.sequence, tip, ours)
    assert [m.txid for m in here.mined] == [found.commit, found.txid]
    assert (here.buried, here.displaced) == (False, None)
    assert of_lane_batch(view, node.chain, lambda _: True, found.sequence, tip, ours).buried
    other = ((bytes(32),), (bytes(32),))
    gone = of_lane_batch(view, node.chain, lambda _: True, found.sequence, tip, other)
    assert gone.displaced is not None
    assert gone.displaced[1] is Spender.OTHER_PACKAGE


async def test_the_reorg_ledger_finds_a_rotation_and_its_commit_where_they_are_now(
    it: Moving, engine: AsyncEngine
) -> None:
    """What a reorg took out is looked up by kind and key: otherwise it would wait for ever."""
    node = Served.of(it)
    places = dict(_lane_places(seen(await watching(node, engine)), node.chain))
    for rotation in (f for f in it.found if isinstance(f, RotationFound)):
        key = f"0:{rotation.sequence}"
        ended, begun = places["rotation", key], places["commit", key]
        assert (ended.txid, ended.height) == (rotation.txid, rotation.height)
        assert (begun.txid, begun.height) == (rotation.commit, rotation.commit_height)
    assert ("anchor", "0:3") not in places
