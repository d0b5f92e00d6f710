"""What the signers of the `anchor` key are asked for: one batch on one tip. The payload of purpose "anchor".

A batch of records, or the rotation that hands the lane on to the next epoch's key.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Self

from anchor.btc.amounts import MAX_MONEY, Sats
from anchor.btc.codec import CodecError, Reader, Writer
from anchor.btc.ids import OUTPOINT_SIZE, OutPoint
from anchor.inscription.payload import FLAG_ROTATION, MANY_ROLLUPS, Payload
from anchor.inscription.successor import SUCCESSOR_SIZE, Successor
from anchor.proofs import tree
from anchor.proofs.manifest import BatchManifest, leaves_of, manifest_of
from anchor.proofs.records import MAX_RECORD, Record, decode_record

KIND_BATCH, KIND_ROTATION = 1, 2
MAX_BATCH = 1 << 20  # bytes
MAX_RECORDS = 512
MAX_EVIDENCE = 1 << 16  # bytes beside one record
LADDER = (1, 2, 4, 8, 16, 32, 64, 128)  # sat/vB of the whole package, one signed reveal each
COMMIT_VSIZE = 111  # one key-path input, one P2TR output: 444 weight units
MIN_COMMIT_FEE = Sats(COMMIT_VSIZE)  # 1 sat/vB, so that the commit relays alone too
MAX_COMMIT_FEE = Sats(COMMIT_VSIZE * LADDER[-1])


class BatchError(CodecError):
    """Bytes or fields that are no batch."""


@dataclass(frozen=True, slots=True)
class AnchorBatch:
    """Records to anchor, the tip they spend, and the evidence that each is final.

    `tip` and `tip_value` are the lane's coin, `previous_root` that of the lane's last anchor (zeros for the
    first), `sequence` its number plus one, `commit_fee` what the commit pays by itself. `records` are encoded
    records, sorted, each place once, each rollup's ranges without a gap; `evidence[i]` goes with
    `records[i]` (it differs between nodes, so it is beside the record, not in it). Raises BatchError or
    CodecError otherwise. The rates of the reveals are LADDER, always.
    """

    lane: int
    sequence: int
    epoch: int
    tip: OutPoint
    tip_value: Sats
    previous_root: bytes
    records: tuple[bytes, ...]
    evidence: tuple[bytes, ...]
    commit_fee: Sats = MIN_COMMIT_FEE

    def __post_init__(self) -> None:
        _check_place(self)
        if not 1 <= len(self.records) <= MAX_RECORDS or len(self.evidence) != len(self.records):
            raise BatchError(f"a batch has 1 to {MAX_RECORDS} records, each with its evidence")
        if any(len(item) > MAX_EVIDENCE for item in self.evidence):
            raise BatchError(f"evidence has at most {MAX_EVIDENCE} bytes a record")
        for one, other in pairwise(self.decoded()):
            if one.rollup_id == other.rollup_id and one.last + 1 != other.first:
                raise BatchError(f"rollup {one.rollup_id}: block {one.last} is followed by {other.first}")
        self.manifest()  # refuses records out of order

    def decoded(self) -> tuple[Record, ...]:
        """Return the records as values."""
        return tuple(decode_record(record) for record in self.records)

    def manifest(self) -> BatchManifest:
        """Return leaf 0."""
        return manifest_of(self.previous_root, self.lane, self.sequence, self.decoded())

    def leaves(self) -> tuple[bytes, ...]:
        """Return the leaves of the batch's tree, the manifest's first."""
        return leaves_of(self.manifest(), self.decoded())

    def payload(self) -> Payload:
        """Return what goes to Bitcoin: the root only, so a batch of any size fits a TRUC child."""
        rollups = {record.rollup_id for record in self.decoded()}
        rollup_id = rollups.pop() if len(rollups) == 1 else MANY_ROLLUPS
        leaves = self.leaves()
        return Payload(rollup_id, self.lane, self.sequence, self.epoch, len(leaves), tree.root(leaves))

    def encode(self) -> bytes:
        """Return the request's bytes. BatchError above 1 MiB: send fewer records."""
        out = _head(self, KIND_BATCH).count(len(self.records))
        for record, evidence in zip(self.records, self.evidence, strict=True):
            out.var(record).var(evidence)
        data = out.done()
        if len(data) > MAX_BATCH:
            raise BatchError(f"a batch of {len(data)} bytes is above {MAX_BATCH}: put fewer records in it")
        return data

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read what `encode` wrote. CodecError otherwise."""
        if len(data) > MAX_BATCH:
            raise BatchError(f"a batch has at most {MAX_BATCH} bytes, this has {len(data)}")
        reader = Reader(data)
        head, fee = _read_head(reader, KIND_BATCH)
        size = reader.count(MAX_RECORDS)
        pairs = [(reader.var(MAX_RECORD), reader.var(MAX_EVIDENCE)) for _ in range(size)]
        reader.end()
        records, evidence = tuple(p[0] for p in pairs), tuple(p[1] for p in pairs)
        return cls(*head, records, evidence, fee)


@dataclass(frozen=True, slots=True)
class RotationBatch:
    """The hand-over of a lane: no records, the tip is recreated under the anchor key of epoch `epoch` + 1.

    Fields as in AnchorBatch; `previous_root` is that of the lane's last anchor and stays, `rollup_id` the lane's.
    Raises BatchError or CodecError for a successor that is not the next epoch's, and for fields out of range.
    """

    lane: int
    sequence: int
    epoch: int
    tip: OutPoint
    tip_value: Sats
    previous_root: bytes
    successor: Successor
    rollup_id: int
    commit_fee: Sats = MIN_COMMIT_FEE

    def __post_init__(self) -> None:
        _check_place(self)
        if not 0 < self.rollup_id <= 0xFFFFFFFF:
            raise BatchError(f"{self.rollup_id} is no rollup's id: it has 32 bits and is not 0")
        self.payload()  # refuses a successor of any other epoch

    def payload(self) -> Payload:
        """Return what goes to Bitcoin: the last root once more, and the keys that come next."""
        body = self.successor.encode()
        place = self.rollup_id, self.lane, self.sequence, self.epoch
        return Payload(*place, 0, self.previous_root, FLAG_ROTATION, body=body)

    def encode(self) -> bytes:
        """Return the request's bytes."""
        return _head(self, KIND_ROTATION).u32(self.rollup_id).fixed(self.successor.encode()).done()

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read what `encode` wrote. CodecError otherwise."""
        reader = Reader(data)
        head, fee = _read_head(reader, KIND_ROTATION)
        rollup_id, successor = reader.u32(), Successor.decode(reader.fixed(SUCCESSOR_SIZE))
        reader.end()
        return cls(*head, successor, rollup_id, fee)


def decode_request(data: bytes) -> AnchorBatch | RotationBatch:
    """Read a request of purpose "anchor", of either kind. CodecError otherwise."""
    return RotationBatch.decode(data) if data[:1] == bytes([KIND_ROTATION]) else AnchorBatch.decode(data)


def _check_place(batch: AnchorBatch | RotationBatch) -> None:
    if not 0 <= batch.lane <= 0xFFFF or not 0 <= batch.epoch <= 0xFFFFFFFF:
        raise BatchError("a lane has 16 bits, an epoch 32")
    if not 1 <= batch.sequence <= 0xFFFFFFFF or len(batch.previous_root) != 32:
        raise BatchError("sequences start at 1 and roots have 32 bytes")
    if not 0 <= batch.tip_value <= MAX_MONEY:
        raise BatchError(f"{batch.tip_value} is not an amount")
    if not MIN_COMMIT_FEE <= batch.commit_fee <= MAX_COMMIT_FEE:
        raise BatchError(f"a commit pays {MIN_COMMIT_FEE} to {MAX_COMMIT_FEE} sat, not {batch.commit_fee}")


def _head(batch: AnchorBatch | RotationBatch, kind: int) -> Writer:
    out = Writer().u8(kind).u16(batch.lane).u32(batch.sequence).u32(batch.epoch)
    out.fixed(batch.tip.encode()).u64(batch.tip_value)
    return out.fixed(batch.previous_root).u32(batch.commit_fee)


def _read_head(reader: Reader, kind: int) -> tuple[tuple[int, int, int, OutPoint, Sats, bytes], Sats]:
    """(Lane, sequence, epoch, tip, its value, previous root), commit fee."""
    if (found := reader.u8()) != kind:
        raise BatchError(f"request kind {found} is not a batch of kind {kind}")
    lane, sequence, epoch = reader.u16(), reader.u32(), reader.u32()
    tip, value = OutPoint.decode(reader.fixed(OUTPOINT_SIZE)), Sats(reader.u64())
    return (lane, sequence, epoch, tip, value, reader.fixed(32)), Sats(reader.u32())
