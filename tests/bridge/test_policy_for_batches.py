"""A real bitcoind takes what the bridge builds: the largest sweep, its replacement, payouts, a reclaim."""

from dataclasses import replace

import pytest

from anchor.btc.address import address_of
from anchor.btc.amounts import Sats
from anchor.btc.block import parse_block
from anchor.btc.curve import schnorr_sign
from anchor.btc.ids import Txid, display, from_display
from anchor.btc.network import REGTEST
from anchor.btc.tx import Tx
from bridge.deposit import reclaim
from bridge.deposit.address import output, treasury_script
from bridge.treasury.builder import assemble, build
from bridge.treasury.manifest import Payout, SweptDeposit
from bridge.treasury.reader import BatchFound, TreasuryReader
from tests.bridge.keys import (
    ACTIVATION,
    AUX,
    EVEN,
    KEYS,
    TREASURY,
    params_of,
    payee,
    payout_manifest,
    secret_of,
    sha256,
    sweep_manifest,
)

pytestmark = pytest.mark.regtest
OWN = treasury_script(TREASURY)
DEPOSITS = 170
USERS = [params_of(f"user {n}") for n in range(DEPOSITS + 1)]  # the last one reclaims
TYPES = {"legacy": "p2pkh", "p2sh-segwit": "p2sh", "bech32": "p2wpkh", "bech32m": "p2tr"}


def mine(wallet, count=1):
    wallet.generatetoaddress(count, wallet.getnewaddress())


def block_at(node, height):
    rpc = node.rpc()
    return parse_block(bytes.fromhex(rpc.getblock(rpc.getblockhash(height), 0)))


def funded(node):
    """Treasury and deposits in one confirmed transaction."""
    wallet = node.rpc("miner")
    mine(wallet, 101)
    scripts = [OWN, *(output(p, TREASURY).script_pubkey for p in USERS)]
    amounts = {address_of(s, REGTEST): 0.0005 for s in scripts} | {address_of(OWN, REGTEST): 0.01}
    txid = wallet.sendmany("", amounts)
    mine(wallet)
    tx = Tx.parse(bytes.fromhex(wallet.gettransaction(txid)["hex"]))
    assert tx.txid == Txid(from_display(txid))
    place = {out.script: tx.outpoint(n) for n, out in enumerate(tx.outputs)}
    return place[OWN], [place[s] for s in scripts[1:]]


def test_sweep_replacement_payouts_and_reclaim_on_a_real_bitcoind(bitcoind):
    wallet = bitcoind.rpc("miner")
    tip, coins = funded(bitcoind)
    reader = TreasuryReader.of(replace(ACTIVATION, treasury=tip))
    items = [
        SweptDeposit(c, Sats(50_000), p, Sats(1_000), 1)
        for c, p in zip(coins[:DEPOSITS], USERS[:DEPOSITS], strict=True)
    ]
    first = sweep_manifest(*items, fee=12_000, tip=tip)
    second = replace(first, fee=Sats(30_000))
    for manifest in (first, second):  # the second version replaces the first
        batch = build(manifest, KEYS)
        tx = assemble(batch, EVEN.sign(batch))
        assert 9_800 < tx.vsize <= 10_000
        bitcoind.rpc().sendrawtransaction(tx.serialize().hex())
        assert bitcoind.rpc().getrawmempool() == [display(tx.txid)]
    mine(wallet)
    state, (found,) = reader.apply_block(reader.start(), block_at(bitcoind, 103), 103, ())
    assert found == BatchFound(1, tx.txid, second.hash, 103)

    addresses = {kind: wallet.getnewaddress("", kind) for kind in TYPES}
    scripts = [bytes.fromhex(wallet.getaddressinfo(a)["scriptPubKey"]) for a in addresses.values()]
    payouts = [Payout(sha256(s), s, Sats(6_000), Sats(800)) for s in scripts]
    head = {"tip": state.tip, "tip_value": state.tip_value, "previous": state.previous, "sequence": 2}
    batch = build(payout_manifest(*payouts, **head), KEYS)
    bitcoind.rpc().sendrawtransaction(assemble(batch, EVEN.sign(batch)).serialize().hex())
    mine(wallet)
    state, (found,) = reader.apply_block(state, block_at(bitcoind, 104), 104, ())
    assert (found.sequence, state.halted) == (2, None)
    received = [int(wallet.getreceivedbyaddress(a, 1) * 10**8) for a in addresses.values()]
    assert received == [5_200] * 4

    user = USERS[DEPOSITS]
    plan = reclaim.build(user, TREASURY, coins[DEPOSITS], Sats(50_000), payee("home"), Sats(300))
    secret = secret_of(f"user {DEPOSITS} bitcoin")
    spend = reclaim.assemble(plan, schnorr_sign(secret, plan.message, AUX)).serialize().hex()
    mine(wallet, 102 + user.delay - 2 - bitcoind.rpc().getblockcount())
    (early,) = bitcoind.rpc().testmempoolaccept([spend])
    assert early["reject-reason"] == "non-BIP68-final"
    mine(wallet)  # now the next block is 102 + delay
    bitcoind.rpc().sendrawtransaction(spend)
