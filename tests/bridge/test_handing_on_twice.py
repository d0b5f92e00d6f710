"""A committee hands on twice before the first key's addresses are over: each key signs what is under it."""

from pathlib import Path

from anchor.btc.ids import OutPoint
from bridge.treasury import manifest as manifests
from regtest.bitcoind import Bitcoind
from tests.anchor.rollup.rollup_world import ALICE, Whole
from tests.bridge.handing_on import handed_on, next_committee
from tests.bridge.office import PARAMS, office


async def test_three_keys_sign_one_batch_while_two_old_ones_drain(tmp_path: Path, bitcoind: Bitcoind) -> None:
    async with office(tmp_path, bitcoind) as it:
        user = Whole.named("user").x
        scripts = {}
        for epoch, newcomer in ((1, {"carol": "dora"}), (2, {"dora": "emma"}), (3, None)):
            _, derived, number = await it.nodes[1].active.registry.issue(ALICE.x, user)
            assert number == epoch
            scripts[epoch] = derived.script_pubkey
            if newcomer is not None:
                await next_committee(it, newcomer)
                await handed_on(it)
        await it.until(
            lambda: all(n.active.able() == {1, 2, 3} for n in it.nodes), "all to know the old keys"
        )
        ends = [it.nodes[0].active.retires(epoch) for epoch in (1, 2, 3)]
        assert ends[0] < ends[1]
        assert ends[2] is None
        paid = {epoch: it.pay(script, "0.01") for epoch, script in scripts.items()}
        it.mine()
        await it.swept()
        batch = it.views()[0].treasury.batches[-1]
        manifest = manifests.decode(it.nodes[0].active.library.raw[batch.manifest_hash])
        assert {d.epoch: d.outpoint for d in manifest.deposits} == paid
        it.mine(PARAMS.k - 1)
        outpoints: list[OutPoint] = list(paid.values())
        await it.until(
            lambda: all(o in it.rollup.state.minted for o in outpoints) or it.rollup.block(), "all credits"
        )
        assert it.rollup.state.account(ALICE.x).balance == 3 * 999_000
        assert all(n.active.totals().holds for n in it.nodes)
        assert [b.move is not None for b in it.views()[0].treasury.batches] == [True, True, False]
