"""The depositor's commands and the ceremony's, against real nodes and a small rollup over real sockets."""

import asyncio
import json
from dataclasses import replace

import aiohttp
import pytest
from aiohttp import web
from click.testing import CliRunner

from anchor import problem, rollup_keys
from anchor.btc.address import address_of
from anchor.btc.curve import schnorr_verify
from anchor.btc.ids import OutPoint, Txid
from anchor.btc.network import REGTEST
from anchor.problem import answer
from anchor.rollup.tx import Lock
from anchor.rollup_keys import RollupKey
from anchor.rollup_wire import AccountView, BitcoinView, Status, Submission, Submitted
from bridge.cli_bridge import _deposit, bridge
from bridge.deposit.address import read_recovery_file
from bridge.params import REGTEST as PARAMS
from tests.bridge.observing import key, make_paper, observing, write_observer, write_operator

pytestmark = pytest.mark.regtest


async def run(*words: object, status: int = 0):
    """Run a command beside the servers' loop; return its result."""
    result = await asyncio.to_thread(CliRunner().invoke, bridge, [str(word) for word in words])
    assert result.exit_code == status, (result.output, result.exception)
    return result


@pytest.fixture
def paper(tmp_path):
    return make_paper(tmp_path / "paper")


@pytest.fixture
async def node(tmp_path, paper, bitcoind):
    """An observer of an active bridge that may give addresses alone."""
    folder = write_observer(tmp_path / "watcher", paper, bitcoind)
    async with observing(folder) as found:
        rpc = bitcoind.rpc("miner")
        rpc.generatetoaddress(3, rpc.getnewaddress())
        await found.reach(3)
        await found.node.activate(paper.activation(height=3))
        await found.reach(3)
        found.node.active.registry.threshold = 1
        yield found


KEYS = ("--recipient", key(31).hex(), "--reclaim-key", key(32).hex())


async def test_an_address_is_derived_again_and_its_recovery_file_needs_no_server(node, tmp_path):
    url, file = node.sites.public_url, tmp_path / "recovery.json"
    found = json.loads((await run("address", "--node", url, *KEYS, "-o", file, "--json")).output)
    record = node.node.active.activation
    params = read_recovery_file(json.loads(file.read_text()), record.treasury_key, node.node.network)
    assert (params.recipient, params.user_key, params.delay) == (key(31), key(32), PARAMS.reclaim_delay)
    assert file.stat().st_mode & 0o077 == 0
    assert (found["uri"], found["k"]) == (f"bitcoin:{found['address']}", 3)
    assert (found["epoch"], found["pay_until"]) == (1, None)
    text = (await run("address", "--node", url, *KEYS, "--qr")).output
    assert found["address"] in text
    assert "▀" in text or "█" in text
    again = await run("address", "--node", url, *KEYS, "-o", file, status=1)
    assert "never overwritten" in again.stderr


async def test_an_address_under_another_treasury_key_is_never_shown(node, paper, tmp_path):
    other = paper.activation(height=3)
    other = replace(other, activation=replace(other.activation, treasury_key=b"\x02" + key(77)))
    trusted = tmp_path / "activation.json"
    trusted.write_text(other.to_json())
    result = await run("address", "--node", node.sites.public_url, *KEYS, "--activation", trusted, status=1)
    assert "do not pay it" in result.stderr
    assert "bcrt1" not in result.output


async def test_bad_keys_are_refused_in_one_sentence(node):
    url = node.sites.public_url
    short = await run("address", "--node", url, "--recipient", "ab", "--reclaim-key", "cd", status=2)
    assert "64 hex digits" in short.stderr
    off = await run("address", "--node", url, "--recipient", "ff" * 32, *KEYS[2:], status=1)
    assert "the recipient is no rollup key" in off.stderr


async def test_a_deposit_that_is_not_there_yet_and_the_reserves_are_told(node):
    url = node.sites.public_url
    given = json.loads((await run("address", "--node", url, *KEYS, "--json")).output)
    waits = await run("deposit", given["address"], "--node", url)
    assert "no confirmed payment" in waits.output
    strange = await run("deposit", address_of(b"\x00\x14" + bytes(20), REGTEST), "--node", url, status=1)
    assert "knows no such deposit address: do not pay it" in strange.stderr
    typo = await run("deposit", given["address"][:-1] + "q", "--node", url, status=1)
    assert typo.stderr.count("copy the address again") == 1
    elsewhere = await run("withdrawal", "zz", "--node", url, status=1)
    assert "64 hex digits" in elsewhere.stderr
    nowhere = await run("withdrawal", "ab" * 32, "--node", url, status=1)
    assert "there is no such withdrawal" in nowhere.stderr
    unknown = await run("deposit", OutPoint(Txid(bytes(32)), 0), "--node", url, status=1)
    assert "wait for its first confirmation" in unknown.stderr
    reserves = json.loads((await run("reserves", "--node", url, "--json")).output)
    assert (reserves["holds"], reserves["supply"], reserves["treasury"]) == (True, 0, 1_000_000)
    assert "treasury_outpoint" in (await run("reserves", "--node", url)).output


FOUND = {
    "outpoint": f"{'ab' * 32}:0",
    "value": 50_000,
    "state": "CREDITED",
    "reason": None,
    "confirmations": 9,
    "required": 3,
    "sweep_txid": "cd" * 32,
    "sweep_depth": 8,
    "minted": 49_000,
    "fee": 1_000,
    "reclaim": {"available": False, "at_height": None},
}


