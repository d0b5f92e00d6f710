"""signer.db: the nonce row, the schema's agreement with its migrations, and what is refused."""

import asyncio
import shutil
import sqlite3
from contextlib import closing

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine

from migrations.upgrade import (
    AlreadyCurrent,
    DatabaseDamaged,
    SchemaTooNew,
    SchemaTooOld,
    Upgraded,
    check,
    ready,
    revisions,
    upgrade,
)
from tss import tables
from tss.signing.signer import NonceRow
from tss.store import KeyRow, NonceTaken, RequestRow, SessionRow, Store, StoreFault, VerdictRow

YES = VerdictRow(bytes(32), "release", approved=True, reason="", verdict=b"signed")


@pytest.fixture
async def store(tmp_path):
    opened = Store(tmp_path / "signer.db", lambda: 1000.0)
    yield opened
    await opened.close()


BOOT = b"b" * 16
SEEN = RequestRow(bytes(32), "test", 1, b"payload", 1, 1.0)


def session(number):
    return SessionRow(bytes([number]) * 32, bytes(32), b"the coordinator's request")


def nonce(number, package=b"p"):
    return NonceRow(bytes([number]) * 66, package * 32, bytes(32))


async def test_a_commitment_cannot_be_stored_twice_and_then_nothing_of_the_batch_is(store):
    await store.insert_shares(BOOT, session(1), [nonce(1), nonce(2)], YES, SEEN)
    with pytest.raises(NonceTaken):
        await store.insert_shares(BOOT, session(2), [nonce(3), nonce(1, b"q")], YES, SEEN)
    rows = await store.nonces([nonce(i).commitment for i in (1, 2, 3)])
    assert set(rows) == {nonce(1).commitment, nonce(2).commitment}
    assert rows[nonce(1).commitment].request == b"the coordinator's request"
    assert len(await store.verdicts(bytes(32))) == 1


async def test_concurrent_writers_of_one_commitment_have_one_winner(store):
    results = await asyncio.gather(
        *(store.insert_shares(BOOT, session(i), [nonce(7, bytes([i]))], YES, SEEN) for i in range(8)),
        return_exceptions=True,
    )
    assert sum(result is None for result in results) == 1
    assert sum(isinstance(result, NonceTaken) for result in results) == 7


async def test_every_start_is_a_new_row_and_the_audit_log_is_chained(store, tmp_path):
    assert await store.record_boot(b"1" * 16, 1) == 1
    assert await store.record_boot(b"2" * 16, 2) == 2
    await store.insert_key(KeyRow(b"1" * 32, "anchor", 1, "acked", b"p", b"r", b"", 1.0))
    assert await store.check_audit() == 3
    with closing(sqlite3.connect(tmp_path / "signer.db")) as db, db:
        db.execute("UPDATE audit SET detail = 'nothing happened' WHERE number = 2")
    with pytest.raises(StoreFault, match="row 2"):
        await store.check_audit()


async def test_two_keys_cannot_serve_one_purpose_and_epoch(store):
    for sid in (b"1" * 32, b"2" * 32):
        await store.insert_key(KeyRow(sid, "anchor", 1, "acked", b"p", b"r", b"", 1.0))
    await store.set_key_state(b"1" * 32, "verified", b"proof")
    with pytest.raises(StoreFault, match="already serves"):
        await store.set_key_state(b"2" * 32, "verified", b"proof")
    assert [row.state for row in await store.keys()] == ["verified", "acked"]


async def test_a_request_is_kept_as_first_seen(store):
    first = RequestRow(b"r" * 32, "test", 1, b"payload", 2, 1.0)
    await store.keep_request(first, YES)
    await store.keep_request(RequestRow(b"r" * 32, "test", 1, b"payload", 3, 2.0), YES)
    assert await store.request(b"r" * 32) == first
    assert await store.request(b"x" * 32) is None


def test_the_tables_are_what_the_migrations_make(tmp_path):
    ready("signer", tmp_path / "signer.db")
    with create_engine(f"sqlite:///{tmp_path / 'signer.db'}").connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), tables.metadata) == []


@pytest.mark.parametrize("name", ["signer", "node", "rollup"])
def test_the_revisions_read_from_the_text_are_those_that_alembic_finds(name):
    script = ScriptDirectory(f"migrations/{name}")
    assert revisions(name) == ({item.revision for item in script.walk_revisions()}, script.get_current_head())


def set_revision(path, revision):
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE alembic_version SET version_num = ?", (revision,))


def test_a_newer_schema_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "signer.db"
    assert isinstance(upgrade("signer", path), Upgraded)
    assert isinstance(upgrade("signer", path), AlreadyCurrent)
    set_revision(path, "s9999")
    before = path.read_bytes()
    for act in (check, upgrade, ready):
        with pytest.raises(SchemaTooNew, match="install the release that wrote it"):
            act("signer", path)
    assert path.read_bytes() == before


def test_an_old_schema_is_upgraded_only_on_request_and_copied_first(tmp_path, monkeypatch):
    path, versions = tmp_path / "signer.db", tmp_path / "signer"
    ready("signer", path)
    monkeypatch.setattr("migrations.upgrade.__file__", str(tmp_path / "upgrade.py"))
    shutil.copytree("migrations/signer", versions)
    (versions / "versions" / "s0002.py").write_text(
        "from alembic import op\nrevision = 's0002'\ndown_revision = 's0001'\n"
        "def upgrade():\n    op.execute('CREATE TABLE later (x INTEGER)')\n"
    )
    with pytest.raises(SchemaTooOld, match="holdfast node upgrade"):
        ready("signer", path)
    done = upgrade("signer", path)
    assert (done.before, done.after) == ("s0001", "s0002")
    with closing(sqlite3.connect(done.copy)) as copy:
        assert copy.execute("SELECT version_num FROM alembic_version").fetchone() == ("s0001",)
    assert done.copy.stat().st_mode & 0o077 == 0
    check("signer", path)


def test_a_failing_upgrade_changes_nothing(tmp_path, monkeypatch):
    path, versions = tmp_path / "signer.db", tmp_path / "signer"
    ready("signer", path)
    monkeypatch.setattr("migrations.upgrade.__file__", str(tmp_path / "upgrade.py"))
    shutil.copytree("migrations/signer", versions)
    (versions / "versions" / "s0002.py").write_text(
        "from alembic import op\nrevision = 's0002'\ndown_revision = 's0001'\n"
        "def upgrade():\n    op.execute('CREATE TABLE later (x INTEGER)')\n    raise ValueError('half way')\n"
    )
    with pytest.raises(ValueError, match="half way"):
        upgrade("signer", path)
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT count(*) FROM sqlite_master WHERE name = 'later'").fetchone() == (0,)
        assert db.execute("SELECT version_num FROM alembic_version").fetchone() == ("s0001",)


def test_a_file_that_is_no_database_is_named(tmp_path):
    path = tmp_path / "signer.db"
    path.write_bytes(b"not a database" * 100)
    with pytest.raises(DatabaseDamaged, match="restore it from a backup"):
        ready("signer", path)
    assert path.read_bytes() == b"not a database" * 100
