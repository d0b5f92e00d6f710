"""A validator votes only for what its own bitcoind stands behind."""

from anchor.finality.judge import MAX_AHEAD, objection
from anchor.headers.chain import HeaderChain
from tests.anchor.headers.minting import chain_of, run
from tests.anchor.rollup.rollup_world import ALICE, K, World


def judged(w: World, own: HeaderChain, now: int | None = None) -> str | None:
    at = w.state.time if now is None else now
    return objection(w.blocks[-1], w.state.view, own, own.tip, at)


def test_it_votes_when_the_final_block_is_on_its_own_chain() -> None:
    w = World().activate()
    w.mine(6)
    w.block()
    assert judged(w, chain_of(*w.bitcoin[1:])) is None
    assert judged(w, chain_of(*w.bitcoin[1:5])) is None, "the newest blocks may be unknown: height 4 is final"


def test_it_waits_when_its_own_bitcoind_lags_behind_the_final_block() -> None:
    w = World().activate()
    w.mine(6)
    w.block()
    assert "does not have" in str(judged(w, chain_of(*w.bitcoin[1:4])))


def test_it_votes_across_a_shallow_reorg_whatever_side_it_is_on() -> None:
    w = World().activate()
    w.mine(6)
    w.block()
    other = [*w.bitcoin[1:5], *run(w.bitcoin[4], 4, 5)]
    assert judged(w, chain_of(*other)) is None


def deep() -> tuple[World, HeaderChain]:
    """The view is on a branch that our heavier chain left K and more blocks ago."""
    w = World().activate()
    w.mine(2)
    fork = list(w.bitcoin)
    w.mine(K + 1)
    w.block()
    own = [*fork, *run(fork[-1], K + 4, 5)]
    return w, chain_of(*own[1:])


def test_on_a_lighter_fork_of_its_own_it_does_not_vote() -> None:
    w, _ = deep()
    fork = [*w.bitcoin[1:3], *run(w.bitcoin[2], K, 5)]
    assert "does not have" in str(judged(w, chain_of(*fork)))


def test_it_lets_a_view_that_lost_turn_to_its_own_heavier_chain() -> None:
    w, own = deep()
    assert judged(w, own) is not None, "that bundle added headers of the losing branch"
    w.block(bundle=b"")
    assert judged(w, own) is None
    w.bitcoin = [h.header for h in own.main(0, 100)]
    w.block(bundle=w.bundle(limit=2))
    assert judged(w, own) is None
    while (more := w.bundle(limit=2)) != b"":
        w.block(bundle=more)
        assert judged(w, own) is None
    assert w.state.view.tip.hash == own.tip.hash
    assert w.state.paused is not None


def test_while_the_view_has_lost_it_signs_no_block_that_moves_value() -> None:
    w, own = deep()
    w.block(w.mint(ALICE, 20_000), bundle=b"")
    assert w.rejected == []
    assert "moves value" in str(judged(w, own))


def test_a_branch_that_bitcoind_holds_to_be_invalid_is_not_its_chain() -> None:
    w = World().activate()
    w.mine(6)
    w.block()
    own = chain_of(*w.bitcoin[1:])
    active = own.at_height(2)
    assert active is not None
    assert "does not have" in str(objection(w.blocks[-1], w.state.view, own, active, w.state.time))


def test_a_block_from_the_future_waits() -> None:
    w = World().activate()
    own = chain_of(*w.bitcoin[1:])
    assert judged(w, own, w.state.time - MAX_AHEAD) is None
    assert "ahead of our clock" in str(judged(w, own, w.state.time - MAX_AHEAD - 1))


def test_while_the_view_has_lost_it_signs_no_block_that_hands_the_bridge_on() -> None:
    w, own = deep()
    w.block(w.succeed(), bundle=b"")
    assert w.rejected == []
    assert "moves value" in str(judged(w, own))
