"""The header tree: most work, first seen, forks, and an independent oracle for random stories."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anchor.btc.header import Header, work_of
from anchor.btc.ids import BlockHash
from anchor.btc.network import MAINNET
from anchor.headers.chain import Added, Deferred, HeaderChain, Known, branch
from anchor.headers.finality import final, final_tip, leads, missing
from anchor.headers.rules import MAX_FUTURE, HeaderRefused, rules_of
from tests.anchor.headers.minting import GENESIS, RULES, chain_of, child, mine, run

UNIT = work_of(GENESIS.bits)


def test_a_chain_grows_and_counts_its_work():
    headers = run(GENESIS, 30)
    chain = chain_of(*headers)
    assert chain.tip.header == headers[-1]
    assert (chain.tip.height, chain.tip.work) == (30, 31 * UNIT)
    assert [chain.at_height(n).header for n in range(1, 31)] == headers
    assert chain.at_height(31) is None
    assert chain.at_height(-1) is None
    assert chain.depth(headers[-1].hash) == 1
    assert chain.depth(GENESIS.hash) == 31
    assert chain.work_above(headers[-3].hash) == 3 * UNIT
    assert [n.height for n in chain.main(28, 10)] == [28, 29, 30]
    assert chain.main(31, 5) == []
    assert chain.main(-5, 7)[0].header == GENESIS


def test_the_first_seen_of_two_equal_branches_stays_the_tip_and_one_more_block_turns_it():
    first, second = run(GENESIS, 2, salt=1), run(GENESIS, 3, salt=2)
    chain = chain_of(*first)
    for header in second[:2]:
        assert chain.add(header) == Added(chain.get(header.hash).height, header.hash, is_tip=False)
    assert chain.tip.header == first[-1]
    assert not chain.is_main(second[0].hash)
    assert chain.depth(second[0].hash) == 0
    assert chain.work_above(second[0].hash) == 0
    added = chain.add(second[2])
    assert added.is_tip
    reorg = added.reorg
    assert [n.header for n in reorg.disconnected] == first[::-1]
    assert [n.header for n in reorg.connected] == second
    assert (reorg.fork.header, reorg.old_tip.header, reorg.new_tip.header) == (GENESIS, first[-1], second[-1])
    assert reorg.depth == 2


def test_plain_growth_is_no_reorg():
    assert chain_of().add(child(GENESIS)).reorg is None


def test_a_known_header_changes_nothing():
    header = child(GENESIS)
    chain = chain_of(header)
    assert chain.add(header) == Known(1, header.hash)
    assert chain.add(GENESIS) == Known(0, GENESIS.hash)


def test_an_orphan_is_refused_and_a_broken_header_leaves_no_trace():
    first, second = run(GENESIS, 2)
    chain = chain_of()
    with pytest.raises(HeaderRefused) as orphan:
        chain.add(second)
    assert orphan.value.rule == "parent"
    bad = mine(first, fail=True)
    with pytest.raises(HeaderRefused):
        chain.add(bad)
    assert chain.get(bad.hash) is None
    assert chain.tip.header == GENESIS
    assert isinstance(chain.add(first), Added)


def test_a_header_from_the_future_is_deferred_and_passes_later():
    header = child(GENESIS, after=10_000)
    chain = chain_of()
    now = header.time - MAX_FUTURE - 1
    assert chain.add(header, now=now) == Deferred(until=now + 1)
    assert chain.get(header.hash) is None
    assert isinstance(chain.add(header, now=now + 1), Added)


def test_a_fork_of_a_chain_is_independent_both_ways():
    base, left, right = run(GENESIS, 3), run(GENESIS, 4, salt=1), run(GENESIS, 5, salt=2)
    chain = chain_of(*base)
    one, two = chain.fork(), chain.fork()
    for header in left:
        one.add(header)
    for header in right:
        two.add(header)
    assert chain.tip.header == base[-1]
    assert one.tip.header == left[-1]
    assert two.tip.header == right[-1]
    assert one.get(right[0].hash) is None
    assert two.get(left[0].hash) is None
    assert chain.get(left[0].hash) is None
    chain.become(two)
    assert chain.tip.header == right[-1]
    with pytest.raises(AssertionError, match="same chain"):
        chain.become(chain_of())


def test_a_start_in_the_middle_is_trusted_with_its_work_and_what_lies_before():
    headers = run(GENESIS, 40)
    chain = HeaderChain(RULES, headers[20], 21, work=777, before=headers[:20])
    for header in headers[21:]:
        chain.add(header)
    assert (chain.tip.height, chain.tip.work) == (40, 777 + 19 * UNIT)
    assert chain.at_height(20) is None
    assert chain.get(headers[19].hash) is None
    assert chain.get(headers[20].hash) is chain.start
    early = mine(replace(child(headers[20]), time=headers[14].time))
    with pytest.raises(HeaderRefused, match="median"):
        HeaderChain(RULES, headers[20], 21, before=headers[:20]).add(early)
    with pytest.raises(ValueError, match="do not lead"):
        HeaderChain(RULES, headers[20], 21, before=headers[:19])
    with pytest.raises(ValueError, match="period's first block"):
        HeaderChain(rules_of(MAINNET), headers[20], 21)


def test_final_means_k_deep_and_under_k_times_its_own_work():
    headers = run(GENESIS, 5)
    chain = chain_of(*headers)
    assert [final(chain, h.hash, 3) for h in headers] == [True, True, True, False, False]
    assert missing(chain, headers[2].hash, 3) is None
    assert missing(chain, headers[3].hash, 3) == "block 4 has 2 of 3 confirmations"
    assert "not known" in missing(chain, BlockHash(bytes(32)), 3)
    side = child(headers[1], salt=9)
    chain.add(side)
    assert missing(chain, side.hash, 1) == "block 3 is not on the main chain"
    assert final_tip(chain, 3) == headers[2].hash
    assert final_tip(chain, 7) is None
    with pytest.raises(ValueError, match="at least 1"):
        final(chain, headers[0].hash, 0)


def test_depth_without_work_is_not_final():
    hard, easy = 0x1F7FFFFF, GENESIS.bits
    chain = chain_of()
    top = chain._tree.grow(Header(4, GENESIS.hash, bytes(32), 1, hard, 0), chain.tip)
    for n in range(5):
        top = chain._tree.grow(Header(4, top.hash, bytes(32), 2 + n, easy, 0), top)
    chain._heads, chain._tip = {top: None}, top
    block = top.ancestor(1)
    assert chain.depth(block.hash) == 6
    assert not final(chain, block.hash, 3)
    assert "times its own work" in missing(chain, block.hash, 3)


def test_a_rival_branch_takes_the_lead_away_but_not_finality():
    headers = run(GENESIS, 4)
    chain = chain_of(*headers)
    assert leads(chain, headers[1].hash, 3)
    chain.add(child(GENESIS, salt=5))  # a rival of block 1 only
    assert not leads(chain, headers[0].hash, 4)
    assert leads(chain, headers[0].hash, 3)
    assert final(chain, headers[0].hash, 4)
    assert not leads(chain, headers[3].hash, 3)


def test_a_long_chain_is_searched_quickly_and_let_go_without_recursion():
    chain = chain_of()
    node = chain.tip
    for n in range(20_000):
        node = chain._tree.grow(Header(4, node.hash, bytes(32), n, GENESIS.bits, n), node)
    chain._heads, chain._tip = {node: None}, node
    for height in (0, 1, 4095, 4096, 19_999, 20_000):
        assert chain.at_height(height).height == height
    steps, walk = 0, node
    while walk is not None and walk.height:
        walk, steps = walk.skip, steps + 1
    assert steps < 40


class Oracle:
    """The same story told naively: a dictionary of parents, work by walking."""

    def __init__(self) -> None:
        self.parent = {GENESIS.hash: None}
        self.tip = GENESIS.hash

    def path(self, block):
        out = []
        while block is not None:
            out.append(block)
            block = self.parent[block]
        return out[::-1]

    def add(self, header):
        self.parent[header.hash] = header.parent
        if len(self.path(header.hash)) > len(self.path(self.tip)):
            self.tip = header.hash


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=40), st.data())
@settings(max_examples=60, deadline=None)
def test_random_trees_agree_with_a_naive_oracle(choices, data):
    chain, oracle, known = chain_of(), Oracle(), [GENESIS]
    copies = []
    for salt, choice in enumerate(choices):
        # mostly near the newest, so that branches grow and turn
        parent = known[-1 - choice % min(len(known), 4)] if choice % 5 else known[choice % len(known)]
        header = child(parent, salt)
        before = oracle.path(oracle.tip)
        added = chain.add(header)
        oracle.add(header)
        known.append(header)
        after = oracle.path(oracle.tip)
        assert chain.tip.hash == oracle.tip
        assert added.is_tip == (oracle.tip == header.hash)
        lost = [h for h in before if h not in after]
        assert [n.hash for n in added.reorg.disconnected] == lost[::-1] if added.reorg else not lost
        if choice % 7 == 0:
            copies.append((chain.fork(), oracle.tip, len(known)))
    main = oracle.path(oracle.tip)
    assert [n.hash for n in branch(chain.tip, None)][::-1] == main
    for header in known:
        path = oracle.path(header.hash)
        node = chain.get(header.hash)
        assert node.height == len(path) - 1
        assert chain.is_main(header.hash) == (header.hash in main)
        assert chain.depth(header.hash) == (len(main) - main.index(header.hash) if header.hash in main else 0)
    a, b = (chain.get(data.draw(st.sampled_from(known)).hash) for _ in range(2))
    shared = [h for h in oracle.path(a.hash) if h in oracle.path(b.hash)]
    assert chain.fork_point(a, b).hash == shared[-1]
    for copy, tip, count in copies:
        assert copy.tip.hash == tip
        assert all((copy.get(h.hash) is not None) == (i < count) for i, h in enumerate(known))
