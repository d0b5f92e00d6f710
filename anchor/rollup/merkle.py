"""The Merkle tree under a block's and a state's roots: tagged hashes, an odd node is promoted."""

from collections.abc import Sequence

from anchor.btc.hashing import tagged_hash

EMPTY = bytes(32)


def leaf(data: bytes) -> bytes:
    """Hash of one entry, 32 bytes."""
    return tagged_hash("holdfast/rollup/leaf/v1", data)


def node(left: bytes, right: bytes) -> bytes:
    """Hash of two neighbours, 32 bytes."""
    return tagged_hash("holdfast/rollup/node/v1", left, right)


def root(leaves: Sequence[bytes]) -> bytes:
    """Root over leaf hashes in the given order, 32 bytes; 32 zero bytes over none."""
    if not leaves:
        return EMPTY
    level = list(leaves)
    while len(level) > 1:
        above = [node(level[i], level[i + 1]) for i in range(0, len(level) - 1, 2)]
        if len(level) % 2:
            above.append(level[-1])
        level = above
    return level[0]
