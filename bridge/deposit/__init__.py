"""A depositor's coins: `address` (where to pay), `reclaim` (how to take them back), `states` → `transitions`."""
