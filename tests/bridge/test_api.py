"""The node's HTTP as a stranger sees it: an observer with real parts, over real sockets."""

import asyncio
import json

import pytest

from anchor.btc.address import address_of
from anchor.btc.ids import OutPoint, display
from bridge.deposit.address import DepositParams, output
from bridge.params import REGTEST as PARAMS
from regtest.bitcoind import Bitcoind
from tests.bridge.observing import Observer, key, make_paper, observing, write_observer

pytestmark = pytest.mark.regtest


def mine(bitcoind: Bitcoind, count: int) -> int:
    rpc = bitcoind.rpc("miner")
    rpc.generatetoaddress(count, rpc.getnewaddress())
    return int(rpc.getblockcount())


@pytest.fixture
def paper(tmp_path):
    return make_paper(tmp_path / "paper")


@pytest.fixture
def folder(tmp_path, paper, bitcoind):
    return write_observer(tmp_path / "watcher", paper, bitcoind)


@pytest.fixture
async def watcher(folder):
    async with observing(folder) as found:
        yield found


@pytest.fixture
async def active(watcher, bitcoind, paper):
    """The same with an activation record."""
    height = mine(bitcoind, 3)
    await watcher.reach(height)
    await watcher.node.activate(paper.activation(height=height))
    await watcher.reach(height)
    return watcher


async def test_before_activation_everybody_is_told_who_the_node_is(watcher, paper):
    info = await watcher.get("/v1/info")
    assert (info["name"], info["role"], info["network"]) == ("watcher", "observer", "regtest")
    assert [m["name"] for m in info["committee"]["members"]] == ["alice", "bob", "carol"]
    assert info["committee"]["words"] == paper.committee.committee.words
    assert info["rollup"] == {
        "id": 7,
        "genesis_hash": paper.genesis.hash.hex(),
        "height": 0,
        "final_height": 0,
    }
    assert info["activation_hash"] is info["keys"] is info["params"] is info["treasury_address"] is None
    assert (await watcher.get("/v1/committee"))["threshold"] == 2
    assert (await watcher.get("/v1/genesis"))["k"] == 3
    assert await watcher.get("/v1/anchors") == {"anchors": [], "next": None}
    assert await watcher.get("/v1/records") == []
    health = await watcher.get("/v1/health")
    assert health["status"] == "degraded"
    assert {name: health["checks"][-1][name] for name in ("name", "ok")} == {"name": "bridge", "ok": False}


@pytest.mark.parametrize("epoch", ["0", "2", "01", "x", "%2e%2e", "9" * 400])
async def test_a_committee_file_of_an_epoch_that_was_not_is_refused_with_those_that_are(watcher, epoch):
    status, problem = await watcher.ask("GET", f"/v1/committee/{epoch}")
    assert (status, problem["code"]) in ((404, "no_such_epoch"), (404, "not_found"))


@pytest.mark.parametrize(
    "path", ["/v1/reserves", "/v1/deposits", "/v1/withdrawals", "/v1/epochs", "/v1/successions"]
)
async def test_before_activation_what_needs_the_bridge_says_so_and_may_be_asked_again(watcher, path):
    status, problem = await watcher.ask("GET", path)
    assert (status, problem["code"], problem["retryable"]) == (503, "not_active", True)
    assert (await watcher.ask("GET", "/v1/activation"))[0] == 404


async def test_headers_are_served_as_a_file_of_eighty_bytes_each(watcher, bitcoind):
    tip = mine(bitcoind, 5)
    await watcher.reach(tip)
    top = await watcher.get("/v1/headers")
    assert (top["tip_height"], top["tip_hash"]) == (tip, bitcoind.rpc().getbestblockhash())
    page = await watcher.get("/v1/headers?from=2&count=2")
    hashes = [bitcoind.rpc().getblockhash(height) for height in (2, 3)]
    assert page["headers"] == "".join(bitcoind.rpc().getblockheader(block, False) for block in hashes)
    assert (page["from"], page["tip_height"]) == (2, tip)
    assert (await watcher.get("/v1/headers?from=900"))["headers"] == ""
    one = await watcher.get(f"/v1/headers/{hashes[0]}")
    assert (one["height"], one["main"], one["depth"], one["final"], one["missing"]) == (
        2,
        True,
        4,
        True,
        None,
    )
    newest = await watcher.get(f"/v1/headers/{top['tip_hash']}")
    assert (newest["final"], newest["missing"]) == (False, "block 5 has 1 of 3 confirmations")


