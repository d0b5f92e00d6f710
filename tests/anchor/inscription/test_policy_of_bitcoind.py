"""A real bitcoind's mempool takes what we build: package, ladder, void, and what is sent again after a reorg."""

from dataclasses import replace

import pytest

from anchor.btc.address import address_of
from anchor.btc.amounts import Sats
from anchor.btc.ids import OutPoint, Txid, display, from_display
from anchor.btc.network import REGTEST
from anchor.inscription.builder import build, build_void
from anchor.inscription.lane import tip_script
from anchor.inscription.reader import LaneState
from tests.anchor.inscription.batches import a_batch, a_range, a_rotation
from tests.anchor.inscription.whole_key import ANCHOR, NEXT

pytestmark = pytest.mark.regtest
COINS = 1_000_000


@pytest.fixture
def lane(bitcoind):
    """A confirmed tip of a million sats."""
    wallet = bitcoind.rpc("miner")
    wallet.generatetoaddress(101, wallet.getnewaddress())
    txid = wallet.sendtoaddress(address_of(tip_script(ANCHOR.key33), REGTEST), COINS / 1e8)
    wallet.generatetoaddress(1, wallet.getnewaddress())
    outputs = wallet.gettransaction(txid, True, True)["decoded"]["vout"]
    vout = next(o["n"] for o in outputs if o["scriptPubKey"]["hex"] == tip_script(ANCHOR.key33).hex())
    return LaneState(0, 1, ANCHOR.key33, OutPoint(Txid(from_display(txid)), vout), Sats(COINS))


def package_on(tip, value, number):
    batch = a_batch(a_range(number), tip=tip, tip_value=value, sequence=number + 1)
    return build(batch, ANCHOR.key33, [1])


def send(bitcoind, group):
    """Each transaction's error, or None; packages and single transactions."""
    hexes = [tx.serialize().hex() for tx in group]
    if len(hexes) == 1:
        bitcoind.rpc().sendrawtransaction(hexes[0])
        return [None]
    answer = bitcoind.rpc().submitpackage(hexes)
    return [answer["tx-results"][display(tx.wtxid)].get("error") for tx in group]


def mempool(bitcoind):
    return {Txid(from_display(txid)) for txid in bitcoind.rpc().getrawmempool()}


def mine(bitcoind, count=1):
    wallet = bitcoind.rpc("miner")
    return wallet.generatetoaddress(count, wallet.getnewaddress())


def test_every_rung_replaces_the_one_below_and_leaves_the_commit(bitcoind, lane):
    signed = ANCHOR.sign_package(package_on(lane.tip, lane.tip_value, 0))
    for reveal in signed.reveals:
        assert send(bitcoind, (signed.commit, reveal)) == [None, None]
        assert mempool(bitcoind) == {signed.commit.txid, reveal.txid}
    mine(bitcoind)
    coin = bitcoind.rpc().gettxout(display(signed.reveals[-1].txid), 0)
    assert coin["confirmations"] == 1
    assert int(coin["value"] * 100_000_000) == COINS - 128 * 254


def test_the_void_replaces_a_stuck_reveal(bitcoind, lane):
    package = package_on(lane.tip, lane.tip_value, 0)
    signed = ANCHOR.sign_package(package)
    assert send(bitcoind, (signed.commit, signed.reveals[0])) == [None, None]
    void = ANCHOR.sign_void(build_void(package, 8))
    assert send(bitcoind, (void,)) == [None]
    assert mempool(bitcoind) == {signed.commit.txid, void.txid}


def test_after_a_deep_reorg_two_anchors_come_back_parents_first_with_the_same_bytes(bitcoind, lane):
    """Core drops what a reorg returns beyond TRUC's two generations; the rest waits for its parent's block."""
    first = ANCHOR.sign_package(package_on(lane.tip, lane.tip_value, 0))
    reveal = first.reveals[0]
    second = ANCHOR.sign_package(package_on(reveal.outpoint(0), reveal.outputs[0].value, 1))
    older, younger = [first.commit, reveal], [second.commit, second.reveals[1]]
    assert send(bitcoind, older) == [None, None]
    lost = mine(bitcoind)[0]
    assert send(bitcoind, younger) == [None, None]
    mine(bitcoind)
    bitcoind.rpc().invalidateblock(lost)
    there = mempool(bitcoind)
    for pair in (older, younger):
        missing = [tx for tx in pair if tx.txid not in there]  # the child of a mined parent goes alone
        if missing:
            assert send(bitcoind, missing) == [None] * len(missing)
        block = mine(bitcoind)[0]
        there |= {Txid(from_display(t)) for t in bitcoind.rpc().getblock(block)["tx"]}
        assert {tx.txid for tx in pair} <= there


def test_a_second_batch_on_the_tip_never_confirms_beside_the_first(bitcoind, lane):
    signed = ANCHOR.sign_package(package_on(lane.tip, lane.tip_value, 0))
    batch = a_batch(a_range(0), a_range(1), tip=lane.tip, tip_value=lane.tip_value)
    other = ANCHOR.sign_package(build(replace(batch, sequence=1), ANCHOR.key33, [1]))
    assert send(bitcoind, (signed.commit, signed.reveals[0])) == [None, None]
    mine(bitcoind)
    errors = send(bitcoind, (other.commit, other.reveals[7]))
    assert all(errors)
    assert mempool(bitcoind) == set()


def test_a_rotation_goes_out_as_a_package_on_every_rung_and_the_next_key_anchors_on_it(bitcoind, lane):
    place = {"tip": lane.tip, "tip_value": lane.tip_value}
    signed = ANCHOR.sign_package(build(a_rotation(**place), ANCHOR.key33, [1]))
    for reveal in signed.reveals:
        assert send(bitcoind, (signed.commit, reveal)) == [None, None]
        assert mempool(bitcoind) == {signed.commit.txid, reveal.txid}
    mine(bitcoind)
    top = signed.reveals[-1]
    batch = a_batch(a_range(0), epoch=2, sequence=2, tip=top.outpoint(0), tip_value=top.outputs[0].value)
    after = NEXT.sign_package(build(batch, NEXT.key33, [1]))
    assert send(bitcoind, (after.commit, after.reveals[2])) == [None, None]
    mine(bitcoind)
    assert bitcoind.rpc().gettxout(display(after.reveals[2].txid), 0)["confirmations"] == 1


def test_the_void_of_a_rotation_gives_the_coin_back_to_the_old_key(bitcoind, lane):
    package = build(a_rotation(tip=lane.tip, tip_value=lane.tip_value), ANCHOR.key33, [1])
    signed = ANCHOR.sign_package(package)
    assert send(bitcoind, (signed.commit, signed.reveals[0])) == [None, None]
    void = ANCHOR.sign_void(build_void(package, 8))
    assert send(bitcoind, (void,)) == [None]
    mine(bitcoind)
    place = {"tip": void.outpoint(0), "tip_value": void.outputs[0].value, "sequence": 2}
    again = ANCHOR.sign_package(build(a_rotation(**place), ANCHOR.key33, [1]))
    assert send(bitcoind, (again.commit, again.reveals[0])) == [None, None]
