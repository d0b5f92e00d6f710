"""Records and batches for tests, made from numbers."""

from dataclasses import replace

from anchor.btc.amounts import Sats
from anchor.btc.hashing import sha256
from anchor.btc.ids import OutPoint, Txid
from anchor.inscription.batch import AnchorBatch, RotationBatch
from anchor.inscription.successor import Successor
from anchor.proofs.records import RangeRecord
from tests.anchor.inscription.whole_key import NEXT, WholeKey

TIP = OutPoint(Txid(sha256(b"tip")), 0)
LENGTH = 10


def a_range(number: int = 0, rollup_id: int = 1) -> RangeRecord:
    """The range of blocks 10n+1 to 10n+10; roots continue from one number to the next."""
    first = number * LENGTH + 1

    def at(what: str, n: int) -> bytes:
        return sha256(f"{what} {rollup_id} {n}".encode())

    return RangeRecord(
        rollup_id,
        first,
        first + LENGTH - 1,
        at("state", number),
        at("state", number + 1),
        at("txs", number),
        at("data", number),
        0,
        bytes(32),
        100 + number,
        at("bitcoin", number),
        at("validators", 0),
    )


def a_batch(*records: RangeRecord, **changes) -> AnchorBatch:
    """A batch of the given records (one range unless told) on TIP with a million sats."""
    chosen = records or (a_range(),)
    batch = AnchorBatch(
        lane=0,
        sequence=1,
        epoch=1,
        tip=TIP,
        tip_value=Sats(1_000_000),
        previous_root=bytes(32),
        records=tuple(record.encode() for record in chosen),
        evidence=tuple(b"evidence" for _ in chosen),
    )
    return replace(batch, **changes)


def a_successor(epoch: int = 2, anchor: bytes = NEXT.key33, record: bytes = sha256(b"record")) -> Successor:
    """The keys of an epoch: the lanes go to `anchor`."""
    others = (WholeKey((number + epoch).to_bytes(32, "big")).key33 for number in (1000, 2000))
    return Successor(epoch, next(others), anchor, next(others), record)


def a_rotation(**changes) -> RotationBatch:
    """The rotation of epoch 1 to NEXT's key, on TIP with a million sats."""
    batch = RotationBatch(
        lane=0,
        sequence=1,
        epoch=1,
        tip=TIP,
        tip_value=Sats(1_000_000),
        previous_root=bytes(32),
        successor=a_successor(),
        rollup_id=1,
    )
    return replace(batch, **changes)
