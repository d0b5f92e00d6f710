"""When a Bitcoin block counts as final: deep enough, and under enough work.

Depth alone means little where cheap blocks are allowed (testnets), so the work from the block to the tip must be
k times its own as well. On regtest both say the same.
"""

from anchor.btc.header import work_of
from anchor.btc.ids import BlockHash, display
from anchor.headers.chain import HeaderChain


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
    own, behind = work_of(node.header.bits), 0
    for head in chain.heads:
        rival = head.ancestor(node.height)
        if rival is not None and rival is not node:
            behind = max(behind, head.work - rival.work + work_of(rival.header.bits))
    return chain.work_above(block) - behind >= k * own


def final_tip(chain: HeaderChain, k: int) -> BlockHash | None:
    """Return the newest final block of the main chain, None while there is none."""
    height = chain.tip.height - k + 1
    while (node := chain.at_height(height)) is not None:
        if final(chain, node.hash, k):
            return node.hash
        height -= 1
    return None
