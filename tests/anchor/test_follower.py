"""A node's own copy of the rollup: nothing is believed, what is true is kept, and a restart needs nobody."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import structlog

from anchor import follower as followers
from anchor.follower import Follower, RollupLied
from anchor.rollup.block import Block, Certificate, CertifiedBlock
from anchor.rollup.genesis import Genesis
from anchor.store import AnchorStore, metadata
from migrations.database import open_database
from tests.anchor.rollup.rollup_world import (
    ALICE,
    BOB,
    GEN,
    MALLORY,
    PARAMS,
    VALIDATORS,
    World,
    a_genesis,
    certified,
    reseal,
    vote,
)

LENGTH = PARAMS.range_length


class Served:
    """A rollup's server; `tamper` is what a liar does to each page."""

    def __init__(self, chain: Sequence[CertifiedBlock]) -> None:
        self.chain = list(chain)
        self.tamper: Callable[[list[CertifiedBlock]], list[CertifiedBlock]] = list
        self.asked = 0

    async def blocks(self, after: int, limit: int) -> Sequence[CertifiedBlock]:
        self.asked += 1
        return self.tamper(self.chain[after : after + limit])


@pytest.fixture(scope="module")
def chain() -> list[CertifiedBlock]:
    """Two ranges and a bit, with money in them, and another committee from the second on."""
    world = World().funded()
    while len(world.blocks) < LENGTH + 2:
        world.block(world.transfer(ALICE, BOB, 1))
    world.block(world.succeed())
    while len(world.blocks) < 2 * LENGTH + 3:
        world.block(world.transfer(ALICE, BOB, 1))
    return [certified(GEN, block) for block in world.blocks]


@asynccontextmanager
async def following(folder: Path, genesis: Genesis = GEN) -> AsyncIterator[Follower]:
    engine = open_database(folder / "node.db")
    async with engine.begin() as db:
        await db.run_sync(metadata.create_all)
    try:
        yield Follower(genesis, AnchorStore(engine), structlog.get_logger("tests"))
    finally:
        await engine.dispose()


