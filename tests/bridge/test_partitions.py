"""Two bitcoinds apart and together again, with an anchor, deposits, a sweep and a payout in the lost branch.

The whole range of depths, with and without a thief, again and again: `make soak-reorgs`.
"""

from pathlib import Path

from regtest.network import Network
from tests.bridge.office import office
from tests.bridge.partitioned import OWN, K, Partition


async def test_shallow_forks_delay_and_deep_ones_pause_but_no_value_is_lost_or_doubled(
    tmp_path: Path, bitcoind_pair: Network
) -> None:
    async with office(tmp_path, bitcoind_pair.nodes[OWN]) as it:
        story = Partition(it, bitcoind_pair)
        await story.ready()

        lost = await story.lose(1, thief=True)
        assert (lost["row"].depth, lost["row"].level) == (1, "info")
        assert [(a.level, a.kind) for a in it.nodes[0].told] == [("info", "reorg")]
        kinds = {t.kind for t in lost["touched"]}
        assert kinds == {"anchor", "batch", "payout", "deposit"}
        await it.blocks(1)
        assert it.rollup.state.paused is None
        await story.recover()
        fates = await story.fates()
        assert fates["deposit", "gone"] == 1, "the thief took his coins back before anybody credited them"
        assert fates["deposit", "confirmed"] == 1
        assert fates["payout", "confirmed"] + fates["payout", "replaced"] == 1
        assert fates["anchor", "confirmed"] + fates["anchor", "replaced"] == 1
        await story.check()

        deep = await story.lose(K, thief=False)
        assert (deep["row"].depth, deep["row"].level) == (K, "pause")
        assert {t.kind for t in deep["touched"]} >= {"anchor", "batch", "payout", "deposit", "sweep"}
        assert ("pause", "reorg") in [(a.level, a.kind) for a in it.nodes[2].told]
        minted = dict(it.rollup.state.minted)
        await it.blocks(1)
        assert it.rollup.state.paused is not None
        for _ in range(K + 1):
            it.mine()
            await it.blocks(1)
        assert it.rollup.state.minted.keys() <= minted.keys(), "value stands still"
        await story.decide()
        await story.recover()
        await story.check()
        assert {outcome for _, outcome in await story.fates()} <= {"confirmed", "replaced"}


async def test_a_deposit_that_is_spent_again_after_it_was_credited_is_told_exactly_and_the_reserve_bears_it(
    tmp_path: Path, bitcoind_pair: Network
) -> None:
    """Finality itself is broken here, by more blocks than k: nothing can undo that, so it must be seen."""
    async with office(tmp_path, bitcoind_pair.nodes[OWN]) as it:
        story = Partition(it, bitcoind_pair)
        await story.ready()
        lost = await story.lose(K + 2, thief=True)
        (stolen,) = story.stolen
        assert stolen in it.rollup.state.minted, "credited on the branch that was lost"
        assert lost["row"].level == "pause"
        await it.blocks(1)
        assert it.rollup.state.pause is not None
        assert stolen in it.rollup.state.pause.mints
        for _ in range(K + 1):
            it.mine()
            await it.blocks(1)
        (mine,) = [t for t in await story.touched("deposit") if t.key == str(stolen)]
        assert (mine.outcome, mine.value, mine.state) == ("gone", 200_000, "DEFICIT")
        await story.decide()
        await story.recover()
        (mine,) = [t for t in await story.touched("sweep") if t.key == str(stolen)]
        assert mine.outcome == "gone"
        totals = it.nodes[0].active.totals()
        assert (totals.deficit, totals.escrow) == (0, 0), "the fee reserve was large enough"
        assert totals.deposited - totals.withdrawn == totals.supply
        gained = totals.fee_reserve - (2_000_000 - 199_000)  # the users' fee shares less the miners'
        assert 0 < gained < 5_000, "it lost exactly what the thief was credited"
