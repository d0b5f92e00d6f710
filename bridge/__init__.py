"""Holdfast's bridge: BTC into the rollup and back, under keys that no one party holds.

Folders think:

- `deposit/`     where a depositor pays, how he takes it back, and what becomes of one payment
- `withdrawal/`  which scripts can be paid, and what becomes of one burn-lock
- `treasury/`    the one coin that holds everything: plan, manifest, transaction, signers' checks, reader
- `ledger/`      what happened to whose money, hash-chained, and the totals that every node prints alike

Files touch the world:

- `node.py`, `active.py`, `ground.py`: composition root; what is opened in which order, what runs once it is active
- `watch.py`, `book.py`, `reconcile.py`: own chain in, machines brought to where both chains are
- `block_items.py`, `reorgs.py`, `reorg_store.py`, `reorg_tables.py`: what reorgs took out, and what became of it
- `treasurer.py`, `lane.py`, `desk.py`, `keeper.py`, `leading.py`, `reluctant.py`: the two chains of coins, the loop
  that keeps each going, who leads it and whom it does not ask
- `dispatch.py`, `outgoing.py`, `whereabouts.py`: the outbox of signed batches
- `certifier.py`, `approvals.py`: mint and settle certificates; the approval port that signers ask
- `library.py`, `learning.py`: the manifests this node has, and what it learns from batches that it did not sign
- `registry.py`, `ceremony.py`, `params.py`: deposit addresses; how the bridge becomes active, and with what
- `succession.py`, `moving.py`, `epochs.py`, `trusting.py`: how a committee hands on, and what is told of it
- `store.py`, `config.py`, `logs.py`: node.db, config.toml, logs
- `api*.py`, `http.py`, `cli*.py`, `admin_client.py`: public and admin HTTP; the commands

Read first: `deposit/transitions.py`, `withdrawal/transitions.py`, `treasury/checks.py`. Decisions: NOTES.md.
"""
