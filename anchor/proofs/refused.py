"""Why a proof does not prove, and what it shows all the same."""

from dataclasses import dataclass

from anchor.btc.amounts import Height
from anchor.btc.ids import BlockHash, Txid


@dataclass(frozen=True, slots=True)
class Existed:
    """What holds whoever signed: the payload's root was committed to in this block. Hashes in internal order."""

    root: bytes
    txid: Txid
    height: Height
    block_hash: BlockHash
    block_time: int
    depth: int


class ProofRefused(ValueError):
    """A file that does not prove an anchor; `existed` is what it shows all the same, if anything."""

    def __init__(self, reason: str, existed: Existed | None = None) -> None:
        super().__init__(f"existed, not authorised: {reason}" if existed else reason)
        self.reason, self.existed = reason, existed
