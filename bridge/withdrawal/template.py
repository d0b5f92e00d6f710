"""Which scripts a payout may go to, and the least each may hold.

A whitelist: what is not a standard output could make a batch that no node relays (tBTC v1 was paused for that).
"""

from anchor.btc.amounts import Sats


class UnpayableScript(ValueError):
    """A scriptPubKey that no payout goes to; the sentence says what to give instead."""


def dust_limit(script: bytes) -> Sats:
    """Return the least a payout to `script` may hold, satoshis: Core's dust limit at 3 sat/vB.

    Knows P2PKH, P2SH, P2WPKH, P2WSH and P2TR; UnpayableScript for anything else. Source: GetDustThreshold.
    """
    match len(script):
        case 25 if script[:3] == b"\x76\xa9\x14" and script[23:] == b"\x88\xac":
            return Sats(546)
        case 23 if script[:2] == b"\xa9\x14" and script[22:] == b"\x87":
            return Sats(540)
        case 22 if script[:2] == b"\x00\x14":
            return Sats(294)
        case 34 if script[:2] in (b"\x00\x20", b"\x51\x20"):
            return Sats(330)
    raise UnpayableScript(
        "only P2PKH, P2SH, P2WPKH, P2WSH and P2TR can be paid: give an address of such a kind"
    )
