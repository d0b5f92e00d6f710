"""The leaf around a payload: (push of at most 255 bytes, OP_DROP)*, then P and OP_CHECKSIG.

Pushes are executed, so MINIMALDATA applies, and rules that forbid OP_IF in tapscript or pushes above 256 bytes
(BIP110) do not touch it. Against an OP_IF envelope it saves one virtual byte at 32 bytes of payload.
"""

import itertools

from anchor.btc.ids import XOnlyKey
from anchor.btc.script import OP_CHECKSIG, OP_DROP, ScriptError, operations, push
from anchor.inscription.payload import MAX_PAYLOAD

MAX_CHUNK = 255


class LeafError(ValueError):
    """A script that is not exactly one of our leaves."""


def _chunks(payload: bytes) -> list[bytes]:
    """Cut the payload; a last chunk of one byte borrows one, as OP_1 to OP_16 would be its minimal push."""
    cuts = [*range(0, len(payload), MAX_CHUNK), len(payload)]
    if len(payload) > 1 and cuts[-1] - cuts[-2] == 1:
        cuts[-2] -= 1
    return [payload[a:b] for a, b in itertools.pairwise(cuts)]


def leaf_script(payload: bytes, key: bytes) -> bytes:
    """Return the leaf for `payload` (2 to 400,000 bytes) that only `key` (x-only, 32 bytes) may spend."""
    if not 2 <= len(payload) <= MAX_PAYLOAD:
        raise LeafError(f"a payload has 2 to {MAX_PAYLOAD} bytes, not {len(payload)}")
    if len(key) != 32:
        raise LeafError(f"a leaf's key has 32 bytes, this has {len(key)}")
    drops = b"".join(push(chunk) + bytes([OP_DROP]) for chunk in _chunks(payload))
    return drops + push(key) + bytes([OP_CHECKSIG])


def parse_leaf(script: bytes) -> tuple[bytes, XOnlyKey]:
    """Return (payload, key) of a leaf that `leaf_script` would write byte for byte. LeafError otherwise."""
    try:
        steps = list(operations(script))
    except ScriptError as error:
        raise LeafError(f"the leaf's script does not parse: {error}") from error
    if len(steps) < 4 or steps[-1][0] != OP_CHECKSIG:
        raise LeafError("a leaf ends with its key and OP_CHECKSIG")
    pieces, key = [data for _, data in steps[:-2:2]], steps[-2][1]
    if key is None or len(key) != 32 or any(piece is None for piece in pieces):
        raise LeafError("a leaf is pushes, each dropped, then a 32-byte key")
    payload = b"".join(piece for piece in pieces if piece is not None)
    if leaf_script(payload, key) != script:
        raise LeafError("the leaf is not the one canonical script of its payload")
    return payload, XOnlyKey(key)