async def test_a_reorg_is_in_the_ledger_and_in_the_alarms(watcher, bitcoind):
    await watcher.reach(mine(bitcoind, 5))
    lost = bitcoind.rpc().getblockhash(4)
    bitcoind.rpc().invalidateblock(lost)
    await watcher.reach(mine(bitcoind, 3))
    await watcher.node.look_again()
    ledger = await watcher.get("/v1/reorgs")
    assert [(r["depth"], r["fork_height"], r["level"]) for r in ledger["reorgs"]] == [(2, 3, "warning")]
    assert ledger["rollup"] == []
    alarms = (await watcher.get("/v1/health"))["alarms"]
    (alarm,) = [a for a in alarms if a["kind"] != "rival"]  # told if the node looked between two blocks
    assert (alarm["kind"], alarm["level"], alarm["data"]["depth"]) == ("reorg", "warning", 2)
    stale = await watcher.get(f"/v1/headers/{lost}")
    assert (stale["main"], stale["depth"], stale["final"]) == (False, 0, False)


async def test_an_active_node_serves_record_keys_parameters_and_reserves(active, paper):
    info = await active.get("/v1/info")
    record = active.node.active.signed
    record.verify(paper.genesis.host_keys)
    assert info["activation_hash"] == record.hash.hex()
    assert info["keys"]["mint"] == record.activation.mint_key.hex()
    assert info["params"]["range_length"] == PARAMS.range_length
    assert (await active.get("/v1/activation"))["signatures"] == [s.hex() for s in record.signatures]
    reserves = await active.get("/v1/reserves")
    assert (reserves["treasury"], reserves["fee_reserve"], reserves["holds"]) == (1_000_000, 1_000_000, True)
    assert reserves["treasury_address"] == info["treasury_address"]
    assert (await active.get("/v1/ready")) == {"ready": True}
    [epoch] = (await active.get("/v1/epochs"))["epochs"]
    assert (epoch["state"], epoch["record"]) == ("active", record.hash.hex())
    assert epoch["treasury_address"] == info["treasury_address"]
    assert epoch["host_keys"] == [key.hex() for key in paper.genesis.host_keys]
    assert await active.get("/v1/successions") == {"successions": []}
    assert info["epoch"] == info["committee"]["epoch"] == 1
    assert (await active.get("/v1/committee/1")) == (await active.get("/v1/committee"))
    assert await active.get("/v1/deposits") == {"deposits": []}
    assert await active.get("/v1/withdrawals") == {"withdrawals": []}


async def test_an_observer_gives_no_address_and_says_whom_to_ask(active):
    body = {"recipient": key(31).hex(), "user_key": key(32).hex()}
    status, problem = await active.ask("POST", "/v1/deposit-addresses", json=body)
    assert (status, problem["code"], problem["retryable"]) == (409, "observer", False)
    assert problem["remedy"] == "ask the node of an operator"


async def test_a_payment_is_told_while_it_waits_for_its_block_and_why_it_is_rejected(active, bitcoind):
    mine(bitcoind, 101)
    record = active.node.active.activation
    await active.node.active.registry.learn(DepositParams(key(31), key(32), record.params.reclaim_delay))
    address, outpoint = pay(bitcoind, active, PARAMS.min_deposit - 1)
    seen = await active.get(f"/v1/deposits/{outpoint}")
    assert (seen["state"], seen["confirmations"], seen["value"]) == ("SEEN", 0, PARAMS.min_deposit - 1)
    assert (seen["status"]["confirmed"], seen["reclaim"]["at_height"]) == (False, None)
    assert await active.get(f"/v1/deposits?address={address}") == {"deposits": [], "known": True}
    tip = mine(bitcoind, 1)
    await active.reach(tip)
    async with asyncio.timeout(60):
        while (found := await active.get(f"/v1/deposits/{outpoint}"))["state"] != "REJECTED":
            active.node.wake()
            await asyncio.sleep(0.02)
    assert found["reason"] == f"below the minimum of {PARAMS.min_deposit} sat"
    assert found["reclaim"]["at_height"] == tip + PARAMS.reclaim_delay
    strange = address_of(b"\x00\x14" + bytes(20), active.node.network)
    assert await active.get(f"/v1/deposits?address={strange}") == {"deposits": [], "known": False}


