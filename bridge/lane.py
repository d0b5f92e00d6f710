"""The lane's desk with its place on our own chain."""

from collections.abc import Callable

from anchor.bitcoind import Bitcoind
from anchor.inscriber import LaneDesk, LaneFacts
from anchor.rollup.activation import Activation
from anchor.rollup.genesis import Genesis
from anchor.rollup.succession import Epochs
from anchor.store import StoredPackage
from bridge.outgoing import Whereabouts
from bridge.whereabouts import Stages


class LaneOnChain(LaneDesk):
    """What `anchor/inscriber.py` knows of a lane, and where its batches are."""

    def __init__(
        self,
        genesis: Genesis,
        activation: Activation,
        bitcoind: Bitcoind,
        facts: Callable[[], LaneFacts | None],
        epochs: Callable[[], Epochs],
        *,
        max_fee_rate: int,
        where: Callable[[StoredPackage, Stages], Whereabouts],
    ) -> None:
        super().__init__(genesis, activation, bitcoind, facts, epochs, max_fee_rate=max_fee_rate)
        self._where = where

    def key_epochs(self, payload: bytes) -> tuple[int, ...]:
        """The lane's key signs the commit and every rung of the reveal."""
        (_,), rungs = self.stages(payload)
        return (self.key_epoch(payload),) * (1 + len(rungs))

    def whereabouts(self, package: StoredPackage, stages: Stages) -> Whereabouts:
        """Where a batch is on our own chain."""
        return self._where(package, stages)
