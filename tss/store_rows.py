"""The statements of signing, as functions over an open transaction of signer.db: one trip, no layers in between."""

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256

from tss.audit import row_hash
from tss.signing.signer import NonceRow

_AT_ONCE = 500  # values in one statement


@dataclass(frozen=True, slots=True)
class SessionRow:
    """A session that is about to be answered: id, request id, and the coordinator's encoded Order."""

    session: bytes
    request_id: bytes
    request: bytes


@dataclass(frozen=True, slots=True)
class VerdictRow:
    """A yes or no to a request; `phase` is request or release, `verdict` the encoded signed message."""

    request_id: bytes
    phase: str
    approved: bool
    reason: str
    verdict: bytes


@dataclass(frozen=True, slots=True)
class RequestRow:
    """A request as it was first seen; `coordinator` is the member that brought it, `epoch` the key's."""

    request_id: bytes
    purpose: str
    epoch: int
    payload: bytes
    coordinator: int
    at: float


def add_audit(db: sqlite3.Connection, now: float, kind: str, detail: str) -> None:
    """Append to the hash-chained log."""
    last = db.execute("SELECT number, hash FROM audit ORDER BY number DESC LIMIT 1").fetchone()
    number, previous = (1, bytes(32)) if last is None else (last[0] + 1, last[1])
    db.execute(
        "INSERT INTO audit (number, at, kind, detail, previous, hash) VALUES (?, ?, ?, ?, ?, ?)",
        (number, now, kind, detail, previous, row_hash(number, now, kind, detail, previous)),
    )


def add_request(db: sqlite3.Connection, row: RequestRow) -> bool:
    """Store a request at its first sight; whether this was it."""
    done = db.execute(
        "INSERT INTO requests (request_id, purpose, epoch, payload, coordinator, at) VALUES (?, ?, ?, ?, ?, ?) "
        "ON CONFLICT DO NOTHING",
        (row.request_id, row.purpose, row.epoch, row.payload, row.coordinator, row.at),
    )
    return done.rowcount > 0


def add_verdict(db: sqlite3.Connection, now: float, row: VerdictRow) -> None:
    """Store a verdict. The same answer again is no new row: who asks every second fills nothing."""
    newest = db.execute(
        "SELECT approved, reason FROM verdicts WHERE request_id = ? AND phase = ? ORDER BY number DESC LIMIT 1",
        (row.request_id, row.phase),
    ).fetchone()
    if newest is not None and (bool(newest[0]), newest[1]) == (row.approved, row.reason):
        return
    db.execute(
        "INSERT INTO verdicts (request_id, phase, approved, reason, verdict, at) VALUES (?, ?, ?, ?, ?, ?)",
        (row.request_id, row.phase, row.approved, row.reason, row.verdict, now),
    )
    if not row.approved:
        add_audit(db, now, "refused", f"{row.request_id.hex()}: {row.reason}")


def add_shares(
    db: sqlite3.Connection, now: float, boot_id: bytes, session: SessionRow, rows: Sequence[NonceRow]
) -> None:
    """Spend these nonces; sqlite3.IntegrityError when one of them is spent already."""
    db.execute(
        "INSERT INTO sessions (session, request_id, request, at) VALUES (?, ?, ?, ?)",
        (session.session, session.request_id, session.request, now),
    )
    db.executemany(
        "INSERT INTO nonces (commitment, boot_id, session, package_hash, share, at) VALUES (?, ?, ?, ?, ?, ?)",
        [(r.commitment, boot_id, session.session, r.package_hash, r.share, now) for r in rows],
    )


def find_nonces(db: sqlite3.Connection, commitments: Iterable[bytes]) -> dict[bytes, NonceRow]:
    """The rows of those commitments that were ever signed with, each with its coordinator's request."""
    wanted = list(commitments)
    found: dict[bytes, NonceRow] = {}
    for start in range(0, len(wanted), _AT_ONCE):
        some = wanted[start : start + _AT_ONCE]
        rows = db.execute(
            "SELECT n.commitment, n.package_hash, n.share, s.request FROM nonces n "
            f"JOIN sessions s ON s.session = n.session WHERE n.commitment IN ({','.join('?' * len(some))})",
            some,
        )
        found |= {row[0]: NonceRow(*row) for row in rows}
    return found


def set_signatures(
    db: sqlite3.Connection, now: float, request_id: bytes, messages_hash: bytes, signatures: bytes
) -> None:
    """Remember what a session produced; the newest counts."""
    db.execute(
        "INSERT INTO signatures (request_id, messages_hash, signatures, at) VALUES (?, ?, ?, ?) ON CONFLICT "
        "(request_id) DO UPDATE SET messages_hash = excluded.messages_hash, signatures = excluded.signatures, "
        "at = excluded.at",
        (request_id, messages_hash, signatures, now),
    )
    add_audit(db, now, "signatures", f"{request_id.hex()}: {len(signatures) // 64} made")


def told(session: SessionRow, rows: Sequence[NonceRow], request: RequestRow) -> str:
    """What the audit log says of shares that leave: whose wish, which session, which commitments (their hash)."""
    spent = sha256(b"".join(row.commitment for row in rows)).hexdigest()
    who = f"{request.purpose} epoch {request.epoch} for {request.coordinator}"
    return f"{session.request_id.hex()}: {len(rows)} {who}, session {session.session.hex()}, nonces {spent}"
