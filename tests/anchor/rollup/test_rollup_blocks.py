"""Blocks: made and checked alike, each lie refused by name, Bitcoin's reorgs followed without rewinding."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from anchor.btc.codec import CodecError
from anchor.headers.bundle import Bundle
from anchor.rollup import transitions
from anchor.rollup.bitcoin_view import begin, final_of
from anchor.rollup.block import Block, data_root, tx_root
from anchor.rollup.refusals import BlockRefused, TxRefused
from anchor.rollup.state import RollupState
from anchor.rollup.transitions import apply_tx, check_block, make_block
from tests.anchor.rollup.rollup_world import ALICE, BOB, GEN, K, World, a_genesis, nothing, reseal


def replayed(w: World) -> RollupState:
    state = RollupState.at_genesis(w.genesis)
    for block in w.blocks:
        state = check_block(w.genesis, state, Block.decode(block.encode()))
    return state


def a_story() -> World:
    w = World().funded()
    w.block(w.transfer(ALICE, BOB, 5_000))
    lock = w.lock(ALICE, 40_000)
    w.block(lock)
    w.mine(1)
    w.block(w.settle(lock))
    w.block()
    return w


def test_whoever_replays_the_blocks_has_the_same_state() -> None:
    w = a_story()
    again = replayed(w)
    assert again.root() == w.state.root()
    assert (again.tip, again.height, again.time) == (w.state.tip, w.state.height, w.state.time)
    assert again.accounts == w.state.accounts
    assert again.withdrawals == w.state.withdrawals


def test_blocks_are_chained_by_parent_and_state() -> None:
    w = a_story()
    assert w.blocks[0].header.parent == GEN.hash
    for above, below in zip(w.blocks[1:], w.blocks, strict=False):
        assert above.header.parent == below.header.hash(GEN.hash)
        assert above.header.state_before == below.header.state_after


def test_a_state_root_that_is_kept_equals_one_that_is_made_anew() -> None:
    w = a_story()
    fresh = w.state.copy()
    fresh._roots.clear()
    assert fresh.root() == w.state.root()


def test_a_copy_of_a_state_is_independent() -> None:
    w = World().funded()
    before, copy = w.state.root(), w.state.copy()
    transitions.apply_in_place(copy, w.transfer(ALICE, BOB, 5), GEN)
    assert w.state.root() == before != copy.root()


def honest() -> tuple[World, RollupState, Block]:
    w = World().funded()
    before = w.state
    w.mine(2)
    w.block(w.transfer(ALICE, BOB, 5_000))
    return w, before, w.blocks[-1]


LIES: list[tuple[str, Callable[[World, Block], Block]]] = [
    ("rollup", lambda w, b: reseal(b, rollup_id=8)),
    ("height", lambda w, b: reseal(b, height=b.header.height + 1)),
    ("height", lambda w, b: reseal(b, height=b.header.height - 1)),
    ("parent", lambda w, b: reseal(b, parent=nothing("x"))),
    ("time", lambda w, b: reseal(b, time=b.header.time - 2)),
    ("validators", lambda w, b: reseal(b, validators_root=nothing("x"))),
    ("state-before", lambda w, b: reseal(b, state_before=nothing("x"))),
    ("state-after", lambda w, b: reseal(b, state_after=nothing("x"))),
    ("tx-root", lambda w, b: reseal(b, tx_root=nothing("x"))),
    ("tx-root", lambda w, b: reseal(b, tx_count=2)),
    ("data-root", lambda w, b: reseal(b, data_root=nothing("x"))),
    ("final", lambda w, b: reseal(b, final_height=b.header.final_height + 1)),
    ("final", lambda w, b: reseal(b, final_hash=nothing("x"))),
    ("bundle", lambda w, b: replace(b, bundle=b"garbage")),
    ("bundle", lambda w, b: replace(b, bundle=w.blocks[1].bundle)),  # repeats headers
    ("bundle", lambda w, b: replace(b, bundle=_lying_tip(b.bundle))),
    ("final", lambda w, b: reseal(replace(b, bundle=b""), data_root=data_root(b"", b.transactions))),
    ("tx-root", lambda w, b: replace(b, transactions=())),
    ("transaction", lambda w, b: replace(b, transactions=b.transactions * 2)),
    ("transaction", lambda w, b: replace(b, transactions=(b"garbage",))),
    ("transaction", lambda w, b: replace(b, transactions=(_without_signature(b.transactions[0]),))),
]


def _lying_tip(raw: bytes) -> bytes:
    bundle = Bundle.decode(raw)
    return replace(bundle, new_work=bundle.new_work + 1).encode()


def _without_signature(raw: bytes) -> bytes:
    return raw[:-64] + bytes(64)


@pytest.mark.parametrize(("code", "lie"), LIES)
def test_a_block_that_lies_is_refused_by_name(code: str, lie: Callable[[World, Block], Block]) -> None:
    w, before, block = honest()
    root = before.root()
    with pytest.raises(BlockRefused) as caught:
        check_block(GEN, before, lie(w, block))
    assert caught.value.code == code
    assert before.root() == root, "a refusal changes nothing"
    assert check_block(GEN, before, block).tip == w.state.tip


def test_a_block_for_another_genesis_is_refused() -> None:
    _, before, block = honest()
    with pytest.raises(BlockRefused):
        check_block(a_genesis(k=2), before, block)


def test_an_earlier_clock_is_lifted_to_the_parents_time() -> None:
    w = World().funded()
    block, state, _ = make_block(GEN, w.state, [], b"", 0)
    assert block.header.time == state.time == w.state.time


def test_a_full_block_leaves_the_rest_for_later(monkeypatch: pytest.MonkeyPatch) -> None:
    w = World().funded()
    first = w.transfer(ALICE, BOB, 5)
    second = w.transfer(ALICE, BOB, 6, nonce=1)
    monkeypatch.setattr(transitions, "MAX_TXS", 1)
    w.block(first, second)
    assert w.blocks[-1].transactions == (first.encode(),)
    assert w.rejected == []
    monkeypatch.setattr(transitions, "MAX_BLOCK_BYTES", 1100)
    w.block(second)
    assert w.blocks[-1].transactions == ()
    assert w.rejected == []


def test_roots_tell_order_and_number_apart() -> None:
    a, b = nothing("a"), nothing("b")
    assert len({tx_root(r) for r in ([], [a], [b], [a, b], [b, a], [a, a], [a, a, a])}) == 7
    assert data_root(b"", [b"x"]) != data_root(b"x", [])


# Bitcoin's view


def test_the_view_begins_at_the_trusted_header_which_counts_as_final() -> None:
    view = begin(GEN)
    assert final_of(view, K) == (0, GEN.first_hash)
    with pytest.raises(CodecError, match="first block of a period"):
        begin(a_genesis(network="mainnet", bitcoin_height=1))


def test_a_block_names_the_newest_final_bitcoin_block() -> None:
    w = World().activate()
    w.mine(5)
    header = w.block().header
    assert (header.final_height, header.final_hash) == (3, w.bitcoin[3].hash)


def test_a_shallow_reorg_turns_the_view_and_rewinds_no_block() -> None:
    w = World().funded()
    w.mine(2)
    w.block()
    height, supply = w.state.height, w.state.supply
    w.reorg(2, 3)
    w.block()
    assert w.state.height == height + 1
    assert w.state.supply == supply
    assert w.state.view.tip.hash == w.bitcoin[-1].hash
    assert [(r.depth, r.rollup_height) for r in w.state.reorgs] == [(2, height + 1)]
    assert w.state.paused is None
    assert replayed(w).root() == w.state.root()


def test_a_long_reorg_may_spread_over_several_blocks() -> None:
    w = World().funded()
    w.mine(2)
    w.block()
    old_tip = w.state.view.tip.hash
    w.reorg(2, 4)
    tips = []
    while (bundle := w.bundle(limit=1)) != b"":
        w.block(bundle=bundle)
        tips.append(w.state.view.tip.hash)
    assert tips[:2] == [old_tip, old_tip], "the lighter branch is stored, the tip stays"
    assert tips[-1] == w.bitcoin[-1].hash
    assert len(w.state.reorgs) == 1
    assert replayed(w).root() == w.state.root()


def test_a_reorg_of_k_blocks_pauses_value_but_not_transfers() -> None:
    w = World().funded()
    w.mine(K)
    w.block()
    w.reorg(K, K + 1)
    w.block()
    assert w.state.paused is not None
    assert f"disconnected {K} blocks" in w.state.paused
    for tx in (w.mint(ALICE, 20_000, "late"), w.lock(ALICE, 20_000)):
        with pytest.raises(TxRefused) as caught:
            apply_tx(w.state, tx, GEN)
        assert (caught.value.code, caught.value.retryable) == ("paused", True)
    w.block(w.transfer(ALICE, BOB, 5))
    assert w.rejected == []
    assert replayed(w).paused == w.state.paused


def test_a_settle_is_refused_while_paused() -> None:
    w = World().funded()
    lock = w.lock(ALICE, 20_000)
    w.mine(K)
    w.block(lock)
    w.reorg(K, K + 1)
    w.block()
    with pytest.raises(TxRefused, match="paused"):
        apply_tx(w.state, w.settle(lock), GEN)


def test_a_mint_does_not_survive_when_its_block_leaves_the_view_first() -> None:
    w = World().activate()
    w.mine(K)
    mint = w.mint(ALICE, 20_000, block_hash=w.bitcoin[2].hash, height=2)
    w.block(mint)
    assert w.rejected[0][1].code == "not_final"
    w.reorg(2, 4)
    w.block(mint)
    assert "not on the main chain" in w.rejected[0][1].reason
    assert w.state.supply == 0
