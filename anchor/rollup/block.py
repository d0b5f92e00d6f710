"""Blocks, votes and certificates of the rollup.

A block's header hash is the one message that validators sign at its height. A vote is a BIP340 signature over
it; a certificate is votes of more than two thirds of the stake (`anchor/finality/votes.py` counts).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

from anchor.btc.codec import CodecError, Encoded, Reader, Writer
from anchor.btc.hashing import tagged_hash
from anchor.btc.ids import BlockHash
from anchor.rollup import merkle
from anchor.rollup.genesis import MAX_VALIDATORS
from anchor.rollup.tx import MAX_TX_BYTES

MAX_TXS = 4096
MAX_BUNDLE = 200_000
MAX_BLOCK_BYTES = 1_500_000


@dataclass(frozen=True)
class BlockHeader(Encoded):
    """What validators attest.

    `time` in Unix seconds; roots of 32 bytes; `final_height` and `final_hash` (internal order) name the highest
    Bitcoin block that is final in the rollup's view after this block's bundle.
    """

    rollup_id: int
    height: int
    parent: bytes
    time: int
    state_before: bytes
    state_after: bytes
    tx_root: bytes
    tx_count: int
    data_root: bytes
    final_height: int
    final_hash: BlockHash
    validators_root: bytes

    def encode(self) -> bytes:
        """The canonical bytes, always 252."""
        out = Writer().u32(self.rollup_id).u64(self.height).fixed(self.parent, 32).u64(self.time)
        out.fixed(self.state_before, 32).fixed(self.state_after, 32)
        out.fixed(self.tx_root, 32).u32(self.tx_count).fixed(self.data_root, 32)
        out.u32(self.final_height).fixed(self.final_hash, 32)
        return out.fixed(self.validators_root, 32).done()

    @classmethod
    def read(cls, r: Reader) -> Self:
        """Read the header's fields from a longer message."""
        rollup_id, height, parent, time = r.u32(), r.u64(), r.fixed(32), r.u64()
        before, after, tx_root, count, data_root = r.fixed(32), r.fixed(32), r.fixed(32), r.u32(), r.fixed(32)
        final_height, final_hash = r.u32(), BlockHash(r.fixed(32))
        return cls(
            rollup_id,
            height,
            parent,
            time,
            before,
            after,
            tx_root,
            count,
            data_root,
            final_height,
            final_hash,
            r.fixed(32),
        )

    def hash(self, genesis_hash: bytes) -> bytes:
        """The block's hash and the votes' message, 32 bytes."""
        return tagged_hash("holdfast/attest/v1", genesis_hash, self.encode())


def tx_root(txids: Sequence[bytes]) -> bytes:
    """Merkle root over transaction ids, in block order."""
    return merkle.root([merkle.leaf(txid) for txid in txids])


def data_root(bundle: bytes, transactions: Sequence[bytes]) -> bytes:
    """Merkle root over all bytes of a block: its bundle, then each transaction with its signatures."""
    return merkle.root([merkle.leaf(bundle), *(merkle.leaf(tx) for tx in transactions)])


@dataclass(frozen=True)
class Block:
    """A header, the encoded transactions, and an encoded header bundle (b"" for none)."""

    header: BlockHeader
    transactions: tuple[bytes, ...]
    bundle: bytes

    def encode(self) -> bytes:
        """The canonical bytes."""
        out = Writer().fixed(self.header.encode()).count(len(self.transactions))
        for tx in self.transactions:
            out.var(tx)
        return out.var(self.bundle).done()

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read what `encode` wrote; CodecError otherwise. Says nothing about validity."""
        if len(data) > MAX_BLOCK_BYTES:
            raise CodecError(f"a block has at most {MAX_BLOCK_BYTES} bytes, this has {len(data)}")
        r = Reader(data)
        header = BlockHeader.read(r)
        transactions = tuple(r.var(MAX_TX_BYTES) for _ in range(r.count(MAX_TXS)))
        bundle = r.var(MAX_BUNDLE)
        r.end()
        return cls(header, transactions, bundle)


@dataclass(frozen=True, slots=True)
class Vote(Encoded):
    """A BIP340 signature (64 bytes) over `block_hash` by the validator at 0-based position `validator`."""

    validator: int
    height: int
    block_hash: bytes
    signature: bytes

    def encode(self) -> bytes:
        """The canonical bytes, always 106."""
        out = Writer().u16(self.validator).u64(self.height).fixed(self.block_hash, 32)
        return out.fixed(self.signature, 64).done()

    @classmethod
    def read(cls, r: Reader) -> Self:
        """Read the vote's fields from a longer message."""
        return cls(r.u16(), r.u64(), r.fixed(32), r.fixed(64))


@dataclass(frozen=True, slots=True)
class Certificate(Encoded):
    """Votes for one block, by rising validator; whether they are enough, `check_certificate` says."""

    block_hash: bytes
    votes: tuple[Vote, ...]

    def encode(self) -> bytes:
        """The canonical bytes."""
        out = Writer().fixed(self.block_hash, 32).count(len(self.votes))
        for vote in self.votes:
            out.fixed(vote.encode())
        return out.done()

    @classmethod
    def read(cls, r: Reader) -> Self:
        """Read the certificate's fields from a longer message; CodecError unless validators rise."""
        block_hash = r.fixed(32)
        votes = tuple(Vote.read(r) for _ in range(r.count(MAX_VALIDATORS)))
        order = [vote.validator for vote in votes]
        if order != sorted(set(order)):
            raise CodecError("a certificate's votes are sorted by validator, one each")
        return cls(block_hash, votes)


@dataclass(frozen=True)
class CertifiedBlock:
    """A block and the votes for it."""

    block: Block
    certificate: Certificate

    @cached_property
    def height(self) -> int:
        """The block's height."""
        return self.block.header.height

    @property
    def hash(self) -> bytes:
        """The block's hash as the certificate names it; checked where the certificate is."""
        return self.certificate.block_hash

    def encode(self) -> bytes:
        """The canonical bytes."""
        return Writer().var(self.block.encode()).fixed(self.certificate.encode()).done()

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read what `encode` wrote; CodecError otherwise."""
        r = Reader(data)
        block, certificate = Block.decode(r.var(MAX_BLOCK_BYTES)), Certificate.read(r)
        r.end()
        return cls(block, certificate)
