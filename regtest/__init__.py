"""A whole Holdfast world on this machine, as verbs: real bitcoinds on regtest, a committee and the rollup.

Read in this order: `core` finds or builds a bitcoind, `bitcoind` runs one, `network` peers several,
`world` puts committee and rollup on top, `demo` tells the whole story, `cli` drives a world by hand.
The service never imports this package.
"""
