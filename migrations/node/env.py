"""Alembic's entry for node.db."""

from migrations import environment

environment.run()
