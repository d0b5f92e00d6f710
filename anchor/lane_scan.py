"""Reads the lanes of an activation record from a bitcoind's blocks alone: without a node, without a database."""

from collections.abc import Callable
from dataclasses import dataclass

from anchor.bitcoind import Bitcoind
from anchor.btc.amounts import Height
from anchor.btc.block import parse_block
from anchor.btc.ids import BlockHash
from anchor.inscription.reader import LaneEvent, LaneState, apply_block
from anchor.rollup.activation import Activation

TRIES = 5  # reads of the chain, each broken off by a reorg


class ChainMoves(Exception):
    """Reorgs came faster than blocks could be read."""


@dataclass(frozen=True, slots=True)
class Scan:
    """What the blocks up to `height` hold: each lane's state, and every event in the order of blocks."""

    height: int
    hash: BlockHash
    lanes: tuple[LaneState, ...]
    events: tuple[LaneEvent, ...]


async def scan(bitcoind: Bitcoind, activation: Activation, told: Callable[[int], None] | None = None) -> Scan:
    """Read all blocks from the record's height on; `told` hears each height. ChainMoves, NodeError."""
    for _ in range(TRIES):
        found = await _once(bitcoind, activation, told)
        if found is not None:
            return found
    raise ChainMoves("bitcoind's chain changes while it is read: try again in a minute")


async def _once(
    bitcoind: Bitcoind, activation: Activation, told: Callable[[int], None] | None
) -> Scan | None:
    """One reading; None when a block does not follow from the one before."""
    a = activation
    lanes = [LaneState(x.number, a.epoch, a.anchor_key, x.outpoint, x.value) for x in a.lanes]
    events, height, last = list[LaneEvent](), a.height - 1, await bitcoind.block_hash(a.height - 1)
    if last is None:
        raise ChainMoves(f"bitcoind has no block {height} yet: let it catch up with the activation record")
    while (above := await bitcoind.block_hash(height + 1)) is not None:
        block = parse_block(await bitcoind.raw_block(above))
        if block.header.parent != last:
            return None
        height, last = height + 1, above
        for place, lane in enumerate(lanes):
            lanes[place], found = apply_block(lane, block, Height(height))
            events += found
        if told is not None:
            told(height)
    return Scan(height, last, tuple(lanes), tuple(events))
