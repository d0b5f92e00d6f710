"""rollup.db: what was promised is never promised otherwise, and nobody else opens it."""

import asyncio
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import create_engine

from anchor.rollup.block import Block
from anchor.rollup_store import (
    AlreadyProposed,
    AlreadySigned,
    AlreadyVoted,
    InUse,
    OtherRollup,
    RollupStore,
    metadata,
)
from migrations.upgrade import DatabaseDamaged, ready
from tests.anchor.rollup.rollup_world import GEN, VALIDATORS, World, certified, nothing, vote

A, B = VALIDATORS[0].x, VALIDATORS[1].x


async def opened(folder: Path, role: str = "validator") -> RollupStore:
    return await RollupStore.open(folder / "rollup.db", GEN.hash, role)


async def test_a_second_process_on_the_same_file_is_refused(tmp_path: Path) -> None:
    store = await opened(tmp_path)
    with pytest.raises(InUse, match="another process uses"):
        await opened(tmp_path)
    await store.close()
    await (await opened(tmp_path)).close()


async def test_a_file_of_another_rollup_or_role_is_refused_and_stays_usable(tmp_path: Path) -> None:
    await (await opened(tmp_path)).close()
    with pytest.raises(OtherRollup):
        await opened(tmp_path, "sequencer")
    with pytest.raises(OtherRollup):
        await RollupStore.open(tmp_path / "rollup.db", nothing("x"), "validator")
    await (await opened(tmp_path)).close()


async def test_a_file_that_is_no_database_is_refused_unchanged(tmp_path: Path) -> None:
    (tmp_path / "rollup.db").write_bytes(b"my diary, volume two" * 100)
    with pytest.raises(DatabaseDamaged):
        await opened(tmp_path)
    assert (tmp_path / "rollup.db").read_bytes().startswith(b"my diary")


async def test_a_first_proposal_is_made_once_for_ever(tmp_path: Path) -> None:
    store, w = await opened(tmp_path, "sequencer"), World()
    block = w.block()
    await store.propose(1, w.state.tip, block)
    with pytest.raises(AlreadyProposed):
        await store.propose(1, nothing("other"), block)
    assert await store.proposal() == block
    await store.add_certified(certified(GEN, block), [nothing("tx")])
    assert await store.proposal() is None
    assert await store.certified(0, 10) == [certified(GEN, block)]
    assert await store.find(nothing("tx")) == 1
    assert await store.find(nothing("no tx")) is None
    with pytest.raises(AlreadyProposed):
        await store.propose(1, nothing("other"), block)
    await store.close()


async def test_a_replaced_proposal_is_kept_and_one_with_more_votes_than_known_stays(tmp_path: Path) -> None:
    store = await opened(tmp_path, "sequencer")
    first, second, third = three_blocks()
    with pytest.raises(AlreadyVoted, match="no proposal"):
        await store.replace(1, hash_of(second), second)
    await store.propose(1, hash_of(first), first)
    await store.replace(1, hash_of(second), second)
    assert (await store.proposal(), await store.retired(1)) == (second, [first])
    await store.add_votes([vote(GEN, first, 0)])  # it was under way; the newest one has none
    await store.replace(1, hash_of(third), third)
    assert (await store.proposal(), await store.retired(1)) == (third, [first, second])
    await store.add_votes([vote(GEN, third, 1)])
    with pytest.raises(AlreadyVoted, match="got a vote"):
        await store.replace(1, hash_of(second), second)
    await store.add_votes([vote(GEN, third, 2)])
    with pytest.raises(AlreadyVoted, match="got a vote"):
        await store.replace(1, hash_of(second), second, despite=1)
    await store.close()
    store = await opened(tmp_path, "sequencer")
    assert (await store.proposal(), await store.retired(1)) == (third, [first, second])
    await store.close()


async def test_a_certified_block_takes_the_place_of_another_proposal(tmp_path: Path) -> None:
    store = await opened(tmp_path, "sequencer")
    first, second, _ = three_blocks()
    await store.propose(1, hash_of(first), first)
    for _ in range(2):
        await store.add_certified(certified(GEN, second), [nothing("tx")])
    assert (await store.proposal(), await store.retired(1)) == (None, [first])
    assert await store.certified(0, 9) == [certified(GEN, second)]
    with pytest.raises(AlreadyVoted):
        await store.replace(1, hash_of(first), first)
    await store.close()


def three_blocks() -> list[Block]:
    """Different blocks of height 1."""
    made = []
    for time in (1, 5, 9):
        w = World()
        w.state.time = time
        made.append(w.block())
    return made


def hash_of(block: Block) -> bytes:
    return block.header.hash(GEN.hash)


def test_the_tables_of_the_rollup_are_what_the_migrations_make(tmp_path: Path) -> None:
    ready("rollup", tmp_path / "rollup.db")
    with create_engine(f"sqlite:///{tmp_path / 'rollup.db'}").connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


async def test_a_key_signs_one_block_per_height_and_never_below(tmp_path: Path) -> None:
    store = await opened(tmp_path)
    one, two = nothing("one"), nothing("two")
    await store.will_sign([A, B], 5, one)
    await store.will_sign([A, B], 5, one)
    for height, block_hash in ((5, two), (4, one), (1, two)):
        with pytest.raises(AlreadySigned):
            await store.will_sign([A], height, block_hash)
    await store.will_sign([A], 6, two)
    with pytest.raises(AlreadySigned):
        await store.will_sign([A], 5, one)
    await store.close()
    store = await opened(tmp_path)
    assert await store.signed_at(A, 6) == two
    assert await store.signed_at(B, 6) is None
    await store.close()


async def test_when_one_key_may_not_sign_no_key_is_written_down(tmp_path: Path) -> None:
    store = await opened(tmp_path)
    await store.will_sign([B], 5, nothing("one"))
    with pytest.raises(AlreadySigned):
        await store.will_sign([A, B], 5, nothing("two"))
    assert await store.signed_at(A, 5) is None
    await store.close()


async def test_of_many_who_ask_at_once_one_block_wins(tmp_path: Path) -> None:
    store = await opened(tmp_path)
    blocks = [nothing(str(i)) for i in range(12)]
    tries = await asyncio.gather(*(store.will_sign([A], 7, b) for b in blocks), return_exceptions=True)
    assert [type(t) for t in tries].count(type(None)) == 1
    assert await store.signed_at(A, 7) == blocks[tries.index(None)]
    await store.close()


async def test_votes_are_kept_also_for_two_blocks_at_one_height(tmp_path: Path) -> None:
    store, w = await opened(tmp_path, "sequencer"), World()
    first = vote(GEN, w.block(), 0)
    other = World().block(bundle=b"")
    second = vote(GEN, World().activate().blocks[0], 0)
    await store.add_votes([first, first])
    await store.add_votes([second, vote(GEN, other, 1)])
    assert len(await store.votes(1)) == 3
    await store.close()


async def test_the_operators_floor_only_rises(tmp_path: Path) -> None:
    store = await opened(tmp_path)
    assert await store.floor() == 0
    assert await store.floor(9) == 9
    assert await store.floor(3) == 9
    await store.close()
    store = await opened(tmp_path)
    assert await store.floor() == 9
    await store.close()
