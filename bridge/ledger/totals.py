"""The audit: the same numbers on every node and for every observer, from public facts alone.

Everything is measured at one point: a rollup block, and the Bitcoin block that is final in that rollup block's own
view. Only manifests that the rollup carries count, so a node that knows more prints nothing else.

Invariant: free supply + escrow not yet paid + fee reserve ≤ treasury, all at that point. Where it would not hold,
the difference is the deficit and the reserve is nothing.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from anchor.btc.amounts import Sats
from anchor.btc.ids import OutPoint
from anchor.rollup import bitcoin_view
from anchor.rollup.state import RollupState
from bridge.treasury.builder import read_batch
from bridge.treasury.keys import TreasuryKeys
from bridge.treasury.manifest import Manifest, ManifestFault, PayoutManifest, SweepManifest
from bridge.treasury.reader import TreasuryState


class TotalsFault(ValueError):
    """Facts that cannot be of one rollup and one treasury; says what does not fit."""


@dataclass(frozen=True, slots=True)
class RollupFacts:
    """The rollup's word at its block `height`; satoshis.

    `final_height` is the Bitcoin height final in that block's view. `minted` by outpoint; `locked` and `settled` by
    withdrawal id with the amount that was locked: an id is in one of them. `supply` is free coins, without escrow.
    """

    height: int
    final_height: int
    supply: Sats
    escrow: Sats
    minted: Mapping[OutPoint, Sats]
    locked: Mapping[bytes, Sats]
    settled: Mapping[bytes, Sats]


@dataclass(frozen=True, slots=True)
class TreasuryFacts:
    """The treasury's at `RollupFacts.final_height` on own chain.

    `manifests` are those of its batches that the rollup carries, and of moves; `unexplained` is by how much the
    other batches changed the value (their certificates are still under way); `anchors` counts final ones.
    """

    value: Sats
    manifests: tuple[Manifest, ...]
    unexplained: int
    anchors: int


@dataclass(frozen=True, slots=True)
class Totals:
    """What `holdfast bridge reserves` and the observer print; satoshis.

    `pending` is swept and not yet minted, `unpaid` locked and not yet paid.
    """

    rollup_height: int
    bitcoin_height: int
    deposits: int
    deposited: int
    withdrawals: int
    withdrawn: int
    supply: int
    escrow: int
    unpaid: int
    pending: int
    treasury: int
    fee_reserve: int
    anchors: int
    deficit: int

    def to_dict(self) -> dict[str, int]:
        """Return name → number, in the order above."""
        return asdict(self)

    @property
    def holds(self) -> bool:
        """Tell whether the invariant holds."""
        return self.deficit == 0


def rollup_facts(state: RollupState, k: int) -> RollupFacts:
    """Gather the rollup's side from its state; `k` as in its genesis."""
    final_height, _ = bitcoin_view.final_of(state.view, k)
    amounts = {i: w.lock.amount for i, w in state.withdrawals.items()}
    open_ids = {i for i, w in state.withdrawals.items() if w.settled is None}
    return RollupFacts(
        height=state.height,
        final_height=final_height,
        supply=state.supply,
        escrow=state.escrow,
        minted={o: m.statement.amount for o, m in state.minted.items()},
        locked={i: amount for i, amount in amounts.items() if i in open_ids},
        settled={i: amount for i, amount in amounts.items() if i not in open_ids},
    )


def treasury_facts(
    state: TreasuryState,
    height: int,
    carried: Mapping[bytes, bytes],
    keys: TreasuryKeys,
    anchors: int,
) -> TreasuryFacts:
    """Gather the treasury's side at Bitcoin `height` from a reader's state at or above it.

    `carried` maps manifest hash to manifest as the rollup holds them. Each is built again and must give the txid
    that is on the chain; TotalsFault otherwise.
    """
    value, batches = state.at(height)
    before: int = state.genesis_value
    known: list[Manifest] = []
    unexplained = 0
    for batch in batches:
        encoded = carried.get(batch.manifest_hash)
        if batch.move is not None:
            known.append(batch.move)  # read from the chain itself
        elif encoded is None:
            unexplained += batch.value - before
        else:
            try:
                known.append(read_batch(encoded, keys, batch.txid))
            except ManifestFault as error:
                raise TotalsFault(f"batch {batch.sequence}: {error}") from error
        before = batch.value
    return TreasuryFacts(value, tuple(known), unexplained, anchors)


def totals(rollup: RollupFacts, treasury: TreasuryFacts) -> Totals:
    """Return the numbers. Raises TotalsFault when the rollup's own facts do not add up."""
    _check(rollup)
    swept = [d for m in treasury.manifests if isinstance(m, SweepManifest) for d in m.deposits]
    paid = {p.withdrawal for m in treasury.manifests if isinstance(m, PayoutManifest) for p in m.payouts}
    pending = sum(d.minted for d in swept if d.outpoint not in rollup.minted)
    unpaid = rollup.escrow - sum(rollup.locked.get(withdrawal, 0) for withdrawal in paid)
    explained = treasury.value - treasury.unexplained
    left = explained - rollup.supply - unpaid - pending
    return Totals(
        rollup_height=rollup.height,
        bitcoin_height=rollup.final_height,
        deposits=len(rollup.minted),
        deposited=sum(rollup.minted.values()),
        withdrawals=len(rollup.settled),
        withdrawn=sum(rollup.settled.values()),
        supply=rollup.supply,
        escrow=rollup.escrow,
        unpaid=unpaid,
        pending=pending,
        treasury=treasury.value,
        fee_reserve=max(0, left),
        anchors=treasury.anchors,
        deficit=max(0, -left),
    )


def _check(rollup: RollupFacts) -> None:
    if rollup.locked.keys() & rollup.settled.keys():
        raise TotalsFault("a withdrawal is both locked and settled")
    if sum(rollup.locked.values()) != rollup.escrow:
        raise TotalsFault(
            f"open locks sum to {sum(rollup.locked.values())} sat, the escrow says {rollup.escrow}"
        )
    burned = sum(rollup.settled.values())
    if sum(rollup.minted.values()) != rollup.supply + rollup.escrow + burned:
        raise TotalsFault("what was minted is not supply, escrow and what was burned")
