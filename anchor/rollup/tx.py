"""Rollup transactions: what users sign (transfer, lock) and what operators or certificates carry (the rest).

A transaction is a kind byte, its fields, then its signature or signatures. Its id leaves the signatures out, so
nobody can change an id by signing again.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar, Self, TypeVar

from anchor.btc.amounts import Height, Sats
from anchor.btc.codec import CodecError, Reader, Writer
from anchor.btc.hashing import tagged_hash
from anchor.rollup.activation import SignedActivation
from anchor.rollup.decisions import SignedDecision
from anchor.rollup.statements import MAX_SCRIPT, MintStatement, SettleStatement
from anchor.rollup.succession import SignedSuccession

MAX_TX_BYTES = 100_000
MAX_MANIFEST = 65_536
NO_SIGNATURE = bytes(64)


def _txid(genesis_hash: bytes, body: bytes) -> bytes:
    return tagged_hash("holdfast/rollup/tx/v1", genesis_hash, body)


@dataclass(frozen=True, slots=True)
class Transfer:
    """Moves `amount` sats from `sender` to `recipient` (x-only rollup keys); `nonce` counts the sender's txs."""

    KIND: ClassVar[int] = 1
    sender: bytes
    nonce: int
    recipient: bytes
    amount: Sats
    signature: bytes = NO_SIGNATURE

    def body(self) -> bytes:
        """Everything but the signature."""
        out = Writer().u8(self.KIND).fixed(self.sender, 32).u64(self.nonce)
        return out.fixed(self.recipient, 32).u64(self.amount).done()

    def encode(self) -> bytes:
        """The canonical bytes."""
        return Writer().fixed(self.body()).fixed(self.signature, 64).done()

    @classmethod
    def read(cls, r: Reader) -> Self:
        """Read the fields after the kind byte."""
        return cls(r.fixed(32), r.u64(), r.fixed(32), Sats(r.u64()), r.fixed(64))

    @classmethod
    def decode(cls, data: bytes) -> "Transfer":
        """Read what `encode` wrote; CodecError otherwise."""
        return _decode_as(Transfer, data)

    def txid(self, genesis_hash: bytes) -> bytes:
        """The transaction's id, 32 bytes; what its sender signs."""
        return _txid(genesis_hash, self.body())

    def signed(self, signature: bytes) -> Self:
        """The same transaction with the sender's signature."""
        return replace(self, signature=signature)


@dataclass(frozen=True, slots=True)
class Lock:
    """Locks `amount` sats for a withdrawal to `script` on Bitcoin; its txid is the withdrawal's id.

    `max_fee` is the largest fee share (sats) the sender accepts; `expiry` the Bitcoin height, in the rollup's
    view, from which it need not be paid any more.
    """

    KIND: ClassVar[int] = 2
    sender: bytes
    nonce: int
    amount: Sats
    script: bytes
    max_fee: Sats
    expiry: Height
    signature: bytes = NO_SIGNATURE

    def body(self) -> bytes:
        """Everything but the signature."""
        out = Writer().u8(self.KIND).fixed(self.sender, 32).u64(self.nonce).u64(self.amount)
        return out.var(self.script).u64(self.max_fee).u32(self.expiry).done()

    def encode(self) -> bytes:
        """The canonical bytes."""
        return Writer().fixed(self.body()).fixed(self.signature, 64).done()

    @classmethod
    def read(cls, r: Reader) -> Self:
        """Read the fields after the kind byte."""
        sender, nonce, amount, script = r.fixed(32), r.u64(), Sats(r.u64()), r.var(MAX_SCRIPT)
        return cls(sender, nonce, amount, script, Sats(r.u64()), Height(r.u32()), r.fixed(64))

    @classmethod
    def decode(cls, data: bytes) -> "Lock":
        """Read what `encode` wrote; CodecError otherwise."""
        return _decode_as(Lock, data)

    def txid(self, genesis_hash: bytes) -> bytes:
        """The transaction's id, 32 bytes; what its sender signs, and the withdrawal's id."""
        return _txid(genesis_hash, self.body())

    def signed(self, signature: bytes) -> Self:
        """The same transaction with the sender's signature."""
        return replace(self, signature=signature)


@dataclass(frozen=True, slots=True)
class Activate:
    """Sets the mint key and parameters, once: the first bridge transaction of a rollup."""

    KIND: ClassVar[int] = 3
    signed: SignedActivation

    def body(self) -> bytes:
        """Kind and record, without the operators' signatures."""
        return Writer().u8(self.KIND).var(self.signed.activation.encode()).done()

    def encode(self) -> bytes:
        """The canonical bytes."""
        return Writer().u8(self.KIND).fixed(self.signed.encode()).done()

    @classmethod
    def read(cls, r: Reader) -> Self:
        """Read the fields after the kind byte."""
        return cls(SignedActivation.read(r))

    @classmethod
    def decode(cls, data: bytes) -> "Activate":
        """Read what `encode` wrote; CodecError otherwise."""
        return _decode_as(Activate, data)

    def txid(self, genesis_hash: bytes) -> bytes:
        """The transaction's id, 32 bytes."""
        return _txid(genesis_hash, self.body())


