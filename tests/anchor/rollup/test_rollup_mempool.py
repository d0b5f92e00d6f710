"""The mempool: bounded, in order, and rid of what no longer applies."""

from dataclasses import replace

import pytest

from anchor.rollup.mempool import Mempool
from anchor.rollup.refusals import TxRefused
from tests.anchor.rollup.rollup_world import ALICE, BOB, GEN, World, nothing


def code_of(pool: Mempool, raw: bytes) -> str:
    with pytest.raises(TxRefused) as caught:
        pool.add(raw)
    return caught.value.code


def test_transactions_of_one_sender_wait_in_the_order_of_their_nonces() -> None:
    w = World().funded()
    pool = Mempool(GEN, w.state)
    txs = [w.transfer(ALICE, BOB, 5, nonce=n) for n in range(3)]
    assert code_of(pool, txs[1].encode()) == "nonce_gap"
    for tx in txs:
        pool.add(tx.encode())
    assert pool.waiting() == [tx.encode() for tx in txs]
    assert pool.pending.account(ALICE.x).nonce == 3


def test_the_same_transaction_is_taken_once() -> None:
    w = World().funded()
    pool = Mempool(GEN, w.state)
    raw = w.transfer(ALICE, BOB, 5).encode()
    assert pool.add(raw) == pool.add(raw)
    assert len(pool) == 1


def test_it_is_bounded_by_number_and_by_bytes() -> None:
    w = World().funded()
    first, second = (w.transfer(ALICE, BOB, 5, nonce=n).encode() for n in range(2))
    full = Mempool(GEN, w.state, max_txs=1)
    full.add(first)
    assert code_of(full, second) == "mempool_full"
    narrow = Mempool(GEN, w.state, max_bytes=len(first) + 1)
    narrow.add(first)
    assert code_of(narrow, second) == "mempool_full"
    w.block(w.transfer(ALICE, BOB, 5))
    narrow.rebase(w.state, [w.transfer(ALICE, BOB, 5, nonce=0).txid(GEN.hash)])
    narrow.add(second)


def test_coins_cannot_be_spent_twice_while_they_wait() -> None:
    w = World().funded()
    pool = Mempool(GEN, w.state)
    pool.add(w.transfer(ALICE, BOB, 800_000).encode())
    assert code_of(pool, w.transfer(ALICE, BOB, 300_000, nonce=1).encode()) == "insufficient_funds"
    pool.add(w.transfer(BOB, ALICE, 800_000).encode())


def test_after_a_block_what_no_longer_applies_is_dropped_with_its_reason() -> None:
    w = World().funded()
    pool = Mempool(GEN, w.state)
    rival = w.transfer(ALICE, BOB, 6)
    txid = pool.add(w.transfer(ALICE, BOB, 5).encode())
    after = pool.add(w.transfer(ALICE, BOB, 7, nonce=1).encode())
    w.block(rival)
    pool.rebase(w.state, [])
    assert after in pool
    assert txid not in pool
    assert pool.dropped[txid].code == "nonce_used"


@pytest.mark.parametrize("raw", [b"", b"\xff", b"\x01" * 50, bytes(200_000)])
def test_garbage_is_refused(raw: bytes) -> None:
    assert code_of(Mempool(GEN, World().state), raw) == "malformed"


def test_a_forged_transaction_is_refused() -> None:
    w = World().funded()
    forged = replace(w.transfer(ALICE, BOB, 5), recipient=ALICE.x)
    assert code_of(Mempool(GEN, w.state), forged.encode()) == "bad_signature"


def test_after_a_succession_what_the_old_key_certified_waits_no_longer() -> None:
    w = World().funded()
    pool = Mempool(GEN, w.state)
    old, other = w.mint(ALICE, 20_000, "old"), w.succeed(committee_hash=nothing("another"))
    pool.add(old.encode())
    pool.add(other.encode())
    assert code_of(pool, w.succeed().encode()) == "wrong_epoch", "what waits has begun the epoch already"
    tx = w.succeed()
    w.block(tx)
    pool.rebase(w.state, [tx.txid(GEN.hash)])
    dropped = {txid: refusal.code for txid, refusal in pool.dropped.items()}
    assert dropped == {old.txid(GEN.hash): "wrong_epoch", other.txid(GEN.hash): "wrong_epoch"}
    pool.add(w.mint(ALICE, 20_000, "old").encode())
