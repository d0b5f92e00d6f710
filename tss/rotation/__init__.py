"""Key work: a key's shares made new (refresh), members left out (removal), a lost share made again (repair).

What a refresh protects against: shares that were stolen before it are useless together with shares from after it,
so a thief has to take t shares between two refreshes. What it does not protect against: t old shares alone still
sign, for ever, because the key stays the same; and whoever has a member's *host key* reads that member's share of
every generation from the recovery data. Against both only a new key helps (`holdfast tss rotate`).

plan.py     what is agreed: which work, on which key and shares, who takes part; the roster of one attempt
messages.py what travels: R1, deals, assent, complaint, acknowledgement; all signed
link.py     what remains: transcript and certificate of one refresh or repair
refresh.py  what a member does in each round of a refresh
repair.py   what helpers and the receiver do in each round of a repair
boxes.py    sealed values: one key for each sender, so that a complaint opens the accused's value and no other
relay.py    what the driving member collects and checks; trusted with nothing
judge.py    who is guilty when a complaint is filed
chain.py    recovery data that follows refreshes, how a share is restored from it, which chain is newer
rules.py    what a member may join, and which of two refreshes of the same shares counts
succession.py a key's last states, and what the next epoch's committee file must say
"""
