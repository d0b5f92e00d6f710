"""What people without a seat try: miners, rollup users, depositors. The treasury must go on for all others."""

from pathlib import Path

from anchor.btc.address import address_of
from anchor.btc.network import REGTEST
from bridge.deposit import states as dst
from bridge.deposit.address import treasury_script
from regtest.bitcoind import Bitcoind
from tests.anchor.rollup.rollup_world import ALICE, Whole
from tests.bridge.office import PARAMS, Office, office

PAYEE = b"\x00\x14" + bytes(range(20))


async def states(it: Office) -> list[str]:
    return sorted(dst.name(dst.decode(row.state)) for row in await it.nodes[0].store.deposits())


async def test_a_miner_who_pays_a_deposit_address_in_a_coinbase_does_not_stop_the_treasury(
    tmp_path: Path, bitcoind: Bitcoind
) -> None:
    async with office(tmp_path, bitcoind) as it:
        params, derived, _ = await it.nodes[0].active.registry.issue(ALICE.x, Whole.named("miner").x)
        address = address_of(derived.script_pubkey, REGTEST)
        bitcoind.rpc().generatetoaddress(1, address)
        await it.round()
        outpoint = await it.deposit()
        await it.swept()
        assert await states(it) == ["REJECTED", "SWEPT"]
        [rejected] = [r for r in await it.nodes[0].store.deposits() if r.outpoint != outpoint.encode()]
        assert "coinbase" in dst.decode(rejected.state).reason
        # found by a search instead of by its block, it is the same
        await it.nodes[1].active.registry.look_back(params)
        await it.round(1)
        assert rejected in await it.nodes[1].store.deposits()


async def test_a_withdrawal_to_the_treasury_itself_does_not_stop_the_treasury(
    tmp_path: Path, bitcoind: Bitcoind
) -> None:
    async with office(tmp_path, bitcoind) as it:
        outpoint = await it.deposit()
        await it.swept()
        await it.credited(outpoint)
        it.rollup.lock(50_000, treasury_script(it.activation.treasury_key))
        await it.blocks(1)
        good = it.rollup.lock(60_000, PAYEE)
        await it.blocks(3)
        assert len(it.rollup.state.withdrawals) == 2, it.rollup.rejected
        await it.swept()
        batch = it.views()[0].treasury.batches[-1]
        paid = it.nodes[0].active.library.decoded[batch.manifest_hash]
        assert [p.withdrawal for p in paid.payouts] == [good]
        await it.deposit(btc="0.02")
        await it.swept()
        assert it.rollup.state.supply + it.rollup.state.escrow <= it.views()[0].treasury.tip_value
        assert PARAMS.k == 3
