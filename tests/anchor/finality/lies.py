"""Blocks that lie about Bitcoin, each in one way, with the name under which they are refused."""

from collections.abc import Callable
from dataclasses import replace

from anchor.headers.bundle import Bundle
from anchor.rollup.block import Block, data_root
from tests.anchor.headers.minting import child, mine
from tests.anchor.rollup.rollup_world import World, nothing, reseal


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
