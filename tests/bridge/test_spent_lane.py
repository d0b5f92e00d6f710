"""A lane whose coin can pay no further anchor stops itself, and nothing else."""

from pathlib import Path

import pytest

from anchor.btc.ids import OutPoint
from anchor.inscription.lane import tip_script
from bridge import epochs
from bridge.apart import one_by_one
from bridge.epochs import hinders
from regtest.bitcoind import Bitcoind
from tests.bridge import office as offices
from tests.bridge.handing_on import next_committee, rotated, succeed
from tests.bridge.office import Office, office

ONE_ANCHOR = "0.00005300"


rich = offices.fund


async def poor(it: Office) -> tuple[OutPoint, OutPoint]:
    """The genesis coins, the lane's so small that it pays one anchor."""
    treasury, _ = await rich(it)
    lane = it.pay(tip_script(it.nodes[0].ceremony.keys()[1]), ONE_ANCHOR)
    it.mine()
    for node in it.nodes:
        await node.feed.sync()
    return treasury, lane


async def test_a_lane_that_can_pay_no_anchor_leaves_treasury_and_certificates_alone(
    tmp_path: Path, bitcoind: Bitcoind, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(offices, "fund", poor)
    async with office(tmp_path, bitcoind) as it:
        while it.views()[0].lane(0).sequence == 0:
            await it.blocks(5)
            it.mine()
            await it.round()
        await it.blocks(30)  # ranges that no anchor covers
        first = await it.deposit()
        await it.swept()
        await it.credited(first)
        for node in it.nodes:
            assert "too little to" in str(node.active.keepers["anchor"].last_failure)
            assert node.active.keepers["treasury"].last_failure is None
            assert hinders(node) is None
        with monkeypatch.context() as m:
            m.setattr(epochs, "LEAST_TO_ROTATE", 10_000)
            assert "could not name the next key on Bitcoin" in str(hinders(it.nodes[0]))
        await next_committee(it, {"carol": "dora"})
        await succeed(it)
        await rotated(it)  # what an anchor may not take pays it
        assert {v.lane(0).epoch for v in it.views()} == {2}


async def test_a_part_that_fails_lets_the_others_have_their_turn_and_is_told() -> None:
    had = []

    async def fails() -> None:
        had.append("fails")
        raise OSError("a full disk")

    async def works() -> None:
        had.append("works")

    with pytest.raises(OSError, match="a full disk"):
        await one_by_one([works, fails, fails, works])
    assert had == ["works", "fails", "fails", "works"]
