"""The toy node's eyes: the events of a block for the machines, in chain order, undone ones in reverse.

The real node compares facts instead (`bridge/reconcile.py`); here events come one by one, as the machines' contract
allows, so both ways of feeding them are tried.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from anchor.btc.block import Block
from anchor.btc.ids import OutPoint
from bridge.deposit import events as dep
from bridge.deposit.address import DepositParams
from bridge.deposit.states import Coin
from bridge.treasury.machine import InBatch
from bridge.treasury.manifest import Manifest, PayoutManifest, SweepManifest
from bridge.treasury.reader import BatchAt, TreasuryState
from bridge.withdrawal import events as wit


class Address(NamedTuple):
    """An address's parameters and the key epoch of its key."""

    params: DepositParams
    epoch: int


@dataclass(frozen=True, slots=True)
class DepositEvent:
    """An event for the machine of `outpoint`; `address` when the payment may be new to the shell."""

    outpoint: OutPoint
    event: dep.Event
    address: Address | None = None


@dataclass(frozen=True, slots=True)
class WithdrawalEvent:
    """An event for the machine of one withdrawal."""

    withdrawal: bytes
    event: wit.Event


Scanned = DepositEvent | WithdrawalEvent


@dataclass(frozen=True, slots=True)
class Known:
    """What the shell knows.

    `addresses`: by script, every issued one. `deposits`: outpoints that have a machine.
    `batches`: txid → manifest of batches that the treasury's reader found on this chain, None while it is missing.
    """

    addresses: Mapping[bytes, Address]
    deposits: Collection[OutPoint]
    batches: Mapping[bytes, Manifest | None]


def connected(block: Block, height: int, known: Known) -> list[Scanned]:
    """Return the events of a block that joined the best chain at `height`. Apply the reader first."""
    scanned: list[Scanned] = []
    new: set[OutPoint] = set()
    for tx in block.txs:
        if tx.txid in known.batches:
            manifest = known.batches[tx.txid]
            if manifest is not None:
                scanned += batch_events(manifest, tx.txid, height, block.header.hash)
        else:
            spent = [i.outpoint for i in tx.inputs if i.outpoint in known.deposits or i.outpoint in new]
            scanned += [DepositEvent(o, dep.ReclaimMined(tx.txid, height)) for o in spent]
        for vout, out in enumerate(tx.outputs):
            address = known.addresses.get(out.script)
            if address is not None:
                coin = Coin(out.value, height, block.header.hash, tx.is_coinbase)
                new.add(tx.outpoint(vout))
                scanned.append(DepositEvent(tx.outpoint(vout), dep.PaymentMined(coin), address))
    return scanned


def disconnected(block: Block, known: Known) -> list[Scanned]:
    """Return the events of a block that left the best chain, last transaction first."""
    scanned: list[Scanned] = []
    for tx in reversed(block.txs):
        for vout, out in enumerate(tx.outputs):
            if out.script in known.addresses:
                scanned.append(DepositEvent(tx.outpoint(vout), dep.PaymentUnmined()))
        if tx.txid not in known.batches:
            spent = [i.outpoint for i in tx.inputs if i.outpoint in known.deposits]
            scanned += [DepositEvent(o, dep.ReclaimUnmined(tx.txid)) for o in spent]
            continue
        manifest = known.batches[tx.txid]
        if isinstance(manifest, SweepManifest):
            scanned += [DepositEvent(d.outpoint, dep.SweepUnmined(tx.txid)) for d in manifest.deposits]
        elif isinstance(manifest, PayoutManifest):
            scanned += [WithdrawalEvent(p.withdrawal, wit.PayoutUnmined(tx.txid)) for p in manifest.payouts]
    return scanned


def batch_events(manifest: Manifest, txid: bytes, height: int, block_hash: bytes) -> list[Scanned]:
    """Return what a batch in a block says to the deposits or withdrawals of its manifest."""

    def inclusion(fee_share: int) -> InBatch:
        return InBatch(manifest.sequence, txid, manifest.hash, height, block_hash, fee_share)

    if isinstance(manifest, SweepManifest):
        return [
            DepositEvent(d.outpoint, dep.SweepMined(inclusion(d.fee_share)), Address(d.params, d.epoch))
            for d in manifest.deposits
        ]
    payouts = manifest.payouts if isinstance(manifest, PayoutManifest) else ()
    return [WithdrawalEvent(p.withdrawal, wit.PayoutMined(inclusion(p.fee_share))) for p in payouts]


def late(before: TreasuryState, after: TreasuryState, height: int) -> list[BatchAt]:
    """Batches that the reader understood only now: a rotation anchor came after the move that follows from it."""
    return [b for b in after.batches[len(before.batches) :] if b.height < height]


def recognised(manifest: Manifest, batch: BatchAt) -> list[Scanned]:
    """Return the events of a batch that was taken for a stranger's transaction when its block came."""
    events = batch_events(manifest, batch.txid, batch.height, batch.block)
    undone = [DepositEvent(o, dep.ReclaimUnmined(batch.txid)) for o in batch.inputs]
    return [*undone, *events]


def mistaken(manifest: Manifest, batch: BatchAt) -> list[Scanned]:
    """Return the events of a batch that has to be taken for a stranger's transaction again."""
    if isinstance(manifest, PayoutManifest):
        return [WithdrawalEvent(p.withdrawal, wit.PayoutUnmined(batch.txid)) for p in manifest.payouts]
    undone = [DepositEvent(o, dep.SweepUnmined(batch.txid)) for o in batch.inputs]
    return [*undone, *(DepositEvent(o, dep.ReclaimMined(batch.txid, batch.height)) for o in batch.inputs)]
