"""What a signer verifies alone: each rule has a case that fires it, and every code is fired."""

from dataclasses import replace

import pytest

from anchor.btc.amounts import DUST_P2TR, Height, Sats
from anchor.btc.hashing import sha256
from anchor.btc.ids import BlockHash, Txid
from anchor.rollup.statements import MintStatement, SettleStatement
from bridge.deposit.address import output, treasury_script
from bridge.treasury import certificates
from bridge.treasury.builder import build, signed_vsize
from bridge.treasury.checks import (
    BatchFact,
    Code,
    DepositFact,
    LockFact,
    MintFacts,
    NodeFacts,
    PayoutFacts,
    Refusal,
    SettleFacts,
    SweepFacts,
    check_mint,
    check_payout,
    check_settle,
    check_sweep,
)
from bridge.treasury.reader import TreasuryReader
from tests.bridge.keys import (
    ACTIVATION,
    KEYS,
    ODD,
    PARAMS,
    TREASURY,
    coin,
    params_of,
    payout,
    payout_manifest,
    sweep_manifest,
    swept,
)

ALICE, BOB = swept("alice"), payout("bob")
SWEEP, PAYOUT = sweep_manifest(ALICE), payout_manifest(BOB)
NODE = NodeFacts(
    unsynced=None,
    paused=None,
    tip_height=210,
    view_height=210,
    keys=KEYS,
    params=PARAMS,
    treasury=TreasuryReader.of(ACTIVATION).start(),
    reserve=Sats(900_000),
    ancestors_known=True,
    own_min_rate=1,
    own_max_rate=50,
)
DEPOSIT = DepositFact(
    value=ALICE.value,
    script=output(ALICE.params, TREASURY).script_pubkey,
    height=205,
    coinbase=False,
    spent=False,
    minted=False,
)
LOCK = LockFact(BOB.script, BOB.amount, Sats(1_000), expiry=500, final=True, settled=False)

NODE_CASES = {
    Code.UNSYNCED: {"unsynced": "own bitcoind is 3 blocks behind"},
    Code.PAUSED: {"paused": "a reorg of 4 blocks"},
    Code.HALTED: {"treasury": replace(NODE.treasury, halted="spent by a stranger")},
    Code.WRONG_EPOCH: {"treasury": replace(NODE.treasury, keys=KEYS.then(ODD.key33))},
    Code.TIP_MOVED: {"treasury": replace(NODE.treasury, tip=coin("elsewhere"))},
    Code.TIP_VALUE: {"treasury": replace(NODE.treasury, tip_value=Sats(999_999))},
    Code.WRONG_SEQUENCE: {"treasury": replace(NODE.treasury, sequence=1)},
    Code.WRONG_PREVIOUS: {"treasury": replace(NODE.treasury, previous=bytes(32))},
    Code.ANCESTOR_UNKNOWN: {"ancestors_known": False},
    Code.FEE_TOO_LOW: {"own_min_rate": 5},
    Code.FEE_TOO_HIGH: {"own_max_rate": 4},
    Code.FEE_OVER_CAP: {"params": replace(PARAMS, batch_fee_cap=999)},
}
SWEEP_CASES = {
    Code.DEPOSIT_UNCONFIRMED: {"height": None},
    Code.DEPOSIT_SPENT: {"spent": True},
    Code.DEPOSIT_MINTED: {"minted": True},
    Code.DEPOSIT_COINBASE: {"coinbase": True},
    Code.DEPOSIT_VALUE: {"value": Sats(49_999)},
    Code.DEPOSIT_SCRIPT: {"script": treasury_script(TREASURY)},
    Code.DEPOSIT_TOO_LATE: {"height": 184},
}
LOCK_CASES = {
    Code.WITHDRAWAL_NOT_FINAL: {"final": False},
    Code.WITHDRAWAL_SETTLED: {"settled": True},
    Code.WITHDRAWAL_SCRIPT: {"script": treasury_script(TREASURY)},
    Code.WITHDRAWAL_AMOUNT: {"amount": Sats(30_001)},
    Code.WITHDRAWAL_FEE: {"max_fee": Sats(799)},
    Code.WITHDRAWAL_EXPIRED: {"expiry": 210},
}
MINT_CODES = {
    Code.WRONG_ROLLUP,
    Code.BATCH_UNKNOWN,
    Code.BATCH_NOT_FINAL,
    Code.WRONG_BLOCK,
    Code.MANIFEST_UNKNOWN,
    Code.WRONG_MANIFEST,
    Code.NOT_IN_BATCH,
    Code.WRONG_CONTENT,
}
MOVE_CODES = {
    Code.MOVING,
    Code.ROTATION_NOT_FINAL,
    Code.WRONG_SUCCESSOR,
    Code.DEPOSIT_RETIRED,
}  # test_move.py
ELSEWHERE = {  # fired by tests of their own below
    Code.UNBUILDABLE,
    Code.RESERVE_EMPTY,
    Code.WRONG_FEE_SHARE,
    Code.DEPOSIT_UNKNOWN,
    Code.DEPOSIT_DELAY,
    Code.DEPOSIT_TOO_SMALL,
    Code.DEPOSIT_TOO_LARGE,
    Code.SUPPLY_CAP,
    Code.WITHDRAWAL_UNKNOWN,
    Code.WITHDRAWAL_PAID,
    Code.WITHDRAWAL_TOO_SMALL,
    Code.WITHDRAWAL_TO_US,
    *MOVE_CODES,
}


