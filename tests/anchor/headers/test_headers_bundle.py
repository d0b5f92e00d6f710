"""Bundles: headers in rollup blocks, every lie refused, long reorgs spread over several."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anchor.btc.codec import CodecError
from anchor.btc.ids import BlockHash
from anchor.headers.bundle import MAX_HEADERS_PER_BUNDLE, Bundle, BundleRefused, apply, make
from anchor.headers.chain import HeaderChain
from tests.anchor.headers.minting import GENESIS, RULES, chain_of, child, mine, run


def snapshot(chain: HeaderChain):
    return chain.tip, chain.heads


def test_bundles_bring_the_view_to_the_nodes_tip():
    headers = run(GENESIS, 7)
    own, view = chain_of(*headers), chain_of()
    sizes = []
    while (bundle := make(view, own, limit=3)) is not None:
        applied = apply(view, Bundle.decode(bundle.encode()))
        assert applied.reorg is None
        sizes.append(applied.added)
    assert sizes == [3, 3, 1]
    assert view.tip.hash == own.tip.hash


def test_a_long_reorg_spreads_over_bundles_and_the_tip_turns_once():
    old, new = run(GENESIS, 5, salt=1), run(GENESIS, 8, salt=2)
    view, own = chain_of(*old), chain_of(*new)
    tips, reorgs = [], []
    while (bundle := make(view, own, limit=2)) is not None:
        applied = apply(view, bundle)
        tips.append(applied.tip.header)
        reorgs.append(applied.reorg)
    assert tips == [old[-1], old[-1], new[5], new[7]]
    assert [r is not None for r in reorgs] == [False, False, True, False]
    assert [n.header for n in reorgs[2].disconnected] == old[::-1]
    assert [n.header for n in reorgs[2].connected] == new[:6]


def test_nothing_is_bundled_for_the_same_a_tied_or_a_lighter_tip():
    a, b = run(GENESIS, 3, salt=1), run(GENESIS, 3, salt=2)
    assert make(chain_of(*a), chain_of(*a)) is None
    assert make(chain_of(*a), chain_of(*b)) is None
    assert make(chain_of(*a), chain_of(*a[:2])) is None


def test_strangers_are_told_so():
    other = run(GENESIS, 1, salt=5)[0]
    stranger = HeaderChain(RULES, other, 1)
    stranger.add(child(other))
    with pytest.raises(BundleRefused, match="share no header"):
        make(chain_of(), stranger)
    with pytest.raises(ValueError, match="1 to 2000"):
        make(chain_of(), stranger, limit=0)


def lies():
    headers = run(GENESIS, 6)
    view = chain_of(*headers[:2])
    honest = make(view, chain_of(*headers))
    raws = honest.headers
    stale = child(headers[0], salt=3)
    yield view, replace(honest, headers=()), "empty"
    yield view, replace(honest, headers=raws * 600), "too-long"
    yield view, replace(honest, headers=(raws[0][:-1], *raws[1:])), "size"
    yield view, replace(honest, fork_hash=BlockHash(bytes(32))), "fork"
    yield view, replace(honest, fork_height=1), "fork-height"
    yield view, replace(honest, fork_hash=headers[0].hash, fork_height=1), "parent"
    yield view, replace(honest, headers=(raws[0], *raws[2:])), "parent"
    yield view, replace(honest, headers=(*raws, raws[-1])), "parent"
    repeated = Bundle(1, headers[0].hash, (headers[1].raw, *raws), honest.new_tip, honest.new_work)
    yield view, repeated, "repeated"
    yield view, replace(honest, new_tip=headers[1].hash), "tip"
    yield view, Bundle(1, headers[0].hash, (stale.raw,), stale.hash, view.tip.work), "tip"
    yield view, replace(honest, new_work=honest.new_work - 1), "work"
    yield view, replace(honest, new_work=honest.new_work * 2), "work"
    bad = mine(headers[-1], fail=True)
    yield view, replace(honest, headers=(*raws[:-1], bad.raw), new_tip=bad.hash), "header:work"
    old = mine(replace(headers[-1], time=GENESIS.time))
    yield view, replace(honest, headers=(*raws[:-1], old.raw), new_tip=old.hash), "header:median-time"


@pytest.mark.parametrize("case", range(len(list(lies()))))
def test_each_lie_is_named_and_changes_nothing(case):
    view, bundle, rule = list(lies())[case]
    before = snapshot(view)
    with pytest.raises(BundleRefused) as refused:
        apply(view, bundle)
    assert refused.value.rule == rule
    assert snapshot(view) == before


def test_every_truncation_and_tail_of_a_bundle_is_refused():
    data = make(chain_of(), chain_of(*run(GENESIS, 2))).encode()
    for cut in range(len(data)):
        with pytest.raises(CodecError):
            Bundle.decode(data[:cut])
    with pytest.raises(CodecError):
        Bundle.decode(data + b"\0")
    huge = data[:36] + (MAX_HEADERS_PER_BUNDLE + 1).to_bytes(4, "big") + data[40:]
    with pytest.raises(CodecError, match="at most 2000"):
        Bundle.decode(huge)
    with pytest.raises(CodecError, match="without headers"):
        Bundle.decode(data[:36] + bytes(4) + data[-64:])


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 6)), min_size=1, max_size=6), st.integers(1, 4))
@settings(max_examples=40, deadline=None)
def test_views_follow_any_story_of_their_node_and_replay_to_the_same_state(story, limit):
    own, view, replay = chain_of(), chain_of(), chain_of()
    for salt, (back, length) in enumerate(story):
        parent = own.at_height(max(own.tip.height - back, 0)).header
        for header in run(parent, length, salt):
            own.add(header)
        while (bundle := make(view, own, limit)) is not None:
            apply(view, bundle)
            apply(replay, Bundle.decode(bundle.encode()))
        assert view.tip.work == own.tip.work
        assert view.get(own.tip.hash) is not None or view.tip.work >= own.tip.work
        assert [h.hash for h in replay.heads] == [h.hash for h in view.heads]
        assert replay.tip.hash == view.tip.hash
