"""A node's desk for the next key epoch: what it asks of the running bridge."""

from functools import partial
from typing import TYPE_CHECKING

from anchor.rollup_client import RollupError
from bridge.succession import Bridge, SuccessionDesk
from tss.node import TssNode
from tss.peers import Peers

if TYPE_CHECKING:
    from bridge.node import Node


async def successions_of(node: "Node", tss: TssNode, peers: Peers) -> SuccessionDesk:
    """The desk of an operator's node, answering the other members."""
    bridge = Bridge(
        node.genesis,
        lambda: node.follower.state.epochs(node.genesis),
        partial(hinders, node),
        partial(_post, node),
    )
    desk = SuccessionDesk(bridge, tss, peers, node.store, asks=node.network.name != "regtest", log=node.log)
    await desk.load()
    desk.serve()
    return desk


def hinders(node: "Node") -> str | None:
    """Why no committee may hand on now, as this node sees it."""
    active = node.active
    facts = None if active is None else active.treasury_facts()
    if active is None or facts is None:
        return "this node does not follow the bridge yet: ask again in a moment"
    if (why := facts.unsynced or facts.paused) is not None:
        return why
    return None


async def _post(node: "Node", tx: bytes) -> object:
    if node.rollup is None:
        raise RollupError("this node follows no rollup: set [rollup] url in config.toml")
    return await node.rollup.submit(tx)
