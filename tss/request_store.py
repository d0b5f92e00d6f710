"""How much of the members' requests is kept: each member may fill so much of our disk and no more.

A request is stored whole so that any member can lead it later. What a member brings beyond its share pushes out its
own oldest requests, with the verdicts on those that nothing was signed for; others' are not touched.
"""

import sqlite3
from collections.abc import Sequence

MAX_REQUESTS = 2_048  # per member
MAX_BYTES = 64 * 1024 * 1024  # per member, of payloads
_ROOM = 8  # make room for more than one at once, so that a full share costs little per request


class RequestShares:
    """What each member has stored here; read once, then kept up."""

    def __init__(self, max_requests: int = MAX_REQUESTS, max_bytes: int = MAX_BYTES) -> None:
        self._max_requests, self._max_bytes = max_requests, max_bytes
        self._held: dict[int, tuple[int, int]] = {}

    def stored(self, db: sqlite3.Connection, member: int, size: int) -> None:
        """A request of `size` bytes was inserted in this transaction: push out old ones where it is too much."""
        count, held = self._held.get(member) or self._count(db, member, size)
        count, held = count + 1, held + size
        if count > self._max_requests or held > self._max_bytes:
            self._push_out(db, member)
            self._held.pop(member, None)
            return
        self._held[member] = count, held

    def forget(self) -> None:
        """A transaction failed: count anew."""
        self._held.clear()

    def _count(self, db: sqlite3.Connection, member: int, size: int) -> tuple[int, int]:
        """Count and bytes without the row just inserted."""
        wanted = "SELECT count(*), coalesce(sum(length(payload)), 0) FROM requests WHERE coordinator = ?"
        count, held = db.execute(wanted, (member,)).fetchone()
        return count - 1, held - size

    def _push_out(self, db: sqlite3.Connection, member: int) -> None:
        wanted = "SELECT request_id, length(payload) FROM requests WHERE coordinator = ? ORDER BY at DESC"
        kept, held, old = 0, 0, []
        for request_id, size in db.execute(wanted, (member,)).fetchall():
            kept, held = kept + 1, held + size
            if kept > self._max_requests - _ROOM or held > self._max_bytes - self._max_bytes // _ROOM:
                old.append(request_id)
        # The newest stays, whatever its size: a request is at most 1 MiB.
        self._delete(db, old)

    def _delete(self, db: sqlite3.Connection, old: Sequence[bytes]) -> None:
        signed = "SELECT request_id FROM sessions WHERE request_id = ?1"
        for one in old:
            db.execute("DELETE FROM requests WHERE request_id = ?", (one,))
            db.execute(f"DELETE FROM verdicts WHERE request_id = ?1 AND NOT EXISTS ({signed})", (one,))