def pay(bitcoind: Bitcoind, active: Observer, sats: int) -> tuple[str, str]:
    """Pay an address that its owner derived alone; return address and outpoint."""
    record = active.node.active.activation
    params = DepositParams(key(31), key(32), record.params.reclaim_delay)
    script = output(params, record.treasury_key).script_pubkey
    address = address_of(script, active.node.network)
    txid = bitcoind.rpc("miner").sendtoaddress(address, sats / 1e8)
    outputs = bitcoind.rpc("miner").getrawtransaction(txid, True)["vout"]
    return address, f"{txid}:{next(o['n'] for o in outputs if o['scriptPubKey']['hex'] == script.hex())}"


async def test_a_payment_is_found_by_its_parameters_even_when_they_come_late(active, bitcoind):
    mine(bitcoind, 101)
    address, outpoint = pay(bitcoind, active, 50_000)
    tip = mine(bitcoind, 2)
    await active.reach(tip)
    assert (await active.ask("GET", f"/v1/deposits/{outpoint}"))[0] == 404
    body = {"recipient": key(31).hex(), "user_key": key(32).hex()}
    status, late = await active.ask("POST", "/v1/deposits", json=body)
    assert (status, late) == (202, {"address": address, "found": [outpoint], "addresses": [address]})
    async with asyncio.timeout(60):
        while (found := await active.get(f"/v1/deposits/{outpoint}"))["state"] != "CONFIRMED":
            active.node.wake()
            await asyncio.sleep(0.02)
    assert (found["value"], found["confirmations"], found["required"], found["epoch"]) == (50_000, 2, 3, 1)
    assert (found["status"]["block_height"], found["status"]["final"]) == (tip - 1, False)
    assert found["reclaim"] == {"available": False, "at_height": tip - 1 + PARAMS.reclaim_delay}
    assert (found["minted"], found["sweep_txid"], found["fee"]) == (None, None, PARAMS.deposit_fee)
    for query in (f"address={address}", f"recipient={key(31).hex()}", "state=confirmed"):
        assert (await active.get(f"/v1/deposits?{query}"))["deposits"] == [found], query
    for query in (f"recipient={key(32).hex()}", "state=credited"):
        assert (await active.get(f"/v1/deposits?{query}"))["deposits"] == [], query


BAD = [
    ("GET", "/v1/nothing", 404),
    ("GET", "/v1/headers?from=-1", 400),
    ("GET", "/v1/headers?from=1e3", 400),
    ("GET", "/v1/headers?from=٣", 400),
    ("GET", "/v1/headers?count=99999999999999999999", 400),
    ("GET", "/v1/headers/zz", 400),
    ("GET", f"/v1/headers/{'00' * 32}", 404),
    ("GET", "/v1/anchors?after=x", 400),
    ("GET", "/v1/anchors?limit=", 400),
    ("GET", "/v1/anchors?lane=70000", 400),
    ("GET", "/v1/anchors/1", 404),
    ("GET", "/v1/anchors/nonsense", 404),
    ("GET", "/v1/records?block=-3", 400),
    ("GET", "/v1/records/12", 400),
    ("GET", f"/v1/records/{'ab' * 32}", 404),
    ("GET", f"/v1/records/{'ab' * 32}/proof", 404),
    ("GET", "/v1/reorgs?limit=x", 400),
    ("GET", "/v1/deposits?recipient=zz", 400),
    ("GET", "/v1/deposits?address=bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq", 400),
    ("GET", "/v1/deposits?state=rich", 400),
    ("GET", "/v1/deposits?limit=many", 400),
    ("GET", "/v1/deposits/xyz", 400),
    ("GET", f"/v1/deposits/{'00' * 32}:01", 400),
    ("GET", f"/v1/deposits/{'00' * 32}:0", 404),
    ("GET", "/v1/withdrawals/xyz", 400),
    ("GET", f"/v1/withdrawals/{'00' * 32}", 404),
    ("POST", "/v1/info", 405),
    ("DELETE", "/v1/deposits", 405),
]


