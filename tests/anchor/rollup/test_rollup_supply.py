"""Property: no order of transactions, reorgs, successions and repetitions makes or loses a coin."""

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from anchor.finality.replay import HeaderReplay
from anchor.rollup.block import Block
from anchor.rollup.state import RollupState
from anchor.rollup.transitions import check_block
from anchor.rollup.tx import Decide, Lock, Mint, RollupTx, Settle, Succeed, decode_tx
from tests.anchor.rollup.rollup_world import (
    ALICE,
    BOB,
    MALLORY,
    MANIFEST,
    K,
    World,
    certified,
    conserved,
    reign,
)

PEOPLE = (ALICE, BOB, MALLORY)
MAX_EPOCH = 4  # their committees grow, and take time to sign
people = st.sampled_from(PEOPLE)


class Coins(RuleBasedStateMachine):
    """Random people do random things; a second state replays every block."""

    @initialize()
    def begin(self) -> None:
        self.seen = 0
        self.w = World().activate()
        self.mirror = RollupState.at_genesis(self.w.genesis)
        self.headers = HeaderReplay(self.w.genesis)
        self.w.mine(K + 1)
        self.sent: list[RollupTx] = []
        self.locks: list[Lock] = []
        self.deposits = 0
        self.epoch, self.committee = 1, self.w.genesis.committee_hash
        for who in PEOPLE:
            self.deposit(who, 100_000)

    def _send(self, *txs: RollupTx) -> None:
        self.sent += txs
        self.w.block(*txs)

    @rule(who=people, amount=st.integers(9_500, 60_000))
    def deposit(self, who: object, amount: int) -> None:
        self.deposits += 1
        self._send(self.w.mint(who, amount, f"deposit {self.deposits}"))

    @rule(sender=people, recipient=people, amount=st.integers(0, 80_000))
    def move(self, sender: object, recipient: object, amount: int) -> None:
        self._send(self.w.transfer(sender, recipient, amount))

    @rule(who=people, amount=st.integers(9_500, 60_000))
    def withdraw(self, who: object, amount: int) -> None:
        self.locks.append(self.w.lock(who, amount))
        self._send(self.locks[-1])

    @rule(data=st.data())
    def pay(self, data: st.DataObject) -> None:
        if self.locks:
            self._send(self.w.settle(data.draw(st.sampled_from(self.locks))))

    @rule(data=st.data())
    def repeat(self, data: st.DataObject) -> None:
        if self.sent:
            again = data.draw(st.lists(st.sampled_from(self.sent), max_size=4))
            self.w.block(*again)

    @rule(count=st.integers(1, 3))
    def mine(self, count: int) -> None:
        self.w.mine(count)
        self.w.block()

    @rule(depth=st.sampled_from([1] * 8 + [2] * 4 + [K]), salt=st.integers(1, 1000))
    def reorg(self, depth: int, salt: int) -> None:
        self.w.reorg(min(depth, len(self.w.bitcoin) - 1), depth + 1, salt)
        self.w.block()

    @rule(hosts=st.sets(st.integers(0, 2)))
    def decide(self, hosts: set[int]) -> None:
        was, needed = self.w.state.paused, self.w.reign.threshold
        self._send(self.w.decide(sorted(hosts)))
        assert (self.w.state.paused is None) == (was is None or len(hosts) >= needed), self.w.rejected

    @precondition(lambda self: self.w.epoch < MAX_EPOCH)
    @rule(twice=st.booleans(), who=people)
    def hand_on(self, twice: bool, who: object) -> None:
        """The record comes between two certificates of the key that goes; a second one for the epoch may follow."""
        paused, epoch = self.w.state.paused, self.w.epoch
        self.deposits += 2
        early = self.w.mint(who, 20_000, f"deposit {self.deposits - 1}")
        late = self.w.mint(who, 20_000, f"deposit {self.deposits}")
        records = [self.w.succeed(), self.w.succeed(committee_hash=b"\x07" * 32)][: 1 + twice]
        self._send(early, *records, late)
        assert self.w.epoch == epoch + (paused is None), self.w.rejected
        assert late.statement.outpoint not in self.w.state.minted

    @precondition(lambda self: self.w.epoch > 1)
    @rule(who=people, back=st.integers(1, MAX_EPOCH), named=st.booleans())
    def certify_by_a_key_that_went(self, who: object, back: int, named: bool) -> None:
        gone = max(1, self.w.epoch - back)
        said = self.w.mint(who, 20_000, "by an old key", epoch=gone if named else self.w.epoch).statement
        self.w.block(Mint(said, reign(gone).mint.sign(said.message), MANIFEST))
        assert said.outpoint not in self.w.state.minted

    @invariant()
    def every_coin_is_accounted_for(self) -> None:
        state = self.w.state
        minted = sum(m.statement.amount for m in state.minted.values())
        settled = sum(w.lock.amount for w in state.withdrawals.values() if w.settled)
        assert conserved(state, minted, settled)

    @invariant()
    def every_certificate_and_decision_is_of_its_epoch(self) -> None:
        for block in self.w.blocks[self.seen :]:
            for tx in map(decode_tx, block.transactions):
                match tx:
                    case Mint() | Settle():
                        assert tx.statement.epoch == self.epoch
                    case Decide():
                        assert tx.signed.decision.committee_hash == self.committee
                    case Succeed():
                        self.epoch += 1
                        self.committee = tx.signed.succession.committee_hash
                        assert tx.signed.succession.epoch == self.epoch
        assert [e.number for e in self.w.epochs] == list(range(1, self.epoch + 1))
        assert len({e.mint_key for e in self.w.epochs}) == self.epoch

    @invariant()
    def whoever_replays_agrees(self) -> None:
        for block in self.w.blocks[self.seen :]:
            self.mirror = check_block(self.w.genesis, self.mirror, Block.decode(block.encode()))
            self.headers.take(certified(self.w.genesis, block))
        self.seen = len(self.w.blocks)
        assert self.mirror.root() == self.w.state.root()
        found, view = self.headers.result(), self.w.state.view
        assert (found.tip.hash, found.work, found.reorgs) == (
            view.tip.hash,
            view.tip.work,
            self.w.state.reorgs,
        )


Coins.TestCase.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestNoCoinIsMadeOrLost = Coins.TestCase
