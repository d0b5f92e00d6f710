"""Key generation: the guarantees of ChillDKG around FROST's three parts, as pure role/step functions.

committee.py   who signs: the committee file, signed by all, read aloud as words
messages.py    what travels: entry, roster, R1, R2, R3, complaint, certificate, recovery data, ack
participant.py what a member does in each round, and how a share is restored
relay.py       what the driving member collects and checks; trusted with nothing
judge.py       who is guilty when a complaint is filed; anybody can run it
faults.py      bad news: each error names its culprits and what it proves
ports.py       what is passed in: identity and sealer (the engine is tss.frost.engine)
signed.py      the form of every message that a host key signs
"""
