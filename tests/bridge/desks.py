"""The office's desks for the next key epoch, as a node opens them."""

from typing import Any

import structlog

from bridge.epochs import hinders
from bridge.succession import Bridge, SuccessionDesk


async def desk_of(node: Any, asks: bool = False) -> SuccessionDesk:
    """The desk of an office's node over its own copy of the rollup; with `asks` it wants its operator's consent."""
    office, seat = node.office, node.seat
    bridge = Bridge(
        office.genesis,
        lambda: node.follower.state.epochs(office.genesis),
        lambda: hinders(node),
        lambda tx: office.rollup.submit(tx),  # noqa: PLW0108 the rollup is made after the nodes
    )
    log = structlog.get_logger("tests")
    desk = SuccessionDesk(bridge, seat.node, seat.peers, node.store, asks=asks, log=log)
    await desk.load()
    desk.serve()
    return desk
