"""Whole blocks: parsed, held to their Merkle root, and the branches that prove one transaction."""

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO

from anchor.btc.hashing import sha256d
from anchor.btc.header import HEADER_SIZE, Header
from anchor.btc.ids import Txid
from anchor.btc.taproot import compact_size
from anchor.btc.tx import Tx, TxError

MAX_BLOCK_SIZE = 4_000_000
MAX_BRANCH = 24
_COMMITMENT = bytes.fromhex("6a24aa21a9ed")  # BIP141


class BlockError(ValueError):
    """Bytes that are no block, or whose transactions are not the header's."""


@dataclass(frozen=True, slots=True)
class Block:
    """A header and the transactions that its Merkle root commits to; the first is the coinbase."""

    header: Header
    txs: tuple[Tx, ...]


def merkle_levels(txids: Sequence[bytes]) -> tuple[list[list[bytes]], bool]:
    """Return every level from the leaves to the root, and whether two sibling hashes are equal.

    Equal siblings mean a list that was padded to look like another (CVE-2012-2459).
    """
    if not txids:
        raise BlockError("a Merkle tree has at least one leaf")
    levels, twins = [[bytes(t) for t in txids]], False
    while len(levels[-1]) > 1:
        below = levels[-1]
        twins = twins or any(below[i] == below[i + 1] for i in range(0, len(below) - 1, 2))
        padded = below if len(below) % 2 == 0 else [*below, below[-1]]
        levels.append([sha256d(padded[i] + padded[i + 1]) for i in range(0, len(padded), 2)])
    return levels, twins


def merkle_branch(txids: Sequence[bytes], index: int) -> tuple[bytes, ...]:
    """Return the sibling hashes from leaf `index` up to below the root. BlockError without such a leaf."""
    if not 0 <= index < len(txids):
        raise BlockError(f"no transaction {index}: the block has {len(txids)}")
    branch = []
    for level in merkle_levels(txids)[0][:-1]:
        sibling = index ^ 1
        branch.append(level[sibling] if sibling < len(level) else level[index])
        index >>= 1
    return tuple(branch)


def merkle_root_from(txid: bytes, index: int, branch: Sequence[bytes]) -> bytes:
    """Return the root that `branch` gives for the transaction at `index`.

    Raises BlockError for hashes of another size, more than 24 levels and an index outside the tree.
    """
    if len(branch) > MAX_BRANCH or not 0 <= index < 1 << len(branch):
        raise BlockError("the branch does not fit the position")
    if len(txid) != 32 or any(len(h) != 32 for h in branch):
        raise BlockError("hashes have 32 bytes")
    node = bytes(txid)
    for sibling in branch:
        if index & 1 and node == sibling:
            raise BlockError("the branch repeats its own node: a padded position (CVE-2012-2459)")
        node = sha256d(sibling + node) if index & 1 else sha256d(node + sibling)
        index >>= 1
    return node


def parse_block(data: bytes) -> Block:
    """Read a whole block and hold it to its header's Merkle root and its witness commitment.

    Raises BlockError for more than 4 MB, truncated or trailing bytes, a wrong root, equal siblings
    (CVE-2012-2459), a 64-byte transaction (it can pose as an inner node), a coinbase that is missing or
    repeated, and witnesses that the coinbase does not commit to (BIP141). Proof of work is not judged here.
    """
    if len(data) > MAX_BLOCK_SIZE or len(data) < HEADER_SIZE + 1:
        raise BlockError(f"{len(data)} bytes are no block")
    header, stream = Header.parse(data[:HEADER_SIZE]), BytesIO(data)
    stream.seek(HEADER_SIZE)
    try:
        txs = tuple(Tx.read(stream) for _ in range(_read_count(stream)))
    except TxError as error:
        raise BlockError(f"the block's transactions: {error}") from error
    if stream.read(1):
        raise BlockError("bytes follow the block")
    if not txs or not txs[0].is_coinbase or any(tx.is_coinbase for tx in txs[1:]):
        raise BlockError("a block starts with its coinbase and has one")
    if any(len(tx.serialize_stripped()) == 64 for tx in txs):
        raise BlockError("a transaction of 64 bytes could pose as an inner Merkle node")
    levels, twins = merkle_levels([Txid(tx.txid) for tx in txs])
    if twins or levels[-1][0] != header.merkle_root:
        raise BlockError("the transactions are not those of the header's Merkle root")
    _check_witness_commitment(txs)
    return Block(header, txs)


def _read_count(stream: BytesIO) -> int:
    first = stream.read(1)
    width = {0xFD: 2, 0xFE: 4, 0xFF: 8}.get(first[0], 0)
    rest = stream.read(width)
    value = int.from_bytes(rest, "little") if width else first[0]
    if value > MAX_BLOCK_SIZE // 60 or compact_size(value) != first + rest:
        raise BlockError("the number of transactions is impossible")
    return value


def _check_witness_commitment(txs: tuple[Tx, ...]) -> None:
    if not any(txin.witness for tx in txs for txin in tx.inputs):
        return
    places = [out.script for out in txs[0].outputs if out.script[:6] == _COMMITMENT and len(out.script) >= 38]
    stack = txs[0].inputs[0].witness
    if not places or len(stack) != 1 or len(stack[0]) != 32:
        raise BlockError("the block has witnesses that its coinbase does not commit to")
    root = merkle_levels([bytes(32), *(tx.wtxid for tx in txs[1:])])[0][-1][0]
    if sha256d(root + stack[0]) != places[-1][6:38]:
        raise BlockError("the witnesses are not those that the coinbase commits to")
