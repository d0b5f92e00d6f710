"""Follows a coin through Bitcoin's blocks by bitcoind's word alone: who spent it, what stands in its place."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from anchor.btc.ids import OutPoint, display
from bridge.treasury.builder import Mark
from regtest.story.scene import Scene
from regtest.wallets import sats


@dataclass(frozen=True, slots=True)
class Step:
    """One transaction that spent the coin; its output 0 is the coin from then on.

    `height` is None while it waits in the mempool. `scripts` and `values` (sats) are those of all its outputs.
    """

    txid: str
    height: int | None
    inputs: tuple[str, ...]
    scripts: tuple[bytes, ...]
    values: tuple[int, ...]

    @property
    def mark(self) -> Mark | None:
        """What it says of itself, if it is a batch of the treasury."""
        return next((mark for script in self.scripts if (mark := Mark.find(script)) is not None), None)


def of(s: Scene, outpoint: OutPoint) -> list[Step]:
    """Everything that happened to a coin since the activation's block, oldest first, the mempool included."""
    coin, found = f"{display(outpoint.txid)}:{outpoint.vout}", []
    for height, transactions in _blocks(s):
        for tx in _parents_first(transactions):
            step = _step(tx, height)
            if coin in step.inputs:
                found.append(step)
                coin = f"{step.txid}:0"
    return found


def treasury(s: Scene) -> list[Step]:
    """The treasury's batches."""
    return of(s, s.activation.treasury)


def lane(s: Scene) -> list[Step]:
    """The lane's commits and reveals."""
    return of(s, s.activation.lanes[0].outpoint)


def _blocks(s: Scene) -> Iterator[tuple[int | None, list[Any]]]:
    rpc = s.world.network.nodes[s.world.miner].rpc
    for height in range(s.activation.height, s.world.network.height() + 1):
        yield height, rpc().getblock(rpc().getblockhash(height), 2)["tx"][1:]
    pool = rpc().getrawmempool()
    yield None, [rpc().getrawtransaction(txid, True) for txid in pool]


def _parents_first(transactions: list[Any]) -> Iterator[Any]:
    """A block has them so; a mempool in any order, where our packages are at most two long."""
    inside = {tx["txid"] for tx in transactions}
    child = [any(each["txid"] in inside for each in tx["vin"]) for tx in transactions]
    yield from (tx for tx, later in zip(transactions, child, strict=True) if not later)
    yield from (tx for tx, later in zip(transactions, child, strict=True) if later)


def _step(tx: Any, height: int | None) -> Step:
    return Step(
        str(tx["txid"]),
        height,
        tuple(f"{each['txid']}:{each['vout']}" for each in tx["vin"]),
        tuple(bytes.fromhex(out["scriptPubKey"]["hex"]) for out in tx["vout"]),
        tuple(sats(out["value"]) for out in tx["vout"]),
    )
