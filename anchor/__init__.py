"""Anchors a rollup to Bitcoin: what is written there, what is read back, and how to check it alone.

Folders think, files touch the world:

=================== =====================================================================
``btc/``            transactions, Taproot, addresses, headers as bytes: no chain, no network
``headers/``        which headers are valid, which chain has most work, what is final
``bitcoind.py``     one bitcoind: its verbs; ``jsonrpc.py`` is the transport
=================== =====================================================================
"""
