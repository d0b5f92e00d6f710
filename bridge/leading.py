"""Who coordinates: drawn among those who hold a share of every key that has to sign."""

from collections.abc import Iterable

from tss.node import TssNode
from tss.signing.slots import leader


def leads(tss: TssNode, purpose: str, epochs: Iterable[int], slot: bytes, attempt: int) -> int | None:
    """Return the present member whose turn it is; None when this node knows nobody who holds the tip's key.

    `epochs` are those of the keys, the tip's first. Who holds only some of the keys cannot speak for the others,
    so he is passed over while anybody holds all.
    """
    groups = [set(tss.holders(purpose, epoch)) for epoch in dict.fromkeys(epochs)]
    able = sorted(set.intersection(*groups)) or sorted(groups[0])
    return able[leader(slot, attempt, len(able)) - 1] if able else None
