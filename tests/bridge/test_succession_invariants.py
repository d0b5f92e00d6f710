"""Whatever happens in whatever order, and whenever the committee hands on: the same holds, and more.

The rules of `test_bridge_invariants` and more: succeed, rotate, move, pay an older or newer address, put a move
before its anchor. Invariant 13 of the design's list: what is retired holds nothing that anybody still sweeps.
"""

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as some
from hypothesis.stateful import invariant, precondition, rule

from anchor.btc.amounts import Sats
from bridge.treasury.checks import Refusal
from bridge.treasury.manifest import MoveManifest, SweepManifest, SweptDeposit
from bridge.treasury.moving import is_due
from tests.bridge.keys import PARAMS, K, treasury_of
from tests.bridge.test_bridge_invariants import GOOD, USERS, Bridge
from tests.bridge.toy_lane import successor_of

MOST = 4  # key epochs
LIES = ("early", "key", "record", "two epochs", "something else", "retired")


class HandedOn(Bridge):
    """The same world, whose committee changes: rollup, lane and treasury each come along in their own time."""

    rounds = 18

    @precondition(lambda self: not self.rollup.paused and self.rollup.epoch < MOST)
    @rule()
    def succeed(self):
        self.rollup.succeed()
        self.settle_down()

    @precondition(lambda self: len(self.node.lane.named) + 1 < self.rollup.epoch)
    @rule()
    def rotate(self):
        self.chain.send(self.node.lane.rotation())

    def hand_on(self):
        if len(self.node.lane.named) + 1 < self.rollup.epoch:
            self.rotate()

    @precondition(lambda self: not self.rollup.paused and self.rollup.epoch < MOST)
    @rule(rate=some.integers(0, 20), count=some.integers(0, K))
    def a_day_on_which_the_committee_hands_on(self, rate, count):
        self.succeed()
        self.rotate()
        self.mine(K)
        for lie in LIES:
            self.a_leader_lies(lie)
        self.plan_sign_and_send(rate)
        self.mine(count or 1)

    @precondition(lambda self: self.rollup.epoch > 1)
    @rule(name=some.sampled_from(USERS), value=GOOD, data=some.data())
    def pay_an_address_of_any_epoch(self, name, value, data):
        self.deposit(name, value, data.draw(some.integers(1, self.rollup.epoch)))

    @precondition(lambda self: self.rollup.epoch > 1)
    @rule(count=some.integers(PARAMS.reclaim_delay - 8, PARAMS.reclaim_delay))
    def the_reclaim_delay_goes_by(self, count):
        self.mine(count)

    @precondition(lambda self: self.node.treasury.epoch > 1)
    @rule(lose=some.integers(0, 255))
    def a_deep_reorg_puts_the_last_move_before_its_anchor(self, lose):
        anchor = self.node.lane.named[self.node.treasury.epoch - 2]
        depth = self.chain.height - anchor.height + 1
        self.rollup.paused = f"a reorg of {depth} blocks"
        self._reorg(depth, lose, frozenset({anchor.txid}))

    @rule(lie=some.sampled_from(LIES))
    def a_leader_lies(self, lie):
        treasury, manifest = self.node.treasury, None
        if not treasury.halted:
            manifest = self.lie(lie, treasury.move_to(successor_of(treasury.epoch + 1), Sats(500)))
        if manifest is not None:
            with pytest.raises(Refusal):
                self.node.sign(manifest)

    def lie(self, lie, move):
        """A request that nobody may sign now; None when this one would be true."""
        due = is_due(self.node.treasury, self.node.successor(), self.node.reserve(), PARAMS)
        match lie:
            case "early":
                return None if self.node.successor() else move
            case "key":
                return replace(move, treasury_key=treasury_of(99).key33)
            case "record":
                return replace(move, record=bytes(32))
            case "two epochs":
                return replace(move, epoch=move.epoch + 1, successor_epoch=move.epoch + 2)
            case "something else":
                return self.node.plan(3, moves=False) if due else None
        return self.retired_sweep(move)

    def retired_sweep(self, move):
        """A sweep of what was paid to an address that is retired."""
        head = (move.epoch, move.sequence, move.tip, move.tip_value, move.previous, move.fee)
        for outpoint, (params, epoch) in self.node.deposits.items():
            until, fact = (
                self.node.treasury.retires(epoch, PARAMS.reclaim_delay),
                self.node.deposit_fact(outpoint),
            )
            if until is not None and self.chain.height >= until and fact is not None and not fact.owed:
                share = Sats(PARAMS.deposit_fee)
                return SweepManifest(*head, (SweptDeposit(outpoint, fact.value, params, share, epoch),))
        return None

    # What must hold

    def look_at_what_is_signed(self, manifest):
        treasury = self.node.treasury
        due = is_due(treasury, self.node.successor(), self.node.reserve(), PARAMS)
        assert isinstance(manifest, MoveManifest) == due
        if not isinstance(manifest, SweepManifest):
            return
        for deposit in manifest.deposits:
            left = treasury.left(deposit.epoch)
            owed = deposit.outpoint in self.rollup.minted
            assert left is None or owed or self.chain.height < left.height + PARAMS.reclaim_delay

    @invariant()
    def the_treasury_goes_from_epoch_to_epoch_as_rollup_and_lane_said(self):
        moves = [b.move for b in self.node.treasury.batches if b.move is not None]
        assert [m.successor_epoch for m in moves] == list(range(2, self.node.treasury.epoch + 1))
        assert self.node.treasury.epoch <= len(self.node.lane.named) + 1 <= self.rollup.epoch
        for move in moves:
            said = successor_of(move.successor_epoch)
            assert (move.treasury_key, move.record) == (said.treasury_key, said.record)

    @invariant()
    def what_was_certified_under_an_earlier_key_stays_what_it_is(self):
        if self.deepest < K:
            states = [row["state"] for o, row in self.node.deposit_rows.items() if o in self.rollup.minted]
            assert "deficit" not in states

    def teardown(self):
        super().teardown()
        treasury = self.node.treasury
        stuck = treasury.epoch < self.rollup.epoch
        assert not stuck or not is_due(treasury, self.node.successor(), self.node.reserve(), PARAMS)


TestTheBridgeWhileItIsHandedOn = HandedOn.TestCase
TestTheBridgeWhileItIsHandedOn.settings = settings(
    max_examples=100,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)
