"""`holdfast bridge reclaim` against a real Core: it takes the reclaim when the delay is over, and no earlier."""

import asyncio
import json

import pytest
from click.testing import CliRunner

from anchor import rollup_keys
from anchor.btc.network import REGTEST
from anchor.btc.tx import Tx
from anchor.rollup_keys import RollupKey
from bridge.cli_bridge import bridge
from bridge.deposit.address import DepositParams, recovery_file
from tests.bridge.observing import key

DELAY = 6
TREASURY = b"\x02" + key(11)


def run(*words: object, status: int = 0):
    """Run `holdfast bridge reclaim`; return its result."""
    result = CliRunner().invoke(bridge, ["reclaim", *map(str, words)])
    assert result.exit_code == status, (result.output, result.exception)
    return result


@pytest.fixture
def files(tmp_path):
    """A depositor's recovery file and reclaim key."""
    mine = RollupKey.new()
    rollup_keys.save(tmp_path / "reclaim.json", [mine])
    rollup_keys.save(tmp_path / "other.json", [RollupKey.new()])
    kept = recovery_file(DepositParams(key(31), mine.public, DELAY), TREASURY, REGTEST)
    (tmp_path / "recovery.json").write_text(json.dumps(kept))
    return kept["address"], ("--recovery", tmp_path / "recovery.json", "--key", tmp_path / "reclaim.json")


@pytest.mark.regtest
async def test_core_takes_a_reclaim_when_the_delay_is_over_and_not_before(files, bitcoind):
    address, mine = files
    rpc = bitcoind.rpc("miner")
    to = rpc.getnewaddress()
    rpc.generatetoaddress(101, to)
    txid = rpc.sendtoaddress(address, "0.001")
    outputs = rpc.getrawtransaction(txid, True)["vout"]
    (vout,) = [o["n"] for o in outputs if o["value"] * 1000 == 1]
    where = ("--bitcoind-url", bitcoind.rpc_url, "--cookie", bitcoind.cookie)
    asked = (f"{txid}:{vout}", *mine, "--to", to)

    async def command(*words, status=0):
        return await asyncio.to_thread(run, *words, status=status)

    assert "waits for its block" in (await command(*asked, *where, status=1)).stderr
    rpc.generatetoaddress(DELAY - 1, to)
    assert "1 more blocks must come" in (await command(*asked, *where, status=1)).stderr
    ahead = (await command(*asked, "--value", 100_000, "--fee", 500)).stdout.strip()
    assert "non-BIP68-final" in rpc.testmempoolaccept([ahead])[0]["reject-reason"]
    other = next(o["n"] for o in outputs if o["n"] != vout)
    wrong = await command(f"{txid}:{other}", *asked[1:], *where, status=1)
    assert "pays another address" in wrong.stderr
    rpc.generatetoaddress(1, to)
    assert rpc.testmempoolaccept([ahead])[0]["allowed"]
    done = json.loads((await command(*asked, *where, "--fee", 700, "--json")).stdout)
    assert (done["sent"], done["pays"], done["fee"]) == (True, 99_300, 700)
    assert done["txid"] in rpc.getrawmempool()
    rpc.generatetoaddress(1, to)
    assert rpc.getreceivedbyaddress(to) > 0
    assert "swept or taken back" in (await command(*asked, *where, status=1)).stderr


def test_without_a_bitcoind_the_transaction_is_printed_and_nobody_is_asked(files):
    asked = (f"{'ab' * 32}:1", *files[1], "--to", "bcrt1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqdku202")
    result = run(*asked, "--value", 50_000)
    tx = Tx.parse(bytes.fromhex(result.stdout.strip()))
    assert (tx.inputs[0].sequence, tx.outputs[0].value) == (DELAY, 50_000 - 320)
    assert "txid" in result.stderr


def test_what_cannot_be_reclaimed_is_told_in_one_sentence(files, tmp_path):
    mine = files[1]
    coin, to = f"{'ab' * 32}:1", ("--to", "bcrt1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqdku202")
    other = (*mine[:3], tmp_path / "other.json")
    assert "only" in run(coin, *other, *to, "--value", 50_000, status=1).stderr
    assert "choose a lower one" in run(coin, *mine, *to, "--value", 600, status=1).stderr
    assert (
        "this is regtest"
        in run(
            coin, *mine, "--to", "bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq", "--value", 5_000, status=1
        ).stderr
    )
    run("nonsense", *mine, *to, "--value", 5_000, status=1)
    run(coin, *mine, *to, status=2)
    kept = json.loads((tmp_path / "recovery.json").read_text())
    (tmp_path / "recovery.json").write_text(json.dumps(kept | {"delay": DELAY + 1}))
    assert "use the original" in run(coin, *mine, *to, "--value", 50_000, status=1).stderr
    (tmp_path / "recovery.json").write_text("{}")
    assert "no recovery file" in run(coin, *mine, *to, "--value", 50_000, status=1).stderr
