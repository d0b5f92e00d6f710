"""Real validators and reorgs: lies refused by each of them, a reorg of any depth let through, value paused."""

from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from anchor.headers.bundle import Bundle
from anchor.rollup.block import Block, data_root
from anchor.rollup.state import RollupState
from anchor.rollup.transitions import check_block
from anchor.rollup.tx import Activate
from tests.anchor.feeding import Branch, serving
from tests.anchor.finality.lies import LIES, story
from tests.anchor.headers.minting import child, run
from tests.anchor.rollup.rollup_world import (
    ALICE,
    GEN,
    K,
    World,
    an_activation,
    certified,
    nothing,
    reseal,
    signed,
)
from tests.anchor.rollup_parts import a_sequencer, a_validator, keys, until
from tests.anchor.test_sequencer import Shadow
from tests.anchor.test_validator import Liar

SOON = 0.3  # seconds of patience, for tests that let time pass


def with_bundle(block: Block, bundle: Bundle) -> Block:
    raw = bundle.encode()
    return reseal(replace(block, bundle=raw), data_root=data_root(raw, block.transactions))


def lighter(block: Block) -> Block:
    """Names the tip of a branch with less work."""
    w, b = story(), Bundle.decode(block.bundle)
    stale = child(w.bitcoin[-8], 4)
    lie = Bundle(len(w.bitcoin) - 8, w.bitcoin[-8].hash, (stale.raw,), stale.hash, b.new_work)
    return with_bundle(block, lie)


def known(block: Block) -> Block:
    """Repeats headers that came before."""
    w, b = story(), Bundle.decode(block.bundle)
    raws = tuple(h.raw for h in w.bitcoin[1:])
    return with_bundle(block, replace(b, fork_height=0, fork_hash=w.bitcoin[0].hash, headers=raws))


def endless(block: Block) -> Block:
    """More headers than a bundle may hold: the codec itself does not read them."""
    b = Bundle.decode(block.bundle)
    raw = replace(b, headers=b.headers * 700).encode()
    return reseal(replace(block, bundle=raw), data_root=data_root(raw, block.transactions))


def false_fork_height(block: Block) -> Block:
    b = Bundle.decode(block.bundle)
    return with_bundle(block, replace(b, fork_height=b.fork_height + 1))


MORE = {
    "a branch with less work as the tip": ("(tip)", lighter),
    "headers that came before": ("(repeated)", known),
    "too many headers": ("at most 2000", endless),
    "a false height of the fork": ("(fork-height)", false_fork_height),
    "right headers, wrong work": (
        "(work)",
        lambda b: with_bundle(b, replace(Bundle.decode(b.bundle), new_work=1)),
    ),
    "a state that executing it does not give": ("state-after", lambda b: reseal(b, state_after=nothing("x"))),
}
SAID = {
    "bundle:malformed": "its Bitcoin headers are refused",
    "place": "refused",
    "state": "refused",
    "rollup": "validators",
}


def named(code: str) -> str:
    """The word in a validator's sentence for a lie of the replay's table."""
    rule = code.removeprefix("bundle:")
    return SAID.get(code, f"({rule})" if code.startswith("bundle:") else code)


LIED = {**{name: (named(code), lie) for name, (code, lie) in LIES.items()}, **MORE}


