"""The tables of signer.db, as `migrations/signer` makes them (a test compares the two)."""

import sqlalchemy as sa

metadata = sa.MetaData()

# One row per DKG attempt that this node took part in; a failed one keeps who and why.
dkg_attempts = sa.Table(
    "dkg_attempts",
    metadata,
    sa.Column("sid", sa.LargeBinary, primary_key=True),
    sa.Column("purpose", sa.Text, nullable=False),
    sa.Column("epoch", sa.Integer, nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("relay", sa.Integer, nullable=False),
    sa.Column("state", sa.Text, nullable=False),  # open | sent | signed | failed
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("transcript", sa.LargeBinary, nullable=False),
    sa.Column("at", sa.Float, nullable=False),
)

# One row per certified key; `proof` is the n-of-n test signature that verified it.
keys = sa.Table(
    "keys",
    metadata,
    sa.Column("sid", sa.LargeBinary, primary_key=True),
    sa.Column("purpose", sa.Text, nullable=False),
    sa.Column("epoch", sa.Integer, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("public", sa.LargeBinary, nullable=False),
    sa.Column("recovery", sa.LargeBinary, nullable=False),
    sa.Column("proof", sa.LargeBinary, nullable=False),
    sa.Column("at", sa.Float, nullable=False),
    sa.Index("keys_by_purpose", "purpose", "epoch"),
    sa.Index(
        "keys_serving",
        "purpose",
        "epoch",
        unique=True,
        sqlite_where=sa.text("state IN ('verified', 'active')"),
    ),
)

# One row per process start; only the newest boot's commitments may be used. `epoch` is the committee file's.
boots = sa.Table(
    "boots",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("boot_id", sa.LargeBinary, nullable=False, unique=True),
    sa.Column("epoch", sa.Integer, nullable=False),
    sa.Column("at", sa.Float, nullable=False),
)

# Whole requests, so that any member can lead them later.
requests = sa.Table(
    "requests",
    metadata,
    sa.Column("request_id", sa.LargeBinary, primary_key=True),
    sa.Column("purpose", sa.Text, nullable=False),
    sa.Column("epoch", sa.Integer, nullable=False),
    sa.Column("payload", sa.LargeBinary, nullable=False),
    sa.Column("coordinator", sa.Integer, nullable=False),
    sa.Column("at", sa.Float, nullable=False),
    sa.Index("requests_by_coordinator", "coordinator", "at"),
)

# Every yes and no, with its reason, signed by the host key.
verdicts = sa.Table(
    "verdicts",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("request_id", sa.LargeBinary, nullable=False),
    sa.Column("phase", sa.Text, nullable=False),  # request | release
    sa.Column("approved", sa.Boolean, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("verdict", sa.LargeBinary, nullable=False),
    sa.Column("at", sa.Float, nullable=False),
    sa.Index("verdicts_by_request", "request_id"),
)

# The coordinator's signed order for each session that was answered with shares: evidence, should it cheat.
sessions = sa.Table(
    "sessions",
    metadata,
    sa.Column("session", sa.LargeBinary, primary_key=True),
    sa.Column("request_id", sa.LargeBinary, nullable=False),
    sa.Column("request", sa.LargeBinary, nullable=False),
    sa.Column("at", sa.Float, nullable=False),
)

# The durable half of "a nonce is used once": no row, no share; one row per commitment, for ever.
nonces = sa.Table(
    "nonces",
    metadata,
    sa.Column("commitment", sa.LargeBinary, primary_key=True),
    sa.Column("boot_id", sa.LargeBinary, nullable=False),
    sa.Column("session", sa.LargeBinary, nullable=False),
    sa.Column("package_hash", sa.LargeBinary, nullable=False),
    sa.Column("share", sa.LargeBinary, nullable=False),
    sa.Column("at", sa.Float, nullable=False),
)

# What this node's own sessions produced: 64 bytes per message, in order.
signatures = sa.Table(
    "signatures",
    metadata,
    sa.Column("request_id", sa.LargeBinary, primary_key=True),
    sa.Column("messages_hash", sa.LargeBinary, nullable=False),
    sa.Column("signatures", sa.LargeBinary, nullable=False),
    sa.Column("at", sa.Float, nullable=False),
)

# Signed proof of what a member did wrong, judged before it is stored; `reporter` is the member that told us.
evidence = sa.Table(
    "evidence",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("id", sa.LargeBinary, nullable=False, unique=True),
    sa.Column("member", sa.Integer, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("reporter", sa.Integer, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Column("at", sa.Float, nullable=False),
    sa.Index("evidence_by_member", "member", "kind"),
)

# Boot ids under which the other members were heard: one that comes back after a later one is a clone.
peer_boots = sa.Table(
    "peer_boots",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("member", sa.Integer, nullable=False),
    sa.Column("boot_id", sa.LargeBinary, nullable=False),
    sa.Column("at", sa.Float, nullable=False),
    sa.UniqueConstraint("member", "boot_id"),
)

# Signs that two copies of one node run at once, once per pair of boot ids.
clones = sa.Table(
    "clones",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("member", sa.Integer, nullable=False),
    sa.Column("left", sa.LargeBinary, nullable=False),
    sa.Column("present", sa.LargeBinary, nullable=False),
    sa.Column("at", sa.Float, nullable=False),
    sa.UniqueConstraint("member", "left", "present"),
)

# What became of the nonces of each key (by share set) and boot; for the running boot as last saved.
nonce_counts = sa.Table(
    "nonce_counts",
    metadata,
    sa.Column("share_set", sa.LargeBinary, primary_key=True),
    sa.Column("boot_id", sa.LargeBinary, primary_key=True),
    sa.Column("made", sa.Integer, nullable=False),
    sa.Column("spent", sa.Integer, nullable=False),
    sa.Column("voided", sa.Integer, nullable=False),
    sa.Column("refused", sa.Integer, nullable=False),
)

# What happened, hash-chained: each row's hash covers the row before.
audit = sa.Table(
    "audit",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("detail", sa.Text, nullable=False),
    sa.Column("previous", sa.LargeBinary, nullable=False),
    sa.Column("hash", sa.LargeBinary, nullable=False),
)

# One row per refresh or repair that this node knows of; `body` is the roster while open, the transcript once we
# assented, the whole link once it is certified; `public` the group it makes, `proof` the test signature under it.
rotations = sa.Table(
    "rotations",
    metadata,
    sa.Column("sid", sa.LargeBinary, primary_key=True),
    sa.Column("key_sid", sa.LargeBinary, nullable=False),
    sa.Column("work", sa.Text, nullable=False),  # refresh | repair
    sa.Column("base", sa.LargeBinary, nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("relay", sa.Integer, nullable=False),
    sa.Column("state", sa.Text, nullable=False),  # open | signed | acked | proved | failed
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Column("public", sa.LargeBinary, nullable=False),
    sa.Column("proof", sa.LargeBinary, nullable=False),
    sa.Column("at", sa.Float, nullable=False),
    sa.Index("rotations_by_key", "key_sid", "base"),
)

# Whom this node's operator agreed to remove from one share set: member numbers, ascending, with commas.
removals = sa.Table(
    "removals",
    metadata,
    sa.Column("base", sa.LargeBinary, primary_key=True),
    sa.Column("members", sa.Text, primary_key=True),
    sa.Column("at", sa.Float, nullable=False),
)

# The newest audit head of every other member, signed by it: its log must hold that row for ever.
audit_heads = sa.Table(
    "audit_heads",
    metadata,
    sa.Column("member", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("hash", sa.LargeBinary, nullable=False),
    sa.Column("at_ms", sa.Integer, nullable=False),
    sa.Column("signature", sa.LargeBinary, nullable=False),
)

# Logs that lost a row they had; `signed` is the encoded head by which the member had vouched for it.
audit_alarms = sa.Table(
    "audit_alarms",
    metadata,
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

# When the operator stopped signing, why, and until when; the one without an end stands.
pauses = sa.Table(
    "pauses",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("since", sa.Float, nullable=False),
    sa.Column("until", sa.Float),
)
