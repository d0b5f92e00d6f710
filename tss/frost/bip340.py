"""Host keys: one member's own BIP340 identity. Group keys are never signed with here.

Constant-time arithmetic is libsecp256k1's, through btclib-secp256k1.
"""

from threading import Lock

from btclib_secp256k1 import keys, ssa, xonly

# Good signatures seen lately: messages are checked where they arrive and again where they count.
_MOST = 1024
_known: dict[bytes, None] = {}
_keeping = Lock()


def valid_secret(secret: bytes | bytearray | memoryview) -> bool:
    """Whether these bytes are 32 and, big-endian, from 1 to the group order - 1."""
    return len(secret) == 32 and bool(keys.prvkey_verify(secret))


def public_key(secret: bytes | bytearray | memoryview) -> bytes:
    """Return the x-only public key, 32 bytes; ValueError when the secret is not valid."""
    _check(secret)
    key, _parity = xonly.from_prvkey(secret)
    return bytes(key)


def sign(secret: bytes | bytearray | memoryview, message32: bytes, aux32: bytes) -> bytes:
    """Sign a 32-byte hash (BIP340 default signing); `aux32` is fresh randomness. Returns 64 bytes.

    The signature is verified before it is returned. ValueError for a wrong length or secret.
    """
    _check(secret)
    if len(message32) != 32 or len(aux32) != 32:
        raise ValueError("message and auxiliary randomness have 32 bytes each: hash the message first")
    return bytes(ssa.sign(message32, secret, aux32))


def verify(public32: bytes, message32: bytes, signature64: bytes) -> bool:
    """Whether the signature holds for this x-only key and 32-byte message; False for malformed input."""
    if len(public32) != 32 or len(message32) != 32 or len(signature64) != 64:
        return False
    whole = b"".join((public32, message32, signature64))
    if whole in _known:
        return True
    try:
        holds = bool(ssa.verify(message32, public32, signature64))
    except ValueError:  # no such point
        return False
    if holds:
        _keep(whole)
    return holds


def made(public32: bytes, message32: bytes, signature64: bytes) -> None:
    """Remember what `sign` just gave (and verified): it need not be verified again by ourselves."""
    _keep(b"".join((public32, message32, signature64)))


def _keep(whole: bytes) -> None:
    with _keeping:
        _known[whole] = None
        if len(_known) > _MOST:
            del _known[next(iter(_known))]


def _check(secret: bytes | bytearray | memoryview) -> None:
    if not valid_secret(secret):
        raise ValueError("a host secret is 32 bytes from 1 to the group order - 1: make a new one")
