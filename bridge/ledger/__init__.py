"""What happened to whose money: `events` (hash-chained), `replay` (projections), `totals` (the audit)."""
