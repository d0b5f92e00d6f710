"""What keeper and outbox need to know of one chain of coins: a lane, or the treasury."""

from collections.abc import Sequence
from typing import Protocol

from anchor.bitcoind import Submitted
from anchor.btc.hashing import tagged_hash
from anchor.btc.ids import OutPoint, Txid
from anchor.store import StoredPackage
from bridge.outgoing import Whereabouts


def package_id(desk: "Desk", payload: bytes) -> bytes:
    """Name of a batch: of its first transaction, which fixes all others.

    Not of the payload: evidence beside a record is not signed, and one batch must not have many names.
    """
    return tagged_hash("holdfast/package/v1", desk.purpose.encode(), desk.stages(payload)[0][0])


class Desk(Protocol):
    """Plans, checks and sends the batches of one chain of coins."""

    purpose: str

    def tip(self) -> OutPoint | None:
        """The confirmed coin that the next batch spends; None while the chain is unknown or halted."""

    async def plan(self) -> tuple[int, bytes] | None:
        """Sequence and payload of the next batch on the tip; None when there is nothing to do."""

    def spends(self, payload: bytes) -> tuple[int, OutPoint]:
        """Sequence and tip of a payload. ValueError when it is no batch of this desk."""

    def check(self, payload: bytes, signatures: Sequence[bytes]) -> None:
        """Return when the signatures complete the payload's transactions. ValueError otherwise."""

    def key_epochs(self, payload: bytes) -> tuple[int, ...]:
        """The key epoch of each signature that completes a payload, in the order of `check`; the tip's comes first.

        ValueError when it is no batch of this desk.
        """

    def stages(self, payload: bytes) -> tuple[tuple[Txid, ...], ...]:
        """Txids of the payload's transactions: per stage its versions, cheapest first."""

    def whereabouts(self, package: StoredPackage, stages: tuple[tuple[Txid, ...], ...]) -> Whereabouts:
        """Where a batch is on our own chain."""

    async def present(self, payload: bytes, signatures: Sequence[bytes]) -> Txid | None:
        """The version of the last stage that our mempool holds. NodeError when bitcoind does not say."""

    async def submit(self, payload: bytes, signatures: Sequence[bytes], rung: int | None = None) -> Submitted:
        """Bring a signed batch into the mempool; safe to repeat. NodeError when bitcoind does not say.

        `rung` is the version of the last stage that was there before; None leaves the choice to the desk.
        """
