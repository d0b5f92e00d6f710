"""Tables of a header feed: headers that left the main chain, every reorg (both kept for ever), who saw what.

`define` adds them to the metadata of whatever database they live in: node.db of a node, rollup.db of a validator.
"""

from dataclasses import dataclass

import sqlalchemy as sa


@dataclass(frozen=True, slots=True)
class HeaderTables:
    """`forks`: raw headers off the main chain, by hash. `reorgs`: every reorg seen; hashes in internal order.

    `sightings`: when each source first showed a block near its tip. `words`: what the operator said about chains.
    """

    forks: sa.Table
    reorgs: sa.Table
    sightings: sa.Table
    words: sa.Table


def define(metadata: sa.MetaData) -> HeaderTables:
    """Describe the tables in `metadata`; migrations create them."""
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
        sa.Column("told_at", sa.Integer),  # Unix seconds; NULL until its alarm was raised
        sa.UniqueConstraint("old_tip", "fork_hash", name="header_reorgs_once"),  # found again after a crash
    )
    sightings = sa.Table(
        "header_sightings",
        metadata,
        sa.Column("hash", sa.LargeBinary, primary_key=True),
        sa.Column("source", sa.Text, primary_key=True),
        sa.Column("seen_at", sa.Integer, nullable=False),  # Unix seconds
    )
    words = sa.Table(
        "header_words",
        metadata,
        sa.Column("tip", sa.LargeBinary, primary_key=True),
        sa.Column("word", sa.Text, nullable=False),  # confirmed, refused
        sa.Column("said_at", sa.Integer, nullable=False),  # Unix seconds
    )
    return HeaderTables(forks, reorgs, sightings, words)
