"""FROST(secp256k1, SHA-256) with Taproot: key generation, nonces, signature shares, and host keys.

Read in this order: `engine.py` (what a member can do), `group.py` (what everybody may know), `package.py`
and `path.py` (what exactly is signed, and under which key), `errors.py` (whose fault it was). `bip340.py` and
`hashing.py` serve the members' own identities. `abi.py` is the only file that calls the Rust library in
`native/`, whose `src/lib.rs` states the rules of that boundary.
"""
