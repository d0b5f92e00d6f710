"""The committee's coin: `planner` → `manifest` → `builder`, judged by `checks`, found again by `reader`.

It goes from key epoch to key epoch by a batch of its own kind, a move; `moving` says when that is due.
"""
