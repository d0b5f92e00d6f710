"""Tables of a header feed: headers that left the main chain, kept for ever, and the ledger of reorgs.

`define` adds them to the metadata of whatever database they live in: node.db of a node, rollup.db of a validator.
"""

from dataclasses import dataclass

import sqlalchemy as sa


@dataclass(frozen=True, slots=True)
class HeaderTables:
    """`forks`: raw headers off the main chain, by hash. `reorgs`: every reorg seen; hashes in internal order."""

    forks: sa.Table
    reorgs: sa.Table


def define(metadata: sa.MetaData) -> HeaderTables:
    """Describe both tables in `metadata`; migrations create them."""
    forks = sa.Table(
        "header_forks",
        metadata,
        sa.Column("hash", sa.LargeBinary, primary_key=True),
        sa.Column("height", sa.Integer, nullable=False),
        sa.Column("raw", sa.LargeBinary, nullable=False),
        sa.Column("seen_at", sa.Integer, nullable=False),  # Unix seconds
        sa.Index("header_forks_by_height", "height"),
    )
    reorgs = sa.Table(
        "header_reorgs",
        metadata,
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("seen_at", sa.Integer, nullable=False),  # Unix seconds
        sa.Column("level", sa.Text, nullable=False),  # info, warning, page, pause
        sa.Column("depth", sa.Integer, nullable=False),  # blocks disconnected
        sa.Column("fork_height", sa.Integer, nullable=False),
        sa.Column("fork_hash", sa.LargeBinary, nullable=False),
        sa.Column("old_height", sa.Integer, nullable=False),
        sa.Column("old_tip", sa.LargeBinary, nullable=False),
        sa.Column("new_height", sa.Integer, nullable=False),
        sa.Column("new_tip", sa.LargeBinary, nullable=False),
        sa.Column("work_lost", sa.Text, nullable=False),  # hex: more than 64 bits
        sa.Column("work_gained", sa.Text, nullable=False),
        sa.UniqueConstraint("old_tip", "fork_hash", name="header_reorgs_once"),  # found again after a crash
    )
    return HeaderTables(forks, reorgs)
