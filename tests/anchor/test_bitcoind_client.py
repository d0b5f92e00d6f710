"""The bitcoind client against a real bitcoind."""

import asyncio
from decimal import Decimal

import pytest

from anchor.bitcoind import (
    BadAnswer,
    Bitcoind,
    Outcome,
    RpcError,
    TooOld,
    Unauthorized,
    Unsynced,
    WrongChain,
    to_sats,
)
from anchor.btc.address import address_of, script_of
from anchor.btc.amounts import Sats
from anchor.btc.block import parse_block
from anchor.btc.curve import schnorr_sign, x_only_from_secret
from anchor.btc.header import Header
from anchor.btc.ids import BlockHash, OutPoint, Txid, display, from_display
from anchor.btc.network import MAINNET, REGTEST
from anchor.btc.script import p2tr
from anchor.btc.taproot import output_key, sighash
from anchor.btc.tx import Tx, TxIn, TxOut
from anchor.headers.chain import HeaderChain
from anchor.headers.rules import rules_of
from tests.anchor.btc.keys import tweaked_secret
from tests.anchor.headers.minting import run

SECRET = b"\x07" * 32
COIN = 50 * 10**8


def own_script() -> bytes:
    return p2tr(output_key(x_only_from_secret(SECRET), None)[0])


