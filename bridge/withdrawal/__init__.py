"""Coins on their way out: `template` (what can be paid), `states` → `transitions` (locked to settled)."""
