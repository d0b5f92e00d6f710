"""How blocks become range records, cut alike by everyone, and the certificates that show that a range is final.

Certificates differ between nodes (whose votes came first), so they are carried beside the record as evidence. They
attest the range's *last* block and its child; that the roots below are those of the blocks between, every signer
sees by cutting the same range from its own copy of the rollup's chain.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from anchor.btc.codec import CodecError, Reader, Writer
from anchor.finality.votes import NoQuorum, VoteRefused, check_certificate
from anchor.proofs import tree
from anchor.proofs.records import PROOF_NONE, RangeRecord
from anchor.rollup.activation import Activation
from anchor.rollup.block import BlockHeader, Certificate, CertifiedBlock
from anchor.rollup.genesis import Genesis

FIRST_BLOCK = 1  # block 0 is the genesis


class RangeRefused(ValueError):
    """Blocks that are no chain, or evidence that does not show what its record says."""


@dataclass(frozen=True, slots=True)
class RangeEvidence:
    """The last block of a range and its child, each certified: together they make the range final."""

    last: BlockHeader
    last_certificate: Certificate
    child: BlockHeader
    child_certificate: Certificate

    def encode(self) -> bytes:
        """Return the bytes that travel beside a record."""
        out = Writer().fixed(self.last.encode()).fixed(self.last_certificate.encode())
        return out.fixed(self.child.encode()).fixed(self.child_certificate.encode()).done()

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read what `encode` wrote. CodecError otherwise."""
        reader = Reader(data)
        last, last_certificate = BlockHeader.read(reader), Certificate.read(reader)
        child, child_certificate = BlockHeader.read(reader), Certificate.read(reader)
        reader.end()
        return cls(last, last_certificate, child, child_certificate)


def cut(
    blocks: Sequence[CertifiedBlock], activation: Activation, last: RangeRecord | None
) -> tuple[RangeRecord, RangeEvidence] | None:
    """Return the range after `last` (None: the first) with its evidence, or None while its child is missing.

    `blocks` are certified blocks by rising height without gaps, from the range's first block or earlier. Raises
    RangeRefused when they are of another rollup or no chain. Votes are counted by `check`, not here.
    """
    length = activation.params.range_length
    first = last.last + 1 if last else FIRST_BLOCK
    if not blocks or blocks[-1].height < first + length:
        return None
    offset = first - blocks[0].height
    if offset < 0:
        raise RangeRefused(f"block {first} is missing: ask the rollup for blocks after {first - 1}")
    members = blocks[offset : offset + length + 1]
    _check_chain(members, activation, first)
    record = _record_of(members[:length], activation.rollup_id)
    if not continues(last, record):
        raise RangeRefused(f"block {first} starts from another state root than block {first - 1} left")
    end, child = members[length - 1], members[length]
    evidence = RangeEvidence(end.block.header, end.certificate, child.block.header, child.certificate)
    return record, evidence


def _check_chain(members: Sequence[CertifiedBlock], activation: Activation, first: int) -> None:
    parent = None
    for height, member in enumerate(members, first):
        header = member.block.header
        if header.rollup_id != activation.rollup_id or header.height != height:
            raise RangeRefused(f"block {height} of rollup {activation.rollup_id} is missing")
        if header.hash(activation.genesis_hash) != member.hash:
            raise RangeRefused(f"the certificate of block {height} is for another block")
        if parent is not None and header.parent != parent:
            raise RangeRefused(f"block {height} is not the child of block {height - 1}")
        parent = member.hash


def _record_of(members: Sequence[CertifiedBlock], rollup_id: int) -> RangeRecord:
    headers = [member.block.header for member in members]
    first, last = headers[0], headers[-1]
    return RangeRecord(
        rollup_id=rollup_id,
        first=first.height,
        last=last.height,
        state_before=first.state_before,
        state_after=last.state_after,
        tx_root=tree.root([tree.leaf(rollup_id, header.tx_root) for header in headers]),
        data_root=tree.root([tree.leaf(rollup_id, header.data_root) for header in headers]),
        proof_kind=PROOF_NONE,
        proof_digest=bytes(32),
        final_height=last.final_height,
        final_hash=last.final_hash,
        validators_root=last.validators_root,
    )


def continues(last: RangeRecord | None, record: RangeRecord) -> bool:
    """Tell whether `record` is what follows `last` (None: nothing yet): first = last + 1, root before = after."""
    if last is None:
        return record.first == FIRST_BLOCK
    follows = record.rollup_id == last.rollup_id and record.first == last.last + 1
    return follows and record.state_before == last.state_after


def check(genesis: Genesis, record: RangeRecord, evidence: RangeEvidence) -> None:
    """Return when the evidence shows that the record's last block is final; RangeRefused says what is wrong.

    Final means: certified, and so is its child (DESIGN section 5, *Fast finality*).
    """
    last, child = evidence.last, evidence.child
    said = (record.rollup_id, record.last, record.state_after, record.final_height, record.final_hash)
    if (last.rollup_id, last.height, last.state_after, last.final_height, last.final_hash) != said:
        raise RangeRefused(f"the evidence is about another block than {record.last} as the record has it")
    if record.rollup_id != genesis.rollup_id or record.validators_root != last.validators_root:
        raise RangeRefused("the record is of another rollup or another validator set")
    if child.rollup_id != last.rollup_id or child.height != last.height + 1:
        raise RangeRefused(f"block {child.height} is not the next after {last.height}")
    if child.parent != last.hash(genesis.hash):
        raise RangeRefused(f"block {child.height} is not the child of block {last.height}")
    for header, certificate in ((last, evidence.last_certificate), (child, evidence.child_certificate)):
        _check_certificate(genesis, header, certificate)


def _check_certificate(genesis: Genesis, header: BlockHeader, certificate: Certificate) -> None:
    if certificate.block_hash != header.hash(genesis.hash):
        raise RangeRefused(f"the certificate of block {header.height} is for another block")
    try:
        check_certificate(genesis, certificate)
    except (VoteRefused, NoQuorum, CodecError) as error:
        raise RangeRefused(f"the certificate of block {header.height}: {error}") from error
    if any(vote.height != header.height for vote in certificate.votes):
        raise RangeRefused(f"the votes for block {header.height} name another height")
