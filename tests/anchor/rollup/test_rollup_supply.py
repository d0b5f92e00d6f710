"""Property: no order of transactions, reorgs and repetitions makes or loses a coin."""

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from anchor.finality.replay import HeaderReplay
from anchor.rollup.block import Block
from anchor.rollup.state import RollupState
from anchor.rollup.transitions import check_block
from anchor.rollup.tx import Lock, RollupTx
from tests.anchor.rollup.rollup_world import ALICE, BOB, MALLORY, K, World, certified, conserved

PEOPLE = (ALICE, BOB, MALLORY)
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
        was = self.w.state.paused
        self._send(self.w.decide(sorted(hosts)))
        assert (self.w.state.paused is None) == (was is None or len(hosts) >= 2), self.w.rejected

    @invariant()
    def every_coin_is_accounted_for(self) -> None:
        state = self.w.state
        minted = sum(m.statement.amount for m in state.minted.values())
        settled = sum(w.lock.amount for w in state.withdrawals.values() if w.settled)
        assert conserved(state, minted, settled)

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
