"""node.db: copies of rollup blocks, batches, alarms, header forks and reorgs, deposits, withdrawals, manifests.

Revision ID: n0001
Revises:
"""

import sqlalchemy as sa
from alembic import op

revision = "n0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    _anchor()
    _headers()
    _deposits()
    _bridge()
    _reorgs()


def _anchor() -> None:
    op.create_table(
        "rollup_blocks",
        sa.Column("height", sa.Integer, primary_key=True),
        sa.Column("hash", sa.LargeBinary(32), nullable=False, unique=True),
        sa.Column("raw", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "packages",
        sa.Column("id", sa.LargeBinary(32), primary_key=True),
        sa.Column("purpose", sa.String(16), nullable=False),
        sa.Column("tip", sa.LargeBinary(36), nullable=False),
        sa.Column("sequence", sa.Integer, nullable=False),
        sa.Column("payload", sa.LargeBinary, nullable=False),
        sa.Column("signatures", sa.LargeBinary),
        sa.Column("state", sa.Text),
        sa.Column("created", sa.Integer, nullable=False),
    )
    op.create_index("packages_by_tip", "packages", ["purpose", "tip"])
    op.create_table(
        "alarms",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("time", sa.Integer, nullable=False),
        sa.Column("level", sa.String(8), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("data", sa.Text, nullable=False),
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


def _deposits() -> None:
    op.create_table(
        "deposit_params",
        sa.Column("script", sa.LargeBinary(34), primary_key=True),
        sa.Column("params", sa.LargeBinary, nullable=False),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("created", sa.Integer, nullable=False),
    )
    op.create_table(
        "deposits",
        sa.Column("outpoint", sa.LargeBinary(36), primary_key=True),
        sa.Column("script", sa.LargeBinary(34), sa.ForeignKey("deposit_params.script"), nullable=False),
        sa.Column("value", sa.BigInteger, sa.CheckConstraint("value >= 0"), nullable=False),
        sa.Column("coinbase", sa.Boolean, nullable=False),
        sa.Column("height", sa.Integer),
        sa.Column("block", sa.LargeBinary(32)),
        sa.Column("spent_by", sa.LargeBinary(32)),
        sa.Column("spent_height", sa.Integer),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("created", sa.Integer, nullable=False),
    )
    op.create_index("deposits_by_script", "deposits", ["script"])


def _bridge() -> None:
    op.create_table(
        "withdrawals",
        sa.Column("id", sa.LargeBinary(32), primary_key=True),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("created", sa.Integer, nullable=False),
    )
    op.create_table(
        "manifests",
        sa.Column("hash", sa.LargeBinary(32), primary_key=True),
        sa.Column("raw", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "ledger",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("entry", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "documents",
        sa.Column("name", sa.String(32), primary_key=True),
        sa.Column("body", sa.LargeBinary, nullable=False),
    )


def _reorgs() -> None:
    op.create_table(
        "block_items",
        sa.Column("block", sa.LargeBinary(32), primary_key=True),
        sa.Column("kind", sa.String(16), primary_key=True),
        sa.Column("key", sa.String(80), primary_key=True),
        sa.Column("height", sa.Integer, nullable=False),
        sa.Column("txid", sa.LargeBinary(32), nullable=False),
        sa.Column("value", sa.BigInteger),
        sa.Column("more", sa.Text, nullable=False),
    )
    op.create_table(
        "reorg_items",
        sa.Column("reorg", sa.Integer, sa.ForeignKey("header_reorgs.id"), primary_key=True),
        sa.Column("kind", sa.String(16), primary_key=True),
        sa.Column("key", sa.String(80), primary_key=True),
        sa.Column("height", sa.Integer, nullable=False),
        sa.Column("block", sa.LargeBinary(32), nullable=False),
        sa.Column("txid", sa.LargeBinary(32), nullable=False),
        sa.Column("value", sa.BigInteger),
        sa.Column("more", sa.Text, nullable=False),
        sa.Column("outcome", sa.String(16), nullable=False),
        sa.Column("now_txid", sa.LargeBinary(32)),
        sa.Column("now_height", sa.Integer),
        sa.Column("now_block", sa.LargeBinary(32)),
        sa.Column("state", sa.String(16)),
        sa.Column("changed_at", sa.Integer, nullable=False),
        sa.Column("changed_height", sa.Integer, nullable=False),
        sa.Column("settled", sa.Boolean, nullable=False),
    )
    op.create_index("reorg_items_open", "reorg_items", ["settled"])


def downgrade() -> None:
    raise NotImplementedError("schemas only go forward: restore the copy that `upgrade` made")
