"""The bridge's stories, told once each on the toy chain, and one spend of each kind on Core's own chain."""

from dataclasses import replace

from anchor.btc.amounts import Sats
from anchor.btc.curve import schnorr_sign
from anchor.btc.hashing import sha256
from anchor.btc.tx import Tx, TxIn, TxOut
from bridge.deposit import reclaim
from bridge.deposit import states as dst
from bridge.deposit.address import output, treasury_script
from bridge.treasury.builder import assemble, build
from bridge.treasury.planner import Payable
from bridge.treasury.reader import BatchFound, TreasuryReader
from bridge.withdrawal import states as wst
from tests.anchor.inscription.core import CoreChain
from tests.bridge.keys import (
    ACTIVATION,
    AUX,
    EVEN,
    KEYS,
    TREASURY,
    K,
    params_of,
    payee,
    payout,
    payout_manifest,
    secret_of,
    sweep_manifest,
    swept,
)
from tests.bridge.toy_chain import payment
from tests.bridge.toy_stage import audit, issue, new_world

OWN = treasury_script(TREASURY)


class Story:
    """A world with Alice's address, and the verbs of the story."""

    def __init__(self):
        self.chain, self.rollup, self.node = new_world()
        self.script = issue(self.node, params_of("alice"))
        self.mine(1)

    def mine(self, count, **how):
        for _ in range(count):
            self.node.connect(self.chain.mine(**how))
        for _ in range(3):  # sign, post, see it applied
            self.node.perform()
            self.node.reconcile()

    def deposit(self, value):
        tx = payment(self.chain.outside_coin(value), TxOut(Sats(value), self.script))
        self.chain.send(tx)
        self.node.reconcile()
        return tx.outpoint(0)

    def batch(self, rate=2):
        tx = self.node.sign(self.node.plan(rate))
        self.node.sent(tx)
        self.chain.send(tx)
        return tx

    def undo(self, depth):
        for _ in range(depth):
            self.node.disconnect(self.chain.undo())

    def name(self, outpoint):
        return dst.name(dst.decode(self.node.deposit_rows[outpoint]))

    @property
    def totals(self):
        return audit(self.chain, self.rollup)


def test_a_deposit_is_credited_k_plus_one_blocks_after_its_own_and_paid_out_again():
    story = Story()
    coin = story.deposit(200_000)
    assert story.name(coin) == "SEEN"
    story.mine(1)
    assert story.name(coin) == "CONFIRMED"
    story.batch()
    assert story.name(coin) == "SWEEPING"
    for expected in ("SWEPT", *["SWEPT"] * (K - 2), "CREDITED"):
        story.mine(1)
        assert story.name(coin) == expected
    assert story.rollup.supply == 199_000
    identity = sha256(b"out")
    story.rollup.lock(Payable(identity, payee("bob"), Sats(150_000), Sats(800), 10_000))
    story.node.reconcile()
    tx = story.batch()
    assert tx.outputs[2] == TxOut(Sats(149_200), payee("bob"))
    story.mine(K)
    assert isinstance(wst.decode(story.node.withdrawal_rows[identity]), wst.Settled)
    numbers = story.totals
    assert (numbers.supply, numbers.escrow, numbers.deficit) == (49_000, 0, 0)
    assert numbers.supply + numbers.fee_reserve == numbers.treasury


def test_a_shallow_reorg_takes_the_sweep_back_and_mints_once():
    story = Story()
    coin = story.deposit(200_000)
    story.mine(1)
    tx = story.batch()
    story.mine(1)
    story.undo(2)
    assert story.name(coin) == "SEEN"
    story.mine(1, leave_out=frozenset({tx.txid}))
    assert story.name(coin) == "CONFIRMED"
    story.node.resend()
    story.mine(K)
    assert story.name(coin) == "CREDITED"
    assert list(story.rollup.minted) == [coin]
    assert not story.node.alarms


def test_a_deep_reorg_with_a_double_spend_is_a_deficit_of_exactly_what_was_minted_and_the_reserve_pays_first():
    story = Story()
    coin = story.deposit(3_000_000)
    source = story.chain.mempool[coin.txid].inputs[0].outpoint
    story.mine(1)
    story.batch()
    story.mine(K)
    assert story.name(coin) == "CREDITED"
    story.undo(K + 1)
    story.rollup.paused = "a reorg of 4 blocks"
    story.chain.send(payment(source, TxOut(Sats(2_999_000), payee("thief"))))
    story.mine(K + 2)
    assert story.name(coin) == "DEFICIT"
    assert "2999000 sat" in story.node.alarms[0]
    numbers = story.totals
    assert (numbers.supply, numbers.treasury) == (2_999_000, 1_000_000)
    assert (numbers.deficit, numbers.fee_reserve) == (1_999_000, 0)


def test_a_deep_reorg_that_only_delays_the_sweep_heals():
    story = Story()
    coin = story.deposit(3_000_000)
    story.mine(1)
    tx = story.batch()
    story.mine(K)
    story.undo(K)
    story.mine(K, leave_out=frozenset({tx.txid}))
    assert story.name(coin) == "DEFICIT"
    assert story.totals.deficit == 2_999_000 - 1_000_000
    story.node.resend()
    story.mine(K)
    assert story.name(coin) == "CREDITED"
    assert story.totals.holds
    assert len(story.node.alarms) == 2


