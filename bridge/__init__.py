"""Holdfast's bridge: BTC into the rollup and back, under keys that no one party holds.

Folders think, files touch the world:

- `deposit/`     where a depositor pays, how he takes it back, and what becomes of one payment
- `withdrawal/`  which scripts can be paid, and what becomes of one burn-lock
- `treasury/`    the one coin that holds everything: plan, manifest, transaction, signers' checks, reader
- `ledger/`      what happened to whose money, hash-chained, and the totals that every node prints alike

- `config.py`    config.toml, every setting with its meaning
- `store.py`     node.db: the anchor's and the bridge's tables in one schema
- `watch.py`     own bitcoind and rollup in, events out
- `treasurer.py` plans, proposes and sends batches
- `node.py`      composition root; the approval port that signers ask
- `api.py`, `cli.py`  public HTTP, and the commands `holdfast node` and `holdfast bridge`

Read first: `deposit/transitions.py`, `withdrawal/transitions.py`, `treasury/checks.py`. Decisions: NOTES.md.
"""
