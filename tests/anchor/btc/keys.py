"""Whole secrets of output keys, for tests only: Holdfast itself never has one."""

from coincurve import PublicKey

from anchor.btc.curve import ORDER, x_only_from_secret
from anchor.btc.taproot import tweak_of


def tweaked_secret(secret: bytes, root: bytes | None) -> bytes:
    """Return the secret behind Q = P + H_TapTweak(P‖root)·G. BIP341, taproot_tweak_seckey."""
    number = int.from_bytes(secret, "big")
    if PublicKey.from_secret(secret).format()[0] == 3:
        number = ORDER - number
    tweak = int.from_bytes(tweak_of(x_only_from_secret(secret), root), "big")
    return ((number + tweak) % ORDER).to_bytes(32, "big")
