"""Transactions as values: built, parsed and measured. The wire format is python-bitcoinlib's.

python-bitcoinlib reads versions as signed and accepts lengths written long; here a version is unsigned and
parsing accepts only bytes that serialise to themselves.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from io import BytesIO
from typing import Self

from bitcoin.core import (
    COutPoint,
    CTransaction,
    CTxIn,
    CTxInWitness,
    CTxOut,
    CTxWitness,
)
from bitcoin.core.script import CScript, CScriptWitness
from bitcoin.core.serialize import SerializationError

from anchor.btc.amounts import Sats, check_sats
from anchor.btc.hashing import sha256d
from anchor.btc.ids import OutPoint, Txid, Wtxid

MAX_TX_SIZE = 4_000_000  # a block's weight bounds every transaction
NULL_OUTPOINT = OutPoint(Txid(bytes(32)), 0xFFFFFFFF)


class TxError(ValueError):
    """Bytes or fields that are no transaction."""


@dataclass(frozen=True, slots=True)
class TxOut:
    """An output: `value` in satoshis and its scriptPubKey."""

    value: Sats
    script: bytes

    def __post_init__(self) -> None:
        try:
            check_sats(self.value)
        except ValueError as error:
            raise TxError(f"an output's value: {error}") from error

    def encode(self) -> bytes:
        """Return the output as on the wire: value little-endian, script with its length."""
        return bytes(_core_output(self).serialize())


@dataclass(frozen=True, slots=True)
class TxIn:
    """An input: what it spends, nSequence, its witness stack and (old kinds only) its scriptSig."""

    outpoint: OutPoint
    sequence: int
    witness: tuple[bytes, ...] = ()
    script_sig: bytes = b""

    def __post_init__(self) -> None:
        if not 0 <= self.sequence <= 0xFFFFFFFF:
            raise TxError("nSequence is an unsigned 32-bit number")


@dataclass(frozen=True)
class Tx:
    """A transaction; ids and sizes are computed once. `version` and `lock_time` are unsigned 32-bit.

    Raises TxError without inputs or outputs (CheckTransaction in Core; such bytes would also be ambiguous).
    """

    version: int
    inputs: tuple[TxIn, ...]
    outputs: tuple[TxOut, ...]
    lock_time: int = 0

    def __post_init__(self) -> None:
        if not self.inputs or not self.outputs:
            raise TxError("a transaction has at least one input and one output")
        if not 0 <= self.version <= 0xFFFFFFFF or not 0 <= self.lock_time <= 0xFFFFFFFF:
            raise TxError("version and lock time are unsigned 32-bit numbers")

    def serialize(self) -> bytes:
        """Return the bytes that are relayed, with witnesses where there are any (BIP144)."""
        return self._full

    def serialize_stripped(self) -> bytes:
        """Return the bytes without witnesses: what the txid commits to."""
        return self._stripped

    @cached_property
    def _full(self) -> bytes:
        return bytes(_core_tx(self, witness=True).serialize())

    @cached_property
    def _stripped(self) -> bytes:
        return bytes(_core_tx(self, witness=False).serialize())

    @cached_property
    def txid(self) -> Txid:
        """Hash without witnesses, internal order."""
        return Txid(sha256d(self._stripped))

    @cached_property
    def wtxid(self) -> Wtxid:
        """Hash with witnesses, internal order (BIP141)."""
        return Wtxid(sha256d(self._full))

    @property
    def weight(self) -> int:
        """Weight units (BIP141): three times the stripped size plus the full size."""
        return 3 * len(self._stripped) + len(self._full)

    @property
    def vsize(self) -> int:
        """Virtual bytes: a quarter of the weight, rounded up."""
        return (self.weight + 3) // 4

    @property
    def is_coinbase(self) -> bool:
        """Tell whether this transaction makes new coins."""
        return len(self.inputs) == 1 and self.inputs[0].outpoint == NULL_OUTPOINT

    def outpoint(self, vout: int) -> OutPoint:
        """Name output `vout` of this transaction. IndexError when there is none."""
        if not 0 <= vout < len(self.outputs):
            raise IndexError(f"no output {vout}: the transaction has {len(self.outputs)}")
        return OutPoint(self.txid, vout)

    def with_witness(self, index: int, stack: tuple[bytes, ...]) -> Self:
        """Return the same transaction with the witness of input `index` replaced; the txid stays."""
        inputs = list(self.inputs)
        inputs[index] = replace(inputs[index], witness=tuple(stack))
        return replace(self, inputs=tuple(inputs))

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read one transaction and nothing else.

        Raises TxError for more than 4 MB, truncated or trailing bytes, lengths written long, values out of
        range, and a witness marker without witness.
        """
        if len(data) > MAX_TX_SIZE:
            raise TxError(f"{len(data)} bytes are more than a block holds")
        stream = BytesIO(data)
        tx = cls.read(stream)
        if stream.read(1):
            raise TxError("bytes follow the transaction")
        return tx

    @classmethod
    def read(cls, stream: BytesIO) -> Self:
        """Read the next transaction of a stream (a block's body). TxError as for `parse`."""
        start = stream.tell()
        try:
            core = CTransaction.stream_deserialize(stream)
        except (SerializationError, ValueError, OverflowError, MemoryError) as error:
            raise TxError(f"not a transaction: {error}") from error
        tx = cls(core.nVersion & 0xFFFFFFFF, _inputs_of(core), _outputs_of(core), core.nLockTime)
        size = stream.tell() - start
        stream.seek(start)
        if stream.read(size) != tx._full:
            raise TxError("not the canonical bytes of a transaction: a length or the witness flag is odd")
        return tx


def _core_output(out: TxOut) -> CTxOut:
    return CTxOut(out.value, CScript(out.script))


def _core_tx(tx: Tx, *, witness: bool) -> CTransaction:
    inputs = [
        CTxIn(COutPoint(i.outpoint.txid, i.outpoint.vout), CScript(i.script_sig), i.sequence)
        for i in tx.inputs
    ]
    stacks = (CTxInWitness(CScriptWitness(i.witness if witness else ())) for i in tx.inputs)
    version = tx.version - (1 << 32) if tx.version >> 31 else tx.version  # the library packs it as signed
    outputs = [_core_output(out) for out in tx.outputs]
    return CTransaction(inputs, outputs, tx.lock_time, version, CTxWitness(tuple(stacks)))


def _inputs_of(core: CTransaction) -> tuple[TxIn, ...]:
    stacks = [tuple(w.scriptWitness.stack) for w in core.wit.vtxinwit] or [()] * len(core.vin)
    return tuple(
        TxIn(OutPoint(Txid(i.prevout.hash), i.prevout.n), i.nSequence, stack, bytes(i.scriptSig))
        for i, stack in zip(core.vin, stacks, strict=True)
    )


def _outputs_of(core: CTransaction) -> tuple[TxOut, ...]:
    return tuple(TxOut(Sats(out.nValue), bytes(out.scriptPubKey)) for out in core.vout)
