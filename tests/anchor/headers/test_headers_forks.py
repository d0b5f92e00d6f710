"""Which branch is the chain: random trees of changing difficulty against a naive oracle, ties, long reorgs."""

import random
from collections import Counter
from dataclasses import replace

import pytest

from anchor.btc.header import Header, target_of
from anchor.btc.ids import BlockHash
from anchor.btc.network import MAINNET
from anchor.headers.chain import HeaderChain, branch
from anchor.headers.orphans import Orphans
from anchor.headers.rules import next_bits, rules_of
from tests.anchor.headers.core_differential import Branch
from tests.anchor.headers.differential import GENESIS
from tests.anchor.headers.minting import chain_of, run
from tests.anchor.headers.slow_model import compact, decode
from tests.anchor.headers.stories import Story, easy, mined

RULES = easy(rules_of(MAINNET), interval=4)
TREES, SIZE = 40, 60


class Oracle:
    """Most work wins, the first to come in on a tie; orphans wait for ever, and come in as they came."""

    def __init__(self) -> None:
        self.parents: dict[BlockHash, BlockHash] = {}
        self.work = {GENESIS.hash: self.own(GENESIS)}
        self.waiting: list[Header] = []
        self.tip = GENESIS.hash

    @staticmethod
    def own(header: Header) -> int:
        target = decode(compact(header.raw))
        assert target is not None
        return 2**256 // (target + 1)

    def offer(self, header: Header) -> None:
        ready = [header]
        if header.parent not in self.work:
            self.waiting.append(ready.pop())
        while ready:
            one = ready.pop(0)
            self.parents[one.hash] = one.parent
            self.work[one.hash] = self.work[one.parent] + self.own(one)
            if self.work[one.hash] > self.work[self.tip]:
                self.tip = one.hash
            ready += [other for other in self.waiting if other.parent == one.hash]
            self.waiting = [other for other in self.waiting if other.parent != one.hash]

    def main(self) -> list[BlockHash]:
        path = [self.tip]
        while path[-1] in self.parents:
            path.append(self.parents[path[-1]])
        return path


def tree(rng: random.Random, size: int) -> list[Header]:
    """Valid headers on a random tree whose branches differ in difficulty, parents first."""
    known = {GENESIS.hash: (GENESIS, 0)}
    made = [GENESIS]
    while len(made) <= size:
        upon = rng.choice(made[-4:] if rng.random() < 0.7 else made)
        story = Story(RULES, rng, Branch(known, upon))
        story.pace = rng.choice((0.05, 0.5, 4))
        header = story.honest()
        known[header.hash] = (header, story.height)
        made.append(header)
    return made[1:]


def test_random_trees_in_random_order_agree_with_the_oracle():
    seen: Counter[str] = Counter()
    for seed in range(TREES):
        rng = random.Random(seed)
        headers = tree(rng, SIZE)
        for _ in range(3):
            follow(headers, seen)
            rng.shuffle(headers)
    assert min(seen[what] for what in ("reorg", "shorter but heavier", "tie", "orphan")) > 20, seen


def follow(headers: list[Header], seen: Counter[str]) -> None:
    """Offer headers to chain and oracle; they agree after each, and at the end in every answer."""
    chain, orphans, oracle = HeaderChain(RULES, GENESIS), Orphans(), Oracle()
    for header in headers:
        before = chain.tip
        orphans.offer(chain, header)
        oracle.offer(header)
        assert chain.tip.hash == oracle.tip
        assert chain.tip.work == oracle.work[oracle.tip]
        assert len(orphans) == len(oracle.waiting)
        turned = chain.tip.ancestor(before.height) is not before
        seen["reorg"] += turned
        seen["shorter but heavier"] += turned and chain.tip.height < before.height
        seen["orphan"] += header in oracle.waiting
        at = chain.get(header.hash)
        seen["tie"] += at is not None and at is not chain.tip and at.work == chain.tip.work
    assert [node.hash for node in branch(chain.tip, None)] == oracle.main()
    for header in headers:
        at = chain.get(header.hash)
        assert at is not None
        assert at.work == oracle.work[header.hash]
        assert chain.is_main(header.hash) == (header.hash in oracle.main())
        if chain.is_main(header.hash):
            above = oracle.work[oracle.tip] - oracle.work[header.parent]
            assert chain.work_above(header.hash) == above


def spaced(seconds: int, length: int) -> list[Header]:
    """A branch from genesis with a block every so many seconds, so that its difficulty goes one way."""
    story = Story(RULES, random.Random(seconds))
    for _ in range(length):
        time = story.headers[-1].time + seconds
        bits = next_bits(RULES, story.height, time, story.at)
        story.headers.append(mined(replace(story.honest(), time=time, bits=bits)))
    return list(story.headers[1:])


@pytest.mark.parametrize("first", ["short", "long"])
def test_a_shorter_branch_with_more_work_wins_whichever_came_first(first):
    fast, slow = spaced(60, 8), spaced(700, 15)
    assert target_of(fast[-1].bits) < target_of(slow[-1].bits)
    chain = HeaderChain(RULES, GENESIS)
    for header in (*fast, *slow) if first == "short" else (*slow, *fast):
        chain.add(header)
    assert chain.tip.hash == fast[-1].hash
    assert chain.tip.height == 8
    assert chain.get(slow[-1].hash).height == 15


def test_in_an_exact_tie_of_work_the_first_seen_stays_in_either_order():
    left, right = run(GENESIS, 5, salt=1), run(GENESIS, 5, salt=2)
    for first, second in ((left, right), (right, left)):
        chain = chain_of(*first, *second)
        assert chain.tip.hash == first[-1].hash
        again = chain_of(*first[:4], *second, first[4])
        assert again.tip.hash == second[-1].hash


def test_a_thousand_blocks_give_way_to_a_thousand_and_one():
    old, new = run(GENESIS, 1000, salt=1), run(GENESIS, 1001, salt=2)
    chain = chain_of(*old, *new[:-1])
    assert chain.tip.hash == old[-1].hash
    added = chain.add(new[-1])
    assert added.reorg.depth == 1000
    assert [node.hash for node in added.reorg.disconnected] == [header.hash for header in reversed(old)]
    assert [node.hash for node in added.reorg.connected] == [header.hash for header in new]
    assert chain.depth(old[0].hash) == 0
    assert chain.depth(new[0].hash) == 1001