async def test_every_bad_question_gets_its_problem_and_never_a_500(active):
    for method, path, status in BAD:
        found, problem = await active.ask(method, path)
        assert (found, problem["status"]) == (status, status), (path, problem)
        assert problem["type"] == f"urn:holdfast:problem:{problem['code']}"
        assert problem["title"], path


GOOD_BODY = {"recipient": key(31).hex(), "user_key": key(32).hex()}
BAD_BODIES = [
    b"",
    b"{",
    b"[]",
    b"null",
    b"\xff\xfe",
    b"[" * 30_000,
    json.dumps({"recipient": GOOD_BODY["recipient"]}).encode(),
    json.dumps({**GOOD_BODY, "more": 1}).encode(),
    json.dumps({**GOOD_BODY, "recipient": 7}).encode(),
    json.dumps({**GOOD_BODY, "recipient": "ff" * 32}).encode(),
    json.dumps({**GOOD_BODY, "user_key": "00" * 31}).encode(),
    json.dumps({**GOOD_BODY, "user_key": " " + "00" * 31 + " "}).encode(),
]


@pytest.mark.parametrize("path", ["/v1/deposit-addresses", "/v1/deposits"])
async def test_every_bad_body_is_refused_and_a_huge_one_by_its_size(active, path):
    for body in BAD_BODIES:
        status, problem = await active.ask("POST", path, data=body)
        assert status == 400, (body[:60], problem)
    status, problem = await active.ask("POST", path, data=b'{"recipient": "' + b"a" * 70_000 + b'"}')
    assert (status, problem["code"]) == (413, "too_large")


async def test_a_script_of_another_origin_may_ask_first(watcher):
    url = watcher.sites.public_url + "/v1/deposit-addresses"
    async with watcher.session.options(url) as answer:
        assert answer.status == 204
        assert answer.headers["Access-Control-Allow-Headers"] == "Content-Type"
        assert answer.headers["Access-Control-Allow-Origin"] == "*"


async def test_the_admin_port_wants_the_token_of_a_file_that_only_the_owner_reads(watcher, folder):
    file = folder / "admin.json"
    assert file.stat().st_mode & 0o777 == 0o600
    found = json.loads(file.read_text())
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Bearer {found['token']}é"}):
        async with watcher.session.get(found["url"] + "/v1/node/status", headers=headers) as answer:
            assert (answer.status, answer.content_type) == (401, "application/problem+json")
    good = {"Authorization": f"Bearer {found['token']}"}
    async with watcher.session.get(found["url"] + "/v1/node/status", headers=good) as answer:
        status = await answer.json()
    assert (status["name"], status["active"], status["public_url"]) == (
        "watcher",
        False,
        watcher.sites.public_url,
    )
    for path, body, wanted in (
        ("/v1/headers/confirm", {"tip": "xx"}, 400),
        ("/v1/headers/confirm", {"tip": "00" * 32}, 409),
        ("/v1/bridge/genesis", {"treasury": "x", "lanes": ["y"]}, 400),
        ("/v1/bridge/genesis", {"treasury": "x", "lanes": []}, 400),
        ("/v1/bridge/genesis/consent", {"hash": "00" * 32}, 409),
        ("/v1/bridge/epoch/propose", {}, 409),
        ("/v1/bridge/epoch/propose", {"epoch": 2}, 400),
        ("/v1/bridge/epoch/consent", {"hash": "00" * 32}, 409),
        ("/v1/bridge/epoch/consent", {"hash": 7}, 400),
    ):
        async with watcher.session.post(found["url"] + path, headers=good, json=body) as answer:
            assert answer.status == wanted, (path, await answer.text())


async def test_an_observers_operator_reads_the_epochs_and_has_nothing_to_sign(active, folder):
    found = json.loads((folder / "admin.json").read_text())
    good = {"Authorization": f"Bearer {found['token']}"}
    async with active.session.get(found["url"] + "/v1/bridge/epoch", headers=good) as answer:
        told = await answer.json()
    assert answer.status == 200
    assert told["next"] is None
    assert told["epochs"] == (await active.get("/v1/epochs"))["epochs"]


async def test_admin_json_is_gone_once_the_node_has_stopped(folder):
    async with observing(folder):
        assert (folder / "admin.json").exists()
    assert not (folder / "admin.json").exists()


def test_names_of_outpoints_are_read_in_display_order():
    txid = bytes(range(32))
    assert OutPoint.parse(f"{display(txid)}:3").txid == txid
