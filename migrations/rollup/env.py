"""Alembic's entry for rollup.db."""

from migrations import environment

environment.run()