@dataclass(frozen=True, slots=True)
class Mint:
    """Credits a deposit whose sweep is final; `signature` is by the mint key over `statement.message`.

    `manifest` is the sweep's manifest when the rollup does not have it yet, else it may be empty.
    """

    KIND: ClassVar[int] = 4
    statement: MintStatement
    signature: bytes
    manifest: bytes

    def body(self) -> bytes:
        """Everything but the signature."""
        return Writer().u8(self.KIND).fixed(self.statement.encode()).var(self.manifest).done()

    def encode(self) -> bytes:
        """The canonical bytes."""
        return Writer().fixed(self.body()).fixed(self.signature, 64).done()

    @classmethod
    def read(cls, r: Reader) -> Self:
        """Read the fields after the kind byte."""
        statement, manifest = MintStatement.read(r), r.var(MAX_MANIFEST)
        return cls(statement, r.fixed(64), manifest)

    @classmethod
    def decode(cls, data: bytes) -> "Mint":
        """Read what `encode` wrote; CodecError otherwise."""
        return _decode_as(Mint, data)

    def txid(self, genesis_hash: bytes) -> bytes:
        """The transaction's id, 32 bytes."""
        return _txid(genesis_hash, self.body())


@dataclass(frozen=True, slots=True)
class Settle:
    """Ends a withdrawal whose payout is final; fields as in `Mint`."""

    KIND: ClassVar[int] = 5
    statement: SettleStatement
    signature: bytes
    manifest: bytes

    def body(self) -> bytes:
        """Everything but the signature."""
        return Writer().u8(self.KIND).fixed(self.statement.encode()).var(self.manifest).done()

    def encode(self) -> bytes:
        """The canonical bytes."""
        return Writer().fixed(self.body()).fixed(self.signature, 64).done()

    @classmethod
    def read(cls, r: Reader) -> Self:
        """Read the fields after the kind byte."""
        statement, manifest = SettleStatement.read(r), r.var(MAX_MANIFEST)
        return cls(statement, r.fixed(64), manifest)

    @classmethod
    def decode(cls, data: bytes) -> "Settle":
        """Read what `encode` wrote; CodecError otherwise."""
        return _decode_as(Settle, data)

    def txid(self, genesis_hash: bytes) -> bytes:
        """The transaction's id, 32 bytes."""
        return _txid(genesis_hash, self.body())


@dataclass(frozen=True, slots=True)
class Decide:
    """Carries the operators' decision that value moves again."""

    KIND: ClassVar[int] = 6
    signed: SignedDecision

    def body(self) -> bytes:
        """Kind and decision, without the operators' signatures."""
        return Writer().u8(self.KIND).var(self.signed.decision.encode()).done()

    def encode(self) -> bytes:
        """The canonical bytes."""
        return Writer().u8(self.KIND).fixed(self.signed.encode()).done()

    @classmethod
    def read(cls, r: Reader) -> Self:
        """Read the fields after the kind byte."""
        return cls(SignedDecision.read(r))

    @classmethod
    def decode(cls, data: bytes) -> "Decide":
        """Read what `encode` wrote; CodecError otherwise."""
        return _decode_as(Decide, data)

    def txid(self, genesis_hash: bytes) -> bytes:
        """The transaction's id, 32 bytes."""
        return _txid(genesis_hash, self.body())


@dataclass(frozen=True, slots=True)
class Succeed:
    """Begins the next key epoch: a new committee, new keys; the mint key from then on."""

    KIND: ClassVar[int] = 7
    signed: SignedSuccession

    def body(self) -> bytes:
        """Kind and record, without any signature."""
        return Writer().u8(self.KIND).var(self.signed.succession.encode()).done()

    def encode(self) -> bytes:
        """The canonical bytes."""
        return Writer().u8(self.KIND).fixed(self.signed.encode()).done()

    @classmethod
    def read(cls, r: Reader) -> Self:
        """Read the fields after the kind byte."""
        return cls(SignedSuccession.read(r))

    @classmethod
    def decode(cls, data: bytes) -> "Succeed":
        """Read what `encode` wrote; CodecError otherwise."""
        return _decode_as(Succeed, data)

    def txid(self, genesis_hash: bytes) -> bytes:
        """The transaction's id, 32 bytes."""
        return _txid(genesis_hash, self.body())


RollupTx = Transfer | Lock | Activate | Mint | Settle | Decide | Succeed
_T = TypeVar("_T", Transfer, Lock, Activate, Mint, Settle, Decide, Succeed)

_READERS: dict[int, Callable[[Reader], RollupTx]] = {
    Transfer.KIND: Transfer.read,
    Lock.KIND: Lock.read,
    Activate.KIND: Activate.read,
    Mint.KIND: Mint.read,
    Settle.KIND: Settle.read,
    Decide.KIND: Decide.read,
    Succeed.KIND: Succeed.read,
}


def decode_tx(data: bytes) -> RollupTx:
    """Read any transaction; CodecError for an unknown kind, wrong length or a field out of range."""
    if len(data) > MAX_TX_BYTES:
        raise CodecError(f"a transaction has at most {MAX_TX_BYTES} bytes, this has {len(data)}")
    r = Reader(data)
    kind = r.u8()
    reader = _READERS.get(kind)
    if reader is None:
        raise CodecError(f"no kind of transaction {kind}: known are 1 to {len(_READERS)}")
    found = reader(r)
    r.end()
    return found


def _decode_as(kind: type[_T], data: bytes) -> _T:
    found = decode_tx(data)
    if not isinstance(found, kind):
        raise CodecError(f"a {type(found).__name__} where a {kind.__name__} was wanted")
    return found