def sweep_facts(node=NODE, fact=DEPOSIT, room=10**8):
    return SweepFacts(node, {ALICE.outpoint: fact}, Sats(room))


def payout_facts(node=NODE, lock=LOCK, paid=frozenset()):
    return PayoutFacts(node, {BOB.withdrawal: lock}, paid)


def refused(code, check, *arguments):
    with pytest.raises(Refusal) as caught:
        check(*arguments)
    assert caught.value.code is code, caught.value
    assert len(caught.value.reason) > 10
    return caught.value


def test_every_code_has_a_case():
    tested = {*NODE_CASES, *SWEEP_CASES, *LOCK_CASES, *MINT_CODES, *ELSEWHERE}
    assert tested == set(Code)


def test_an_honest_batch_is_rebuilt_and_accepted():
    assert check_sweep(SWEEP, sweep_facts()) == build(SWEEP, KEYS)
    assert check_payout(PAYOUT, payout_facts()) == build(PAYOUT, KEYS)


@pytest.mark.parametrize("code", NODE_CASES)
def test_what_the_node_knows_refuses_sweeps_and_payouts_alike(code):
    node = replace(NODE, **NODE_CASES[code])
    refused(code, check_sweep, SWEEP, sweep_facts(node))
    refused(code, check_payout, PAYOUT, payout_facts(node))


@pytest.mark.parametrize("code", SWEEP_CASES)
def test_what_own_bitcoind_says_of_a_deposit_refuses_the_sweep(code):
    refused(code, check_sweep, SWEEP, sweep_facts(fact=replace(DEPOSIT, **SWEEP_CASES[code])))


@pytest.mark.parametrize("code", LOCK_CASES)
def test_what_the_own_rollup_view_says_of_a_lock_refuses_the_payout(code):
    refused(code, check_payout, PAYOUT, payout_facts(lock=replace(LOCK, **LOCK_CASES[code])))


def test_the_activation_record_s_fee_bounds_hold_whatever_the_operator_allows():
    node = replace(NODE, own_max_rate=10_000, params=replace(PARAMS, max_fee_rate=4))
    refused(Code.FEE_TOO_HIGH, check_sweep, SWEEP, sweep_facts(node))
    node = replace(NODE, own_min_rate=0, params=replace(PARAMS, min_fee_rate=5))
    refused(Code.FEE_TOO_LOW, check_sweep, SWEEP, sweep_facts(node))


