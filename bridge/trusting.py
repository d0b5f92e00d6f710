"""The keys of every epoch for somebody who trusts an activation record and nobody else.

A node tells the successions; each counts because the mint key that it succeeds signed it, and every new operator.
"""

from collections.abc import Sequence

from anchor.rollup.activation import Activation
from anchor.rollup.succession import KeyEpoch, SignedSuccession, Succeeded, SuccessionRefused


def follow(activation: Activation, told: Sequence[SignedSuccession]) -> tuple[KeyEpoch, ...]:
    """The key epochs from the record's on, oldest first. SuccessionRefused for one that does not follow."""
    keys = activation.treasury_key, activation.anchor_key, activation.mint_key
    first = KeyEpoch(activation.epoch, activation.hash, activation.committee_hash, (), 1, *keys)
    known = [first]
    for signed in told:
        record = signed.succession
        if (record.rollup_id, record.genesis_hash, record.network) != (
            activation.rollup_id,
            activation.genesis_hash,
            activation.network,
        ):
            raise SuccessionRefused(
                "wrong_rollup", "a succession is for another rollup than the activation record"
            )
        signed.verify(known[-1])
        known.append(KeyEpoch.begun_by(Succeeded(0, signed)))
    return tuple(known)
