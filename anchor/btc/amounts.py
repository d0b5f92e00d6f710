"""Units: satoshis, block heights and fee rates as types that do not mix."""

from typing import NewType

Sats = NewType("Sats", int)
Height = NewType("Height", int)
FeeRate = NewType("FeeRate", int)  # sat/vB

COIN = Sats(100_000_000)
MAX_MONEY = Sats(21_000_000 * 100_000_000)
DUST_P2TR = Sats(330)  # Core's dust limit of a 34-byte witness v1 output at 3 sat/vB


def check_sats(value: int) -> Sats:
    """Return `value` as satoshis if it is an amount that Bitcoin knows.

    Raises ValueError outside 0..21 million BTC and for anything but a plain int. Source: MoneyRange in Core.
    """
    if type(value) is not int or not 0 <= value <= MAX_MONEY:
        raise ValueError(f"{value!r} is not an amount: give whole satoshis from 0 to {MAX_MONEY}")
    return Sats(value)
