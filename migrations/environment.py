"""What every database's `env.py` runs: the migrations over the connection that `upgrade.py` opened."""

from alembic import context
from sqlalchemy import Connection


def run() -> None:
    """Run the wanted migrations in one transaction, so that a failure leaves the schema as it was."""
    connection: Connection | None = context.config.attributes.get("connection")
    if connection is None:
        raise RuntimeError("migrations run through `holdfast node upgrade`, not through the alembic command")
    context.configure(connection=connection, transactional_ddl=True, render_as_batch=True)
    with context.begin_transaction():
        context.run_migrations()
