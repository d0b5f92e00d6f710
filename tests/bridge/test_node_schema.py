"""node.db: what the migrations make is what the stores describe."""

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine

import bridge.store
from anchor.store import metadata
from migrations.upgrade import AlreadyCurrent, SchemaTooNew, Upgraded, check, upgrade


def test_the_migrations_make_the_tables_that_the_stores_describe(tmp_path):
    assert bridge.store.deposits.metadata is metadata
    path = tmp_path / "node.db"
    assert isinstance(upgrade("node", path), Upgraded)
    engine = create_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    engine.dispose()


def test_a_current_node_database_is_accepted_and_a_newer_one_refused(tmp_path):
    path = tmp_path / "node.db"
    upgrade("node", path)
    check("node", path)
    assert isinstance(upgrade("node", path), AlreadyCurrent)
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = 'n9999'")
    engine.dispose()
    with pytest.raises(SchemaTooNew, match="install the release that wrote it"):
        check("node", path)
