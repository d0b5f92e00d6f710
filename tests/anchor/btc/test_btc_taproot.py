"""Taproot, against BIP341's vectors, btclib and Core's script engine."""

import json
import random

import pytest

from anchor.btc.address import address_of
from anchor.btc.amounts import Sats
from anchor.btc.curve import schnorr_sign, x_only_from_secret
from anchor.btc.ids import OutPoint, Txid
from anchor.btc.network import MAINNET
from anchor.btc.script import OP_CHECKSEQUENCEVERIFY, OP_CHECKSIG, OP_DROP, p2tr, push, push_number
from anchor.btc.taproot import (
    TaprootError,
    branch_hash,
    control_block,
    leaf_hash,
    output_key,
    root_from_control,
    sighash,
    tweak_of,
    verify_control,
)
from anchor.btc.tx import Tx, TxIn, TxOut
from tests.anchor.btc.judge import core_accepts, oracle_sighash
from tests.anchor.btc.keys import tweaked_secret

HASH_TYPES = (0x00, 0x01, 0x02, 0x03, 0x81, 0x82, 0x83)


@pytest.fixture
def bip341(vectors):
    return json.loads((vectors / "bips/bip341.json").read_text())


def walk(tree, path=()):
    """Yield (leaf, path from the leaf up) and return the hash of a vector's tree."""
    if isinstance(tree, dict):
        return [(tree, ())], leaf_hash(bytes.fromhex(tree["script"]), tree["leafVersion"])
    (left, a), (right, b) = walk(tree[0]), walk(tree[1])
    return [(leaf, (*p, b)) for leaf, p in left] + [(leaf, (*p, a)) for leaf, p in right], branch_hash(a, b)


def test_every_script_tree_of_bip341_gives_its_output_and_control_blocks(bip341):
    assert len(bip341["scriptPubKey"]) == 7
    for case in bip341["scriptPubKey"]:
        internal = bytes.fromhex(case["given"]["internalPubkey"])
        tree, expected = case["given"]["scriptTree"], case["expected"]
        leaves, root = walk(tree) if tree else ([], None)
        assert tweak_of(internal, root).hex() == case["intermediary"]["tweak"]
        key, parity = output_key(internal, root)
        assert key.hex() == case["intermediary"]["tweakedPubkey"]
        assert p2tr(key).hex() == expected["scriptPubKey"]
        assert address_of(p2tr(key), MAINNET) == expected["bip350Address"]
        wanted = dict(enumerate(expected.get("scriptPathControlBlocks", [])))
        for leaf, path in leaves:
            control = control_block(internal, parity, path, leaf["leafVersion"])
            assert control.hex() == wanted.pop(leaf["id"])
            assert verify_control(key, control, bytes.fromhex(leaf["script"]))
            assert not verify_control(key, control, bytes.fromhex(leaf["script"]) + b"\0")
        assert not wanted


def test_every_key_path_spend_of_bip341_gives_its_hash_and_exact_signature(bip341):
    (case,) = bip341["keyPathSpending"]
    tx = Tx.parse(bytes.fromhex(case["given"]["rawUnsignedTx"]))
    spent = case["given"]["utxosSpent"]
    prevouts = [TxOut(Sats(s["amountSats"]), bytes.fromhex(s["scriptPubKey"])) for s in spent]
    assert len(case["inputSpending"]) == 7
    for item in case["inputSpending"]:
        given, between = item["given"], item["intermediary"]
        digest = sighash(tx, given["txinIndex"], prevouts, given["hashType"])
        assert digest.hex() == between["sigHash"]
        signature = schnorr_sign(bytes.fromhex(between["tweakedPrivkey"]), digest, bytes(32))
        tail = bytes([given["hashType"]]) if given["hashType"] else b""
        assert [(signature + tail).hex()] == item["expected"]["witness"]


def random_spend(rng: random.Random, count: int, script_of_input) -> tuple[Tx, list[TxOut]]:
    prevouts = [TxOut(Sats(rng.randrange(1000, 10**9)), script_of_input(i)) for i in range(count)]
    inputs = tuple(
        TxIn(OutPoint(Txid(rng.randbytes(32)), rng.randrange(5)), rng.choice((0xFFFFFFFD, 0xFFFFFFFF, 12)))
        for _ in range(count)
    )
    outputs = tuple(
        TxOut(Sats(rng.randrange(10**8)), rng.randbytes(rng.choice((0, 34, 300)))) for _ in range(count)
    )
    return Tx(rng.choice((1, 2, 3, 0x80000002)), inputs, outputs, rng.randrange(2**31)), prevouts


