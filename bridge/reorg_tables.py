"""Tables of node.db about reorgs: what each block holds of ours, and what became of what a reorg took out.

What a block holds is kept when the block is followed, so that a reorg is understood though it comes after a crash.
"""

import sqlalchemy as sa

from anchor.store import metadata

block_items = sa.Table(
    "block_items",
    metadata,
    sa.Column("block", sa.LargeBinary(32), primary_key=True),
    sa.Column("kind", sa.String(16), primary_key=True),
    sa.Column(
        "key", sa.String(80), primary_key=True
    ),  # lane:sequence, outpoint, sequence, id: as people read it
    sa.Column("height", sa.Integer, nullable=False),
    sa.Column("txid", sa.LargeBinary(32), nullable=False),
    sa.Column("value", sa.BigInteger),  # satoshis; NULL: none of its own
    sa.Column("more", sa.Text, nullable=False),  # JSON
)

reorg_items = sa.Table(
    "reorg_items",
    metadata,
    sa.Column("reorg", sa.Integer, sa.ForeignKey("header_reorgs.id"), primary_key=True),
    sa.Column("kind", sa.String(16), primary_key=True),
    sa.Column("key", sa.String(80), primary_key=True),
    sa.Column("height", sa.Integer, nullable=False),  # where it was, in the branch that was left
    sa.Column("block", sa.LargeBinary(32), nullable=False),
    sa.Column("txid", sa.LargeBinary(32), nullable=False),
    sa.Column("value", sa.BigInteger),
    sa.Column("more", sa.Text, nullable=False),
    sa.Column("outcome", sa.String(16), nullable=False),  # waiting, confirmed, replaced, gone
    sa.Column("now_txid", sa.LargeBinary(32)),  # where it is now
    sa.Column("now_height", sa.Integer),
    sa.Column("now_block", sa.LargeBinary(32)),
    sa.Column("state", sa.String(16)),  # of the deposit's or withdrawal's machine
    sa.Column("changed_at", sa.Integer, nullable=False),  # Unix seconds
    sa.Column("changed_height", sa.Integer, nullable=False),  # our tip then
    sa.Column("settled", sa.Boolean, nullable=False),  # what became of it is final: looked at no more
)
sa.Index("reorg_items_open", reorg_items.c.settled)

__all__ = ["block_items", "reorg_items"]