def test_a_fee_may_not_eat_the_last_of_the_reserve():
    least = SWEEP.fee - SWEEP.shares + DUST_P2TR
    check_sweep(SWEEP, sweep_facts(replace(NODE, reserve=Sats(least))))
    no = refused(Code.RESERVE_EMPTY, check_sweep, SWEEP, sweep_facts(replace(NODE, reserve=Sats(least - 1))))
    assert no.retryable


def test_what_a_sweep_brings_back_after_a_reorg_pays_its_fee():
    node = replace(NODE, reserve=Sats(0), own_max_rate=200)
    at_rate_20 = replace(SWEEP, fee=Sats(20 * signed_vsize(build(SWEEP, KEYS).tx)))
    check_sweep(at_rate_20, sweep_facts(node, replace(DEPOSIT, owed=True)))
    refused(Code.RESERVE_EMPTY, check_sweep, at_rate_20, sweep_facts(node))


def test_a_manifest_that_builds_nothing_good_is_refused():
    dusty = payout_manifest(payout("bob", 1_100))
    refused(Code.UNBUILDABLE, check_payout, dusty, payout_facts(lock=replace(LOCK, amount=Sats(1_100))))


def test_a_deposit_the_own_node_does_not_know_is_refused_for_now():
    assert refused(Code.DEPOSIT_UNKNOWN, check_sweep, SWEEP, SweepFacts(NODE, {}, Sats(10**8))).retryable


def test_the_margin_before_the_reclaim_is_exact():
    # height 205, delay 40: reclaimable in block 245; margin 10 + k 3 blocks must be left, and one more
    check_sweep(SWEEP, sweep_facts(replace(NODE, tip_height=230)))
    refused(Code.DEPOSIT_TOO_LATE, check_sweep, SWEEP, sweep_facts(replace(NODE, tip_height=231)))


@pytest.mark.parametrize("tip", [231, 244, 300])
def test_what_backs_a_credit_is_swept_again_however_late_or_its_depositor_has_it_twice(tip):
    node = replace(NODE, tip_height=tip)
    check_sweep(SWEEP, sweep_facts(node, replace(DEPOSIT, owed=True)))
    refused(Code.DEPOSIT_TOO_LATE, check_sweep, SWEEP, sweep_facts(node))


def test_a_deposit_with_another_delay_is_refused():
    other = replace(ALICE, params=params_of("alice", 41))
    fact = replace(DEPOSIT, script=output(other.params, TREASURY).script_pubkey)
    refused(Code.DEPOSIT_DELAY, check_sweep, sweep_manifest(other), sweep_facts(fact=fact))


@pytest.mark.parametrize(
    ("value", "code"),
    [(9_999, Code.DEPOSIT_TOO_SMALL), (100_000_001, Code.DEPOSIT_TOO_LARGE)],
)
def test_a_deposit_out_of_bounds_is_refused(value, code):
    manifest = sweep_manifest(swept("alice", value))
    refused(code, check_sweep, manifest, sweep_facts(fact=replace(DEPOSIT, value=Sats(value))))


@pytest.mark.parametrize("share", [0, 999, 1_001])
def test_a_fee_share_is_the_activation_record_s_exactly(share):
    refused(Code.WRONG_FEE_SHARE, check_sweep, sweep_manifest(swept("alice", 50_000, share)), sweep_facts())
    refused(Code.WRONG_FEE_SHARE, check_payout, payout_manifest(payout("bob", 30_000, share)), payout_facts())


def test_a_sweep_may_not_promise_more_than_the_supply_cap():
    check_sweep(SWEEP, sweep_facts(room=49_000))
    assert refused(Code.SUPPLY_CAP, check_sweep, SWEEP, sweep_facts(room=48_999)).retryable