def test_core_accepts_key_path_spends_of_every_hash_type_and_no_changed_one():
    rng = random.Random(341)
    for root in (None, rng.randbytes(32)):
        secret = rng.randbytes(32)
        key, _ = output_key(x_only_from_secret(secret), root)
        for hash_type in HASH_TYPES:
            tx, prevouts = random_spend(rng, 2, lambda _, q=key: p2tr(q))
            tail = bytes([hash_type]) if hash_type else b""
            for index in range(2):
                digest = sighash(tx, index, prevouts, hash_type)
                signature = schnorr_sign(tweaked_secret(secret, root), digest, rng.randbytes(32))
                tx = tx.with_witness(index, (signature + tail,))
            assert core_accepts(tx, prevouts)
            broken = bytes([signature[0] ^ 1]) + signature[1:] + tail
            assert not core_accepts(tx.with_witness(1, (broken,)), prevouts)


def test_core_accepts_script_path_spends_with_path_and_annex():
    rng = random.Random(342)
    for depth in (0, 1, 5):
        secret, internal = rng.randbytes(32), x_only_from_secret(rng.randbytes(32))
        delay = push_number(5) + bytes([OP_CHECKSEQUENCEVERIFY, OP_DROP])
        script = push(rng.randbytes(255)) + bytes([OP_DROP]) + delay + push(x_only_from_secret(secret))
        script += bytes([OP_CHECKSIG])
        path = [rng.randbytes(32) for _ in range(depth)]
        root = root_from_control(control_block(internal, 0, path), script)
        key, parity = output_key(internal, root)
        control = control_block(internal, parity, path)
        for annex in (None, b"\x50" + rng.randbytes(9)):
            tx, prevouts = random_spend(rng, 1, lambda _, q=key: p2tr(q))
            tx = Tx(2, (TxIn(tx.inputs[0].outpoint, 5),), tx.outputs, 0)
            digest = sighash(tx, 0, prevouts, 0, leaf_hash(script), annex=annex)
            stack = (schnorr_sign(secret, digest, bytes(32)), script, control, *((annex,) if annex else ()))
            assert core_accepts(tx.with_witness(0, stack), prevouts)
            assert not core_accepts(tx.with_witness(0, (stack[0], script + b"\x61", *stack[2:])), prevouts)
            flipped = bytes([control[0] ^ 1]) + control[1:]
            assert not core_accepts(tx.with_witness(0, (stack[0], script, flipped, *stack[3:])), prevouts)


def test_a_second_library_computes_the_same_signature_hashes():
    rng = random.Random(343)
    for _ in range(60):
        count = rng.randrange(1, 5)
        tx, prevouts = random_spend(rng, count, lambda _: p2tr(rng.randbytes(32)))
        leaf = rng.choice((None, rng.randbytes(32)))
        annex = rng.choice((None, b"\x50", b"\x50" + rng.randbytes(300)))
        for hash_type in HASH_TYPES:
            index = rng.randrange(count)
            ours = sighash(tx, index, prevouts, hash_type, leaf, annex=annex)
            assert ours == oracle_sighash(tx, index, prevouts, hash_type, leaf, annex)


def test_signature_hashes_that_bip341_does_not_define_are_refused():
    rng = random.Random(344)
    tx, prevouts = random_spend(rng, 2, lambda _: p2tr(rng.randbytes(32)))
    one_out = Tx(2, tx.inputs, tx.outputs[:1])
    with pytest.raises(TaprootError, match="SINGLE"):
        sighash(one_out, 1, prevouts, 0x03)
    for bad in (0x04, 0x80, 0x84, 0xFF, -1):
        with pytest.raises(TaprootError, match="hash type"):
            sighash(tx, 0, prevouts, bad)
    for index, outs in ((2, prevouts), (-1, prevouts), (0, prevouts[:1]), (0, [])):
        with pytest.raises(TaprootError, match="every input"):
            sighash(tx, index, outs)
    with pytest.raises(TaprootError, match="annex"):
        sighash(tx, 0, prevouts, annex=b"\x51")
    with pytest.raises(TaprootError, match="leaf hash"):
        sighash(tx, 0, prevouts, leaf=b"short")


@pytest.mark.parametrize("size", [0, 32, 34, 64, 66, 33 + 32 * 129])
def test_control_blocks_of_other_lengths_are_refused(size):
    with pytest.raises(TaprootError):
        root_from_control(b"\xc0" * size, b"")
    assert not verify_control(bytes(32), b"\xc0" * size, b"")


def test_trees_take_only_what_bip341_allows():
    for call in (
        lambda: leaf_hash(b"", 0xC1),
        lambda: branch_hash(bytes(31), bytes(32)),
        lambda: control_block(bytes(32), 2),
        lambda: control_block(bytes(33), 0),
        lambda: control_block(bytes(32), 0, [bytes(32)] * 129),
        lambda: control_block(bytes(32), 0, [bytes(31)]),
        lambda: control_block(bytes(32), 0, (), 0xC1),
        lambda: tweak_of(bytes(31), None),
        lambda: tweak_of(bytes(32), b""),
    ):
        with pytest.raises(TaprootError):
            call()
    assert branch_hash(b"\x01" * 32, b"\x02" * 32) == branch_hash(b"\x02" * 32, b"\x01" * 32)
