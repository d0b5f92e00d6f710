"""The long runs' own judgement: a table that would not see a nonce used twice proves nothing."""

import os
import sqlite3
from contextlib import closing

import pytest

from tests.bench.report import below, unmeasured
from tests.soak.faults import SoakFault
from tests.soak.key_making import Making
from tests.soak.kill_points import Trigger
from tests.soak.matrix import GOOD, Matrix, Scenario
from tests.soak.nonces import Nonces
from tests.soak.roles import NETS, ROLES
from tss.signing.coordinator import Coordinator


def test_a_commitment_with_two_packages_is_a_duplicate_and_a_repeated_share_is_not():
    table = Nonces()
    table.left(b"one", b"package")
    table.left(b"one", b"package")
    table.left(b"two", b"package")
    assert (table.shares, table.commitments, table.packages, table.duplicates) == (3, 2, 2, 0)
    table.left(b"two", b"another")
    assert (table.packages, table.duplicates) == (3, 1)


def test_the_smallest_committee_goes_through_the_whole_matrix():
    run = Matrix(Nonces())
    run.of(3, 2)
    assert run.most_sessions[3, 2] <= 2
    assert run.culprits >= 5
    assert run.nonces.commitments > 0
    assert run.nonces.duplicates == 0
    assert all(run.faults[fault] for fault in ("dropped", "duplicated", "corrupted", "parted"))


def test_the_smallest_committee_makes_keys_and_works_on_them_over_every_network():
    run = Making()
    run.of(3, 2)
    assert (run.keys, run.works, run.culprits) == (6, 12, 9)
    assert all(run.faults[fault] for fault in ("dropped", "duplicated", "corrupted", "parted"))


@pytest.mark.parametrize("role", [name for name, role in ROLES.items() if role.proof])
def test_the_matrix_names_every_member_that_leaves_a_proof(role, monkeypatch):
    run, some = Matrix(Nonces()), [Scenario(5, 3, 0, role, GOOD, seed) for seed in range(8)]
    monkeypatch.setattr(Matrix, "_scenarios", lambda *_: iter(some))
    run.of(5, 3)
    assert run.culprits > 1, "one is the coordinator's"


def test_the_matrix_notices_when_nobody_is_named(monkeypatch):
    role = next(name for name, role in ROLES.items() if role.proof)
    some = [Scenario(5, 3, 0, role, GOOD, seed) for seed in range(8)]
    monkeypatch.setattr(Matrix, "_scenarios", lambda *_: iter(some))
    monkeypatch.setattr(Coordinator, "_blame", lambda self, member, *_: self._silent(member, "overlooked"))
    with pytest.raises(SoakFault, match="nobody is named"):
        Matrix(Nonces()).of(5, 3)


@pytest.fixture
def counted(monkeypatch, tmp_path):
    """A trigger that is installed, and a database that was opened after it."""
    monkeypatch.setattr(os, "fsync", os.fsync)
    monkeypatch.setattr(sqlite3, "connect", sqlite3.connect)
    monkeypatch.setattr(sqlite3.dbapi2, "connect", sqlite3.connect)
    trigger = Trigger()
    trigger.install()
    with closing(sqlite3.connect(tmp_path / "a.db", isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("CREATE TABLE t (a)")
        assert trigger.count == 1, "outside of a transaction each statement is durable by itself"
        trigger.arm(0, after=False)
        yield trigger, db


def test_a_commit_of_something_changed_is_one_kill_point_however_it_is_asked_for(counted):
    trigger, db = counted
    db.execute("BEGIN IMMEDIATE")
    db.execute("INSERT INTO t VALUES (1)")
    db.cursor().executemany("INSERT INTO t VALUES (?)", [(2,), (3,)])
    assert trigger.count == 0
    db.execute("COMMIT")
    assert trigger.count == 1
    db.execute("BEGIN")
    db.execute("DELETE FROM t")
    db.commit()
    assert trigger.count == 2


def test_what_changes_nothing_or_is_undone_is_no_kill_point(counted):
    trigger, db = counted
    db.execute("BEGIN IMMEDIATE")
    db.execute("SELECT * FROM t").fetchall()
    db.execute("COMMIT")
    db.execute("BEGIN IMMEDIATE")
    db.execute("INSERT INTO t VALUES (1)")
    db.execute("ROLLBACK")
    db.execute("BEGIN IMMEDIATE")
    db.execute("COMMIT")
    assert trigger.count == 0


def test_an_fsync_is_a_kill_point_and_the_chosen_one_ends_the_process(counted, monkeypatch, tmp_path):
    trigger, db = counted
    killed = []
    monkeypatch.setattr(os, "kill", lambda pid, number: killed.append((pid, number, trigger.count)))
    with (tmp_path / "file").open("wb") as file:
        os.fsync(file.fileno())
        assert trigger.count == 1
        trigger.arm(2, after=True)
        os.fsync(file.fileno())
        assert killed == []
        db.execute("INSERT INTO t VALUES (1)")
    assert killed == [(os.getpid(), 9, 2)]
    assert db.execute("SELECT count(*) FROM t").fetchone() == (1,), "after the write"


def test_every_network_says_which_faults_it_has():
    faults = {
        name: (net := make(1)) and (net.drop, net.duplicate, net.corrupt) for name, make in NETS.items()
    }
    assert faults["a good network"] == (0, 0, 0)
    assert all(faults["all at once"])


def test_what_was_not_measured_is_missed():
    assert unmeasured("a figure", "its goal", "no time").met is False
    assert below("a figure", "≤ 1", 1.0, 1, "×").met is True
    assert below("a figure", "≤ 1", 1.1, 1, "×").met is False
