"""What handlers need before anything else: the bridge, once it is active."""

from anchor.problem import Problem
from bridge.active import Active
from bridge.node import Node


def active_of(node: Node) -> Active:
    """Return the node's bridge; Problem 503 before there is an activation record."""
    if node.active is None:
        raise Problem(
            503,
            "not_active",
            "the bridge is not active yet",
            retryable=True,
            remedy="wait until the operators have signed the activation record",
        )
    return node.active
