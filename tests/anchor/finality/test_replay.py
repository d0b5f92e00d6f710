"""A rollup's view of Bitcoin follows from its blocks alone, and a quorum that lies about it is caught."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anchor.finality.replay import HeaderReplay, ReplayRefused
from anchor.rollup.bitcoin_view import final_of
from anchor.rollup.block import CertifiedBlock
from tests.anchor.finality.lies import LIES, story
from tests.anchor.rollup.rollup_world import GEN, VALIDATORS, World, certified, vote


def replayed(w: World) -> HeaderReplay:
    replay = HeaderReplay(w.genesis)
    for block in w.blocks:
        replay.take(CertifiedBlock.decode(certified(w.genesis, block).encode()))
    return replay


def agrees(w: World) -> None:
    found, view = replayed(w).result(), w.state.view
    assert (found.height, found.tip.hash, found.work) == (w.state.height, view.tip.hash, view.tip.work)
    assert found.final_bitcoin == final_of(view, w.genesis.k)
    assert found.reorgs == w.state.reorgs
    assert found.final == max(found.height - 1, 0)


walks = st.lists(
    st.tuples(st.integers(0, 9), st.integers(1, 12), st.integers(1, 5), st.integers(0, 9)), max_size=8
)


@given(walks)
@settings(max_examples=40, deadline=None)
def test_whatever_bitcoin_does_the_replay_of_the_blocks_is_the_live_view(
    walk: list[tuple[int, int, int, int]],
) -> None:
    w = World()
    for back, count, limit, salt in walk:
        w.reorg(min(back, len(w.bitcoin) - 1), count, salt)
        w.block(bundle=w.bundle(limit=limit))
    agrees(w)
    while (bundle := w.bundle(limit=3)) != b"":
        w.block(bundle=bundle)
    agrees(w)


def test_headers_and_bundles_are_counted_and_reorgs_listed() -> None:
    w = World()
    w.mine(6)
    w.block()
    w.reorg(4, 6)
    w.block(bundle=w.bundle(limit=4))
    w.block(bundle=w.bundle(limit=4))
    found = replayed(w).result()
    assert (found.headers, found.bundles) == (12, 3)
    assert [(r.rollup_height, r.depth) for r in found.reorgs] == [(3, 4)]


@pytest.mark.parametrize("lie", LIES)
def test_a_quorum_that_certified_a_lie_is_caught_by_name(lie: str) -> None:
    code, change = LIES[lie]
    w = story()
    first, second = w.blocks
    replay = HeaderReplay(GEN)
    replay.take(certified(GEN, first))
    with pytest.raises(ReplayRefused) as caught:
        replay.take(certified(GEN, change(second)))
    assert (caught.value.height, caught.value.code) == (2, code)


def test_a_block_without_a_quorum_or_with_a_strangers_vote_is_refused() -> None:
    block = story().blocks[0]
    two = certified(GEN, block, voters=(0, 1))
    with pytest.raises(ReplayRefused, match=r"block 1 is refused \(certificate\)"):
        HeaderReplay(GEN).take(two)
    good = certified(GEN, block)
    votes = (*good.certificate.votes[:2], vote(GEN, block, 2, VALIDATORS[3]))
    with pytest.raises(ReplayRefused, match="did not sign"):
        HeaderReplay(GEN).take(replace(good, certificate=replace(good.certificate, votes=votes)))
