"""Batches: built from manifests alone, signed by key path, judged by Core's engine and btclib."""

from dataclasses import replace

import pytest

from anchor.btc.amounts import Sats
from anchor.btc.ids import OutPoint, Txid
from anchor.btc.script import op_return
from anchor.btc.tx import TxIn, TxOut
from bridge.deposit.address import output, treasury_script
from bridge.treasury.builder import (
    MAX_VSIZE,
    Mark,
    SignatureFault,
    assemble,
    assert_sound,
    batch_vsize,
    build,
    messages,
    read_batch,
    signed_vsize,
)
from bridge.treasury.keys import TreasuryKeys
from bridge.treasury.manifest import ManifestFault, Payout
from bridge.withdrawal.template import UnpayableScript, dust_limit
from tests.anchor.btc.judge import core_accepts, oracle_sighash
from tests.bridge.keys import EVEN, KEYS, ODD, TREASURY, payee, payout, payout_manifest, sweep_manifest, swept

SWEEP = sweep_manifest(swept("alice"), swept("bob", 70_000))
PAYOUT = payout_manifest(payout("carol"), payout("dave", 8_000))
SCRIPTS = {
    "p2pkh": b"\x76\xa9\x14" + bytes(20) + b"\x88\xac",
    "p2sh": b"\xa9\x14" + bytes(20) + b"\x87",
    "p2wpkh": b"\x00\x14" + bytes(20),
    "p2wsh": b"\x00\x20" + bytes(32),
    "p2tr": payee("x"),
}


@pytest.mark.parametrize("key", [EVEN, ODD], ids=["even", "odd"])
@pytest.mark.parametrize("manifest", [SWEEP, PAYOUT], ids=["sweep", "payout"])
def test_a_signed_batch_spends_the_tip_and_every_deposit_by_core_s_rules(key, manifest):
    batch = build(manifest, TreasuryKeys(1, (key.key33,)))
    tx = assemble(batch, key.sign(batch))
    assert core_accepts(tx, batch.prevouts)
    assert tx.vsize == signed_vsize(batch.tx) <= MAX_VSIZE
    for index, (message, _) in enumerate(messages(batch)):
        assert message == oracle_sighash(tx, index, batch.prevouts, 0, None, None)


def test_a_batch_has_the_treasury_first_then_its_mark_then_the_payouts_in_manifest_order():
    tx = build(PAYOUT, KEYS).tx
    assert tx.version == 3
    assert tx.outputs[0] == TxOut(Sats(PAYOUT.treasury_value), treasury_script(TREASURY))
    assert Mark.find(tx.outputs[1].script) == Mark(1, 1, PAYOUT.hash)
    assert tx.outputs[1].script[2:6] == b"HFTB"
    assert [out.script for out in tx.outputs[2:]] == [p.script for p in PAYOUT.payouts]
    assert [out.value for out in tx.outputs[2:]] == [p.amount - 800 for p in PAYOUT.payouts]
    assert all(i.sequence == 0xFFFFFFFD for i in tx.inputs)


def test_a_sweep_spends_the_tip_first_and_each_deposit_under_its_own_root():
    batch = build(SWEEP, KEYS)
    assert [i.outpoint for i in batch.tx.inputs] == [SWEEP.tip, *(d.outpoint for d in SWEEP.deposits)]
    roots = [output(d.params, TREASURY).root for d in SWEEP.deposits]
    assert [path for _, path in messages(batch)] == [None, *roots]
    assert len(batch.tx.outputs) == 2


def test_two_nodes_build_the_same_bytes_and_another_manifest_another_transaction():
    assert build(SWEEP, KEYS).tx.serialize() == build(SWEEP, KEYS).tx.serialize()
    assert build(replace(SWEEP, fee=Sats(1_001)), KEYS).tx.txid != build(SWEEP, KEYS).tx.txid


def test_figures_a_sweep_of_one_deposit_takes_225_vbytes_and_a_payout_210():
    assert signed_vsize(build(sweep_manifest(swept("a")), KEYS).tx) == 225
    assert signed_vsize(build(payout_manifest(payout("a")), KEYS).tx) == 210


@pytest.mark.parametrize("count", [1, 2, 100, 170])
def test_the_size_is_known_before_a_sweep_is_built(count):
    manifest = sweep_manifest(*(swept(str(n)) for n in range(count)))
    assert batch_vsize(1 + count, ()) == signed_vsize(build(manifest, KEYS).tx)


@pytest.mark.parametrize("count", [1, 2, 150, 225])
def test_the_size_is_known_before_a_payout_is_built(count):
    some = list(SCRIPTS.values())
    payouts = [replace(payout(str(n), 9_000), script=some[n % 5]) for n in range(count)]
    manifest = payout_manifest(*payouts)
    expected = signed_vsize(build(replace(manifest, tip_value=Sats(10**8)), KEYS).tx)
    assert batch_vsize(1, [p.script for p in manifest.payouts]) == expected


def test_a_batch_over_ten_thousand_vbytes_is_refused():
    with pytest.raises(ManifestFault, match="split"):
        build(sweep_manifest(*(swept(str(n)) for n in range(175))), KEYS)


def test_a_treasury_that_would_keep_dust_or_less_is_refused():
    rich = payout("a", 1_000_000 - 1_000 + 800 - 329)
    with pytest.raises(ManifestFault, match="keep 329"):
        build(payout_manifest(rich), KEYS)
    with pytest.raises(ManifestFault, match="keep -"):
        build(payout_manifest(payout("a", 2_000_000)), KEYS)


