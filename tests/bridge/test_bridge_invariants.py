"""Whatever happens in whatever order, no coin is made, paid twice or lost: a stateful property test.

Rules: deposit, replace, reclaim, donate, lock, plan and sign, sign another version, mine, reorg, crash, duplicate.
The invariants are numbered as in the design's list: 1 solvency, 2 credited once, 3 paid once, 4 settled only if
paid, 5 no mint without a final sweep, 7 versions conflict, 10 batches are sound, 11 strangers change nothing.
"""

import copy

from hypothesis import HealthCheck, settings
from hypothesis import strategies as some
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from anchor.btc.amounts import Sats
from anchor.btc.hashing import sha256
from anchor.btc.tx import TxIn, TxOut
from bridge.deposit import states as dst
from bridge.deposit.address import treasury_script
from bridge.ledger.replay import replay
from bridge.treasury.builder import build, signed_vsize
from bridge.treasury.checks import Refusal
from bridge.treasury.manifest import PayoutManifest, SweepManifest
from bridge.treasury.planner import Payable
from bridge.withdrawal import states as wst
from tests.bridge.keys import PARAMS, K, params_of, payee, treasury_of
from tests.bridge.toy_chain import START, payment
from tests.bridge.toy_stage import another_version, audit, issue, new_world

USERS = ("alice", "bob", "carol")
GOOD = some.sampled_from([60_000, 250_000, 2_000_000])