@pytest.mark.parametrize("name", LIED)
async def test_every_validator_refuses_a_lie_with_the_reason_and_votes_for_none(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("anchor.validator.RETRY", 0)
    said, lie = LIED[name]
    w, liar = story(), Liar()
    first, second = w.blocks
    liar.chain = [certified(GEN, first)]
    liar.offer = lie(second)
    branch = Branch(list(w.bitcoin))
    async with serving(liar.routes()) as url, AsyncExitStack() as stack:
        for which in ((0, 1), (2, 3)):
            v = await stack.enter_async_context(
                a_validator(tmp_path, branch, url, which, run=False, db=f"{which}.db", resume_above=1)
            )
            await v.feed.sync()
            await v.step()
            moved = liar.offer.header.height != 2  # of another height: it is not even looked at
            assert moved or said in v._said, v._said
        assert liar.votes == []


def replay(s: RollupState, blocks: list[Block]) -> RollupState:
    for block in blocks:
        s = check_block(GEN, s, block)
    return s


@pytest.mark.parametrize("most", [2000, 150], ids=["in one bundle", "spread over blocks"])
async def test_a_reorg_of_a_thousand_blocks_gets_through_validators_and_pauses_value(
    tmp_path: Path, most: int
) -> None:
    branch = Branch().mine(1004)
    async with (
        a_sequencer(tmp_path, branch, patience=SOON, most=most) as (s, client),
        a_validator(tmp_path, branch, client.url, (0, 1), db="a.db") as a,
        a_validator(tmp_path, branch, client.url, (2, 3), db="b.db") as b,
    ):
        await until(lambda: s.state.view.tip.height == 1004, "the first chain", 60)
        won = Branch(list(branch.chain)).reorg(1000, 1001).chain
        branch.chain = won
        await until(lambda: s.state.view.tip.hash == won[-1].hash, "the view to turn", 60)
        [reorg] = s.state.reorgs
        assert (reorg.depth, reorg.fork_height) == (1000, 4)
        assert s.state.pause is not None
        await until(
            lambda: min(a.state.height, b.state.height) >= reorg.rollup_height + 1, "blocks to go on", 30
        )
        pages = await client.blocks(0, 200)
        again = replay(RollupState.at_genesis(GEN), [c.block for c in pages])
        assert again.reorgs == s.state.reorgs
        carried = [len(Bundle.decode(c.block.bundle).headers) for c in pages if c.block.bundle]
        assert max(carried) <= most


async def test_while_a_long_reorg_is_under_way_value_waits_and_blocks_do_not(tmp_path: Path) -> None:
    branch = Branch().mine(30)
    async with (
        a_sequencer(tmp_path, branch, patience=SOON, most=4) as (s, client),
        a_validator(tmp_path, branch, client.url) as v,
    ):
        w = Shadow(branch)
        await client.submit(Activate(signed(an_activation())).encode())
        await until(lambda: s.state.activation is not None and s.state.view.tip.height == 30, "the start", 60)
        mint = w.at(s.state).mint(ALICE, 500_000)
        branch.reorg(20, 21)
        await until(lambda: s.after.turning, "the first headers of the heavier branch", 60)
        with pytest.raises(Exception, match="on its way to a heavier branch"):
            await client.submit(mint.encode())
        await until(lambda: s.state.view.tip.hash == branch.chain[-1].hash, "the view to turn", 60)
        assert s.state.supply == 0
        assert s.state.pause is not None
        decide = w.at(s.state).decide()
        await client.submit(decide.encode())
        await until(lambda: v.state.paused is None, "the operators' decision to take effect", 60)
        assert [d.operators for d in v.state.decisions] == [(0, 1)]


async def test_a_validator_whose_bitcoind_lost_follows_once_it_has_the_heavier_chain(tmp_path: Path) -> None:
    won, lost = Branch().mine(10), Branch().mine(4)
    lost.mine(5, salt=3)
    async with (
        a_sequencer(tmp_path, won) as (s, client),
        a_validator(tmp_path, won, client.url, (0, 1), db="a.db"),
        a_validator(tmp_path, lost, client.url, (2, 3), db="b.db") as behind,
    ):
        await until(lambda: "does not have the final" in behind._said, "the one behind to say so", 60)
        assert s.state.height == 0
        lost.chain = won.chain
        await until(lambda: s.state.height >= 2, "blocks", 60)


async def test_a_sequencer_cannot_move_value_while_validators_know_a_heavier_chain(tmp_path: Path) -> None:
    """The sequencer keeps the heavier chain to itself and would settle facts that are gone."""
    w, liar = World().activate(), Liar()
    w.mine(K + 3)
    w.block()
    liar.chain = [certified(GEN, block) for block in w.blocks]
    old = list(w.bitcoin)
    liar.offer = w.block(w.mint(ALICE, 50_000), bundle=b"")
    own = Branch([*old[:2], *run(old[1], len(old) + 2, 5)])
    async with (
        serving(liar.routes()) as url,
        a_validator(tmp_path, own, url, run=False, resume_above=2) as v,
    ):
        await v.feed.sync()
        await v.step()
        assert "moves value before the view has turned" in v._said
        liar.offer = replace_last(w, bundle=b"")
        await v.step()
        assert len(liar.votes) == len(keys()), "a block that moves nothing may pass"


def replace_last(w: World, bundle: bytes) -> Block:
    """The last block again, empty."""
    state = RollupState.at_genesis(GEN)
    for block in w.blocks[:-1]:
        state = check_block(GEN, state, block)
    w.state = state
    return w.block(bundle=bundle)
