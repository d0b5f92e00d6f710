"""When a Bitcoin block counts as final: deep enough, and under enough work.

Depth alone means little where cheap blocks are allowed (testnets), so the work from the block to the tip must be
k times its own as well. On regtest both say the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from anchor.btc.header import work_of
from anchor.btc.ids import BlockHash, display
from anchor.headers.chain import HeaderAt, HeaderChain


@dataclass(frozen=True, slots=True)
class Condition:
    """One of the conditions under which a node takes a block for settled.

    `name` is main, depth, work or lead; `have` of `need` in confirmations (depth) or in the block's own work (work,
    lead; rounded down).
    """

    name: str
    met: bool
    have: int
    need: int
    text: str


@dataclass(frozen=True, slots=True)
class Policy:
    """How many confirmations a node waits for: by use, and more by value; never fewer than `k`.

    `uses` maps a use ("anchor", "deposit", "payout") to its own number, `by_value` holds (satoshis, confirmations)
    from which value on, in any order.
    """

    k: int
    uses: Mapping[str, int] = field(default_factory=dict)
    by_value: tuple[tuple[int, int], ...] = ()

    def k_for(self, use: str, value: int = 0) -> int:
        """Return the confirmations that a use of so many satoshis waits for."""
        from_value = [k for least, k in self.by_value if value >= least]
        return max(self.k, self.uses.get(use, 0), *from_value, 0)

    def settled(self, chain: HeaderChain, block: BlockHash, use: str, value: int = 0) -> bool:
        """Tell whether a block is final for a use and leads every rival that this node knows."""
        return leads(chain, block, self.k_for(use, value))


def conditions(chain: HeaderChain, block: BlockHash, k: int) -> tuple[Condition, ...]:
    """Return every condition for a known block to be settled at `k` on this node, met or not. KeyError."""
    node = chain.get(block)
    if node is None:
        raise KeyError(block)
    depth, own = chain.depth(block), work_of(node.header.bits)
    above = chain.work_above(block) if depth else 0
    lead = max(above - _rival_work(chain, node), 0)
    there = "on the main chain" if depth else "another block of its height is on the main chain"
    return (
        Condition("main", depth > 0, int(depth > 0), 1, there),
        Condition("depth", depth >= k, depth, k, f"{depth} of {k} confirmations"),
        Condition(
            "work", above >= k * own, above // own, k, f"{above / own:.2f} of {k} times its own work upon it"
        ),
        Condition(
            "lead",
            depth > 0 and lead >= k * own,
            lead // own,
            k,
            f"{lead / own:.2f} of {k} times its own work ahead of every rival known here",
        ),
    )


def missing(chain: HeaderChain, block: BlockHash, k: int) -> str | None:
    """Return what a block still lacks to be final at `k`, None when it is. A sentence for people."""
    if k < 1:
        raise ValueError("k is at least 1: a block is its own first confirmation")
    node = chain.get(block)
    if node is None:
        return f"block {display(block)} is not known"
    depth = chain.depth(block)
    if depth == 0:
        return f"block {node.height} is not on the main chain"
    if depth < k:
        return f"block {node.height} has {depth} of {k} confirmations"
    own, above = work_of(node.header.bits), chain.work_above(block)
    if above < k * own:
        return f"block {node.height} has {k} confirmations, but only {above / own:.2f} times its own work"
    return None


def final(chain: HeaderChain, block: BlockHash, k: int) -> bool:
    """Tell whether a block is final: depth at least `k` and work from it to the tip at least k times its own."""
    return missing(chain, block, k) is None


def leads(chain: HeaderChain, block: BlockHash, k: int) -> bool:
    """Tell whether a final block also leads every rival this node knows by k times its own work.

    A rival is another block of the same height; what counts is the heaviest branch upon it. Local caution of a
    node, not a rule that all agree on: others may know other rivals.
    """
    node = chain.get(block)
    if node is None or not final(chain, block, k):
        return False
    return chain.work_above(block) - _rival_work(chain, node) >= k * work_of(node.header.bits)


def _rival_work(chain: HeaderChain, node: HeaderAt) -> int:
    """Return the work of the heaviest branch that holds another block at a block's height, from that height on."""
    behind = 0
    for head in chain.heads:
        rival = head.ancestor(node.height)
        if rival is not None and rival is not node:
            behind = max(behind, head.work - rival.work + work_of(rival.header.bits))
    return behind


def final_tip(chain: HeaderChain, k: int) -> BlockHash | None:
    """Return the newest final block of the main chain, None while there is none."""
    height = chain.tip.height - k + 1
    while (node := chain.at_height(height)) is not None:
        if final(chain, node.hash, k):
            return node.hash
        height -= 1
    return None
