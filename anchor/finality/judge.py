"""Whether a validator's own Bitcoin node stands behind a block that executes well.

The rollup's view is whatever bundles said; a vote adds that the voter's own node agrees about the block that
counts as final. Who lags waits; what is disputed is not signed, because a height is signed once for ever.
"""

from anchor.btc.header import Header
from anchor.btc.ids import BlockHash, display
from anchor.headers.bundle import Bundle
from anchor.headers.chain import HeaderAt, HeaderChain
from anchor.rollup.block import Block
from anchor.rollup.tx import Decide, Lock, Mint, Settle, Succeed, decode_tx

MAX_AHEAD = 120  # seconds that a block's time may be ahead of the voter's clock


def objection(block: Block, view: HeaderChain, own: HeaderChain, own_tip: HeaderAt, now: int) -> str | None:
    """Return why a validator does not vote for `block` at the moment, None when it does.

    `view` is the rollup's view after the block's bundle, `own` the headers of the voter's bitcoind whose active
    tip is `own_tip`, `now` in Unix seconds. Ask again when any of these changed.

    A vote is given when the final Bitcoin block is on the own active chain. Else only when the own chain is
    heavier than the view and the bundle adds nothing but headers of it; then no value may move in the block.
    """
    if block.header.time > now + MAX_AHEAD:
        return f"its time is {block.header.time - now} s ahead of our clock"
    if _on(own, own_tip, block.header.final_hash):
        return None
    named = f"final Bitcoin block {block.header.final_height} {display(block.header.final_hash)}"
    if own_tip.work <= view.tip.work:
        return f"our bitcoind does not have the {named}"
    headers = Bundle.decode(block.bundle).headers if block.bundle else ()
    if not all(_on(own, own_tip, Header.parse(raw).hash) for raw in headers):
        return f"our heavier chain lacks the {named}, and the bundle adds headers of another chain"
    if any(isinstance(decode_tx(raw), Mint | Settle | Lock | Decide | Succeed) for raw in block.transactions):
        return f"our heavier chain lacks the {named}, and the block moves value before the view has turned"
    return None


def _on(own: HeaderChain, own_tip: HeaderAt, block: BlockHash) -> bool:
    node = own.get(block)
    return node is not None and own_tip.ancestor(node.height) is node
