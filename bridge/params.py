"""The parameters that this release proposes for an activation record, by network.

They must be equal for all operators, so a node signs another set only after its operator's consent.
"""

from anchor.rollup.activation import Params

REGTEST = Params(
    k=3,
    range_length=8,
    reclaim_delay=144,
    min_deposit=10_000,
    max_deposit=10_000_000_000,
    supply_cap=100_000_000_000,
    min_withdrawal=5_000,
    deposit_fee=1_000,
    withdrawal_fee=1_000,
    min_fee_rate=1,
    max_fee_rate=200,
    batch_fee_cap=200_000,
    expiry_blocks=144,
)

PUBLIC = Params(
    k=6,
    range_length=600,
    reclaim_delay=1008,
    min_deposit=50_000,
    max_deposit=10_000_000,
    supply_cap=100_000_000,
    min_withdrawal=20_000,
    deposit_fee=5_000,
    withdrawal_fee=5_000,
    min_fee_rate=1,
    max_fee_rate=200,
    batch_fee_cap=200_000,
    expiry_blocks=1008,
)


def proposed(network: str) -> Params:
    """The set this release proposes on a network: quick on regtest, careful and capped elsewhere."""
    return REGTEST if network == "regtest" else PUBLIC
