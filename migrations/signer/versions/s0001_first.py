"""signer.db: keys, DKG attempts, boots, requests, verdicts, nonces, signatures, evidence, audit.

Revision ID: s0001
Revises:
"""

import sqlalchemy as sa
from alembic import op

revision = "s0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    _keys()
    _signing()
    _records()
    _watch()
    _rotation()
    _operations()


def _keys() -> None:
    op.create_table(
        "dkg_attempts",
        sa.Column("sid", sa.LargeBinary, primary_key=True),
        sa.Column("purpose", sa.Text, nullable=False),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("relay", sa.Integer, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("transcript", sa.LargeBinary, nullable=False),
        sa.Column("at", sa.Float, nullable=False),
    )
    op.create_table(
        "keys",
        sa.Column("sid", sa.LargeBinary, primary_key=True),
        sa.Column("purpose", sa.Text, nullable=False),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("public", sa.LargeBinary, nullable=False),
        sa.Column("recovery", sa.LargeBinary, nullable=False),
        sa.Column("proof", sa.LargeBinary, nullable=False),
        sa.Column("at", sa.Float, nullable=False),
    )
    op.create_index("keys_by_purpose", "keys", ["purpose", "epoch"])
    # Two serving keys of one purpose and epoch would be two treasuries: the database refuses it.
    op.create_index(
        "keys_serving",
        "keys",
        ["purpose", "epoch"],
        unique=True,
        sqlite_where=sa.text("state IN ('verified', 'active')"),
    )


def _signing() -> None:
    op.create_table(
        "boots",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("boot_id", sa.LargeBinary, nullable=False, unique=True),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("at", sa.Float, nullable=False),
    )
    op.create_table(
        "requests",
        sa.Column("request_id", sa.LargeBinary, primary_key=True),
        sa.Column("purpose", sa.Text, nullable=False),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("payload", sa.LargeBinary, nullable=False),
        sa.Column("coordinator", sa.Integer, nullable=False),
        sa.Column("at", sa.Float, nullable=False),
    )
    op.create_index("requests_by_coordinator", "requests", ["coordinator", "at"])
    op.create_table(
        "verdicts",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("request_id", sa.LargeBinary, nullable=False),
        sa.Column("phase", sa.Text, nullable=False),
        sa.Column("approved", sa.Boolean, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("verdict", sa.LargeBinary, nullable=False),
        sa.Column("at", sa.Float, nullable=False),
    )
    op.create_index("verdicts_by_request", "verdicts", ["request_id"])
    op.create_table(
        "sessions",
        sa.Column("session", sa.LargeBinary, primary_key=True),
        sa.Column("request_id", sa.LargeBinary, nullable=False),
        sa.Column("request", sa.LargeBinary, nullable=False),
        sa.Column("at", sa.Float, nullable=False),
    )
    op.create_table(
        "nonces",
        sa.Column("commitment", sa.LargeBinary, primary_key=True),
        sa.Column("boot_id", sa.LargeBinary, nullable=False),
        sa.Column("session", sa.LargeBinary, nullable=False),
        sa.Column("package_hash", sa.LargeBinary, nullable=False),
        sa.Column("share", sa.LargeBinary, nullable=False),
        sa.Column("at", sa.Float, nullable=False),
    )
    op.create_table(
        "signatures",
        sa.Column("request_id", sa.LargeBinary, primary_key=True),
        sa.Column("messages_hash", sa.LargeBinary, nullable=False),
        sa.Column("signatures", sa.LargeBinary, nullable=False),
        sa.Column("at", sa.Float, nullable=False),
    )


def _records() -> None:
    op.create_table(
        "evidence",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("id", sa.LargeBinary, nullable=False, unique=True),
        sa.Column("member", sa.Integer, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("reporter", sa.Integer, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("at", sa.Float, nullable=False),
    )
    op.create_index("evidence_by_member", "evidence", ["member", "kind"])
    op.create_table(
        "audit",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
        sa.Column("previous", sa.LargeBinary, nullable=False),
        sa.Column("hash", sa.LargeBinary, nullable=False),
    )


def _watch() -> None:
    op.create_table(
        "peer_boots",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("member", sa.Integer, nullable=False),
        sa.Column("boot_id", sa.LargeBinary, nullable=False),
        sa.Column("at", sa.Float, nullable=False),
        sa.UniqueConstraint("member", "boot_id"),
    )
    op.create_table(
        "clones",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("member", sa.Integer, nullable=False),
        sa.Column("left", sa.LargeBinary, nullable=False),
        sa.Column("present", sa.LargeBinary, nullable=False),
        sa.Column("at", sa.Float, nullable=False),
        sa.UniqueConstraint("member", "left", "present"),
    )
    op.create_table(
        "nonce_counts",
        sa.Column("share_set", sa.LargeBinary, primary_key=True),
        sa.Column("boot_id", sa.LargeBinary, primary_key=True),
        sa.Column("made", sa.Integer, nullable=False),
        sa.Column("spent", sa.Integer, nullable=False),
        sa.Column("voided", sa.Integer, nullable=False),
        sa.Column("refused", sa.Integer, nullable=False),
    )


def _rotation() -> None:
    op.create_table(
        "rotations",
        sa.Column("sid", sa.LargeBinary, primary_key=True),
        sa.Column("key_sid", sa.LargeBinary, nullable=False),
        sa.Column("work", sa.Text, nullable=False),
        sa.Column("base", sa.LargeBinary, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("relay", sa.Integer, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("public", sa.LargeBinary, nullable=False),
        sa.Column("proof", sa.LargeBinary, nullable=False),
        sa.Column("at", sa.Float, nullable=False),
    )
    op.create_index("rotations_by_key", "rotations", ["key_sid", "base"])
    op.create_table(
        "removals",
        sa.Column("base", sa.LargeBinary, primary_key=True),
        sa.Column("members", sa.Text, primary_key=True),
        sa.Column("at", sa.Float, nullable=False),
    )


def _operations() -> None:
    op.create_table(
        "audit_heads",
        sa.Column("member", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("hash", sa.LargeBinary, nullable=False),
        sa.Column("at_ms", sa.Integer, nullable=False),
        sa.Column("signature", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "audit_alarms",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("member", sa.Integer, nullable=False),
        sa.Column("reporter", sa.Integer, nullable=False),
        sa.Column("row", sa.Integer, nullable=False),
        sa.Column("expected", sa.LargeBinary, nullable=False),
        sa.Column("found", sa.LargeBinary, nullable=False),
        sa.Column("signed", sa.LargeBinary, nullable=False),
        sa.Column("at", sa.Float, nullable=False),
        sa.UniqueConstraint("member", "row", "expected"),
    )
    op.create_table(
        "pauses",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("since", sa.Float, nullable=False),
        sa.Column("until", sa.Float),
    )


def downgrade() -> None:
    raise NotImplementedError("schemas only go forward: restore the copy that `upgrade` made")
