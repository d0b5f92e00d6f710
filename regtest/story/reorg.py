"""A split of the network and its end: who mines what on which side, and what every node says of it."""

from dataclasses import dataclass
from typing import Any

from regtest.operators import Node, wait_tip
from regtest.story.scene import Scene


@dataclass(frozen=True, slots=True)
class Sides:
    """Numbers of the bitcoinds on each side of a split."""

    winners: tuple[int, ...]
    losers: tuple[int, ...]


def sides(scene: Scene) -> Sides:
    """As many operators as sign against the others; the last bitcoind serves rollup and miner and loses."""
    world = scene.world
    return Sides(tuple(range(world.threshold)), tuple(range(world.threshold, world.size + 1)))


def split(scene: Scene, parts: Sides) -> None:
    """Cut the network; the winners' bitcoinds restart and have forgotten every unconfirmed transaction."""
    network = scene.world.network
    network.split(parts.winners, parts.losers)
    for i in parts.winners:
        network.nodes[i].restart()
    network.connect()


def mine_losing(scene: Scene, parts: Sides, *txids: str) -> str:
    """Mine one block with exactly these transactions on the losing side, wait until its nodes have seen it."""
    world = scene.world
    script = world.wallet.address()
    block = str(world.network.nodes[world.miner].rpc().generateblock(script, list(txids))["hash"])
    world.network.wait_same_tip(parts.losers)
    wait_tip([world.operators[i] for i in parts.losers if i < world.size], block)
    return block


def mine_winning(scene: Scene, parts: Sides, count: int) -> str:
    """Mine empty blocks on the winning side, wait until its nodes have seen them; return the last."""
    world = scene.world
    block = world.network.mine_empty(parts.winners[0], count)[-1]
    world.network.wait_same_tip(parts.winners)
    wait_tip([world.operators[i] for i in parts.winners], block)
    return block


def in_view(scene: Scene, block: str) -> bool:
    """Whether the rollup's own view of Bitcoin ends in this block."""
    return bool(scene.status()["bitcoin"]["tip_hash"] == block)


def reported(node: Node, lost: str) -> Any:
    """What a node's feed says of the reorg that took this block off its chain; None when it saw none."""
    found = node.get("/v1/reorgs")["reorgs"]
    return next((r for r in found if r["old_tip"] == lost), None)


def alarm(node: Node) -> Any:
    """The newest alarm about a reorg that a node's health shows; None when there is none."""
    found = node.get("/v1/health")["alarms"]
    return next((a for a in found if a["kind"] == "reorg"), None)


def rollup_reported(scene: Scene, lost: str) -> Any:
    """What the rollup's own view says of it; None when it saw none."""
    return next((r for r in scene.world.rollup.get("/v1/reorgs") if r["old_tip"] == lost), None)
