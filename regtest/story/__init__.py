"""The verbs of the demo's steps: what a person does or looks at, and its evidence. `regtest.demo` strings them."""
