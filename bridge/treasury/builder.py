"""From a manifest to the one transaction it stands for, byte for byte the same on every node.

Inputs: the treasury's tip, then the deposits. Outputs: the treasury, OP_RETURN, then the payouts. A move's treasury
output is under the next key epoch's key. Version 3, so recipients cannot pin it (TRUC, BIP431); replaceable; no
change, no coin selection.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from anchor.btc.amounts import DUST_P2TR, Sats
from anchor.btc.codec import CodecError, Reader, Writer
from anchor.btc.curve import schnorr_verify
from anchor.btc.ids import display
from anchor.btc.script import OP_RETURN, ScriptError, op_return, operations
from anchor.btc.taproot import sighash
from anchor.btc.tx import Tx, TxIn, TxOut
from bridge.deposit.address import output
from bridge.treasury.keys import TreasuryKeys, UnknownEpoch, script_under
from bridge.treasury.manifest import (
    Manifest,
    ManifestFault,
    MoveManifest,
    PayoutManifest,
    SweepManifest,
    decode,
)
from bridge.withdrawal.template import UnpayableScript, dust_limit

MAX_VSIZE = 10_000  # BIP431: a version 3 transaction is at most this large, so no batch is
SEQUENCE = 0xFFFFFFFD  # replaceable (BIP125), no relative lock
VERSION = 3
MAGIC = b"HFTB"
MARK_VERSION = 1
MARK_SIZE = 45
SIGNATURE_SIZE = 64


class SignatureFault(ValueError):
    """A signature set that does not spend a batch; names the input."""


@dataclass(frozen=True, slots=True)
class Batch:
    """An unsigned batch.

    `prevouts` are the coins spent, in input order; `paths` says how each is signed, by key path: None for the
    treasury's own coin (key-only tweak), else the root of the deposit's script tree. `epochs` names the key epoch
    whose treasury key signs each input: the batch's own, or an earlier one for a payment to an older address.
    """

    manifest: Manifest
    tx: Tx
    prevouts: tuple[TxOut, ...]
    paths: tuple[bytes | None, ...]
    epochs: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Mark:
    """What a batch says about itself in its OP_RETURN."""

    epoch: int
    sequence: int
    manifest_hash: bytes

    def encode(self) -> bytes:
        """Return the 45 bytes: "HFTB", version u8, epoch u32, sequence u32, manifest hash."""
        writer = Writer().fixed(MAGIC).u8(MARK_VERSION).u32(self.epoch).u32(self.sequence)
        return writer.fixed(self.manifest_hash, 32).done()

    @classmethod
    def find(cls, script: bytes) -> "Mark | None":
        """Read the mark of an output script; None when it carries none of ours."""
        if len(script) != MARK_SIZE + 2 or script[0] != OP_RETURN:
            return None
        try:
            _, (_, data) = operations(script)
            reader = Reader(data or b"")
            if (reader.fixed(4), reader.u8()) != (MAGIC, MARK_VERSION):
                return None
            return cls(reader.u32(), reader.u32(), reader.fixed(32))
        except (ScriptError, CodecError, ValueError):
            return None


def build(manifest: Manifest, keys: TreasuryKeys) -> Batch:
    """Build the unsigned batch of `manifest` for the treasury's group keys.

    Raises ManifestFault when it cannot be a good transaction: a key epoch that is not known here or has another
    key, a treasury output or payout that would be dust, a script off the whitelist, more than 10,000 vB.
    """
    own, after = script_under(_key(keys, manifest.epoch)), script_under(_key_after(keys, manifest))
    if manifest.treasury_value < DUST_P2TR:
        raise ManifestFault(f"the treasury would keep {manifest.treasury_value} sat: pay less or later")
    mark = Mark(manifest.epoch, manifest.sequence, manifest.hash)
    outputs = [TxOut(Sats(manifest.treasury_value), after), TxOut(Sats(0), op_return(mark.encode()))]
    inputs = [TxIn(manifest.tip, SEQUENCE)]
    prevouts = [TxOut(manifest.tip_value, own)]
    paths: list[bytes | None] = [None]
    epochs = [manifest.epoch]
    if isinstance(manifest, SweepManifest):
        for deposit in manifest.deposits:
            derived = output(deposit.params, _key(keys, deposit.epoch))
            inputs.append(TxIn(deposit.outpoint, SEQUENCE))
            prevouts.append(TxOut(deposit.value, derived.script_pubkey))
            paths.append(derived.root)
            epochs.append(deposit.epoch)
    elif isinstance(manifest, PayoutManifest):
        for payout in manifest.payouts:
            _check_payable(payout.script, payout.paid)
            outputs.append(TxOut(payout.paid, payout.script))
    tx = Tx(VERSION, tuple(inputs), tuple(outputs))
    batch = Batch(manifest, tx, tuple(prevouts), tuple(paths), tuple(epochs))
    if signed_vsize(batch.tx) > MAX_VSIZE:
        raise ManifestFault(f"{signed_vsize(batch.tx)} vB are more than {MAX_VSIZE}: split the batch")
    assert_sound(batch, after)
    return batch


def assert_sound(batch: Batch, script_after: bytes) -> None:
    """Make sure of what moves money, once more and from the transaction alone.

    Value is neither made nor lost, the treasury comes back as output 0 (to `script_after`), the mark names this
    manifest, nothing is dust, and the inputs are the tip and what the manifest names.
    """
    tx, manifest = batch.tx, batch.manifest
    taken = sum(out.value for out in batch.prevouts)
    given = sum(out.value for out in tx.outputs)
    assert taken == given + manifest.fee, "inputs must be outputs plus the manifest's fee"
    counts = {len(tx.inputs), len(batch.prevouts), len(batch.paths), len(batch.epochs)}
    assert len(counts) == 1, "one prevout, one path and one key epoch per input"
    assert batch.epochs[0] == manifest.epoch, "the treasury's coin is signed under the batch's own epoch"
    assert tx.inputs[0].outpoint == manifest.tip, "input 0 must be the treasury's tip"
    assert len({i.outpoint for i in tx.inputs}) == len(tx.inputs), "an input is spent twice"
    assert tx.outputs[0] == TxOut(Sats(manifest.treasury_value), script_after), (
        "output 0 must be the treasury"
    )
    mark = Mark.find(tx.outputs[1].script)
    assert mark == Mark(manifest.epoch, manifest.sequence, manifest.hash), "OP_RETURN must name the manifest"
    assert tx.version == VERSION, "batches are version 3"
    assert all(i.sequence == SEQUENCE for i in tx.inputs), "every input must be replaceable"
    paid = tx.outputs[2:]
    assert all(out.value >= dust_limit(out.script) for out in paid), "a payout is dust"
    assert signed_vsize(tx) <= MAX_VSIZE, "the batch is too large for version 3"


def signed_vsize(tx: Tx) -> int:
    """Return the virtual size once every input carries its one 64-byte signature."""
    for index in range(len(tx.inputs)):
        tx = tx.with_witness(index, (bytes(SIGNATURE_SIZE),))
    return tx.vsize


@lru_cache(maxsize=4096)  # the totals read every batch again and again
def read_batch(encoded: bytes, keys: TreasuryKeys, txid: bytes) -> Manifest:
    """Return the manifest behind a batch seen on chain, after building the batch of `txid` (32 bytes) from it.

    Raises ManifestFault when the bytes are no manifest, or that of another transaction.
    """
    manifest = decode(encoded)
    if build(manifest, keys).tx.txid != txid:
        raise ManifestFault(f"this manifest builds another transaction than {display(txid)}")
    return manifest


def batch_vsize(inputs: int, payout_scripts: Sequence[bytes]) -> int:
    """Return the signed virtual size of a batch before it is built: treasury, mark, and these payouts."""
    scripts = [34, MARK_SIZE + 2, *(len(script) for script in payout_scripts)]
    base = 8 + _count_size(inputs) + 41 * inputs + _count_size(len(scripts)) + sum(9 + n for n in scripts)
    return (4 * base + 2 + (2 + SIGNATURE_SIZE) * inputs + 3) // 4


def _count_size(count: int) -> int:
    return 1 if count < 0xFD else 3


def messages(batch: Batch, epoch: int | None = None) -> tuple[tuple[bytes, bytes | None], ...]:
    """Return what must be signed, per input: (BIP341 sighash, root or None). Key path, SIGHASH_DEFAULT.

    With `epoch` only the inputs that this key epoch's treasury key signs, in input order.
    """
    return tuple(
        (sighash(batch.tx, index, batch.prevouts), path)
        for index, (path, signs) in enumerate(zip(batch.paths, batch.epochs, strict=True))
        if epoch is None or signs == epoch
    )


def assemble(batch: Batch, signatures: Sequence[bytes]) -> Tx:
    """Return the signed transaction, every signature checked against the coin it spends.

    Raises SignatureFault naming the input.
    """
    if len(signatures) != len(batch.prevouts):
        raise SignatureFault(
            f"{len(signatures)} signatures for {len(batch.prevouts)} inputs: ask for all of them"
        )
    tx = batch.tx
    for index, ((message, _), signature) in enumerate(zip(messages(batch), signatures, strict=True)):
        if not schnorr_verify(batch.prevouts[index].script[2:], message, signature):
            raise SignatureFault(
                f"signature {index} does not spend {batch.tx.inputs[index].outpoint}: sign again"
            )
        tx = tx.with_witness(index, (signature,))
    return tx


def _key(keys: TreasuryKeys, epoch: int) -> bytes:
    try:
        return keys.key(epoch)
    except UnknownEpoch as error:
        raise ManifestFault(str(error)) from error


def _key_after(keys: TreasuryKeys, manifest: Manifest) -> bytes:
    """The key that holds the treasury after the batch."""
    if not isinstance(manifest, MoveManifest):
        return _key(keys, manifest.epoch)
    key = _key(keys, manifest.successor_epoch)
    if key != manifest.treasury_key:
        raise ManifestFault(f"the treasury would move to another key than that of epoch {manifest.epoch + 1}")
    return key


def _check_payable(script: bytes, value: int) -> None:
    try:
        least = dust_limit(script)
    except UnpayableScript as error:
        raise ManifestFault(str(error)) from error
    if value < least:
        raise ManifestFault(f"a payout of {value} sat would be dust: at least {least} are needed")