async def test_every_block_is_executed_kept_and_cut_and_a_restart_needs_nobody(
    tmp_path: Path, chain: list[CertifiedBlock], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(followers, "PAGE", 4)
    served = Served(chain)
    async with following(tmp_path) as one:
        assert await one.advance(served)
        assert (one.state.height, one.final) == (len(chain), len(chain) - 1)
        assert [(r.first, r.last) for r in one.ranges] == [(1, LENGTH), (LENGTH + 1, 2 * LENGTH)]
        assert len(one.evidence) == 2
        assert not await one.advance(served), "nothing new"
    async with following(tmp_path) as again:
        await again.load()
        assert again.state.root() == one.state.root()
        assert [(e.number, e.since) for e in again.state.epochs(GEN) or ()] == [(1, None), (2, LENGTH + 3)]
        assert (again.ranges, again.evidence, again.final) == (one.ranges, one.evidence, one.final)


async def test_a_range_is_cut_only_when_its_last_blocks_child_is_certified(
    tmp_path: Path, chain: list[CertifiedBlock]
) -> None:
    async with following(tmp_path) as one:
        await one.advance(Served(chain[:LENGTH]))
        assert one.ranges == []
        assert one.final == LENGTH - 1
        await one.advance(Served(chain[: LENGTH + 1]))
        assert len(one.ranges) == 1


def forge(lie: Callable[[Block], Block], at: int) -> Callable[[list[CertifiedBlock]], list[CertifiedBlock]]:
    """Changes one block; more than 2/3 of the stake sign the change."""

    def tamper(page: list[CertifiedBlock]) -> list[CertifiedBlock]:
        return [certified(GEN, lie(c.block)) if c.height == at else c for c in page]

    return tamper


def uncertified(
    votes: Callable[[CertifiedBlock], tuple[object, ...]], at: int
) -> Callable[..., list[CertifiedBlock]]:
    def tamper(page: list[CertifiedBlock]) -> list[CertifiedBlock]:
        return [CertifiedBlock(c.block, Certificate(c.hash, votes(c))) if c.height == at else c for c in page]

    return tamper


AT = 6
LIES: dict[str, Callable[[list[CertifiedBlock]], list[CertifiedBlock]]] = {
    "a state root that does not follow": forge(lambda b: reseal(b, state_after=b"\x01" * 32), AT),
    "another parent": forge(lambda b: reseal(b, parent=b"\x02" * 32), AT),
    "another height": forge(lambda b: reseal(b, height=AT + 1), AT),
    "another rollup": forge(lambda b: reseal(b, rollup_id=9), AT),
    "other validators": forge(lambda b: reseal(b, validators_root=b"\x03" * 32), AT),
    "a transaction left out": forge(lambda b: replace(b, transactions=()), AT),
    "a transaction made up": forge(lambda b: replace(b, transactions=(b"\xff",)), AT),
    "headers made up": forge(lambda b: replace(b, bundle=b"\xff" * 90), AT),
    "another final Bitcoin block": forge(lambda b: reseal(b, final_hash=b"\x04" * 32), AT),
    "too few votes": uncertified(lambda c: tuple(vote(GEN, c.block, i) for i in (0, 1)), AT),
    "a vote twice": uncertified(lambda c: tuple(vote(GEN, c.block, i) for i in (0, 0, 1)), AT),
    "a stranger's votes": uncertified(lambda c: tuple(vote(GEN, c.block, i, MALLORY) for i in (0, 1, 2)), AT),
    "votes for another block": uncertified(
        lambda c: tuple(vote(GEN, reseal(c.block, tx_count=99), i) for i in (0, 1, 2)), AT
    ),
    "a gap": lambda page: [c for c in page if c.height != AT],
    "the wrong order": lambda page: page[::-1],
    "the same again": lambda page: [page[0], *page],
}


@pytest.mark.parametrize("name", LIES)
async def test_a_lie_stops_the_copy_at_its_block_and_the_truth_is_taken_afterwards(
    tmp_path: Path, chain: list[CertifiedBlock], name: str
) -> None:
    served = Served(chain)
    served.tamper = LIES[name]
    async with following(tmp_path) as one:
        with pytest.raises(RollupLied, match=r"block \d+ is refused") as lied:
            await one.advance(served)
        assert one.lied == str(lied.value)
        with pytest.raises(RollupLied):
            await one.advance(served)
        stop = one.state.height
        assert stop < AT, "nothing after the lie is taken"
    async with following(tmp_path) as again:
        await again.load()
        assert again.state.height == stop, "what was true before the lie is kept, and nothing else"
        served.tamper = list
        await again.advance(served)
        assert again.lied is None
        assert again.state.height == len(chain)


async def test_a_rollup_of_another_genesis_is_refused_at_once(
    tmp_path: Path, chain: list[CertifiedBlock]
) -> None:
    async with following(tmp_path, a_genesis(name="another")) as one:
        with pytest.raises(RollupLied, match="block 1 is refused"):
            await one.advance(Served(chain))


async def test_validators_below_two_thirds_cannot_move_a_copy(
    tmp_path: Path, chain: list[CertifiedBlock]
) -> None:
    """Half the stake signs a rival history; it stays at the genesis."""
    half = [
        replace(c, certificate=Certificate(c.hash, tuple(vote(GEN, c.block, i) for i in (0, 1))))
        for c in chain
    ]
    assert len(VALIDATORS) == 4
    async with following(tmp_path) as one:
        with pytest.raises(RollupLied):
            await one.advance(Served(half))
        assert one.state.height == 0


async def test_a_full_disk_leaves_no_hole_among_the_stored_blocks(
    tmp_path: Path, chain: list[CertifiedBlock], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with following(tmp_path) as one:
        await one.advance(Served(chain[:3]))

        async def full(_: AnchorStore, __: object) -> None:
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(AnchorStore, "add_rollup_blocks", full)
            with pytest.raises(OSError, match="No space"):
                await one.advance(Served(chain[:6]))
        await one.advance(Served(chain))
    async with following(tmp_path) as again:
        await again.load()
        assert again.state.height == len(chain)
