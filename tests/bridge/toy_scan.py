"""The toy node's eyes: the events of a block for the machines, in chain order, undone ones in reverse.

The real node compares facts instead (`bridge/reconcile.py`); here events come one by one, as the machines' contract
allows, so both ways of feeding them are tried.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from anchor.btc.block import Block
from anchor.btc.ids import OutPoint
from bridge.deposit import events as dep
from bridge.deposit.address import DepositParams
from bridge.deposit.states import Coin
from bridge.treasury.machine import InBatch
from bridge.treasury.manifest import Manifest, SweepManifest
from bridge.withdrawal import events as wit


@dataclass(frozen=True, slots=True)
class DepositEvent:
    """An event for the machine of `outpoint`; `params` when the payment may be new to the shell."""

    outpoint: OutPoint
    event: dep.Event
    params: DepositParams | None = None


@dataclass(frozen=True, slots=True)
class WithdrawalEvent:
    """An event for the machine of one withdrawal."""

    withdrawal: bytes
    event: wit.Event


Scanned = DepositEvent | WithdrawalEvent


@dataclass(frozen=True, slots=True)
class Known:
    """What the shell knows.

    `addresses`: script → parameters of every issued address. `deposits`: outpoints that have a machine.
    `batches`: txid → manifest of batches that the treasury's reader found on this chain, None while it is missing.
    """

    addresses: Mapping[bytes, DepositParams]
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
            params = known.addresses.get(out.script)
            if params is not None:
                coin = Coin(out.value, height, block.header.hash, tx.is_coinbase)
                new.add(tx.outpoint(vout))
                scanned.append(DepositEvent(tx.outpoint(vout), dep.PaymentMined(coin), params))
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
        elif manifest is not None:
            scanned += [WithdrawalEvent(p.withdrawal, wit.PayoutUnmined(tx.txid)) for p in manifest.payouts]
    return scanned


def batch_events(manifest: Manifest, txid: bytes, height: int, block_hash: bytes) -> list[Scanned]:
    """Return what a batch in a block says to the deposits or withdrawals of its manifest."""

    def inclusion(fee_share: int) -> InBatch:
        return InBatch(manifest.sequence, txid, manifest.hash, height, block_hash, fee_share)

    if isinstance(manifest, SweepManifest):
        return [
            DepositEvent(d.outpoint, dep.SweepMined(inclusion(d.fee_share)), d.params)
            for d in manifest.deposits
        ]
    return [WithdrawalEvent(p.withdrawal, wit.PayoutMined(inclusion(p.fee_share))) for p in manifest.payouts]
