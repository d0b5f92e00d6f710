"""What transactions may do: coins come only from mints, and every refusal leaves the state as it was."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from anchor.rollup.execute import is_payable
from anchor.rollup.refusals import TxRefused
from anchor.rollup.transitions import apply_tx
from anchor.rollup.tx import Activate, Mint, RollupTx, Transfer
from tests.anchor.rollup.rollup_world import (
    ALICE,
    BOB,
    GEN,
    HOSTS,
    MALLORY,
    MANIFEST,
    MINT,
    P2TR,
    PARAMS,
    K,
    World,
    a_genesis,
    an_activation,
    conserved,
    nothing,
    signed,
)


def refused(w: World, tx: RollupTx | bytes) -> TxRefused:
    before = w.state.root()
    with pytest.raises(TxRefused) as caught:
        apply_tx(w.state, tx, w.genesis)
    assert w.state.root() == before, "a refusal changes nothing"
    return caught.value


def test_a_transfer_moves_coins_and_counts_the_nonce() -> None:
    w = World().funded()
    w.block(w.transfer(ALICE, BOB, 400_000))
    assert (w.state.account(ALICE.x).balance, w.state.account(ALICE.x).nonce) == (600_000, 1)
    assert (w.state.account(BOB.x).balance, w.state.account(BOB.x).nonce) == (400_000, 0)


def test_a_transfer_to_oneself_makes_no_coins() -> None:
    w = World().funded()
    w.block(w.transfer(ALICE, ALICE, 1_000_000))
    assert w.state.account(ALICE.x).balance == 1_000_000
    assert conserved(w.state, 1_000_000, 0)


def _to_nobody(w: World) -> Transfer:
    tx = replace(w.transfer(ALICE, BOB, 5), recipient=bytes(32))
    return tx.signed(ALICE.sign(tx.txid(GEN.hash)))


@pytest.mark.parametrize(
    ("code", "tx"),
    [
        ("bad_signature", lambda w: w.transfer(ALICE, BOB, 5).signed(bytes(64))),
        ("bad_signature", lambda w: replace(w.transfer(ALICE, BOB, 5), amount=6)),
        ("bad_signature", lambda w: replace(w.transfer(MALLORY, BOB, 5), sender=ALICE.x)),
        ("nonce_gap", lambda w: w.transfer(ALICE, BOB, 5, nonce=1)),
        ("insufficient_funds", lambda w: w.transfer(ALICE, BOB, 1_000_001)),
        ("insufficient_funds", lambda w: w.transfer(BOB, ALICE, 1)),
        ("bad_amount", lambda w: w.transfer(ALICE, BOB, 0)),
        ("bad_amount", lambda w: w.transfer(ALICE, BOB, (1 << 64) - 1)),
        ("bad_recipient", _to_nobody),
        ("malformed", lambda w: b"\x01garbage"),
        ("malformed", lambda w: b""),
    ],
)
def test_a_bad_transfer_is_refused(code: str, tx: Callable[[World], RollupTx]) -> None:
    w = World().funded()
    assert refused(w, tx(w)).code == code


def test_a_transfer_signed_for_another_rollup_is_refused() -> None:
    w, other = World().funded(), World(a_genesis(rollup_id=8)).funded()
    assert refused(w, other.transfer(ALICE, BOB, 5)).code == "bad_signature"


def test_a_transaction_applies_once_only() -> None:
    w = World().funded()
    tx = w.transfer(ALICE, BOB, 5)
    w.block(tx)
    assert refused(w, tx).code == "nonce_used"


# Activation


def test_activation_happens_once_and_by_all_operators_of_this_rollup() -> None:
    w = World()
    assert refused(w, Activate(signed(an_activation(), HOSTS[:2]))).code == "not_signed"
    assert refused(w, Activate(signed(an_activation(), (*HOSTS[:2], MALLORY)))).code == "not_signed"
    assert refused(w, Activate(signed(an_activation(genesis_hash=nothing("x"))))).code == "wrong_rollup"
    assert refused(w, Activate(signed(an_activation(rollup_id=8)))).code == "wrong_rollup"
    assert refused(w, Activate(signed(an_activation(committee_hash=nothing("x"))))).code == "wrong_committee"
    assert refused(w, Activate(signed(an_activation(network="signet")))).code == "wrong_committee"
    assert refused(w, Activate(signed(an_activation(params=replace(PARAMS, k=2))))).code == "wrong_parameters"
    w.activate()
    assert refused(w, Activate(signed(an_activation(epoch=2)))).code == "already_active"


# Mint


def test_a_mint_credits_exactly_once() -> None:
    w = World().funded()
    assert refused(w, w.mint(ALICE, 1_000_000)).code == "already_minted"
    assert refused(w, w.mint(BOB, 500_000)).code == "already_minted"
    w.block(w.mint(ALICE, 30_000, "another deposit"))
    assert w.state.account(ALICE.x).balance == 1_030_000
    assert len(w.state.minted) == 2


def test_two_mints_of_one_deposit_in_one_block_credit_once() -> None:
    w = World().activate()
    w.mine(4)
    w.block()
    first, second = w.mint(ALICE, 20_000), w.mint(ALICE, 20_000)
    w.block(first, second)
    assert [r.code for _, r in w.rejected] == ["already_minted"]
    assert w.state.supply == 20_000


def mintable() -> World:
    w = World().activate()
    w.mine(4)
    w.block()
    return w


@pytest.mark.parametrize(
    ("code", "tx"),
    [
        ("wrong_rollup", lambda w: w.mint(ALICE, 20_000, genesis_hash=nothing("x"))),
        ("wrong_rollup", lambda w: w.mint(ALICE, 20_000, rollup_id=8)),
        ("wrong_epoch", lambda w: w.mint(ALICE, 20_000, epoch=2)),
        ("wrong_fee", lambda w: w.mint(ALICE, 20_000, fee=999)),
        ("wrong_fee", lambda w: w.mint(ALICE, 0)),
        ("out_of_bounds", lambda w: w.mint(ALICE, 8_999)),
        ("out_of_bounds", lambda w: w.mint(ALICE, 9_999_001)),
        ("wrong_manifest", lambda w: replace(w.mint(ALICE, 20_000), manifest=b"another")),
        ("wrong_manifest", lambda w: w.mint(ALICE, 20_000, manifest_hash=nothing("x"))),
        ("manifest_missing", lambda w: replace(w.mint(ALICE, 20_000), manifest=b"")),
        ("not_final", lambda w: w.mint(ALICE, 20_000, block_hash=nothing("x"))),
        ("wrong_height", lambda w: w.mint(ALICE, 20_000, height=1)),
        ("bad_certificate", lambda w: replace(w.mint(ALICE, 20_000), signature=bytes(64))),
        ("bad_certificate", lambda w: _signed_by(w.mint(ALICE, 20_000), MALLORY)),
        ("bad_certificate", lambda w: _stolen(w.mint(ALICE, 20_000))),
    ],
)
def test_a_mint_that_is_not_certified_for_this_rollup_is_refused(
    code: str, tx: Callable[[World], RollupTx]
) -> None:
    w = mintable()
    assert refused(w, tx(w)).code == code


def _signed_by(mint: Mint, key: object) -> Mint:
    return replace(mint, signature=key.sign(mint.statement.message))


def _stolen(mint: Mint) -> Mint:
    return replace(mint, statement=replace(mint.statement, recipient=MALLORY.x))


def test_a_mint_needs_an_active_bridge() -> None:
    w = World()
    w.mine(4)
    w.block()
    answer = refused(w, w.mint(ALICE, 20_000))
    assert (answer.code, answer.retryable) == ("not_active", True)


def test_a_mint_waits_until_its_block_is_k_deep_in_the_rollups_own_view() -> None:
    w = World().activate()
    w.mine(K)
    early = w.mint(ALICE, 20_000, block_hash=w.bitcoin[2].hash, height=2)
    w.block(early)  # block 2 has two confirmations
    assert [(r.code, r.retryable) for _, r in w.rejected] == [("not_final", True)]
    w.mine(1)
    w.block(early)
    assert w.state.supply == 20_000


def test_a_headers_bundle_counts_before_the_transactions_of_its_block() -> None:
    w = World().activate()
    w.mine(4)
    assert w.state.view.tip.height == 0
    w.block(w.mint(ALICE, 20_000))
    assert w.state.supply == 20_000


def test_a_manifest_is_sent_once() -> None:
    w = mintable()
    w.block(w.mint(ALICE, 20_000, "a"))
    w.block(replace(w.mint(ALICE, 20_000, "b"), manifest=b""))
    assert w.state.supply == 40_000
    assert list(w.state.manifests.values()) == [MANIFEST]


def test_the_supply_cap_holds() -> None:
    w = mintable()
    w.block(w.mint(ALICE, 9_999_000, "a"), w.mint(BOB, 9_999_000, "b"))
    w.block(w.lock(BOB, 9_999_000))
    answer = refused(w, w.mint(ALICE, 9_000, "c"))
    assert (answer.code, answer.retryable) == ("supply_cap", True)


# Lock and settle


def test_a_lock_moves_coins_into_escrow_and_a_settle_burns_them() -> None:
    w = World().funded()
    lock = w.lock(ALICE, 300_000)
    w.block(lock)
    assert (w.state.supply, w.state.escrow) == (700_000, 300_000)
    withdrawal = w.state.withdrawals[lock.txid(GEN.hash)]
    assert (withdrawal.state, withdrawal.txid, withdrawal.height) == ("locked", None, w.state.height)
    settle = w.settle(lock)
    w.block(settle)
    assert (w.state.supply, w.state.escrow) == (700_000, 0)
    withdrawal = w.state.withdrawals[lock.txid(GEN.hash)]
    assert (withdrawal.state, withdrawal.txid) == ("settled", settle.statement.txid)
    assert refused(w, settle).code == "already_settled"
    assert conserved(w.state, 1_000_000, 300_000)


@pytest.mark.parametrize(
    ("code", "change"),
    [
        ("below_minimum", {"amount": 9_999}),
        ("fee_too_low", {"max_fee": 1_499}),
        ("bad_script", {"script": b"\x6a\x04data"}),
        ("bad_script", {"script": b""}),
        ("expired", {"expiry": 4}),
        ("insufficient_funds", {"amount": 1_000_001}),
        ("nonce_gap", {"nonce": 7}),
    ],
)
def test_a_lock_that_could_not_be_paid_is_refused(code: str, change: dict[str, object]) -> None:
    w = World().funded()
    assert refused(w, w.lock(ALICE, **{"amount": 50_000, **change})).code == code


def test_a_lock_before_activation_is_refused() -> None:
    w = World()
    assert refused(w, w.lock(ALICE, 50_000)).code == "not_active"


def test_a_lock_whose_rest_would_be_dust_is_refused() -> None:
    params = replace(PARAMS, min_withdrawal=1_501)
    w = World()
    w.block(Activate(signed(an_activation(params=params))))
    w.mine(4)
    w.block(w.mint(ALICE, 50_000))
    assert refused(w, w.lock(ALICE, 1_501)).code == "below_minimum"


@pytest.mark.parametrize(
    ("code", "change"),
    [
        ("unknown_withdrawal", {"withdrawal": nothing("x")}),
        ("wrong_payment", {"script": P2TR[:-1] + b"\x00"}),
        ("wrong_payment", {"paid": 48_499}),
        ("wrong_payment", {"paid": 47_000, "fee": 3_000}),
        ("wrong_epoch", {"epoch": 2}),
        ("wrong_rollup", {"rollup_id": 9}),
        ("wrong_manifest", {"manifest_hash": nothing("x")}),
        ("not_final", {"block_hash": nothing("x")}),
        ("wrong_height", {"height": 1}),
    ],
)
def test_a_settle_that_does_not_fit_its_lock_is_refused(code: str, change: dict[str, object]) -> None:
    w = World().funded()
    lock = w.lock(ALICE, 50_000)
    w.block(lock)
    assert refused(w, w.settle(lock, **change)).code == code


def test_a_settle_signed_by_another_key_is_refused() -> None:
    w = World().funded()
    lock = w.lock(ALICE, 50_000)
    w.block(lock)
    settle = w.settle(lock)
    forged = replace(settle, signature=MALLORY.sign(settle.statement.message))
    assert refused(w, forged).code == "bad_certificate"
    assert MINT.sign(settle.statement.message) == settle.signature


def test_only_standard_scripts_are_payable() -> None:
    twenty, thirty_two = bytes(20), bytes(32)
    good = [
        b"\x76\xa9\x14" + twenty + b"\x88\xac",
        b"\xa9\x14" + twenty + b"\x87",
        b"\x00\x14" + twenty,
        b"\x00\x20" + thirty_two,
        b"\x51\x20" + thirty_two,
    ]
    assert all(is_payable(script) for script in good)
    bad = [b"", b"\x51", b"\x51\x02\x4e\x73", b"\x52\x20" + thirty_two, b"\x00\x14" + thirty_two]
    assert not any(
        is_payable(script) for script in [*bad, *(s[:-1] for s in good), *(s + b"\x00" for s in good)]
    )
