"""When a rollup block is final: votes, quorum, certificates (``votes.py``). Pure."""
