"""Old rows of the audit log move to a file: the chain goes on, heads still hold, and nothing is lost unsaid."""

import json
import sqlite3
from contextlib import closing

import pytest

from tests.tss.shells import committee_of
from tests.tss.test_tss_audit import chain, put_committee
from tests.tss.test_tss_ops import admin_of, cli
from tss.audit import TAKEN_OUT, AuditFault, AuditRow, check, row_hash, taken_out
from tss.audit_file import Log, Whose, check_all, read_export
from tss.audit_watch import TakeOutRefused


def followed(rows, kind, detail):
    """The rows with one more."""
    last = rows[-1]
    digest = row_hash(last.number + 1, 1000.5, kind, detail, last.hash)
    return [*rows, AuditRow(last.number + 1, 1000.5, kind, detail, last.hash, digest)]


def test_a_log_that_begins_later_needs_a_row_that_says_so():
    rows = chain(["a", "b", "c", "d"])
    vouched = followed(rows, TAKEN_OUT, taken_out(2, rows[1].hash))
    assert check(vouched) == check(vouched[2:]) == (5, vouched[-1].hash)
    with pytest.raises(AuditFault, match="all up to row 2 are gone"):
        check(rows[2:])
    for wrong in (taken_out(1, rows[0].hash), taken_out(2, rows[0].hash), "all up to row 2"):
        with pytest.raises(AuditFault, match="row 1"):
            check(followed(rows, TAKEN_OUT, wrong)[2:])
    with pytest.raises(AuditFault, match="row 1"):
        check(followed(rows, "note", taken_out(2, rows[1].hash))[2:])
    with pytest.raises(AuditFault, match="row 4"):
        check([vouched[2], *vouched[4:]])


def test_parts_of_one_log_are_checked_as_one_and_must_agree():
    rows = chain(["a", "b", "c", "d"])
    rows = followed(rows, TAKEN_OUT, taken_out(2, rows[1].hash))
    whose = Whose("alice", 1, bytes(32), (("alice", bytes(32)), ("bob", bytes(32))))
    (done,) = check_all([Log(whose, tuple(rows[2:]), ()), Log(whose, tuple(rows[:3]), ())])
    assert (done.number, len(done.log.rows)) == (5, 5)
    with pytest.raises(AuditFault, match="two different rows 1"):
        check_all([Log(whose, tuple(rows), ()), Log(whose, tuple(chain(["x"])), ())])
    with pytest.raises(AuditFault, match="row 2"):
        check_all([Log(whose, tuple(rows[2:]), ()), Log(whose, tuple(rows[:1]), ())])


def grow_old(folder, through):
    """Let the first rows be a year old, the chain made anew, as if the clock had gone on since."""
    with closing(sqlite3.connect(folder / "signer.db")) as db, db:
        previous = bytes(32)
        for number, at, kind, detail in db.execute(
            "SELECT number, at, kind, detail FROM audit ORDER BY number"
        ).fetchall():
            then = at - 365 * 86_400 if number <= through else at
            digest = row_hash(number, then, kind, detail, previous)
            db.execute(
                "UPDATE audit SET at = ?, previous = ?, hash = ? WHERE number = ?",
                (then, previous, digest, number),
            )
            previous = digest


async def test_old_rows_go_to_a_file_and_all_still_holds(tmp_path):
    async with committee_of(tmp_path, 3, 2) as (alice, bob, carol):
        put_committee((alice, bob, carol))
        await alice.node.dkg("anchor")
        await alice.down()
        grow_old(alice.folder, 4)
        await alice.up()
        await alice.peers.until_heard([2, 3], 40)
        runner = await admin_of(alice)
        file = tmp_path / "old.audit"
        where = ("--dir", alice.folder)
        try:
            refused = await cli("audit", "take-out", *where, "-o", file, ok=False)
            assert "does not remember a row of ours after 4" in refused
            assert "delete it before you try again" in refused
            file.unlink()
            for seat in (bob, carol):
                await seat.peers.until_heard([1], 40)
                await seat.node.audit.compare(1)
            said = await cli("audit", "take-out", *where, "-o", file)
            assert "4 rows, up to 4" in said
            assert [row.number for row in read_export(file).rows] == [1, 2, 3, 4]
            assert await alice.node.audit.store.first() == 5
            for seat in (bob, carol):
                assert await seat.node.audit.compare(1) == []
                assert await alice.node.audit.compare(seat.peers.index) == []
            assert await alice.node._store.check_audit() > 5
            parts = json.loads(await _verified(alice, file))["logs"]
            assert [log["member"] for log in parts] == ["alice"]
            alone = json.loads(await _verified(alice))
            assert alone["ok"]
            assert "nothing to take out" in await cli(
                "audit", "take-out", *where, "-o", tmp_path / "x", ok=False
            )
            assert not (tmp_path / "x").exists()
        finally:
            await runner.cleanup()


async def _verified(seat, *files):
    said = await cli("audit", "verify", "--dir", seat.folder, *files, "--json")
    return said[said.index("{\n") :]


async def test_rows_stay_while_a_member_is_away_or_names_another_hash(tmp_path):
    async with committee_of(tmp_path, 3, 2) as (alice, bob, carol):
        await alice.node.dkg("anchor")
        for seat in (bob, carol):
            await seat.node.audit.compare(1)
        first = (await alice.node.audit.store.rows(0, 1))[0]
        with pytest.raises(TakeOutRefused, match="is not what the file says"):
            await alice.node.audit.take_out(1, bytes(32))
        newest, digest = await alice.node.audit.store.head()
        with pytest.raises(TakeOutRefused, match="newest row stays"):
            await alice.node.audit.take_out(newest, digest)
        await carol.down()
        with pytest.raises(TakeOutRefused, match="when all members are up"):
            await alice.node.audit.take_out(1, first.hash)
        assert await alice.node.audit.store.first() == 1


async def test_rows_that_were_only_deleted_are_noticed(tmp_path):
    async with committee_of(tmp_path, 2, 2) as (alice, _bob):
        put_committee((alice,))
        await alice.node.dkg("anchor")
        await alice.down()
        with closing(sqlite3.connect(alice.folder / "signer.db")) as db, db:
            db.execute("DELETE FROM audit WHERE number <= 2")
        said = await cli("audit", "verify", "--dir", alice.folder, ok=False)
        assert "all up to row 2 are gone" in said
