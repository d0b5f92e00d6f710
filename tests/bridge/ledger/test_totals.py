"""The totals: equal on every node, from public facts, and a deficit is said exactly."""

from dataclasses import replace

import pytest

from anchor.btc.amounts import Sats
from anchor.btc.ids import BlockHash
from bridge.ledger.totals import (
    RollupFacts,
    TotalsFault,
    TreasuryFacts,
    totals,
    treasury_facts,
)
from bridge.treasury.builder import build
from bridge.treasury.reader import BatchAt, TreasuryReader
from tests.bridge.keys import (
    ACTIVATION,
    KEYS,
    SECOND,
    coin,
    payout,
    payout_manifest,
    sha256,
    sweep_manifest,
    swept,
)

SWEEP = sweep_manifest(swept("alice"), swept("bob"))
PAYOUT = replace(
    payout_manifest(payout("carol")),
    sequence=2,
    tip=build(SWEEP, KEYS).tx.outpoint(0),
    tip_value=Sats(SWEEP.treasury_value),
    previous=SWEEP.hash,
)
CAROL = PAYOUT.payouts[0].withdrawal
BATCHES = tuple(
    BatchAt(
        m.sequence, build(m, KEYS).tx.txid, m.hash, height, Sats(m.treasury_value), (), BlockHash(bytes(32))
    )
    for m, height in ((SWEEP, 201), (PAYOUT, 204))
)
STATE = replace(TreasuryReader.of(ACTIVATION).start(), batches=BATCHES, sequence=2)
BOTH = {m.hash: m.encode() for m in (SWEEP, PAYOUT)}
EMPTY = RollupFacts(1, 210, Sats(0), Sats(0), {}, {}, {})
MINTED = {d.outpoint: d.minted for d in SWEEP.deposits}
OPEN = RollupFacts(9, 210, Sats(68_000), Sats(30_000), MINTED, {CAROL: Sats(30_000)}, {})
CLOSED = replace(OPEN, escrow=Sats(0), locked={}, settled={CAROL: Sats(30_000)})


def at(height, carried=BOTH):
    return treasury_facts(STATE, height, carried, KEYS, anchors=3)


def test_before_anything_the_genesis_coin_is_the_fee_reserve():
    numbers = totals(EMPTY, at(200, {}))
    assert (numbers.treasury, numbers.fee_reserve, numbers.deficit) == (1_000_000, 1_000_000, 0)
    assert numbers.holds
    assert list(numbers.to_dict())[:2] == ["rollup_height", "bitcoin_height"]


def test_after_settlement_supply_and_reserve_are_the_treasury():
    numbers = totals(CLOSED, at(204))
    assert (numbers.deposits, numbers.deposited) == (2, 98_000)
    assert (numbers.withdrawals, numbers.withdrawn) == (1, 30_000)
    assert (numbers.supply, numbers.escrow, numbers.unpaid, numbers.pending) == (68_000, 0, 0, 0)
    assert numbers.supply + numbers.fee_reserve == numbers.treasury == PAYOUT.treasury_value
    assert numbers.fee_reserve == 1_000_000 + 2_000 - 1_000 + 800 - 1_000
    assert (numbers.anchors, numbers.rollup_height, numbers.bitcoin_height) == (3, 9, 210)


def test_a_payout_that_is_final_but_not_settled_is_counted_once():
    known, unknown = totals(OPEN, at(204)), totals(OPEN, at(204, {SWEEP.hash: SWEEP.encode()}))
    assert (known.unpaid, unknown.unpaid) == (0, 30_000)
    assert known.deficit == unknown.deficit == 0
    assert known.fee_reserve == totals(CLOSED, at(204)).fee_reserve
    assert unknown.fee_reserve == known.fee_reserve + 1_000 - 800  # its fees are not explained yet


def test_a_sweep_minted_in_part_leaves_the_rest_pending():
    (first, amount), *_ = MINTED.items()
    partly = RollupFacts(5, 210, amount, Sats(0), {first: amount}, {}, {})
    numbers = totals(partly, at(201))
    assert numbers.pending == 49_000
    assert numbers.fee_reserve == 1_000_000 + 2_000 - 1_000


def test_a_sweep_no_certificate_has_told_yet_changes_nothing():
    numbers = totals(EMPTY, at(201, {}))
    assert (numbers.treasury, numbers.fee_reserve, numbers.pending) == (1_099_000, 1_000_000, 0)


def test_a_move_explains_itself_and_its_fee_is_the_reserve_s():
    state = replace(STATE, tip=build(PAYOUT, KEYS).tx.outpoint(0), tip_value=Sats(PAYOUT.treasury_value))
    move = state.move_to(SECOND, Sats(700))
    txid, block = build(move, KEYS.then(SECOND.treasury_key)).tx.txid, BlockHash(bytes(32))
    moved = BatchAt(3, txid, move.hash, 206, Sats(move.treasury_value), (), block, move)
    before = totals(CLOSED, at(204))
    after = totals(
        CLOSED, treasury_facts(replace(state, batches=(*BATCHES, moved)), 206, BOTH, KEYS, anchors=3)
    )
    assert after.treasury == before.treasury - 700
    assert after == replace(before, treasury=after.treasury, fee_reserve=before.fee_reserve - 700)


def test_what_is_not_on_the_chain_any_more_is_the_deficit_exactly():
    bare = TreasuryFacts(Sats(50_000), (), 0, 0)
    numbers = totals(OPEN, bare)
    assert (numbers.deficit, numbers.fee_reserve, numbers.holds) == (68_000 + 30_000 - 50_000, 0, False)


def test_a_manifest_that_is_not_the_batch_s_is_refused():
    with pytest.raises(TotalsFault, match="batch 2"):
        at(204, {**BOTH, PAYOUT.hash: SWEEP.encode()})


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"escrow": Sats(29_999)}, "open locks"),
        ({"supply": Sats(68_001)}, "minted"),
        ({"settled": {CAROL: Sats(30_000)}}, "both"),
        ({"minted": {coin("x"): Sats(5)}}, "minted"),
        ({"locked": {CAROL: Sats(1), sha256(b"x"): Sats(1)}}, "open locks"),
    ],
)
def test_a_rollup_that_does_not_add_up_is_refused(change, why):
    with pytest.raises(TotalsFault, match=why):
        totals(replace(OPEN, **change), at(204))
