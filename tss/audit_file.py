"""Audit logs outside a running node: read from a signer.db, written to and read from an export, checked together.

An export is JSON lines: first whose log it is and the committee's host keys, then the rows, then the signed heads
that this member remembers of the others' logs. Hashes are hex. It holds no secret.
"""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tss.audit import AuditFault, AuditRow, Head, check

_FORM = 1
_MAX_LINE = 1 << 20
_HASH = 32


@dataclass(frozen=True, slots=True)
class Whose:
    """The member a log belongs to, and its committee: hash and host keys by seat."""

    name: str
    index: int
    committee: bytes
    members: tuple[tuple[str, bytes], ...]


@dataclass(frozen=True, slots=True)
class Log:
    """One member's log and the heads of others that came with it."""

    whose: Whose
    rows: tuple[AuditRow, ...]
    heads: tuple[Head, ...]


@dataclass(frozen=True, slots=True)
class Checked:
    """A log that holds: its head, and whose remembered heads it was held against (a name for each)."""

    log: Log
    number: int
    hash: bytes
    held_by: tuple[str, ...]


def read_database(path: Path, whose: Whose) -> Log:
    """Read signer.db without changing it, the node's running or not; AuditFault when it cannot be read."""
    if not path.exists():
        raise AuditFault(f"{path} does not exist: give an operator's folder")
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as db:
            rows = db.execute("SELECT number, at, kind, detail, previous, hash FROM audit ORDER BY number")
            heads = db.execute("SELECT member, number, hash, at_ms, signature FROM audit_heads")
            return Log(whose, tuple(AuditRow(*row) for row in rows), tuple(Head(*head) for head in heads))
    except sqlite3.Error as error:
        raise AuditFault(f"{path} cannot be read ({error}): give a copy of a whole signer.db") from error


def lines(log: Log) -> Iterator[str]:
    """The export of a log, line by line."""
    w = log.whose
    members = [{"name": name, "host_key": key.hex()} for name, key in w.members]
    first = {"audit": _FORM, "member": w.name, "index": w.index, "committee": w.committee.hex()}
    yield json.dumps(first | {"members": members})
    for row in log.rows:
        yield json.dumps(_plain(row))
    for head in log.heads:
        yield json.dumps({"head": _plain(head)})


def read_export(path: Path) -> Log:
    """Read an export; AuditFault when it is none."""
    try:
        with path.open(encoding="utf-8") as file:
            first = json.loads(file.readline(_MAX_LINE))
            if first["audit"] != _FORM:
                raise AuditFault(f"{path} has another form ({first['audit']}): use that release's program")
            members = tuple((str(m["name"]), bytes.fromhex(m["host_key"])) for m in first["members"])
            committee = bytes.fromhex(first["committee"])
            whose = Whose(str(first["member"]), int(first["index"]), committee, members)
            if not _seated(whose):
                raise AuditFault(f"{path} is {whose.name}'s, who has no such seat: it is damaged or forged")
            rows, heads = [], []
            for line in file:
                one = json.loads(line)
                if "head" in one:
                    heads.append(_head(one["head"]))
                else:
                    rows.append(_read_row(one))
    except OSError as error:
        raise AuditFault(
            f"cannot read {path} ({error.strerror}): give a file of `tss audit export`"
        ) from error
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise AuditFault(f"{path} is no audit export: make it with `holdfast tss audit export`") from error
    return Log(whose, tuple(rows), tuple(heads))


def check_all(logs: list[Log]) -> list[Checked]:
    """Check each log's chain, and hold it against every head that its member signed for another.

    Parts of one member's log, such as rows that were taken out and what came after, are put together first.
    AuditFault names the log and the row. All logs must be of one committee, and say so with the same host keys:
    else whoever rewrote his log would name another key, under which his signed heads are nobody's.
    """
    if len({log.whose.committee for log in logs}) > 1:
        raise AuditFault("these logs are of different committees: check those of one at a time")
    if len({log.whose.members for log in logs}) > 1:
        raise AuditFault(
            "these logs name different members or host keys for one committee: one of the files is forged, see by "
            "the committee file which"
        )
    done, whole = [], _joined(logs)
    for log in whole:
        try:
            number, newest = check(log.rows)
        except AuditFault as fault:
            raise AuditFault(f"{log.whose.name}: {fault}") from fault
        held = [other.whose.name for other in whole if _hold(log, other)]
        done.append(Checked(log, number, newest, tuple(held)))
    return done


def _joined(logs: list[Log]) -> list[Log]:
    """One log for each member, in the order given."""
    parts: dict[int, list[Log]] = {}
    for log in logs:
        parts.setdefault(log.whose.index, []).append(log)
    return [_join(some) for some in parts.values()]


def _join(parts: list[Log]) -> Log:
    rows: dict[int, AuditRow] = {}
    for part in parts:
        for row in part.rows:
            if rows.setdefault(row.number, row) != row:
                raise AuditFault(f"{part.whose.name}: there are two different rows {row.number}")
    ordered = tuple(row for _, row in sorted(rows.items()))
    return Log(parts[0].whose, ordered, tuple(head for part in parts for head in part.heads))


def _hold(log: Log, other: Log) -> bool:
    """Whether another log remembers a head of this one, and this one holds it; AuditFault when it does not.

    A head from before the first row says nothing: that row was taken out, and is in another file.
    """
    seat = log.whose.index
    first = log.rows[0].number if log.rows else 1
    known = False
    for head in other.heads:
        if head.member != seat or not head.signed_by(log.whose.members[seat - 1][1], log.whose.committee):
            continue
        if 0 < head.number < first:
            continue
        known = True
        at = head.number - first
        if not 0 <= at < len(log.rows) or log.rows[at].hash != head.hash:
            raise AuditFault(
                f"{log.whose.name}'s log lost row {head.number}, which it had signed for {other.whose.name}: "
                "it was rewritten, shortened or restored from a copy"
            )
    return known


def _plain(one: AuditRow | Head) -> dict[str, Any]:
    values = {name: getattr(one, name) for name in one.__slots__}
    return {name: value.hex() if isinstance(value, bytes) else value for name, value in values.items()}


def _seated(whose: Whose) -> bool:
    seats = [number for number, (name, _key) in enumerate(whose.members, 1) if name == whose.name]
    return seats == [whose.index] and all(len(key) == _HASH for _name, key in whose.members)


def _read_row(one: dict[str, Any]) -> AuditRow:
    before, digest = bytes.fromhex(one["previous"]), bytes.fromhex(one["hash"])
    row = AuditRow(int(one["number"]), float(one["at"]), str(one["kind"]), str(one["detail"]), before, digest)
    _ = row.expected  # ValueError or OverflowError for what cannot be hashed
    return row


def _head(one: dict[str, Any]) -> Head:
    digest, signature = bytes.fromhex(one["hash"]), bytes.fromhex(one["signature"])
    head = Head(int(one["member"]), int(one["number"]), digest, int(one["at_ms"]), signature)
    fits = head.member < 1 << 16 and max(head.number, head.at_ms) < 1 << 63
    if (
        not fits
        or min(head.member, head.number, head.at_ms) < 0
        or (len(digest), len(signature)) != (_HASH, 64)
    ):
        raise ValueError("no head")
    return head