def test_what_is_shown_of_a_deposit_is_what_may_still_happen_to_it():
    assert "reclaim" not in _deposit(FOUND)
    rejected = {
        "state": "REJECTED",
        "reason": "below the minimum",
        "reclaim": {"available": False, "at_height": 9},
    }
    text = _deposit({**FOUND, **rejected})
    assert "REJECTED: below the minimum" in text
    assert "from block 9" in text
    late = _deposit({**FOUND, "state": "RECLAIMABLE", "reclaim": {"available": True, "at_height": 9}})
    assert "holdfast bridge reclaim" in late
    assert "in the mempool" in _deposit({**FOUND, "state": "SEEN"})


class SmallRollup:
    """Takes one account's locks, checked as the rollup checks them."""

    def __init__(self, paper, account: RollupKey, balance: int) -> None:
        self.paper, self.account, self.balance = paper, account, balance
        self.taken: list[Lock] = []

    def app(self) -> web.Application:
        app = problem.app()
        app.router.add_get("/v1/genesis", self.genesis)
        app.router.add_get("/v1/status", self.status)
        app.router.add_get("/v1/accounts/{key}", self.view)
        app.router.add_post("/v1/transactions", self.submit)
        return app

    async def genesis(self, _: web.Request) -> web.Response:
        return web.Response(text=self.paper.genesis.to_json(), content_type="application/json")

    async def status(self, _: web.Request) -> web.Response:
        view = BitcoinView(900, "00" * 32, "1", 898, "00" * 32)
        return answer(Status(7, "", 1, 1, 1, "", "", 1, view, None, True, 0, 0, 0))

    async def view(self, request: web.Request) -> web.Response:
        assert request.match_info["key"] == self.account.public.hex()
        return answer(AccountView(self.account.public.hex(), self.balance, 4, 5))

    async def submit(self, request: web.Request) -> web.Response:
        lock = Lock.decode(bytes.fromhex((await problem.read_json(request, Submission)).tx))
        txid = lock.txid(self.paper.genesis.hash)
        assert schnorr_verify(lock.sender, txid, lock.signature)
        self.taken.append(lock)
        return answer(Submitted(txid.hex()))


@pytest.fixture
async def rollup(paper, tmp_path):
    account = RollupKey.new()
    rollup_keys.save(tmp_path / "alice.json", [account])
    small = SmallRollup(paper, account, 60_000)
    runner = web.AppRunner(small.app(), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    small.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield small
    await runner.cleanup()


async def test_a_withdrawal_locks_exactly_what_was_asked_for_and_prints_its_id(
    node, rollup, bitcoind, tmp_path
):
    address = bitcoind.rpc("miner").getnewaddress()
    where = ("--rollup", rollup.url, "--node", node.sites.public_url, "--key", tmp_path / "alice.json")
    done = json.loads((await run("withdraw", *where, "--to", address, "--amount", 50_000, "--json")).output)
    (lock,) = rollup.taken
    assert done["id"] == lock.txid(rollup.paper.genesis.hash).hex()
    assert (lock.amount, lock.nonce, lock.max_fee) == (50_000, 5, PARAMS.withdrawal_fee)
    assert lock.expiry == 900 + PARAMS.expiry_blocks
    assert lock.script.hex() == bitcoind.rpc("miner").getaddressinfo(address)["scriptPubKey"]
    for to, amount, why in (
        ("bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq", 50_000, "this is regtest"),
        ("nonsense", 50_000, "copy the address again"),
        (address, 4_999, "at least 5000 sats"),
        (address, 60_001, "holds 60000 sats"),
    ):
        refused = await run("withdraw", *where, "--to", to, "--amount", amount, status=1)
        assert why in refused.stderr, refused.stderr
    assert rollup.taken == [lock]


async def test_nothing_is_locked_on_a_rollup_that_the_node_does_not_bridge(node, rollup, tmp_path):
    rollup.paper = replace(rollup.paper, genesis=replace(rollup.paper.genesis, rollup_id=8))
    where = ("--rollup", rollup.url, "--node", node.sites.public_url, "--key", tmp_path / "alice.json")
    to = address_of(b"\x00\x14" + bytes(20), REGTEST)
    result = await run("withdraw", *where, "--to", to, "--amount", 50_000, status=1)
    assert "belong to different rollups" in result.stderr
    assert rollup.taken == []


async def test_the_ceremony_says_what_is_missing_before_there_are_keys(paper, bitcoind, tmp_path):
    folder = write_operator(tmp_path / "paper" / "alice", paper, bitcoind)
    coin = f"{'11' * 32}:0"
    async with observing(folder) as alice:
        told = await run("genesis", "addresses", "--dir", folder, status=1)
        assert "--purpose treasury" in told.stderr
        told = await run("genesis", "propose", "--dir", folder, "--treasury", coin, "--lane", coin, status=1)
        assert "no verified treasury key" in told.stderr
        told = await run("genesis", "propose", "--dir", folder, "--treasury", "x", "--lane", coin, status=1)
        assert "that is no outpoint" in told.stderr
        agreed = await run("genesis", "consent", "--dir", folder, "ab" * 32)
        assert "signs the record" in agreed.output
        health = await alice.get("/v1/health")
        committee = next(check for check in health["checks"] if check["name"] == "committee")
        assert not committee["ok"]
        assert "1 of 3 members up, 2 needed" in committee["text"]
        found = json.loads((folder / "admin.json").read_text())
        good = {"Authorization": f"Bearer {found['token']}"}
        async with aiohttp.request("GET", found["url"] + "/v1/tss/keys", headers=good) as said:
            assert said.status == 200
    told = await run("genesis", "addresses", "--dir", folder, status=1)
    assert "holdfast node run" in told.stderr