@pytest.mark.parametrize("kind", SCRIPTS)
def test_a_payout_pays_each_standard_script_but_never_dust(kind):
    script = SCRIPTS[kind]
    least = dust_limit(script)
    build(payout_manifest(replace(payout("a", least + 800), script=script)), KEYS)
    with pytest.raises(ManifestFault, match="dust"):
        build(payout_manifest(replace(payout("a", least + 799), script=script)), KEYS)


@pytest.mark.parametrize(
    "script",
    [
        b"\x6a\x04evil",
        b"\x51",
        b"\x52\x20" + bytes(32),
        b"\x00\x14" + bytes(21),
        SCRIPTS["p2pkh"][:-1] + b"\xad",
    ],
)
def test_a_script_off_the_whitelist_is_refused(script):
    with pytest.raises(UnpayableScript, match="P2TR"):
        dust_limit(script)
    with pytest.raises(ManifestFault, match="P2TR"):
        build(payout_manifest(replace(payout("a"), script=script)), KEYS)


def test_a_signature_set_that_does_not_spend_is_refused_naming_the_input():
    batch = build(SWEEP, KEYS)
    good = EVEN.sign(batch)
    with pytest.raises(SignatureFault, match="2 signatures for 3"):
        assemble(batch, good[:2])
    with pytest.raises(SignatureFault, match="signature 1"):
        assemble(batch, [good[0], good[2], good[1]])
    with pytest.raises(SignatureFault, match="signature 0"):
        assemble(batch, ODD.sign(batch))


def test_a_manifest_is_believed_only_if_it_builds_the_transaction_on_chain():
    txid = build(SWEEP, KEYS).tx.txid
    assert read_batch(SWEEP.encode(), KEYS, txid) == SWEEP
    with pytest.raises(ManifestFault, match="another transaction"):
        read_batch(replace(SWEEP, fee=Sats(1_001)).encode(), KEYS, txid)
    with pytest.raises(ManifestFault):
        read_batch(b"rubbish", KEYS, txid)


@pytest.mark.parametrize(
    "script",
    [
        b"",
        op_return(b"HFTB"),
        op_return(b"HFTA" + Mark(1, 1, bytes(32)).encode()[4:]),
        op_return(b"HFTB\x02" + bytes(40)),
        op_return(Mark(1, 1, bytes(32)).encode() + b"\0"),
        b"\x6a\x2c" + bytes(45),
        b"\x6a\x01\x00" + bytes(44),
        b"\x6a\x4c" + bytes(45),
        b"\x6a\xff" + bytes(45),
    ],
    ids=lambda s: s.hex()[:12],
)
def test_what_is_not_our_mark_is_not_read_as_one(script):
    assert Mark.find(script) is None


def _tampered(batch):
    """Yield, per assertion, its words and a batch that must fire it."""
    tx = batch.tx
    own, mark, *rest = tx.outputs
    first, *others = tx.inputs

    def with_outputs(*outputs):
        return replace(batch, tx=replace(tx, outputs=outputs))

    def with_inputs(*inputs):
        return replace(batch, tx=replace(tx, inputs=inputs))

    elsewhere = OutPoint(Txid(bytes(32)), 5)
    small = replace(rest[0], value=Sats(329)) if rest else None
    yield "plus the manifest's fee", with_outputs(replace(own, value=Sats(own.value + 1)), mark, *rest)
    yield "one prevout", replace(batch, paths=batch.paths[:-1])
    yield "input 0", with_inputs(replace(first, outpoint=elsewhere), *others)
    if others:
        yield "spent twice", with_inputs(first, *[others[0]] * len(others))
    yield "output 0", with_outputs(replace(own, script=payee("thief")), mark, *rest)
    yield "OP_RETURN", with_outputs(own, replace(mark, script=op_return(b"nothing")), *rest)
    yield "version 3", replace(batch, tx=replace(tx, version=2))
    yield "replaceable", with_inputs(TxIn(first.outpoint, 0xFFFFFFFF), *others)
    if small is not None:
        difference = Sats(rest[0].value - 329)
        fees = replace(batch.manifest, fee=Sats(batch.manifest.fee + difference))
        fees = replace(fees, tip_value=Sats(fees.tip_value + difference))
        richer = replace(batch.prevouts[0], value=Sats(batch.prevouts[0].value))
        marked = replace(mark, script=op_return(Mark(1, 1, fees.hash).encode()))
        cheap = replace(tx, outputs=(own, marked, small, *rest[1:]))
        yield "dust", replace(batch, manifest=fees, tx=cheap, prevouts=(richer, *batch.prevouts[1:]))


@pytest.mark.parametrize("manifest", [SWEEP, PAYOUT], ids=["sweep", "payout"])
def test_every_assertion_of_the_builder_fires(manifest):
    batch, own = build(manifest, KEYS), treasury_script(TREASURY)
    assert_sound(batch, own)
    fired = 0
    for words, tampered in _tampered(batch):
        with pytest.raises(AssertionError, match=words):
            assert_sound(tampered, own)
        fired += 1
    assert fired == 8


def test_the_assertion_on_size_fires():
    many = [Payout(n.to_bytes(32, "big"), payee("x"), Sats(2_000), Sats(0)) for n in range(240)]
    manifest = replace(payout_manifest(*many[:10]), payouts=tuple(many[:10]))
    batch = build(manifest, KEYS)
    big = replace(manifest, payouts=tuple(many))
    outputs = (
        TxOut(Sats(big.treasury_value), batch.tx.outputs[0].script),
        TxOut(Sats(0), op_return(Mark(1, 1, big.hash).encode())),
        *(TxOut(p.paid, p.script) for p in big.payouts),
    )
    with pytest.raises(AssertionError, match="too large"):
        assert_sound(
            replace(batch, manifest=big, tx=replace(batch.tx, outputs=outputs)), treasury_script(TREASURY)
        )
