"""A rollup's view of Bitcoin follows from its blocks alone, and a quorum that lies about it is caught."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anchor.finality.replay import HeaderReplay, ReplayRefused
from anchor.headers.bundle import Bundle
from anchor.rollup.bitcoin_view import final_of
from anchor.rollup.block import Block, CertifiedBlock, data_root
from tests.anchor.headers.minting import child, mine
from tests.anchor.rollup.rollup_world import GEN, VALIDATORS, World, certified, nothing, reseal, vote


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


def story() -> World:
    w = World()
    w.mine(6)
    w.block()
    w.mine(3)
    w.block()
    return w


def rebundled(block: Block, change: Callable[[Bundle], Bundle]) -> Block:
    """The block with another bundle, and a data root that fits it."""
    raw = change(Bundle.decode(block.bundle)).encode()
    return reseal(replace(block, bundle=raw), data_root=data_root(raw, block.transactions))


def bent(bundle: Bundle) -> Bundle:
    """Its last header has no work."""
    last = mine(child(story().bitcoin[-2], 5), fail=True)
    return replace(bundle, headers=(*bundle.headers[:-1], last.raw), new_tip=last.hash)


LIES: dict[str, tuple[str, Callable[[Block], Block]]] = {
    "a gap": (
        "bundle:parent",
        lambda b: rebundled(b, lambda x: replace(x, headers=x.headers[:1] + x.headers[2:])),
    ),
    "a header twice": (
        "bundle:parent",
        lambda b: rebundled(b, lambda x: replace(x, headers=(*x.headers, x.headers[-1]))),
    ),
    "a header without work": ("bundle:header:work", lambda b: rebundled(b, bent)),
    "more work than there is": (
        "bundle:work",
        lambda b: rebundled(b, lambda x: replace(x, new_work=x.new_work + 1)),
    ),
    "another tip": ("bundle:tip", lambda b: rebundled(b, lambda x: replace(x, new_tip=x.fork_hash))),
    "an unknown fork": (
        "bundle:fork",
        lambda b: rebundled(b, lambda x: replace(x, fork_hash=nothing("fork"))),
    ),
    "bytes that are no bundle": (
        "bundle:malformed",
        lambda b: reseal(replace(b, bundle=b"\x00" * 9), data_root=data_root(b"\x00" * 9, b.transactions)),
    ),
    "a bundle that was not voted for": ("data-root", lambda b: replace(b, bundle=b"")),
    "another final block": ("final", lambda b: reseal(b, final_height=1)),
    "a state from nowhere": ("state", lambda b: reseal(b, state_before=nothing("state"))),
    "a time before its parent's": ("state", lambda b: reseal(b, time=0)),
    "other validators": ("rollup", lambda b: reseal(b, validators_root=nothing("validators"))),
    "another place": ("place", lambda b: reseal(b, height=7)),
    "another parent": ("place", lambda b: reseal(b, parent=nothing("parent"))),
}


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
