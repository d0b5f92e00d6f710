"""rollup.db: blocks, replaced proposals, transactions, votes, evidence, what a validator signed, header forks.

Revision ID: r0001
Revises:
"""

import sqlalchemy as sa
from alembic import op

revision = "r0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    _chain()
    _votes()
    _headers()


def _chain() -> None:
    op.create_table(
        "meta",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("value", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "blocks",
        sa.Column("height", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("hash", sa.LargeBinary, nullable=False, unique=True),
        sa.Column("raw", sa.LargeBinary, nullable=False),
        sa.Column("certificate", sa.LargeBinary),
    )
    op.create_table(
        "retired",
        sa.Column("height", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("round", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("hash", sa.LargeBinary, nullable=False),
        sa.Column("raw", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "transactions",
        sa.Column("txid", sa.LargeBinary, primary_key=True),
        sa.Column("height", sa.Integer, nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
    )


def _votes() -> None:
    op.create_table(
        "votes",
        sa.Column("height", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("validator", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("block_hash", sa.LargeBinary, primary_key=True),
        sa.Column("signature", sa.LargeBinary, nullable=False),
    )
    # A second row for one key and height would be two votes at one height: the database refuses it.
    op.create_table(
        "signed",
        sa.Column("key", sa.LargeBinary, primary_key=True),
        sa.Column("height", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("block_hash", sa.LargeBinary, nullable=False),
    )


def _headers() -> None:
    op.create_table(
        "header_forks",
        sa.Column("hash", sa.LargeBinary, primary_key=True),
        sa.Column("height", sa.Integer, nullable=False),
        sa.Column("raw", sa.LargeBinary, nullable=False),
        sa.Column("seen_at", sa.Integer, nullable=False),
    )
    op.create_index("header_forks_by_height", "header_forks", ["height"])
    op.create_table(
        "header_reorgs",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("seen_at", sa.Integer, nullable=False),
        sa.Column("level", sa.Text, nullable=False),
        sa.Column("depth", sa.Integer, nullable=False),
        sa.Column("fork_height", sa.Integer, nullable=False),
        sa.Column("fork_hash", sa.LargeBinary, nullable=False),
        sa.Column("old_height", sa.Integer, nullable=False),
        sa.Column("old_tip", sa.LargeBinary, nullable=False),
        sa.Column("new_height", sa.Integer, nullable=False),
        sa.Column("new_tip", sa.LargeBinary, nullable=False),
        sa.Column("work_lost", sa.Text, nullable=False),
        sa.Column("work_gained", sa.Text, nullable=False),
        sa.Column("told_at", sa.Integer),
        sa.UniqueConstraint("old_tip", "fork_hash", name="header_reorgs_once"),
    )
    op.create_table(
        "header_sightings",
        sa.Column("hash", sa.LargeBinary, primary_key=True),
        sa.Column("source", sa.Text, primary_key=True),
        sa.Column("seen_at", sa.Integer, nullable=False),
    )
    op.create_table(
        "header_words",
        sa.Column("tip", sa.LargeBinary, primary_key=True),
        sa.Column("word", sa.Text, nullable=False),
        sa.Column("said_at", sa.Integer, nullable=False),
    )


def downgrade() -> None:
    raise NotImplementedError("schemas only go forward: restore the copy that `upgrade` made")