def test_a_payout_needs_a_lock_and_none_below_the_tip_that_pays_it():
    refused(Code.WITHDRAWAL_UNKNOWN, check_payout, PAYOUT, PayoutFacts(NODE, {}, frozenset()))
    refused(Code.WITHDRAWAL_PAID, check_payout, PAYOUT, payout_facts(paid=frozenset({BOB.withdrawal})))


def test_a_payout_below_the_minimum_or_to_the_treasury_itself_is_refused():
    small = payout_manifest(payout("bob", 4_999))
    refused(
        Code.WITHDRAWAL_TOO_SMALL, check_payout, small, payout_facts(lock=replace(LOCK, amount=Sats(4_999)))
    )
    own = treasury_script(TREASURY)
    circle = payout_manifest(replace(BOB, script=own))
    refused(Code.WITHDRAWAL_TO_US, check_payout, circle, payout_facts(lock=replace(LOCK, script=own)))


SWEEP_TX, PAYOUT_TX = build(SWEEP, KEYS).tx.txid, build(PAYOUT, KEYS).tx.txid
BLOCK = BlockHash(sha256(b"block"))
MINT = MintStatement(
    7, ACTIVATION.genesis_hash, 1, ALICE.outpoint, ALICE.params.recipient, Sats(49_000), Sats(1_000),
    SWEEP_TX, BLOCK, Height(208), SWEEP.hash,
)  # fmt: skip
SETTLE = SettleStatement(
    7, ACTIVATION.genesis_hash, 1, BOB.withdrawal, BOB.script, Sats(29_200), Sats(800),
    PAYOUT_TX, BLOCK, Height(208), PAYOUT.hash,
)  # fmt: skip
COMMON = {
    "unsynced": None,
    "paused": None,
    "rollup_id": 7,
    "genesis_hash": ACTIVATION.genesis_hash,
    "epoch": 1,
}
SWEPT = BatchFact(SWEEP_TX, 208, BLOCK, final=True, manifest=SWEEP)
PAID = BatchFact(PAYOUT_TX, 208, BLOCK, final=True, manifest=PAYOUT)
MINTABLE = MintFacts(**COMMON, batch=SWEPT, minted=False, room=Sats(49_000))
SETTLABLE = SettleFacts(**COMMON, batch=PAID, locked=True, settled=False)


def test_a_true_and_due_statement_is_certified():
    check_mint(MINT, MINTABLE)
    check_settle(SETTLE, SETTLABLE)


CERTIFICATE_CASES = [
    (Code.UNSYNCED, {"unsynced": "own bitcoind is behind"}),
    (Code.PAUSED, {"paused": "a reorg of 4 blocks"}),
    (Code.WRONG_ROLLUP, {"rollup_id": 8}),
    (Code.WRONG_ROLLUP, {"genesis_hash": bytes(32)}),
    (Code.WRONG_EPOCH, {"epoch": 2}),
    (Code.BATCH_UNKNOWN, {"batch": None}),
    (Code.BATCH_UNKNOWN, {"batch": {"txid": bytes(32)}}),
    (Code.WRONG_BLOCK, {"batch": {"height": 209}}),
    (Code.WRONG_BLOCK, {"batch": {"block_hash": bytes(32)}}),
    (Code.BATCH_NOT_FINAL, {"batch": {"final": False}}),
    (Code.MANIFEST_UNKNOWN, {"batch": {"manifest": None}}),
    (Code.WRONG_MANIFEST, {"batch": {"manifest": sweep_manifest(swept("eve"))}}),
]


@pytest.mark.parametrize(("code", "change"), CERTIFICATE_CASES, ids=str)
def test_what_own_chain_says_of_the_batch_refuses_mint_and_settlement(code, change):
    for check, statement, facts in ((check_mint, MINT, MINTABLE), (check_settle, SETTLE, SETTLABLE)):
        batch = change.get("batch", facts.batch)
        batch = replace(facts.batch, **batch) if isinstance(batch, dict) else batch
        refused(code, check, statement, replace(facts, **{**change, "batch": batch}))


