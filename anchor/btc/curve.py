"""secp256k1: points, tweaks and BIP340 signatures. The only importer of btclib_secp256k1 in `anchor`.

Everything here runs in libsecp256k1, which is constant-time where secrets are touched.
"""

from btclib_secp256k1 import ssa, xonly

from anchor.btc.ids import XOnlyKey

ORDER = 0xFFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFE_BAAEDCE6_AF48A03B_BFD25E8C_D0364141

# BIP341's H: the point nobody knows the discrete logarithm of.
NO_KEY = XOnlyKey(bytes.fromhex("50929b74c1a04954b78b4b6035e97a5e078a5a0f28ec96d547bfee9ace803ac0"))


class CurveError(ValueError):
    """A key, secret or tweak that is no valid curve element."""


def is_secret(data: bytes) -> bool:
    """Tell whether 32 bytes are a secret key: 1..n-1, big-endian."""
    return len(data) == 32 and 0 < int.from_bytes(data, "big") < ORDER


def is_x_only(data: bytes) -> bool:
    """Tell whether 32 bytes are the x coordinate of a point (BIP340 lift_x succeeds)."""
    return len(data) == 32 and bool(xonly.pubkey_verify(bytes(data)))


def tweak_add_x_only(x_only: bytes, tweak: bytes) -> tuple[XOnlyKey, int]:
    """Return x and parity of lift_x(x_only) + tweak·G.

    Both arguments have 32 bytes. Raises CurveError for an x that is on no point, a tweak not below n, and the
    sum at infinity. BIP341, taproot_tweak_pubkey.
    """
    if len(x_only) != 32 or len(tweak) != 32:
        raise CurveError("key and tweak have 32 bytes each")
    try:
        point, parity = xonly.tweak_add(bytes(x_only), bytes(tweak))
    except (ValueError, RuntimeError) as error:
        raise CurveError(f"cannot tweak key {x_only.hex()}: {error}") from error
    return XOnlyKey(point), int(parity)


def schnorr_verify(x_only: bytes, message: bytes, signature: bytes) -> bool:
    """Check a BIP340 signature (64 bytes) over a message of any length; False for anything malformed."""
    if len(x_only) != 32 or len(signature) != 64:
        return False
    try:
        return bool(ssa.verify(bytes(message), bytes(x_only), bytes(signature)))
    except (ValueError, RuntimeError):
        return False


def schnorr_sign(secret: bytes, message: bytes, aux: bytes) -> bytes:
    """Sign a 32-byte message under a 32-byte secret with 32 bytes of auxiliary randomness: 64 bytes.

    The signature is verified before it is returned (BIP340, default signing). CurveError on malformed input.
    """
    if not is_secret(secret) or len(message) != 32 or len(aux) != 32:
        raise CurveError("signing takes a valid secret, a 32-byte message and 32 bytes of randomness")
    return bytes(ssa.sign(bytes(message), secret, bytes(aux)))


def x_only_from_secret(secret: bytes) -> XOnlyKey:
    """Return the BIP340 public key of a 32-byte secret. CurveError when it is none."""
    if not is_secret(secret):
        raise CurveError("not a secret key: 32 bytes, not zero, below the group order")
    return XOnlyKey(bytes(xonly.from_prvkey(secret)[0]))
