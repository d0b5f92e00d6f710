"""The committee's coin: `planner` → `manifest` → `builder`, judged by `checks`, found again by `reader`."""