def test_a_statement_of_an_epoch_that_this_node_has_yet_to_hear_of_is_refused_for_now_only():
    for check, statement, facts in ((check_mint, MINT, MINTABLE), (check_settle, SETTLE, SETTLABLE)):
        assert not refused(Code.WRONG_EPOCH, check, statement, replace(facts, epoch=2)).retryable
        assert refused(Code.WRONG_EPOCH, check, statement, replace(facts, epoch=0)).retryable


def test_a_mint_is_refused_twice_over_the_cap_and_for_another_kind_of_batch():
    assert not refused(Code.DEPOSIT_MINTED, check_mint, MINT, replace(MINTABLE, minted=True)).retryable
    refused(Code.SUPPLY_CAP, check_mint, MINT, replace(MINTABLE, room=Sats(48_999)))
    crossed = replace(MINT, manifest_hash=PAYOUT.hash)
    facts = replace(MINTABLE, batch=replace(SWEPT, manifest=PAYOUT))
    refused(Code.WRONG_MANIFEST, check_mint, crossed, facts)


def test_a_settlement_is_refused_twice_without_lock_and_for_another_kind_of_batch():
    refused(Code.WITHDRAWAL_SETTLED, check_settle, SETTLE, replace(SETTLABLE, settled=True))
    refused(Code.WITHDRAWAL_UNKNOWN, check_settle, SETTLE, replace(SETTLABLE, locked=False))
    crossed = replace(SETTLE, manifest_hash=SWEEP.hash)
    refused(
        Code.WRONG_MANIFEST, check_settle, crossed, replace(SETTLABLE, batch=replace(PAID, manifest=SWEEP))
    )


@pytest.mark.parametrize(
    "change",
    [{"recipient": bytes(32)}, {"amount": Sats(49_001)}, {"amount": Sats(48_999)}, {"fee": Sats(0)}],
    ids=str,
)
def test_a_mint_says_exactly_what_the_manifest_says(change):
    refused(Code.WRONG_CONTENT, check_mint, replace(MINT, **change), MINTABLE)


@pytest.mark.parametrize("change", [{"script": b"\x51"}, {"paid": Sats(30_000)}, {"fee": Sats(0)}], ids=str)
def test_a_settlement_says_exactly_what_the_manifest_says(change):
    refused(Code.WRONG_CONTENT, check_settle, replace(SETTLE, **change), SETTLABLE)


def test_an_item_that_is_not_in_the_batch_is_not_certified():
    refused(Code.NOT_IN_BATCH, check_mint, replace(MINT, outpoint=coin("eve")), MINTABLE)
    refused(Code.NOT_IN_BATCH, check_settle, replace(SETTLE, withdrawal=bytes(32)), SETTLABLE)


def test_a_statement_survives_as_payload_and_its_kind_is_said():
    assert certificates.decode(certificates.encode(MINT)) == MINT
    assert certificates.decode(certificates.encode(SETTLE)) == SETTLE
    assert certificates.encode(MINT)[0] != certificates.encode(SETTLE)[0]


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\x01",
        b"\x03" + MINT.encode(),
        b"\x02" + MINT.encode(),
        certificates.encode(MINT) + b"\0",
        certificates.encode(MINT)[:-1],
        b"\x01" + bytes(2_000),
    ],
    ids=lambda p: f"{len(p)} bytes",
)
def test_a_payload_that_is_no_statement_is_refused(payload):
    with pytest.raises(certificates.CertificateFault):
        certificates.decode(payload)


def test_a_statement_for_another_txid_is_not_certified():
    refused(Code.BATCH_UNKNOWN, check_mint, replace(MINT, txid=Txid(bytes(32))), MINTABLE)
