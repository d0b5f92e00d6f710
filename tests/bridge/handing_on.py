"""An office hands on, step by step."""

from anchor.rollup.succession import SignedSuccession
from tests.bridge.next_committee import bring_in
from tests.bridge.office import PARAMS, Office, OfficeNode


async def next_committee(
    it: Office, replaced: dict[str, str], added: tuple[str, ...] = (), threshold: int | None = None
) -> list[OfficeNode]:
    """The next committee runs the office and has keys of its own; nodes of those who left are returned."""
    left = await bring_in(it, replaced, added, threshold)
    it.rollup.bitcoin = it.nodes[0].feed.chain
    return left


async def succeed(it: Office) -> SignedSuccession:
    """The rollup has the succession in a final block."""
    signed = await it.nodes[0].successions.propose()
    await it.round()  # posts it
    await it.blocks(3)
    assert it.rollup.state.successions[-1].signed == signed, it.rollup.rejected
    return signed


async def rotated(it: Office) -> None:
    """The lane's rotation anchor is mined."""
    before = len(it.views()[0].rotations)
    tip = it.views()[0].lane(0).tip
    await it.until(lambda: it.spender(tip), "the rotation's commit", passing=0.05)
    it.mine()
    await it.until(lambda: all(len(v.rotations) > before for v in it.views()), "the rotation's block")


async def moved(it: Office) -> None:
    """The treasury's move is mined."""
    before = it.views()[0].treasury.epoch
    await it.swept()
    assert all(v.treasury.epoch == before + 1 for v in it.views())


async def handed_on(it: Office) -> None:
    """From a committee with keys of its own to the end: succession, rotation and move, all final."""
    await succeed(it)
    await rotated(it)
    it.mine(PARAMS.k - 1)
    await moved(it)
    it.mine(PARAMS.k - 1)
    epoch = it.committee.committee.epoch
    await it.until(lambda: all(n.active.address_epoch == epoch for n in it.nodes), "addresses of the new key")
