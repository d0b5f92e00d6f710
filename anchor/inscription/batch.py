"""What the signers of the `anchor` key are asked for: one batch on one tip. The payload of purpose "anchor"."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Self

from anchor.btc.amounts import MAX_MONEY, Sats
from anchor.btc.codec import CodecError, Reader, Writer
from anchor.btc.ids import OUTPOINT_SIZE, OutPoint
from anchor.inscription.payload import MANY_ROLLUPS, Payload
from anchor.proofs import tree
from anchor.proofs.manifest import BatchManifest, leaves_of, manifest_of
from anchor.proofs.records import MAX_RECORD, Record, decode_record

KIND_BATCH = 1
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
        if not 0 <= self.lane <= 0xFFFF or not 0 <= self.epoch <= 0xFFFFFFFF:
            raise BatchError("a lane has 16 bits, an epoch 32")
        if not 1 <= self.sequence <= 0xFFFFFFFF or len(self.previous_root) != 32:
            raise BatchError("sequences start at 1 and roots have 32 bytes")
        if not 0 <= self.tip_value <= MAX_MONEY:
            raise BatchError(f"{self.tip_value} is not an amount")
        if not MIN_COMMIT_FEE <= self.commit_fee <= MAX_COMMIT_FEE:
            raise BatchError(f"a commit pays {MIN_COMMIT_FEE} to {MAX_COMMIT_FEE} sat, not {self.commit_fee}")
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
        out = Writer().u8(KIND_BATCH).u16(self.lane).u32(self.sequence).u32(self.epoch)
        out.fixed(self.tip.encode()).u64(self.tip_value).fixed(self.previous_root).u32(self.commit_fee)
        out.count(len(self.records))
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
        if (kind := reader.u8()) != KIND_BATCH:
            raise BatchError(f"request kind {kind} is not a batch")
        lane, sequence, epoch = reader.u16(), reader.u32(), reader.u32()
        tip, value = OutPoint.decode(reader.fixed(OUTPOINT_SIZE)), Sats(reader.u64())
        previous, fee = reader.fixed(32), Sats(reader.u32())
        size = reader.count(MAX_RECORDS)
        pairs = [(reader.var(MAX_RECORD), reader.var(MAX_EVIDENCE)) for _ in range(size)]
        reader.end()
        records, evidence = tuple(p[0] for p in pairs), tuple(p[1] for p in pairs)
        return cls(lane, sequence, epoch, tip, value, previous, records, evidence, fee)
