"""A whole Holdfast world on this machine, as verbs: real bitcoinds on regtest, a committee and the rollup.

Read in this order: `demo` is the whole story, a line per event, and `story/` what each line looks at. Below it
`world` puts `operators` (nodes) and `rollup_processes` upon a `network` of bitcoinds, `ceremony` makes keys and
activates the bridge; `process`, `command` and `http` start, run and ask, as a person would. `bitcoind` runs one,
`core` finds or builds it. `cli` drives a world by hand: `playground` holds it, `control` lets other shells in.
The service never imports this package.
"""
