"""What a header feed tells: blocks that joined and left the main chain, reorgs and how loud they are."""

from dataclasses import dataclass

from anchor.btc.ids import BlockHash, display
from anchor.headers.chain import Reorg

SWAPPED = 10  # more blocks than this disconnected at once look like another node, not like a reorg


@dataclass(frozen=True, slots=True)
class Connected:
    """A block joined the main chain."""

    height: int
    hash: BlockHash


@dataclass(frozen=True, slots=True)
class Disconnected:
    """A block left the main chain."""

    height: int
    hash: BlockHash


@dataclass(frozen=True, slots=True)
class Reorged:
    """The main chain turned; `level` is info, warning, page or pause. Comes before its blocks' events."""

    reorg: Reorg
    level: str


ChainEvent = Connected | Disconnected | Reorged


class WrongNode(Exception):
    """So many blocks would be disconnected that the node was probably swapped, or its operator refused this chain.

    Nothing was changed.
    """

    def __init__(self, reorg: Reorg, *, refused: bool = False) -> None:
        tip = display(reorg.new_tip.hash)
        if refused:
            text = (
                f"our bitcoind follows the chain with tip {tip}, which this node's operator refused: correct "
                "its URL, or confirm that tip after all"
            )
        else:
            text = (
                f"our bitcoind now lacks {reorg.depth} blocks that it had (from height {reorg.fork.height + 1}): "
                f"if it is still the right node, confirm its tip {tip}; if not, refuse it and correct the URL"
            )
        super().__init__(text)
        self.reorg, self.refused = reorg, refused


def level_of(depth: int, k: int) -> str:
    """How loud a reorg of `depth` disconnected blocks is: 1 info, 2 warning, 3 to k-1 page, k and more pause."""
    if depth >= k:
        return "pause"
    return {1: "info", 2: "warning"}.get(depth, "page")


def events_of(reorg: Reorg, level: str) -> list[ChainEvent]:
    """The events of one way from tip to tip, in the order in which they are told."""
    events: list[ChainEvent] = [Reorged(reorg, level)] if reorg.depth else []
    events += [Disconnected(at.height, at.hash) for at in reorg.disconnected]
    events += [Connected(at.height, at.hash) for at in reorg.connected]
    return events
