"""The embedded rollup, and the vocabulary of mint, lock and settle.

=================== =====================================================================
``genesis.py``      what a rollup is born with: validators, host keys, first Bitcoin header
``activation.py``   the record all operators sign: group keys, genesis coins, parameters
``decisions.py``    why value stands still after a deep reorg, and the operators' word that it moves again
``succession.py``   one committee hands on to the next: the record, and all key epochs
``statements.py``   what the mint key signs: this deposit is final, this withdrawal is paid
``tx.py``           transactions: transfer, lock, activate, mint, settle, decide, succeed
``block.py``        blocks, votes and certificates
``state.py``        accounts, withdrawals, the view of Bitcoin, and their root
``execute.py``      what one transaction does to a state
``transitions.py``  what a block does to a state: made, checked
``refusals.py``     why a transaction or block is refused
``merkle.py``       the tree under a block's and a state's roots
``bitcoin_view.py`` how header bundles move the rollup's view of Bitcoin
=================== =====================================================================

Nothing here knows a clock, a socket or a database.
"""
