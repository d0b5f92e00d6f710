"""When the treasury's move to the next key epoch's key is due: leader and signers ask the same function."""

from typing import Final

from anchor.btc.amounts import DUST_P2TR, Sats
from anchor.inscription.successor import Successor
from anchor.rollup.activation import Params
from bridge.treasury.builder import batch_vsize
from bridge.treasury.reader import TreasuryState

MOVE_VSIZE: Final = batch_vsize(1, ())
CALM_RATE: Final = 10  # sat/vB: a move that pays less might wait for a block for long, and all value with it


def is_due(
    state: TreasuryState,
    successor: Successor | None,
    reserve: Sats,
    params: Params,
    own_min_rate: int = 0,
) -> bool:
    """Tell whether the next batch must be the move, and nothing else.

    `successor` is what a final rotation anchor of lane 0 names, `reserve` the fee reserve on the tip. While the
    reserve cannot pay a move at a calm rate, or at the lowest that this operator signs (sat/vB), batches go on:
    only their fee shares fill it up again.
    """
    if successor is None or successor.epoch != state.epoch + 1:
        return False
    highest = min(params.max_fee_rate, params.batch_fee_cap // MOVE_VSIZE)
    rate = max(params.min_fee_rate, own_min_rate, min(CALM_RATE, highest))
    return reserve - rate * MOVE_VSIZE >= DUST_P2TR
