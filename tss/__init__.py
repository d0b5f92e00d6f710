"""Keys held by many: a committee makes them together (DKG) and signs together (FROST, ROAST).

It knows 32-byte digests and paths, no transactions; it never decides what to sign, it asks the approval port.
Operators of signers read this package; `anchor` and it are strangers, and only `bridge` brings them together.

Folders think:
- `frost/` the engine: shares, nonces and signatures, over the Rust crate in `frost/native`; host keys; codec
- `dkg/` committee file, roster, the messages R1, R2, R3, certificate and recovery data, complaints
- `signing/` approval port, slots and leaders, the signer, the coordinator (ROAST), faults
- `rotation/` new shares of the same key, a lost share, the next epoch (ROTATION.md); `evidence/` portable proofs

Files touch the world:
- `identity.py` a member's host key and TLS key on disk; `vault.py` the passphrase's seal and shares at rest;
  `passphrase.py` where it comes from; `hardening.py` what the kernel keeps from others
- `stored_keys.py` keys as signer.db holds them, `mending.py` their damaged recovery data fetched from the others
- `words.py`, `recovery.py`, `backup.py` a backup's halves and a folder made of them; `rehearsal.py`, `guests.py`
  proving it beside the running node (VAULT.md)
- `peers.py` mutual TLS between members, `gate.py` who may hold a line open, `peer_bounds.py` what each may send;
  `certificate.py`, `pins.py`, `certificates.py` which certificates count and how they change; `audit*.py` the log
  and its watchers
- `views.py` who spoke twice, `rounds.py` who is waited for; `trimming.py` what signer.db may forget
- `pause.py` the operator's stop; `metrics.py`, `watch_cli.py`, `cli_ops.py` looking after a signer (RUNBOOK.md)
- `store.py` signer.db: *no commit, no share*
- `node.py` the loop that runs them; `api.py`, `cli.py`, `config.py` its outsides
"""
