"""Bitcoin's bytes: amounts, ids, hashes, scripts, Taproot, transactions, blocks and headers.

Question to file: which unit is this → ``amounts``; which byte order → ``ids``; how is it hashed →
``hashing``; how do we write our own messages → ``codec``; points and signatures → ``curve``;
which chain → ``network``; what may a person type → ``address``;
BIP341 trees, tweaks, sighashes → ``taproot``; the rest is its noun.
"""