def robbed(story):
    """Two deposits, credited and in part paid out; then a deep reorg in which one of them was double-spent."""
    honest, false = story.deposit(3_000_000), story.deposit(200_000)
    source = story.chain.mempool[false.txid].inputs[0].outpoint
    story.mine(1)
    story.batch()
    story.mine(K)
    identity = sha256(b"out")
    story.rollup.lock(Payable(identity, payee("bob"), Sats(150_000), Sats(800), 10_000))
    story.node.reconcile()
    story.batch()
    story.mine(K)
    assert set(story.rollup.settled) == {identity}
    story.undo(2 * K + 1)
    story.chain.send(payment(source, TxOut(Sats(199_000), payee("thief"))))
    story.rollup.paused = "a deep reorg"
    story.mine(2 * K + 2)
    story.rollup.reorged()
    story.mine(1)
    return honest, false, identity


def test_after_a_deep_reorg_what_is_left_is_swept_and_paid_again_and_nothing_is_credited_twice():
    story = Story()
    honest, false, identity = robbed(story)
    assert (story.name(honest), story.name(false)) == ("DEFICIT", "DEFICIT")
    assert (story.rollup.settled, story.rollup.escrow) == ({}, 150_000)
    assert isinstance(wst.decode(story.node.withdrawal_rows[identity]), wst.Locked)
    story.rollup.paused = None  # the operators' decision
    sweep = story.batch()
    assert honest in {i.outpoint for i in sweep.inputs}, "not left for its depositor to take back"
    story.mine(K)
    assert (story.name(honest), story.name(false)) == ("CREDITED", "DEFICIT")
    payout = story.batch()
    assert payout.outputs[2] == TxOut(Sats(149_200), payee("bob"))
    story.mine(K)
    assert story.rollup.settled[identity].txid == payout.txid
    assert {m.amount for m in story.rollup.minted.values()} == {2_999_000, 199_000}
    assert story.totals.holds, "the reserve bears what was double-spent"


def test_a_payout_lost_in_a_reorg_is_paid_once_by_another_version():
    story = Story()
    story.deposit(500_000)
    story.mine(1)
    story.batch()
    story.mine(K)
    identity = sha256(b"out")
    story.rollup.lock(Payable(identity, payee("bob"), Sats(400_000), Sats(800), 10_000))
    story.node.reconcile()
    first = story.node.plan(1)
    second = replace(first, fee=Sats(first.fee * 3))
    old, new = story.node.sign(first), story.node.sign(second)
    story.chain.send(old)
    story.mine(1)
    story.undo(1)
    story.chain.send(new)
    story.mine(K + 1)
    assert story.rollup.settled[identity].txid == new.txid
    assert not story.chain.send(old)
    assert story.totals.holds


def test_core_s_own_chain_takes_a_sweep_then_a_payout_and_a_reclaim_only_after_the_delay(tmp_path):
    """CSV is consensus here: one block early is refused, on time is taken; the reader finds both batches."""
    chain = CoreChain(tmp_path)
    start = chain.coins(b"\x51", 10_000)
    alice, bob = params_of("alice"), params_of("bob")
    outputs = [TxOut(Sats(1_000_000), OWN)]
    outputs += [TxOut(Sats(50_000), output(p, TREASURY).script_pubkey) for p in (alice, bob)]
    funding = Tx(2, (TxIn(start, 0xFFFFFFFE),), tuple(outputs))
    funding_height = len(chain.headers)
    chain.mine((funding,))
    reader = TreasuryReader.of(replace(ACTIVATION, treasury=funding.outpoint(0)))
    item = replace(swept("alice"), outpoint=funding.outpoint(1))
    sweep = sweep_manifest(item, tip=funding.outpoint(0))
    first = build(sweep, KEYS)
    state, (found,) = reader.apply_block(
        reader.start(), chain.mine((assemble(first, EVEN.sign(first)),)), 2, ()
    )
    assert isinstance(found, BatchFound)
    head = {"tip": state.tip, "tip_value": state.tip_value, "sequence": 2, "previous": sweep.hash}
    second = build(payout_manifest(payout("carol"), **head), KEYS)
    state, (found,) = reader.apply_block(state, chain.mine((assemble(second, EVEN.sign(second)),)), 3, ())
    assert (found.sequence, state.halted) == (2, None)

    plan = reclaim.build(bob, TREASURY, funding.outpoint(2), Sats(50_000), payee("bob"), Sats(200))
    spend = reclaim.assemble(plan, schnorr_sign(secret_of("bob bitcoin"), plan.message, AUX))
    while chain.height + 1 < funding_height + bob.delay:
        assert not core_takes(chain, spend), (
            f"reclaimed {funding_height + bob.delay - chain.height - 1} blocks early"
        )
        chain.mine()
    assert core_takes(chain, spend)


def core_takes(chain, tx):
    """Offer the next block with `tx` to Core; forget it again when refused."""
    try:
        chain.mine((tx,))
    except Exception:  # the kernel says no in more than one way
        return False
    return True
