"""Headers in any order: none is lost within the bound, and the bound holds whatever comes."""

import random
import tracemalloc
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anchor.btc.network import MAINNET
from anchor.headers.chain import Added, Deferred, HeaderChain, Known
from anchor.headers.orphans import Held, Orphans
from anchor.headers.rules import MAX_FUTURE, HeaderRefused, rules_of
from tests.anchor.headers.minting import GENESIS, chain_of, child, mine, run


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=30), st.randoms(use_true_random=False))
@settings(max_examples=50, deadline=None)
def test_a_tree_that_comes_in_any_order_is_the_same_tree(choices, chance):
    known = [GENESIS]
    for salt, choice in enumerate(choices):
        known.append(child(known[choice % len(known)], salt))
    shuffled = known[1:]
    chance.shuffle(shuffled)
    chain, orphans, added = chain_of(), Orphans(), 0
    for header in shuffled:
        added += sum(isinstance(r, Added) for r in orphans.offer(chain, header))
    assert (added, len(orphans)) == (len(known) - 1, 0)
    ordered = chain_of(*known[1:])
    assert chain.tip.work == ordered.tip.work
    assert {h.hash for h in chain.heads} == {h.hash for h in ordered.heads}


def test_a_long_run_backwards_comes_in_at_once_without_recursion():
    headers = run(GENESIS, 3000)
    chain, orphans = chain_of(), Orphans()
    for header in reversed(headers[1:]):
        assert orphans.offer(chain, header) == [Held(header.hash, header.parent)]
    assert len(orphans.offer(chain, headers[0])) == 3000
    assert (chain.tip.header, len(orphans)) == (headers[-1], 0)


def test_a_flood_of_orphans_takes_bounded_memory_and_touches_nothing():
    chain, orphans, chance = chain_of(*run(GENESIS, 5)), Orphans(200), random.Random(1)
    before = chain.tip

    def flood(count):
        for _ in range(count):
            stray = replace(GENESIS, parent=chance.randbytes(32), nonce=0)
            orphans.offer(chain, mine(stray))

    flood(400)
    tracemalloc.start()
    flood(200)
    small = tracemalloc.get_traced_memory()[0]
    flood(6000)
    large = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert len(orphans) == 200
    assert large < small * 1.5 + 50_000
    assert (chain.tip, chain.heads) == (before, (before,))


def test_the_one_that_waited_longest_goes_first_and_may_come_again():
    headers = run(GENESIS, 6)
    chain, orphans = chain_of(), Orphans(3)
    for header in headers[1:5]:
        orphans.offer(chain, header)
    assert headers[1].hash not in orphans
    assert headers[4].hash in orphans
    assert len(orphans.offer(chain, headers[0])) == 1
    assert len(orphans.offer(chain, headers[1])) == 4


def test_orphans_must_carry_their_own_work():
    orphans = Orphans()
    with pytest.raises(HeaderRefused, match="work"):
        orphans.offer(chain_of(), mine(replace(GENESIS, parent=b"\7" * 32), fail=True))
    main = HeaderChain(rules_of(MAINNET), replace(GENESIS))
    with pytest.raises(HeaderRefused, match="easier than the network allows"):
        orphans.offer(main, mine(replace(GENESIS, parent=b"\7" * 32)))
    assert len(orphans) == 0


def test_a_held_header_that_turns_out_invalid_is_dropped_alone():
    parent = child(GENESIS)
    bad, good = mine(replace(child(parent, 1), time=GENESIS.time)), child(parent, 2)
    chain, orphans = chain_of(), Orphans()
    for header in (bad, good):
        orphans.offer(chain, header)
    assert [r.hash for r in orphans.offer(chain, parent)] == [parent.hash, good.hash]
    assert chain.get(bad.hash) is None


def test_known_and_deferred_headers_are_said_to_be_so():
    first, second = run(GENESIS, 2)
    chain, orphans = chain_of(first), Orphans()
    assert isinstance(orphans.offer(chain, first)[0], Known)
    assert isinstance(orphans.offer(chain, second, second.time - MAX_FUTURE - 1)[0], Deferred)
    assert isinstance(orphans.offer(chain, second, second.time)[0], Added)
