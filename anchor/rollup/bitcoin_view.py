"""The rollup's view of Bitcoin: only what bundles in its own blocks said, so everybody has the same.

The view is append-only. A reorg is a later bundle on another branch; rollup blocks are never rewound.
"""

from dataclasses import dataclass

from anchor.btc.codec import CodecError, Writer
from anchor.btc.header import Header
from anchor.btc.ids import BlockHash
from anchor.btc.network import network_by_name
from anchor.headers import bundle as bundles
from anchor.headers.bundle import Bundle, BundleRefused
from anchor.headers.chain import HeaderChain, Reorg
from anchor.headers.finality import final_tip
from anchor.headers.rules import rules_of
from anchor.rollup.genesis import Genesis


@dataclass(frozen=True, slots=True)
class ViewReorg:
    """A reorg as the view saw it: in which rollup block, where it forked, what was left and taken, how deep.

    Hashes in internal order; heights of Bitcoin except `rollup_height`; `depth` in disconnected blocks.
    """

    rollup_height: int
    fork_height: int
    fork_hash: BlockHash
    old_height: int
    old_tip: BlockHash
    new_height: int
    new_tip: BlockHash
    depth: int

    def encode(self) -> bytes:
        """The canonical bytes, part of the state's root."""
        out = Writer().u64(self.rollup_height).u32(self.fork_height).fixed(self.fork_hash, 32)
        out.u32(self.old_height).fixed(self.old_tip, 32).u32(self.new_height).fixed(self.new_tip, 32)
        return out.u32(self.depth).done()


@dataclass(frozen=True, slots=True)
class Taken:
    """What a bundle did to the view.

    `lost`: blocks that left the main chain. `turning`: its headers are on a branch that is not the tip's yet.
    """

    reorg: ViewReorg | None = None
    lost: frozenset[BlockHash] = frozenset()
    turning: bool = False


NOTHING = Taken()


def begin(genesis: Genesis) -> HeaderChain:
    """Return the view before the first block: the trusted header alone.

    Raises CodecError where the network retargets and the header is not the first of its period.
    """
    rules = rules_of(network_by_name(genesis.network))
    try:
        return HeaderChain(rules, genesis.first_header, genesis.bitcoin_height)
    except ValueError as error:
        raise CodecError(f"genesis: {error}; choose the first block of a period") from error


def final_of(view: HeaderChain, k: int) -> tuple[int, BlockHash]:
    """Return height and hash of the newest final block; the trusted start while none is deep enough."""
    found = final_tip(view, k)
    if found is None:
        return view.start.height, view.start.hash
    at = view.get(found)
    assert at is not None
    return at.height, found


def take(view: HeaderChain, encoded: bytes, rollup_height: int) -> Taken:
    """Apply an encoded bundle (b"" for none) to the view; return what that did.

    Raises CodecError or BundleRefused, and then the view is unchanged.
    """
    if not encoded:
        return NOTHING
    bundle = Bundle.decode(encoded)
    done = bundles.apply(view, bundle)
    if done.reorg is None:
        return Taken(turning=done.tip.hash != Header.parse(bundle.headers[-1]).hash)
    lost = frozenset(at.hash for at in done.reorg.disconnected)
    return Taken(_seen(done.reorg, rollup_height), lost)


def _seen(reorg: Reorg, rollup_height: int) -> ViewReorg:
    return ViewReorg(
        rollup_height,
        reorg.fork.height,
        reorg.fork.hash,
        reorg.old_tip.height,
        reorg.old_tip.hash,
        reorg.new_tip.height,
        reorg.new_tip.hash,
        reorg.depth,
    )


__all__ = ["NOTHING", "BundleRefused", "Taken", "ViewReorg", "begin", "final_of", "take"]
