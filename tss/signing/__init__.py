"""Signing: ROAST as two pure machines, the coordinator's and the signer's.

approval.py    the port that decides what is signed; tss itself never does
slots.py       request ids, and whose turn it is to coordinate
messages.py    what travels: commitments, share requests, shares, refusals, verdicts
signer.py      a member's side; `decide` holds the nonce rule
pool.py        commitments that a coordinator holds in reserve, per member and boot
coordinator.py the ROAST machine: who is ready, which session is open, who cheated
states.py, events.py, effects.py  its nouns
faults.py      evidence, and the judges that anybody can run on it
"""
