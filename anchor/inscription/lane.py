"""The two outputs of a lane: its tip, and the commit between two tips. Shared by builder, reader and proof."""

from functools import lru_cache

from anchor.btc.ids import XOnlyKey
from anchor.btc.script import p2tr
from anchor.btc.taproot import control_block, leaf_hash, output_key

REVEAL_SEQUENCE = 0xFFFFFFFD
VOID_SEQUENCE = 0xFFFFFFFC  # another number, so that no void has a reveal's txid
COMMIT_SEQUENCE = REVEAL_SEQUENCE
TRUC_VERSION = 3
TRUC_MAX_CHILD = 1_000  # vB of a child whose parent is unconfirmed (BIP431)


def x_only(key33: bytes) -> XOnlyKey:
    """Return the x-only form of a certified group key P (33 bytes, parity first). ValueError otherwise."""
    if len(key33) != 33 or key33[0] not in (2, 3):
        raise ValueError("a group key has 33 bytes and starts with 02 or 03")
    return XOnlyKey(key33[1:])


@lru_cache(maxsize=64)
def tip_key(key33: bytes) -> XOnlyKey:
    """Return Q(P) of a lane's tip: key path only (BIP341 recommends the tweak without scripts)."""
    return output_key(x_only(key33), None)[0]


def tip_script(key33: bytes) -> bytes:
    """Return the scriptPubKey of a lane's tip, 34 bytes."""
    return p2tr(tip_key(key33))


def commit_output(key33: bytes, leaf: bytes) -> tuple[bytes, bytes]:
    """Return (scriptPubKey, control block) of a commit whose one leaf is `leaf`; internal key is P."""
    key, parity = output_key(x_only(key33), leaf_hash(leaf))
    return p2tr(key), control_block(x_only(key33), parity)
