"""Alembic's entry for signer.db."""

from migrations import environment

environment.run()
