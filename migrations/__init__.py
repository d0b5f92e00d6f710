"""Schemas of Holdfast's databases: one Alembic environment per database, one way to make or upgrade each.

- `upgrade.py`      make a database at head, upgrade it (a copy is made first), or refuse it by name
- `environment.py`  what every `env.py` runs: one connection, one transaction, SQLite's rules
- `signer/`         signer.db of `tss`: keys, boots, requests, verdicts, nonces, audit
- `node/`           node.db of `anchor` and `bridge`
- `rollup/`         rollup.db of the embedded rollup
"""
