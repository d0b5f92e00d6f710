"""When the treasury's move to the next key epoch's key is due: leader and signers ask the same function."""

from typing import Final

from anchor.btc.amounts import DUST_P2TR, Sats
from anchor.inscription.successor import Successor
from anchor.rollup.activation import Params
from bridge.treasury.builder import batch_vsize
from bridge.treasury.reader import TreasuryState

MOVE_VSIZE: Final = batch_vsize(1, ())


def is_due(state: TreasuryState, successor: Successor | None, reserve: Sats, params: Params) -> bool:
    """Tell whether the next batch must be the move, and nothing else.

    `successor` is what a final rotation anchor of lane 0 names, `reserve` the fee reserve on the tip. While the
    reserve cannot pay a move at the lowest rate, batches go on: only their fee shares fill it up again.
    """
    if successor is None or successor.epoch != state.epoch + 1:
        return False
    return reserve - params.min_fee_rate * MOVE_VSIZE >= DUST_P2TR
