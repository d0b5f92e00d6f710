"""How a batch is written to Bitcoin and read back: one chain of coins per lane.

``payload`` the bytes that carry the root · ``script`` the leaf around them · ``batch`` what signers are asked
for · ``builder`` commit, reveals and void · ``checks`` what each signer demands · ``reader`` anchors from blocks.
"""