class Bridge(RuleBasedStateMachine):
    """One committee view (all honest signers agree when they see the same chain), one rollup, one Bitcoin."""

    rounds = 12  # in which everything comes to its end once faults stop

    def __init__(self):
        super().__init__()
        self.chain, self.rollup, self.node = new_world()
        self.locks = 0
        self.deepest = 0
        self.mine(1)

    def hand_on(self):
        """Nothing to be handed on here."""

    def settle_down(self):
        self.node.reconcile()
        self.node.perform()
        self.node.reconcile()
        self.node.write_ledger()

    def states(self, *names):
        return [o for o, row in self.node.deposit_rows.items() if row["state"] in names]

    # What users and strangers do

    @initialize(values=some.lists(GOOD, min_size=1, max_size=3))
    def some_deposits_wait(self, values):
        for name, value in zip(USERS, values, strict=False):
            self.deposit(name, value)

    @rule(name=some.sampled_from(USERS), value=GOOD | some.sampled_from([9_999, 10_000, 100_000_001]))
    def deposit(self, name, value, epoch=1):
        script = issue(self.node, params_of(name), epoch)
        self.chain.send(payment(self.chain.outside_coin(value), TxOut(Sats(value), script)))
        self.node.reconcile()

    @precondition(lambda self: self.states("seen"))
    @rule(data=some.data())
    def replace_a_deposit(self, data):
        txid = data.draw(some.sampled_from(self.states("seen"))).txid
        if txid in self.chain.mempool:
            source = self.chain.mempool[txid].inputs[0].outpoint
            self.chain.send(payment(source, TxOut(Sats(9_000), payee("back"))))
            self.node.reconcile()

    @precondition(lambda self: self.states("reclaimable"))
    @rule(data=some.data())
    def reclaim(self, data):
        ripe = data.draw(some.sampled_from(self.states("reclaimable")))
        if ripe in self.chain.coins:
            self.chain.send(payment(ripe, TxOut(Sats(9_000), payee("back"))))

    @rule(value=some.integers(1_000, 10**7), newest=some.booleans())
    def donate_to_the_treasury_s_script(self, value, newest):
        script = treasury_script(treasury_of(self.rollup.epoch if newest else 1).key33)
        self.chain.send(payment(self.chain.outside_coin(value), TxOut(Sats(value), script)))

    @precondition(lambda self: self.rollup.supply >= PARAMS.min_withdrawal)
    @rule(share=some.integers(1, 100))
    def lock(self, share):
        amount = max(PARAMS.min_withdrawal, self.rollup.supply * share // 100)
        self.locks += 1
        identity = sha256(b"lock %d" % self.locks)
        self.rollup.lock(Payable(identity, payee("out"), Sats(amount), Sats(1_000), 10_000))
        self.settle_down()

    # What the committee does

    @precondition(lambda self: not self.rollup.paused)
    @rule(rate=some.integers(0, 120))
    def plan_sign_and_send(self, rate):
        manifest = self.node.plan(rate)
        if manifest is not None and not self.rollup.paused:
            tx = self.node.sign(manifest)  # an honest plan is never refused
            self.look_at_what_is_signed(manifest)
            self.node.sent(tx)
            self.chain.send(tx)

    def look_at_what_is_signed(self, manifest):
        """For machines that know more."""

    @rule(rate=some.integers(0, 20), count=some.integers(1, K))
    def an_ordinary_hour(self, rate, count):
        self.plan_sign_and_send(rate)
        self.mine(count)

    @rule(rate=some.integers(0, 20))
    def an_ordinary_day(self, rate):
        for _ in range(3):
            self.an_ordinary_hour(rate, K)

    @precondition(lambda self: self.node.signed and not self.rollup.paused)
    @rule(data=some.data(), extra=some.integers(-300, 3_000))
    def sign_another_version(self, data, extra):
        newest = list(self.node.signed.values())[-3:]
        _, manifest = data.draw(some.sampled_from(newest))
        try:
            tx = self.node.sign(another_version(manifest, extra))
        except Refusal:
            return  # its tip is spent, or the fee is out of bounds
        self.look_at_what_is_signed(manifest)
        self.chain.send(tx)

    @precondition(lambda self: self.node.signed)
    @rule()
    def resend_everything_ever_signed(self):
        self.node.resend()

    # What the chain does

    @rule(count=some.integers(1, K + 2))
    def mine(self, count):
        for _ in range(count):
            self.node.connect(self.chain.mine())
        self.settle_down()

    @precondition(lambda self: self.states("rejected"))
    @rule()
    def mine_past_the_delay(self):
        self.mine(PARAMS.reclaim_delay)

    @precondition(lambda self: self.node.signed)
    @rule(data=some.data())
    def mine_what_a_miner_likes(self, data):
        signed = [tx for tx, _ in self.node.signed.values()][-3:]
        waiting = [*self.chain.mempool.values(), *signed][:8]
        chosen = tuple(t for t in waiting if data.draw(some.booleans()))
        self.node.connect(self.chain.mine(only=chosen))
        self.settle_down()

    @precondition(lambda self: self.node.signed)
    @rule(depth=some.integers(1, K - 1), lose=some.integers(0, 255))
    def reorg(self, depth, lose):
        self._reorg(depth, lose)

    @precondition(lambda self: self.rollup.minted and len(self.node.signed) > 1)
    @rule(depth=some.integers(K, 4 * K), lose=some.integers(0, 255))
    def deep_reorg(self, depth, lose):
        self.rollup.paused = f"a reorg of {depth} blocks"
        self._reorg(depth, lose)

    def _reorg(self, depth, lose, late=frozenset()):
        depth = min(depth, len(self.chain.blocks) - 1)
        self.deepest = max(self.deepest, depth)
        for _ in range(depth):
            self.node.disconnect(self.chain.undo())
        lost = frozenset(t for n, t in enumerate(self.chain.mempool) if lose >> n % 8 & 1) | late
        for _ in range(depth + 1):
            self.node.connect(self.chain.mine(leave_out=lost))
        self.rollup.reorged()
        self.settle_down()

    @precondition(lambda self: self.rollup.paused)
    @rule()
    def the_operators_decide_that_value_moves(self):
        self.rollup.paused = None

    # What goes wrong in the node

    @rule(done=some.integers(0, 2))
    def crash_and_start_again(self, done):
        """Some effects were performed, none of them was noted: all are performed again."""
        stored = list(self.node.effects)
        rows = copy.deepcopy((self.node.deposit_rows, self.node.withdrawal_rows))
        self.node.perform(done)
        self.node.deposit_rows, self.node.withdrawal_rows = rows
        self.node.effects = stored
        self.settle_down()

    @rule(data=some.data())
    def feed_an_old_event_of_the_rollup_or_signers_again(self, data):
        again = [
            (k, e) for k, e in self.node.fed if type(e).__name__ in ("Signed", "MintApplied", "SettleApplied")
        ]
        if again:
            self.node.feed(*data.draw(some.sampled_from(again)))

    # What must hold

    @invariant()
    def value_is_covered_or_the_deficit_is_said_exactly(self):
        numbers = audit(self.chain, self.rollup)
        owed = numbers.supply + numbers.unpaid + numbers.pending
        explained = owed + numbers.fee_reserve - numbers.deficit
        if self.deepest < K:
            assert numbers.holds, numbers
            assert (
                numbers.supply + numbers.unpaid + numbers.fee_reserve <= numbers.treasury + self.unexplained()
            )
        else:
            assert explained == numbers.treasury + self.unexplained()
        assert numbers.deficit == 0 or self.deepest >= K

    def unexplained(self):
        """What batches changed whose certificates the rollup has not seen, from the node's own knowledge."""
        state = self.node.treasury
        _, batches = state.at(self.rollup.facts().final_height)
        changes = 0
        for batch in batches:
            if batch.move is None and batch.manifest_hash not in self.rollup.manifests:
                manifest = self.node.manifests[batch.manifest_hash]
                changes += manifest.tip_value - manifest.treasury_value
        return changes

    @invariant()
    def every_mint_is_a_deposit_less_its_fee(self):
        for outpoint, statement in self.rollup.minted.items():
            manifest = SweepManifest.decode(self.rollup.manifests[statement.manifest_hash])
            (item,) = [d for d in manifest.deposits if d.outpoint == outpoint]
            assert statement.amount == item.value - PARAMS.deposit_fee
            if self.deepest < K:
                assert self.chain.depth(statement.block_hash) >= K

    @invariant()
    def no_withdrawal_is_paid_twice_on_the_chain_and_settled_ones_are_paid(self):
        paid = []
        for block in self.chain.blocks:
            for tx in block.txs:
                if tx.txid in self.node.signed:
                    manifest = self.node.signed[tx.txid][1]
                    if isinstance(manifest, PayoutManifest):
                        paid += [p.withdrawal for p in manifest.payouts]
        assert len(paid) == len(set(paid))
        assert set(self.rollup.settled) <= set(paid)

    @invariant()
    def two_signed_versions_of_a_batch_can_never_both_confirm(self):
        signed = list(self.node.signed.values())
        tips = {tx.inputs[0].outpoint: m.sequence for tx, m in signed}
        for tx, manifest in signed:
            assert tx.inputs[0] == TxIn(manifest.tip, 0xFFFFFFFD)
            assert tips[manifest.tip] == manifest.sequence
        on_chain = [t for b in self.chain.blocks for t in b.txs if t.txid in self.node.signed]
        assert [self.node.signed[t.txid][1].sequence for t in on_chain] == list(range(1, len(on_chain) + 1))

    @invariant()
    def every_signed_batch_is_sound(self):
        for tx, manifest in self.node.signed.values():
            vsize = signed_vsize(tx)
            assert vsize <= 10_000
            assert (
                PARAMS.min_fee_rate * vsize
                <= manifest.fee
                <= min(PARAMS.max_fee_rate * vsize, PARAMS.batch_fee_cap)
            )
            assert build(manifest, self.node.keys).tx == tx

    @invariant()
    def strangers_coins_stay_where_they_are(self):
        if self.node.treasury.halted:
            return  # which coin is the treasury's is known again when the rotation anchor is mined
        own, tip = self.node.keys.scripts, self.node.treasury.tip
        donations = [o for o, out in self.chain.coins.items() if out.script in own and o != tip]
        for tx, _ in self.node.signed.values():
            assert not {i.outpoint for i in tx.inputs} & set(donations)
        assert self.chain.coins[tip].value == self.node.treasury.tip_value

    @invariant()
    def the_node_is_never_halted_and_its_ledger_replays(self):
        assert self.node.treasury.halted is None or (self.node.treasury.unnamed and self.deepest >= K)
        assert replay(self.node.lines) == self.node.books
        assert (self.node.books.supply, self.node.books.escrow) == (self.rollup.supply, self.rollup.escrow)

    def teardown(self):
        """Faults stop: every deposit and withdrawal comes to an end, and every machine agrees with the rollup."""
        self.rollup.paused = None
        for _ in range(self.rounds):
            self.hand_on()
            self.plan_sign_and_send(3)
            self.node.resend()
            self.mine(K + 1)
        if self.deepest >= K and not audit(self.chain, self.rollup).holds:
            return  # a double-spend with a deep reorg: what is gone is gone, and said
        self.mine_past_the_delay()
        self.value_is_covered_or_the_deficit_is_said_exactly()
        for outpoint, row in self.node.deposit_rows.items():
            state = dst.decode(row)
            assert isinstance(state, dst.Credited | dst.Reclaimable | dst.Reclaimed | dst.Issued), (
                outpoint,
                state,
            )
            assert isinstance(state, dst.Credited) == (outpoint in self.rollup.minted)
        assert all(isinstance(wst.decode(r), wst.Settled) for r in self.node.withdrawal_rows.values())
        assert set(self.rollup.locks) == set(self.rollup.settled)


TestTheBridgeUnderAnyOrderOfEvents = Bridge.TestCase
TestTheBridgeUnderAnyOrderOfEvents.settings = settings(
    max_examples=100,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)


def test_the_toy_world_starts_with_the_treasury_s_genesis_coin():
    chain, rollup, node = new_world()
    assert chain.height == START
    assert audit(chain, rollup).treasury == node.treasury.tip_value == 1_000_000
