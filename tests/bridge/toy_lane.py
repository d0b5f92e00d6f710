"""Lane 0 as far as the treasury needs it: a coin that rotation anchors spend, each naming the next epoch's keys."""

from dataclasses import dataclass
from functools import lru_cache

from anchor.btc.amounts import Sats
from anchor.btc.block import Block
from anchor.btc.ids import OutPoint, Txid
from anchor.btc.script import op_return
from anchor.btc.tx import Tx, TxOut
from anchor.inscription.successor import Successor
from bridge.treasury.keys import TreasuryKeys
from tests.bridge.keys import ACTIVATION, KEYS, successor, treasury_of
from tests.bridge.toy_chain import payment

GENESIS = ACTIVATION.lanes[0].outpoint


@dataclass(frozen=True)
class Named:
    """What a rotation anchor names, and its block's height."""

    successor: Successor
    height: int
    txid: Txid


@dataclass(frozen=True)
class LaneSeen:
    """The lane after a block."""

    tip: OutPoint = GENESIS
    named: tuple[Named, ...] = ()

    def after(self, block: Block, height: int) -> "LaneSeen":
        lane = self
        for tx in block.txs:
            if any(i.outpoint == lane.tip for i in tx.inputs):
                found = Named(successor_of(2 + len(lane.named)), height, tx.txid)
                lane = LaneSeen(tx.outpoint(0), (*lane.named, found))
        return lane

    @property
    def successors(self) -> tuple[Successor, ...]:
        return tuple(n.successor for n in self.named)

    def rotation(self) -> Tx:
        """The anchor that hands the lane on to the next epoch's key."""
        mark = TxOut(Sats(0), op_return(b"rotation to %d" % (2 + len(self.named))))
        return payment(self.tip, TxOut(Sats(90_000), b"\x51"), mark)


@lru_cache
def successor_of(epoch: int) -> Successor:
    return successor(epoch, treasury_of(epoch))


@lru_cache
def keys_up_to(epoch: int) -> TreasuryKeys:
    keys = KEYS
    for number in range(2, epoch + 1):
        keys = keys.then(treasury_of(number).key33)
    return keys
