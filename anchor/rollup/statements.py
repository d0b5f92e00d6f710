"""What the mint key signs: that a swept deposit is final on Bitcoin, and that a withdrawal was paid there.

A statement is true or false by Bitcoin's chain alone; each signer checks it on its own node (DESIGN section 6).
The rollup applies it only while the named block is final in the rollup's own view.
"""

from dataclasses import dataclass
from typing import Self

from anchor.btc.amounts import Height, Sats
from anchor.btc.codec import Encoded, Reader, Writer
from anchor.btc.hashing import tagged_hash
from anchor.btc.ids import OUTPOINT_SIZE, BlockHash, OutPoint, Txid

MAX_SCRIPT = 128


@dataclass(frozen=True, slots=True)
class MintStatement(Encoded):
    """The deposit `outpoint` was swept by `txid`, mined in `block_hash` at `height`: credit `amount`.

    `amount` + `fee` is the deposit's value in sats; `recipient` the rollup key committed to by the address;
    `manifest_hash` names the sweep's manifest.
    """

    rollup_id: int
    genesis_hash: bytes
    epoch: int
    outpoint: OutPoint
    recipient: bytes
    amount: Sats
    fee: Sats
    txid: Txid
    block_hash: BlockHash
    height: Height
    manifest_hash: bytes

    def encode(self) -> bytes:
        """The canonical bytes."""
        out = Writer().u32(self.rollup_id).fixed(self.genesis_hash, 32).u32(self.epoch)
        out.fixed(self.outpoint.encode()).fixed(self.recipient, 32).u64(self.amount).u64(self.fee)
        out.fixed(self.txid, 32).fixed(self.block_hash, 32).u32(self.height)
        return out.fixed(self.manifest_hash, 32).done()

    @classmethod
    def read(cls, r: Reader) -> Self:
        """Read the statement's fields from a longer message."""
        rollup_id, genesis_hash, epoch = r.u32(), r.fixed(32), r.u32()
        outpoint = OutPoint.decode(r.fixed(OUTPOINT_SIZE))
        recipient, amount, fee = r.fixed(32), Sats(r.u64()), Sats(r.u64())
        txid, block, height = Txid(r.fixed(32)), BlockHash(r.fixed(32)), Height(r.u32())
        return cls(
            rollup_id, genesis_hash, epoch, outpoint, recipient, amount, fee, txid, block, height, r.fixed(32)
        )

    @property
    def message(self) -> bytes:
        """The 32 bytes that the mint key signs (BIP340, plain P)."""
        return tagged_hash("holdfast/mint/v1", self.encode())


@dataclass(frozen=True, slots=True)
class SettleStatement(Encoded):
    """The withdrawal with this id was paid by `txid`, mined in `block_hash` at `height`.

    `script` received `paid` sats; `paid` + `fee` is what was locked.
    """

    rollup_id: int
    genesis_hash: bytes
    epoch: int
    withdrawal: bytes
    script: bytes
    paid: Sats
    fee: Sats
    txid: Txid
    block_hash: BlockHash
    height: Height
    manifest_hash: bytes

    def encode(self) -> bytes:
        """The canonical bytes."""
        out = Writer().u32(self.rollup_id).fixed(self.genesis_hash, 32).u32(self.epoch)
        out.fixed(self.withdrawal, 32).var(self.script).u64(self.paid).u64(self.fee)
        out.fixed(self.txid, 32).fixed(self.block_hash, 32).u32(self.height)
        return out.fixed(self.manifest_hash, 32).done()

    @classmethod
    def read(cls, r: Reader) -> Self:
        """Read the statement's fields from a longer message."""
        rollup_id, genesis_hash, epoch = r.u32(), r.fixed(32), r.u32()
        withdrawal, script = r.fixed(32), r.var(MAX_SCRIPT)
        paid, fee, txid = Sats(r.u64()), Sats(r.u64()), Txid(r.fixed(32))
        block, height = BlockHash(r.fixed(32)), Height(r.u32())
        return cls(
            rollup_id, genesis_hash, epoch, withdrawal, script, paid, fee, txid, block, height, r.fixed(32)
        )

    @property
    def message(self) -> bytes:
        """The 32 bytes that the mint key signs (BIP340, plain P)."""
        return tagged_hash("holdfast/settle/v1", self.encode())
