"""A live bridge changes its committee: value goes over to the new keys, and nothing is lost or done twice."""

from pathlib import Path

from anchor.btc.ids import OutPoint
from bridge.deposit import states as dst
from regtest.bitcoind import Bitcoind
from tests.anchor.rollup.rollup_world import ALICE, Whole
from tests.bridge.handing_on import moved, next_committee, rotated, succeed
from tests.bridge.office import PARAMS, Office, office

PAYEE = b"\x00\x14" + bytes(range(20))


async def states(it: Office, node: int = 0) -> dict[bytes, str]:
    return {row.outpoint: dst.name(dst.decode(row.state)) for row in await it.nodes[node].store.deposits()}


def minted(it: Office, *outpoints: OutPoint) -> bool:
    return all(o in it.rollup.state.minted for o in outpoints)


async def test_the_treasury_goes_over_to_a_new_committees_keys_and_old_addresses_are_swept(
    tmp_path: Path, bitcoind: Bitcoind
) -> None:
    async with office(tmp_path, bitcoind) as it:
        first = await it.deposit()
        await it.swept()
        await it.credited(first)
        _, old, epoch = await it.nodes[0].active.registry.issue(ALICE.x, Whole.named("old").x)
        assert epoch == 1
        await next_committee(it, {"carol": "dora"}, ("emma",), 3)
        # keys of epoch 2 are there and serve nothing yet: the bridge works on under those of epoch 1
        second = await it.deposit()
        await it.swept()
        await it.credited(second)
        assert it.views()[0].treasury.epoch == 1
        record = (await succeed(it)).succession
        for node in it.nodes:
            assert node.active.epochs.latest.number == 2
            assert node.active.address_epoch == 1
        await rotated(it)
        assert all(v.lane(0).key33 == record.anchor_key for v in it.views())
        under_way = await it.deposit()  # while the rotation is not final the treasury works on
        it.mine(PARAMS.k - 1)
        await moved(it)
        [move] = [b for b in it.views()[0].treasury.batches if b.move is not None]
        assert all(n.active.address_epoch == 1 for n in it.nodes), "not final yet"
        it.mine(PARAMS.k - 1)
        await it.until(lambda: all(n.active.address_epoch == 2 for n in it.nodes), "addresses of the new key")
        assert {n.active.retires(1) for n in it.nodes} == {move.height + PARAMS.reclaim_delay}
        await it.swept()
        assert it.views()[0].treasury.batches[-1].inputs == (under_way,), "to an old address, by the new key"
        await it.until(lambda: all(n.active.able() == {1, 2} for n in it.nodes), "newcomers to hear of key 1")
        # one paid to an old address, one to a new: one batch under two keys
        late = it.pay(old.script_pubkey, "0.02")
        new = await it.deposit("bob")
        _, derived, epoch = await it.nodes[1].active.registry.issue(ALICE.x, Whole.named("old").x)
        assert epoch == 2
        assert derived.script_pubkey != old.script_pubkey
        await it.swept()
        assert it.views()[0].treasury.batches[-1].inputs == tuple(sorted((late, new), key=OutPoint.encode))
        it.mine(PARAMS.k - 1)
        every = (first, second, under_way, late, new)
        await it.until(lambda: minted(it, *every) or it.rollup.block(), "all credits")
        lock = it.rollup.lock(100_000, PAYEE)
        await it.blocks(3)
        await it.swept()
        it.mine(PARAMS.k - 1)
        await it.until(lambda: it.rollup.state.escrow == 0 or it.rollup.block(), "the settlement")
        assert it.rollup.state.withdrawals[lock].settled.epoch == 2
        assert all(n.active.totals().holds for n in it.nodes)
        keys = {(i.purpose, i.epoch): i.state for i in it.nodes[0].seat.node.every_key()}
        assert {s for (_, epoch), s in keys.items() if epoch == 1} == {"retiring"}
        assert {s for (_, epoch), s in keys.items() if epoch == 2} == {"active"}