def pay(coin: OutPoint, value: int, fee: int, version: int = 3, outputs: int = 1) -> Tx:
    """Spend a coin of ours back to ourselves; test only: one whole key."""
    each = TxOut(Sats((value - fee) // outputs), own_script())
    tx = Tx(version, (TxIn(coin, 0xFFFFFFFD),), (each,) * outputs)
    digest = sighash(tx, 0, [TxOut(Sats(value), own_script())])
    return tx.with_witness(0, (schnorr_sign(tweaked_secret(SECRET, None), digest, bytes(32)),))


def client_of(node, **options) -> Bitcoind:
    return Bitcoind(node.rpc_url, cookie=node.cookie, **options)


@pytest.fixture
async def funded(new_bitcoind):
    """A running bitcoind without wallet, its client, and three mature coins of ours of 50 BTC."""
    node = new_bitcoind(wallet=False).start()
    async with client_of(node) as client:
        await client.call("generatetoaddress", 3, address_of(own_script(), REGTEST))
        await client.call("generatetoaddress", 100, address_of(b"\x51\x20" + b"\x02" * 32, REGTEST))
        blocks = [parse_block(await client.raw_block(await client.block_hash(h))) for h in (1, 2, 3)]
        yield node, client, [OutPoint(block.txs[0].txid, 0) for block in blocks]


@pytest.mark.regtest
async def test_a_right_bitcoind_passes_the_check_and_wrong_ones_are_named(funded):
    _, client, _ = funded
    info = await client.check(REGTEST)
    assert info.version >= 280_000
    assert (info.chain, info.blocks, info.headers) == ("regtest", 103, 103)
    assert (info.blocks, info.best) == await client.best()
    with pytest.raises(WrongChain, match="not on mainnet"):
        await client.check(MAINNET)
    with pytest.raises(TooOld, match="install version 999999"):
        await client.check(REGTEST, min_version=999_999)


@pytest.mark.regtest
async def test_a_bitcoind_that_lacks_the_blocks_of_its_headers_is_unsynced(funded):
    _, client, _ = funded
    height, best = await client.best()
    top = Header.parse(await client.header_bytes(best))
    for header in run(top, 3):
        await client.call("submitheader", header.raw.hex())
    with pytest.raises(Unsynced, match=f"{height} of {height + 3} blocks: wait"):
        await client.check(REGTEST)


@pytest.mark.regtest
async def test_headers_and_blocks_come_back_as_their_bytes(funded):
    _, client, _ = funded
    headers = await client.headers(0, 200)
    assert headers[0].raw == REGTEST.genesis
    assert len(headers) == 104
    chain = HeaderChain(rules_of(REGTEST), headers[0])
    for header in headers[1:]:
        chain.add(header)
    assert (chain.tip.height, chain.tip.hash) == await client.best()
    assert await client.header_bytes(headers[50].hash) == headers[50].raw
    block = parse_block(await client.raw_block(headers[50].hash))
    assert block.header == headers[50]
    assert await client.headers(104, 5) == []
    assert await client.block_hash(104) is None
    with pytest.raises(RpcError) as unknown:
        await client.header_bytes(BlockHash(b"\x11" * 32))
    assert unknown.value.code == -5
    assert (await client.chain_tips())[0] == (103, chain.tip.hash, "active")


@pytest.mark.regtest
async def test_one_bad_member_does_not_spoil_a_batch(funded):
    _, client, _ = funded
    good, bad, named = await client.batch(
        [("getblockcount", []), ("getblockhash", [10**6]), ("getblockhash", {"height": 0})]
    )
    assert good == 103
    assert isinstance(bad, RpcError)
    assert (bad.code, bad.method) == (-8, "getblockhash")
    assert from_display(named) == REGTEST.genesis_hash
    many = await client.batch([("getblockhash", [n % 100]) for n in range(1203)])
    assert many[100] == many[0] == display(REGTEST.genesis_hash)
    assert len(many) == 1203
    assert await client.batch([]) == []


@pytest.mark.regtest
async def test_arguments_go_by_position_by_name_or_both_and_amounts_stay_exact(funded):
    _, client, coins = funded
    assert await client.call("getblockhash", height=0) == await client.call("getblockhash", 0)
    raw = await client.call("getblock", display(REGTEST.genesis_hash), verbosity=0)
    assert raw.startswith(REGTEST.genesis.hex())
    found = await client.call("gettxout", display(coins[0].txid), 0)
    assert type(found["value"]) is Decimal
    assert to_sats(found["value"]) == COIN
    with pytest.raises(BadAnswer, match="whole number of satoshis"):
        to_sats(Decimal("0.000000001"))
    with pytest.raises(RpcError, match="refused nosuch"):
        await client.call("nosuch")


@pytest.mark.regtest
async def test_coins_are_seen_with_and_without_the_mempool(funded):
    _, client, coins = funded
    coin = await client.txout(coins[0])
    assert coin.out == TxOut(Sats(COIN), own_script())
    assert (coin.confirmations, coin.coinbase) == (103, True)
    tx = pay(coins[0], COIN, 1000)
    assert (await client.submit(tx)).outcome is Outcome.IN_MEMPOOL
    assert await client.txout(coins[0]) is None
    assert (await client.txout(coins[0], include_mempool=False)).confirmations == 103
    assert (await client.txout(tx.outpoint(0))).confirmations == 0
    assert await client.txout(tx.outpoint(0), include_mempool=False) is None
    assert await client.spenders(coins[:2]) == {coins[0]: tx.txid}
    assert await client.spenders([]) == {}
    assert await client.transaction(tx.txid) == tx
    assert await client.transaction(Txid(b"\x22" * 32)) is None
    assert await client.in_mempool(tx.txid)
    assert not await client.in_mempool(Txid(b"\x22" * 32))


@pytest.mark.regtest
async def test_submitting_again_tells_where_the_transaction_is(funded):
    _, client, coins = funded
    tx = pay(coins[0], COIN, 1000, outputs=2)
    assert await client.test_accept(tx) == [None]
    assert await client.where(tx) is None
    for _ in range(3):
        assert (await client.submit(tx)).outcome is Outcome.IN_MEMPOOL
    (mined,) = await client.call("generatetoaddress", 1, address_of(own_script(), REGTEST))
    again = await client.submit(tx)
    assert (again.outcome, again.confirmations) == (Outcome.CONFIRMED, 1)
    assert await client.transaction(tx.txid, BlockHash(from_display(mined))) == tx
    rival = pay(coins[0], COIN, 9000)
    refused = await client.submit(rival)
    assert refused.outcome is Outcome.REFUSED
    assert "missingorspent" in refused.reason
    assert "missing" in (await client.test_accept(rival))[0]


@pytest.mark.regtest
async def test_a_wrong_signature_is_refused_with_cores_reason(funded):
    _, client, coins = funded
    refused = await client.submit(pay(coins[0], COIN, 1000).with_witness(0, (b"\x01" * 64,)))
    assert refused.outcome is Outcome.REFUSED
    assert "Schnorr" in refused.reason


@pytest.mark.regtest
async def test_a_package_goes_in_together_and_each_result_is_read_alone(funded):
    _, client, coins = funded
    parent = pay(coins[0], COIN, 0)  # pays nothing: alone it is refused
    child = pay(parent.outpoint(0), COIN, 5000)
    assert (await client.submit(parent)).outcome is Outcome.REFUSED
    for _ in range(2):
        both = await client.submit_package(parent, child)
        assert [(s.txid, s.outcome) for s in both] == [
            (parent.txid, Outcome.IN_MEMPOOL),
            (child.txid, Outcome.IN_MEMPOOL),
        ]
    await client.call("generatetoaddress", 1, address_of(own_script(), REGTEST))
    both = await client.submit_package(parent, child)
    assert both[1].outcome is Outcome.CONFIRMED


@pytest.mark.regtest
async def test_a_good_parent_stays_when_its_child_is_refused(funded):
    _, client, coins = funded
    parent = pay(coins[0], COIN, 2000)
    bad = pay(parent.outpoint(0), COIN - 2000, 2000).with_witness(0, (b"\x01" * 64,))
    first, second = await client.submit_package(parent, bad)
    assert first.outcome is Outcome.IN_MEMPOOL
    assert second.outcome is Outcome.REFUSED
    assert "Schnorr" in second.reason
    good = pay(parent.outpoint(0), COIN - 2000, 2000)
    assert [s.outcome for s in await client.submit_package(parent, good)] == [Outcome.IN_MEMPOOL] * 2


@pytest.mark.regtest
async def test_the_child_of_a_mined_parent_goes_alone(funded):
    _, client, coins = funded
    parent = pay(coins[0], COIN, 2000, outputs=2)
    await client.submit(parent)
    await client.call("generatetoaddress", 1, address_of(own_script(), REGTEST))
    child = pay(parent.outpoint(1), (COIN - 2000) // 2, 2000)
    first, second = await client.submit_package(parent, child)
    assert (first.outcome, second.outcome) == (Outcome.CONFIRMED, Outcome.IN_MEMPOOL)


@pytest.mark.regtest
async def test_unrelated_transactions_are_no_package(funded):
    _, client, coins = funded
    both = await client.submit_package(pay(coins[0], COIN, 2000), pay(coins[1], COIN, 2000))
    assert {s.outcome for s in both} == {Outcome.REFUSED}
    assert all(s.reason for s in both)


@pytest.mark.regtest
async def test_fees_are_unknown_on_a_young_chain(funded):
    _, client, _ = funded
    assert await client.estimate_fee(6) is None


@pytest.mark.regtest
async def test_a_restarted_bitcoind_is_spoken_to_with_its_new_cookie(funded):
    node, client, _ = funded
    old = node.cookie.read_text()
    assert await client.call("getblockcount") == 103
    await asyncio.to_thread(node.restart)
    assert node.cookie.read_text() != old
    assert await client.call("getblockcount") == 103


@pytest.mark.regtest
async def test_a_wrong_password_is_unauthorized_and_says_what_to_check(funded):
    node, _, _ = funded
    async with Bitcoind(node.rpc_url, user="me", password="not it") as client:
        with pytest.raises(Unauthorized, match="check rpcauth"):
            await client.call("getblockcount")


@pytest.mark.regtest
async def test_many_tasks_share_one_client(funded):
    _, client, _ = funded
    heights = [n % 104 for n in range(200)]
    hashes = await asyncio.gather(*(client.call("getblockhash", h) for h in heights))
    headers = await client.headers(0, 104)
    assert all(from_display(text) == headers[h].hash for h, text in zip(heights, hashes, strict=True))


def test_the_script_of_our_test_key_has_an_address():
    assert script_of(address_of(own_script(), REGTEST), REGTEST) == own_script()
