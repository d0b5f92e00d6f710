"""The ledger of reorgs through random stories of forks and restarts, beside a naive oracle."""

import random
from pathlib import Path

import pytest

from anchor.btc.header import Header, work_of
from anchor.header_ledger import ReorgRow
from tests.anchor.feeding import Branch, FeedHome
from tests.anchor.headers.minting import GENESIS, child

UNIT = work_of(GENESIS.bits)
K = 3


def expected(before: list[Header], after: list[Header]) -> tuple[object, ...] | None:
    """What a turn from one main chain to another is, by looking at two lists; None when it is none."""
    same = 0
    while same < min(len(before), len(after)) and before[same] == after[same]:
        same += 1
    lost, won = len(before) - same, len(after) - same
    if not lost:
        return None
    level = "pause" if lost >= K else {1: "info", 2: "warning"}[lost]
    tips = (before[-1].hash, after[-1].hash)
    return (lost, level, same - 1, before[same - 1].hash, *tips, lost * UNIT, won * UNIT)


def facts(row: ReorgRow) -> tuple[object, ...]:
    tips = (row.old_tip, row.new_tip)
    return (row.depth, row.level, row.fork_height, row.fork_hash, *tips, row.work_lost, row.work_gained)


def overtake(rng: random.Random, chains: list[list[Header]], salt: int) -> list[Header]:
    """A chain with more work than the present one, on any block of any chain that ever was."""
    most = len(chains[-1])
    foot = rng.choice(chains)
    made = foot[: max(rng.randint(max(len(foot) - 8, 1), len(foot)), most - 9, 1)]
    while len(made) <= most:
        made = [*made, child(made[-1], salt)]
    return made


@pytest.mark.parametrize("seed", range(6))
async def test_every_turn_of_a_random_story_is_one_row_and_stays_so_over_restarts(
    tmp_path: Path, seed: int
) -> None:
    rng, home = random.Random(seed), FeedHome(tmp_path, k=K)
    node = Branch().mine(4)
    chains, rows = [node.chain], list[tuple[object, ...]]()
    async with home.feed(node, hold=False) as feed:
        await feed.sync()
    for part in range(5):
        async with home.feed(node, hold=False) as feed:
            assert [facts(r) for r in reversed(await feed.reorgs(500))] == rows, "after a restart"
            for turn in range(8):
                node.chain = overtake(rng, chains, 1000 * seed + 10 * part + turn + 1)
                row = expected(chains[-1], node.chain)
                chains.append(node.chain)
                rows += [] if row is None else [row]
                await feed.sync()
                assert feed.chain.tip.header == node.chain[-1]
            kept = await feed.reorgs(500)
            assert [facts(r) for r in reversed(kept)] == rows
            counts = await feed.ledger.counts()
            assert sum(count for count, _ in counts.values()) == len(rows)
            assert max((deepest for _, deepest in counts.values()), default=0) == max(
                (r.depth for r in kept), default=0
            )
    assert len(rows) > 10, "the story turned often"
