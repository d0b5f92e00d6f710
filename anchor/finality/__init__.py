"""When a rollup block is final, and when a validator votes. Pure.

=============== =====================================================================
``votes.py``    votes, quorum, certificates, and the highest final block
``judge.py``    whether a validator's own Bitcoin node stands behind a block
``replay.py``   the view of Bitcoin, rebuilt from a rollup's blocks alone
=============== =====================================================================
"""
