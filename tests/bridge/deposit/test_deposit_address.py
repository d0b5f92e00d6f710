"""Deposit addresses: derived by anyone, swept by the key path, reclaimed by the leaf."""

import pytest
from btclib.key import PubKeyData
from btclib.script import taproot as oracle

from anchor.btc.amounts import Sats
from anchor.btc.curve import schnorr_sign
from anchor.btc.network import REGTEST, SIGNET
from anchor.btc.taproot import leaf_hash, verify_control
from anchor.btc.tx import TxOut
from bridge.deposit import reclaim
from bridge.deposit.address import (
    DepositFault,
    DepositParams,
    blocks_to_reclaim,
    leaf,
    margin,
    output,
    read_recovery_file,
    recovery_file,
    treasury_script,
)
from tests.anchor.btc.judge import core_accepts, oracle_sighash
from tests.bridge.keys import AUX, EVEN, ODD, TREASURY, coin, key_of, params_of, payee, secret_of

ALICE = params_of("alice")


@pytest.mark.parametrize("key", [EVEN, ODD], ids=["even", "odd"])
def test_the_output_is_the_one_btclib_derives(key):
    derived = output(ALICE, key.key33)
    words = [ALICE.commitment, "OP_DROP", ALICE.delay, "OP_CHECKSEQUENCEVERIFY", "OP_DROP"]
    tree = [(0xC0, [*words, ALICE.user_key, "OP_CHECKSIG"])]
    expected = oracle.output_pubkey(PubKeyData(b"\x02" + key.key33[1:]), tree)[0]
    assert derived.script_pubkey[2:] == bytes(expected)
    assert derived.root == leaf_hash(leaf(ALICE))
    assert verify_control(derived.script_pubkey[2:], derived.control_block, leaf(ALICE))


def test_the_treasury_key_only_output_is_tweaked_too():
    assert treasury_script(TREASURY)[2:] == bytes(oracle.output_pubkey(PubKeyData(b"\x02" + TREASURY[1:]))[0])
    assert treasury_script(TREASURY)[2:] != TREASURY[1:]


def test_the_leaf_holds_commitment_delay_and_user_key_and_nothing_else():
    script = leaf(DepositParams(key_of("r"), key_of("u"), 1008))
    commitment = DepositParams(key_of("r"), key_of("u"), 1).commitment
    assert script.hex() == f"20{commitment.hex()}7502f003b27520{key_of('u').hex()}ac"


@pytest.mark.parametrize("delay", [1, 16, 17, 128, 1008, 65535])
def test_every_delay_can_be_reclaimed_by_core_s_rules(delay):
    params = params_of("alice", delay)
    plan = reclaim.build(params, TREASURY, coin("d"), Sats(20_000), payee("alice"), Sats(200))
    assert plan.tx.inputs[0].sequence == delay
    tx = reclaim.assemble(plan, schnorr_sign(secret_of("alice bitcoin"), plan.message, AUX))
    prevouts = [TxOut(Sats(20_000), output(params, TREASURY).script_pubkey)]
    assert core_accepts(tx, prevouts)
    assert plan.message == oracle_sighash(tx, 0, prevouts, 0, leaf_hash(leaf(params)), None)


def test_core_refuses_a_reclaim_before_the_delay():
    plan = reclaim.build(ALICE, TREASURY, coin("d"), Sats(20_000), payee("alice"), Sats(200))
    early = params_of("alice", ALICE.delay - 1)
    hasty = reclaim.build(early, TREASURY, coin("d"), Sats(20_000), payee("alice"), Sats(200))
    signature = schnorr_sign(secret_of("alice bitcoin"), hasty.message, AUX)
    tx = hasty.tx.with_witness(0, (signature, leaf(ALICE), plan.control_block))
    assert not core_accepts(tx, [TxOut(Sats(20_000), output(ALICE, TREASURY).script_pubkey)])


def test_a_reclaim_signed_by_another_key_is_refused_here_already():
    plan = reclaim.build(ALICE, TREASURY, coin("d"), Sats(20_000), payee("alice"), Sats(200))
    with pytest.raises(DepositFault, match="user key"):
        reclaim.assemble(plan, schnorr_sign(secret_of("mallory"), plan.message, AUX))


@pytest.mark.parametrize("fee", [-1, 19_671, 20_000])
def test_a_reclaim_leaves_more_than_dust(fee):
    with pytest.raises(DepositFault, match="lower"):
        reclaim.build(ALICE, TREASURY, coin("d"), Sats(20_000), payee("alice"), Sats(fee))


def test_any_changed_parameter_gives_another_address():
    others = [
        DepositParams(key_of("x"), ALICE.user_key, ALICE.delay),
        DepositParams(ALICE.recipient, key_of("x"), ALICE.delay),
        DepositParams(ALICE.recipient, ALICE.user_key, ALICE.delay + 1),
    ]
    assert len({output(p, TREASURY).script_pubkey for p in (ALICE, *others)}) == 4
    assert output(ALICE, ODD.key33).script_pubkey != output(ALICE, TREASURY).script_pubkey


def test_parameters_survive_their_bytes():
    assert DepositParams.decode(ALICE.encode()) == ALICE


@pytest.mark.parametrize("data", [b"", ALICE.encode()[:-1], ALICE.encode() + b"\0", bytes(66)])
def test_bytes_that_are_no_parameters_are_refused(data):
    with pytest.raises(DepositFault):
        DepositParams.decode(data)


@pytest.mark.parametrize("delay", [0, -1, 65536, True])
def test_a_delay_that_csv_cannot_say_is_refused(delay):
    with pytest.raises(DepositFault, match="delay"):
        DepositParams(ALICE.recipient, ALICE.user_key, delay)


@pytest.mark.parametrize("bad", [b"\xff" * 32, bytes(32), b"", bytes(33)])
def test_keys_on_no_point_are_refused(bad):
    with pytest.raises(DepositFault, match="recipient"):
        DepositParams(bad, ALICE.user_key, 10)
    with pytest.raises(DepositFault, match="reclaim key"):
        DepositParams(ALICE.recipient, bad, 10)


@pytest.mark.parametrize("key", [b"", TREASURY[1:], b"\x04" + TREASURY[1:], b"\x02" + b"\xff" * 32])
def test_a_group_key_that_is_no_point_is_refused(key):
    with pytest.raises(DepositFault, match="group key"):
        output(ALICE, key)


def test_blocks_to_reclaim_counts_the_blocks_that_come_before_the_leaf_may_spend():
    assert blocks_to_reclaim(100, 40, 100) == 39  # blocks 101..139; 140 may hold the reclaim
    assert blocks_to_reclaim(100, 40, 139) == 0
    assert blocks_to_reclaim(100, 40, 500) == 0
    assert (margin(1008), margin(40)) == (144, 10)


def test_a_recovery_file_gives_the_parameters_back_and_no_field_can_be_changed():
    content = recovery_file(ALICE, TREASURY, REGTEST)
    assert content["address"].startswith("bcrt1p")
    assert read_recovery_file(content, TREASURY, REGTEST) == ALICE
    for name, value in content.items():
        other = value + 1 if isinstance(value, int) else value[:-1] + ("0" if value[-1] != "0" else "1")
        with pytest.raises(DepositFault, match="original"):
            read_recovery_file({**content, name: other}, TREASURY, REGTEST)
    with pytest.raises(DepositFault):
        read_recovery_file(content, ODD.key33, REGTEST)
    with pytest.raises(DepositFault):
        read_recovery_file(content, TREASURY, SIGNET)
    with pytest.raises(DepositFault):
        read_recovery_file({}, TREASURY, REGTEST)
