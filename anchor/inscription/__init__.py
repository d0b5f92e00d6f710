"""How a batch is written to Bitcoin and read back: one chain of coins per lane.

``payload`` bytes that carry the root · ``script`` the leaf around them · ``lane`` the outputs of tip and commit ·
``batch`` what signers are asked for · ``builder`` commit, reveals and void · ``reader`` anchors from blocks.
"""
