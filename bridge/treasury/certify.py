"""What each signer verifies alone before it certifies a mint or a settlement under the `mint` key.

A statement is true or false by Bitcoin's chain: the batch must be final on own chain, in the very block that the
statement names, and its manifest must say what the statement says.
"""

from dataclasses import dataclass

from anchor.btc.amounts import Sats
from anchor.rollup.statements import MintStatement, SettleStatement
from bridge.treasury.manifest import Manifest, PayoutManifest, SweepManifest
from bridge.treasury.refusal import Code, check_ready, later, never


@dataclass(frozen=True, slots=True)
class BatchFact:
    """A batch as own chain holds it.

    `final` at k on own chain; `manifest` is stored here and builds exactly this transaction, or None.
    """

    txid: bytes
    height: int
    block_hash: bytes
    final: bool
    manifest: Manifest | None


@dataclass(frozen=True, slots=True)
class _Common:
    """What a signer knows by itself.

    `epoch` is the rollup's present key epoch, the only one whose certificates it takes; `batch` is the one of the
    statement's txid on own best chain, if any.
    """

    unsynced: str | None
    paused: str | None
    rollup_id: int
    genesis_hash: bytes
    epoch: int
    batch: BatchFact | None


@dataclass(frozen=True, slots=True)
class MintFacts(_Common):
    """`minted`: own rollup view has credited the outpoint; `room`: what the supply cap still admits, satoshis."""

    minted: bool
    room: Sats


@dataclass(frozen=True, slots=True)
class SettleFacts(_Common):
    """`locked`: own rollup view holds the lock in a final block; `settled`: its escrow is burned."""

    locked: bool
    settled: bool


def check_mint(statement: MintStatement, facts: MintFacts) -> None:
    """Return when the mint is true and due, or raise Refusal."""
    if facts.minted:
        raise never(Code.DEPOSIT_MINTED, f"{statement.outpoint} is credited already")
    manifest = _check_batch(statement, facts)
    if not isinstance(manifest, SweepManifest):
        raise never(Code.WRONG_MANIFEST, "the batch is no sweep")
    item = next((d for d in manifest.deposits if d.outpoint == statement.outpoint), None)
    if item is None:
        raise never(Code.NOT_IN_BATCH, f"the sweep does not take in {statement.outpoint}")
    said = (statement.recipient, statement.amount, statement.fee)
    if said != (item.params.recipient, item.minted, item.fee_share):
        raise never(Code.WRONG_CONTENT, "recipient, amount or fee is not the manifest's")
    if statement.amount > facts.room:
        raise later(Code.SUPPLY_CAP, f"the supply cap admits {facts.room} sat more, not {statement.amount}")


def check_settle(statement: SettleStatement, facts: SettleFacts) -> None:
    """Return when the settlement is true and due, or raise Refusal."""
    if facts.settled:
        raise never(Code.WITHDRAWAL_SETTLED, f"{statement.withdrawal.hex()} is settled already")
    if not facts.locked:
        raise later(
            Code.WITHDRAWAL_UNKNOWN, f"own rollup view has no final lock {statement.withdrawal.hex()}"
        )
    manifest = _check_batch(statement, facts)
    if not isinstance(manifest, PayoutManifest):
        raise never(Code.WRONG_MANIFEST, "the batch is no payout")
    item = next((p for p in manifest.payouts if p.withdrawal == statement.withdrawal), None)
    if item is None:
        raise never(Code.NOT_IN_BATCH, f"the batch does not pay {statement.withdrawal.hex()}")
    if (statement.script, statement.paid, statement.fee) != (item.script, item.paid, item.fee_share):
        raise never(Code.WRONG_CONTENT, "script, amount or fee is not the manifest's")


def _check_batch(statement: MintStatement | SettleStatement, facts: _Common) -> Manifest:
    """Check what both statements say about rollup, epoch and block; return the batch's manifest."""
    check_ready(facts.unsynced, facts.paused)
    if (statement.rollup_id, statement.genesis_hash) != (facts.rollup_id, facts.genesis_hash):
        raise never(Code.WRONG_ROLLUP, f"the statement is for another rollup than {facts.rollup_id}")
    if statement.epoch > facts.epoch:
        raise later(Code.WRONG_EPOCH, f"own rollup view knows no key epoch {statement.epoch} yet")
    if statement.epoch < facts.epoch:
        raise never(Code.WRONG_EPOCH, f"the statement is of key epoch {statement.epoch}, not {facts.epoch}")
    batch = facts.batch
    if batch is None or batch.txid != statement.txid:
        raise later(Code.BATCH_UNKNOWN, "own chain holds no batch of that txid")
    if (batch.height, batch.block_hash) != (statement.height, statement.block_hash):
        raise later(Code.WRONG_BLOCK, f"own chain holds the batch in another block, at height {batch.height}")
    if not batch.final:
        raise later(Code.BATCH_NOT_FINAL, f"the batch's block at height {batch.height} is not final yet")
    if batch.manifest is None:
        raise later(Code.MANIFEST_UNKNOWN, "the batch's manifest is not stored here: fetch it from a peer")
    if batch.manifest.hash != statement.manifest_hash:
        raise never(Code.WRONG_MANIFEST, "the statement names another manifest than the batch")
    return batch.manifest
