"""Many records under one root. Nodes are tagged hashes, and an odd node is promoted, never duplicated.

Duplicating the last node lets two lists share a root (CVE-2012-2459); promoting it does not. Sides and
promotions follow from index and count, so a branch is siblings only.
"""

from collections.abc import Sequence

from anchor.btc.codec import Writer
from anchor.btc.hashing import tagged_hash

MAX_LEAVES = 1 << 32
MAX_BRANCH = 32


class TreeError(ValueError):
    """A tree without leaves, a place outside it, or a branch that does not fit its place."""


def leaf(rollup_id: int, record_hash: bytes) -> bytes:
    """Return the leaf of a record: TH("holdfast/leaf/v1", u32 rollup id ‖ SHA256(record))."""
    return tagged_hash("holdfast/leaf/v1", Writer().u32(rollup_id).fixed(record_hash, 32).done())


def node(left: bytes, right: bytes) -> bytes:
    """Return the parent of two 32-byte hashes; their order counts."""
    if len(left) != 32 or len(right) != 32:
        raise TreeError("a node joins two 32-byte hashes")
    return tagged_hash("holdfast/node/v1", left, right)


def _above(level: Sequence[bytes]) -> list[bytes]:
    pairs = [node(level[i], level[i + 1]) for i in range(0, len(level) - 1, 2)]
    return [*pairs, level[-1]] if len(level) % 2 else pairs


def root(leaves: Sequence[bytes]) -> bytes:
    """Return the root of at least one leaf. TreeError otherwise."""
    if not leaves or any(len(item) != 32 for item in leaves):
        raise TreeError("a tree has at least one leaf, each of 32 bytes")
    level = list(leaves)
    while len(level) > 1:
        level = _above(level)
    return level[0]


def branch(leaves: Sequence[bytes], index: int) -> tuple[bytes, ...]:
    """Return the siblings from leaf `index` up to below the root; levels of promotion have none."""
    if not 0 <= index < len(leaves):
        raise TreeError(f"no leaf {index}: the tree has {len(leaves)}")
    level, siblings = list(leaves), []
    while len(level) > 1:
        if index ^ 1 < len(level):
            siblings.append(level[index ^ 1])
        level, index = _above(level), index >> 1
    return tuple(siblings)


def root_from(start: bytes, index: int, count: int, siblings: Sequence[bytes]) -> bytes:
    """Return the root that `siblings` give for the leaf at `index` of `count`.

    Raises TreeError for a place outside the tree and for a branch that is longer or shorter than the place
    demands.
    """
    if not 0 <= index < count <= MAX_LEAVES:
        raise TreeError(f"no leaf {index} of {count}")
    if len(siblings) > MAX_BRANCH or len(start) != 32:
        raise TreeError("a branch has at most 32 hashes of 32 bytes")
    current, rest = start, list(siblings)
    while count > 1:
        if index ^ 1 < count:
            if not rest:
                raise TreeError("the branch is too short for its place")
            sibling = rest.pop(0)
            current = node(sibling, current) if index & 1 else node(current, sibling)
        index, count = index >> 1, (count + 1) >> 1
    if rest:
        raise TreeError("the branch is too long for its place")
    return current
