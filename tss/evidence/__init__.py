"""Evidence: one portable form for every fault that signed messages prove, and its judge.

A piece of evidence holds the committee and the culprit's own signed words, nothing else: no text of the accuser,
so that equal faults are equal bytes. `judge` decides it with public data alone; nobody's word counts. Read `form`,
then `key_faults`, `signing_faults` and `work_faults` (one body and its rule per kind), then `judge`. `collect`
turns what a node noticed into evidence.
"""
