"""Taproot: leaves, trees, tweaks, control blocks and signature hashes (BIP341, BIP342)."""

from collections.abc import Sequence

from anchor.btc.curve import CurveError, tweak_add_x_only
from anchor.btc.hashing import sha256, tagged_hash
from anchor.btc.ids import XOnlyKey
from anchor.btc.tx import Tx, TxOut

LEAF_TAPSCRIPT = 0xC0
ANNEX_TAG = 0x50
MAX_PATH = 128

DEFAULT = 0x00
ALL = 0x01
NONE = 0x02
SINGLE = 0x03
ANYONECANPAY = 0x80
_HASH_TYPES = (DEFAULT, ALL, NONE, SINGLE, ALL | ANYONECANPAY, NONE | ANYONECANPAY, SINGLE | ANYONECANPAY)


class TaprootError(ValueError):
    """A tree, control block or signature hash that BIP341 does not define."""


def compact_size(value: int) -> bytes:
    """Return Bitcoin's variable-length integer."""
    if value < 0xFD:
        return bytes([value])
    if value <= 0xFFFF:
        return b"\xfd" + value.to_bytes(2, "little")
    return b"\xfe" + value.to_bytes(4, "little")


def leaf_hash(script: bytes, version: int = LEAF_TAPSCRIPT) -> bytes:
    """Return the 32-byte hash of one leaf of the script tree. `version` is even, as BIP341 wants."""
    if version & 1 or not 0 <= version <= 0xFE:
        raise TaprootError(f"leaf version {version:#x} is not an even byte")
    return tagged_hash("TapLeaf", bytes([version]), compact_size(len(script)), script)


def branch_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of a node from its children in either order."""
    if len(left) != 32 or len(right) != 32:
        raise TaprootError("a branch joins two 32-byte hashes")
    return tagged_hash("TapBranch", *sorted((left, right)))


def tweak_of(internal: bytes, root: bytes | None) -> bytes:
    """Return the 32-byte tweak of an internal key; `root` is None when no script may spend."""
    if len(internal) != 32 or (root is not None and len(root) != 32):
        raise TaprootError("internal key and root have 32 bytes")
    return tagged_hash("TapTweak", internal, root or b"")


def output_key(internal: bytes, root: bytes | None) -> tuple[XOnlyKey, int]:
    """Return Q = P + H_TapTweak(P‖root)·G as (x-only, parity). Raises CurveError for a P that is no point."""
    return tweak_add_x_only(internal, tweak_of(internal, root))


def control_block(
    internal: bytes, parity: int, path: Sequence[bytes] = (), version: int = LEAF_TAPSCRIPT
) -> bytes:
    """Return the last witness element of a script spend: 33 + 32·len(path) bytes.

    `parity` is Q's, `path` the sibling hashes from the leaf up.
    """
    if len(internal) != 32 or parity not in (0, 1) or len(path) > MAX_PATH or any(len(h) != 32 for h in path):
        raise TaprootError("a control block takes an x-only key, a parity bit and at most 128 hashes")
    if version & 1 or not 0 <= version <= 0xFE:
        raise TaprootError(f"leaf version {version:#x} is not an even byte")
    return bytes([version | parity]) + internal + b"".join(path)


def root_from_control(control: bytes, script: bytes) -> bytes:
    """Return the tree's root that `control` claims for the leaf `script`. TaprootError when malformed."""
    if not 33 <= len(control) <= 33 + 32 * MAX_PATH or (len(control) - 33) % 32:
        raise TaprootError(f"a control block cannot have {len(control)} bytes")
    node = leaf_hash(script, control[0] & 0xFE)
    for at in range(33, len(control), 32):
        node = branch_hash(node, control[at : at + 32])
    return node


def verify_control(output: bytes, control: bytes, script: bytes) -> bool:
    """Tell whether leaf `script` may spend outputs of key `output` (32 bytes). False when malformed."""
    try:
        key, parity = output_key(control[1:33], root_from_control(control, script))
    except (TaprootError, CurveError):
        return False
    return key == output and parity == control[0] & 1


def sighash(
    tx: Tx,
    index: int,
    prevouts: Sequence[TxOut],
    hash_type: int = DEFAULT,
    leaf: bytes | None = None,
    *,
    annex: bytes | None = None,
) -> bytes:
    """Return the 32 bytes that the signature of input `index` signs.

    `prevouts` are the outputs spent by *all* inputs, in order. `leaf` is the leaf hash of a script spend (no
    OP_CODESEPARATOR), None for the key path. `annex` starts with 0x50. Raises TaprootError where BIP341
    defines no message. BIP341 "Common signature message", BIP342 "Common signature message extension".
    """
    if hash_type not in _HASH_TYPES:
        raise TaprootError(f"hash type {hash_type:#x} is not defined")
    if len(prevouts) != len(tx.inputs) or not 0 <= index < len(tx.inputs):
        raise TaprootError("a signature hash takes one spent output for every input")
    if annex is not None and annex[:1] != bytes([ANNEX_TAG]):
        raise TaprootError("an annex starts with 0x50")
    spend_type = (2 if leaf is not None else 0) + (1 if annex is not None else 0)
    parts = [b"\0", bytes([hash_type]), tx.version.to_bytes(4, "little"), tx.lock_time.to_bytes(4, "little")]
    if not hash_type & ANYONECANPAY:
        parts += _all_inputs(tx, prevouts)
    if hash_type & 3 not in (NONE, SINGLE):
        parts.append(sha256(b"".join(out.encode() for out in tx.outputs)))
    parts.append(bytes([spend_type]))
    if hash_type & ANYONECANPAY:
        spent = tx.inputs[index]
        parts += [spent.outpoint.encode(), prevouts[index].encode(), spent.sequence.to_bytes(4, "little")]
    else:
        parts.append(index.to_bytes(4, "little"))
    if annex is not None:
        parts.append(sha256(compact_size(len(annex)) + annex))
    if hash_type & 3 == SINGLE:
        if index >= len(tx.outputs):
            raise TaprootError(f"SIGHASH_SINGLE of input {index} has no output beside it")
        parts.append(sha256(tx.outputs[index].encode()))
    if leaf is not None:
        if len(leaf) != 32:
            raise TaprootError("a leaf hash has 32 bytes")
        parts += [leaf, b"\0", b"\xff\xff\xff\xff"]
    return tagged_hash("TapSighash", *parts)


def _all_inputs(tx: Tx, prevouts: Sequence[TxOut]) -> list[bytes]:
    scripts = (compact_size(len(out.script)) + out.script for out in prevouts)
    return [
        sha256(b"".join(i.outpoint.encode() for i in tx.inputs)),
        sha256(b"".join(out.value.to_bytes(8, "little") for out in prevouts)),
        sha256(b"".join(scripts)),
        sha256(b"".join(i.sequence.to_bytes(4, "little") for i in tx.inputs)),
    ]
