"""Writes the treasury's chain: what a batch should hold, what this signer checks, how it is sent.

The treasury's desk in the keeper's sense. The facts come from this node's own bitcoind (`watch.py`), its own copy
of the rollup and the manifests it stores; `bridge/treasury/checks.py` judges them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from anchor.bitcoind import Bitcoind, Outcome, Submitted
from anchor.btc.amounts import FeeRate, Sats
from anchor.btc.ids import OutPoint, Txid
from anchor.inscription.successor import Successor
from anchor.rollup.activation import Activation
from anchor.rollup.state import RollupState
from anchor.store import StoredPackage
from bridge.deposit.address import DepositParams
from bridge.outgoing import Whereabouts
from bridge.store import DepositRow
from bridge.treasury import manifest as manifests
from bridge.treasury.builder import Batch, assemble, build
from bridge.treasury.checks import (
    DepositFact,
    LockFact,
    NodeFacts,
    PayoutFacts,
    Refusal,
    SweepFacts,
    check_move,
    check_payout,
    check_sweep,
)
from bridge.treasury.keys import TreasuryKeys
from bridge.treasury.manifest import Manifest, ManifestFault, MoveManifest, PayoutManifest, SweepManifest
from bridge.treasury.planner import Payable, Situation, Sweepable, plan
from bridge.treasury.reader import TreasuryState
from bridge.treasury.refusal import Code, never
from bridge.whereabouts import Stages

CALM_RATE = 10  # sat/vB that are always acceptable, within the operator's limit
NEAR = 3  # how many times our own estimate a leader may pay


@dataclass(frozen=True, slots=True)
class TreasuryFacts:
    """What this node knows now; `final` is the rollup's highest final block here.

    `successor` is where the treasury moves now; `able` are the key epochs of which enough members are up, None
    where nobody looks.
    """

    unsynced: str | None
    paused: str | None
    tip_height: int
    treasury: TreasuryState
    rollup: RollupState
    final: int
    deposits: Sequence[DepositRow]
    sweepable: frozenset[bytes]
    manifests: Mapping[bytes, Manifest]
    successor: Successor | None
    able: frozenset[int] | None = None

    def ancestors(self) -> list[Manifest] | None:
        """The manifests of all batches up to the tip, None when one is not stored here."""
        found = [batch.content(self.manifests) for batch in self.treasury.batches]
        known = [manifest for manifest in found if manifest is not None]
        return known if len(known) == len(found) else None

    def paid(self) -> frozenset[bytes]:
        """Withdrawals that some batch up to the tip pays."""
        known = self.ancestors() or []
        return frozenset(p.withdrawal for m in known if isinstance(m, PayoutManifest) for p in m.payouts)

    def unminted(self) -> int:
        """Sats of swept deposits that the rollup has not credited yet."""
        known = self.ancestors() or []
        swept = [d for m in known if isinstance(m, SweepManifest) for d in m.deposits]
        return sum(d.minted for d in swept if d.outpoint not in self.rollup.minted)

    def is_owed(self, outpoint: OutPoint) -> bool:
        """Whether a deposit is credited on a sweep whose block the rollup's view lost."""
        minted = self.rollup.minted.get(outpoint)
        return minted is not None and not self.rollup.view.is_main(minted.statement.block_hash)

    def owed(self) -> int:
        """Sats that the treasury owes on its tip: supply, mints to come, locks that no batch has paid."""
        paid = self.paid()
        locked = sum(
            w.lock.amount for i, w in self.rollup.withdrawals.items() if w.settled is None and i not in paid
        )
        return self.rollup.supply + self.unminted() + locked

    def reserve(self) -> Sats:
        """The fee reserve on the tip: what the treasury holds beyond what it owes."""
        return Sats(max(0, self.treasury.tip_value - self.owed()))


class TreasuryDesk:
    """The treasury of one activation record. `facts` is None while the chain is not followed yet."""

    purpose = "treasury"

    def __init__(
        self,
        activation: Activation,
        keys: Callable[[], TreasuryKeys],
        bitcoind: Bitcoind,
        facts: Callable[[], TreasuryFacts | None],
        where: Callable[[StoredPackage, Stages], Whereabouts],
        *,
        min_fee_rate: int,
        max_fee_rate: int,
    ) -> None:
        self.activation, self.bitcoind, self.facts = activation, bitcoind, facts
        self.min_fee_rate, self.max_fee_rate = min_fee_rate, max_fee_rate
        self._keys, self._where = keys, where

    @property
    def keys(self) -> TreasuryKeys:
        """The treasury's keys of all epochs known here."""
        return self._keys()

    def key_epochs(self, payload: bytes) -> tuple[int, ...]:
        """The key epoch of each input: the tip's, then those of the deposits' addresses."""
        return build(manifests.decode(payload), self.keys).epochs

    def whereabouts(self, package: StoredPackage, stages: Stages) -> Whereabouts:
        """Where a batch is on our own chain."""
        return self._where(package, stages)

    def tip(self) -> OutPoint | None:
        """The treasury's confirmed coin; None while unknown or halted."""
        facts = self.facts()
        if facts is None or facts.treasury.halted is not None:
            return None
        return facts.treasury.tip

    async def plan(self) -> tuple[int, bytes] | None:
        """The next batch of sweeps or payouts; None when nothing is due, or this node may not sign value."""
        facts = self.facts()
        if facts is None or facts.unsynced or facts.paused or facts.ancestors() is None:
            return None
        wanted = max(await self.bitcoind.estimate_fee() or 0, self.min_fee_rate)
        rate = FeeRate(min(wanted, self.max_fee_rate))
        params = self.activation.params
        room = params.supply_cap - facts.rollup.supply - facts.rollup.escrow - facts.unminted()
        situation = Situation(
            facts.tip_height,
            facts.rollup.view.tip.height,
            facts.reserve(),
            Sats(max(0, room)),
            facts.successor,
            facts.able,
            self.min_fee_rate,
        )
        found = _sweepable(facts)
        deposits = [d for d in found if not d.owed or await self._is_there(d.outpoint, facts)]
        made = plan(facts.treasury, deposits, self._payable(facts), params, rate, situation)
        return None if made is None else (made.sequence, made.encode())

    def _payable(self, facts: TreasuryFacts) -> list[Payable]:
        """Locks that no batch pays yet, oldest first; those that no signer would pay stay out of others' way."""
        paid, own = facts.paid(), self.keys.scripts
        due = [
            (w.height, Payable(i, w.lock.script, w.lock.amount, w.lock.max_fee, w.lock.expiry))
            for i, w in facts.rollup.withdrawals.items()
            if w.settled is None and w.height <= facts.final and i not in paid and w.lock.script not in own
        ]
        return [payable for _, payable in sorted(due, key=lambda item: (item[0], item[1].withdrawal))]

    def spends(self, payload: bytes) -> tuple[int, OutPoint]:
        """Sequence and tip of a manifest's bytes. ManifestFault otherwise."""
        manifest = manifests.decode(payload)
        return manifest.sequence, manifest.tip

    def check(self, payload: bytes, signatures: Sequence[bytes]) -> None:
        """Return when every input is signed. ValueError otherwise."""
        assemble(build(manifests.decode(payload), self.keys), signatures)

    def stages(self, payload: bytes) -> tuple[tuple[Txid, ...], ...]:
        """One stage of one version: the batch."""
        return ((build(manifests.decode(payload), self.keys).tx.txid,),)

    async def present(self, payload: bytes, signatures: Sequence[bytes]) -> Txid | None:
        """The batch's txid when our mempool holds it."""
        manifest = manifests.decode(payload)
        tx = assemble(build(manifest, self.keys), signatures)
        spender = (await self.bitcoind.spenders([manifest.tip])).get(manifest.tip)
        return spender if spender == tx.txid else None

    async def approve(self, payload: bytes) -> Batch:
        """Build the batch of a manifest this node agrees to. Raises Refusal."""
        try:
            manifest = manifests.decode(payload)
        except ManifestFault as fault:
            raise never(Code.UNBUILDABLE, str(fault)) from fault
        facts = self.facts()
        if facts is None:
            raise Refusal(Code.UNSYNCED, "this node does not follow the treasury yet", retryable=True)
        node = self._node_facts(facts, await self._highest_rate())
        if isinstance(manifest, SweepManifest):
            known = {d.outpoint: await self._deposit(d.outpoint, facts) for d in manifest.deposits}
            found = {outpoint: fact for outpoint, fact in known.items() if fact is not None}
            params = self.activation.params
            room = params.supply_cap - facts.rollup.supply - facts.rollup.escrow - facts.unminted()
            return check_sweep(manifest, SweepFacts(node, found, Sats(max(0, room))))
        if isinstance(manifest, MoveManifest):
            return check_move(manifest, node)
        return check_payout(manifest, PayoutFacts(node, _locks(manifest, facts), facts.paid()))

    async def _highest_rate(self) -> int:
        """The most sat/vB this node signs now: within the operator's limit, and near its own estimate.

        A leader chooses the fee and the reserve pays it; without this one member could burn the reserve.
        """
        estimate = await self.bitcoind.estimate_fee() or 0
        return min(self.max_fee_rate, max(CALM_RATE, NEAR * estimate))

    def _node_facts(self, facts: TreasuryFacts, highest_rate: int) -> NodeFacts:
        return NodeFacts(
            unsynced=facts.unsynced,
            paused=facts.paused,
            tip_height=facts.tip_height,
            view_height=facts.rollup.view.tip.height,
            keys=self.keys,
            params=self.activation.params,
            treasury=facts.treasury,
            reserve=facts.reserve(),
            ancestors_known=facts.ancestors() is not None,
            own_min_rate=self.min_fee_rate,
            own_max_rate=highest_rate,
            successor=facts.successor,
        )

    async def _deposit(self, outpoint: OutPoint, facts: TreasuryFacts) -> DepositFact | None:
        """A deposit as our own bitcoind has it now, mempool included."""
        coin = await self.bitcoind.txout(outpoint, include_mempool=False)
        if coin is None:
            return None
        owed = facts.is_owed(outpoint)
        height = None if coin.confirmations == 0 else facts.tip_height - coin.confirmations + 1
        return DepositFact(
            value=coin.out.value,
            script=coin.out.script,
            height=height,
            coinbase=coin.coinbase,
            spent=await self._spent_by_another(outpoint, facts),
            minted=outpoint in facts.rollup.minted and not owed,
            owed=owed,
        )

    async def _spent_by_another(self, outpoint: OutPoint, facts: TreasuryFacts) -> bool:
        """Whether the mempool spends the deposit in something that is no batch on our tip."""
        tip = facts.treasury.tip
        spenders = await self.bitcoind.spenders([outpoint, tip])
        return outpoint in spenders and spenders[outpoint] != spenders.get(tip)

    async def _is_there(self, outpoint: OutPoint, facts: TreasuryFacts) -> bool:
        """Whether a deposit whose reclaim may be due is unspent, as every signer will ask."""
        return not await self._spent_by_another(outpoint, facts)

    async def submit(
        self,
        payload: bytes,
        signatures: Sequence[bytes],
        rung: int | None = None,  # noqa: ARG002 a batch has one version
    ) -> Submitted:
        """Bring a signed batch into the mempool; safe to repeat.

        When another transaction in the mempool spends the tip, that one is in flight: ours waits.
        """
        manifest = manifests.decode(payload)
        tx = assemble(build(manifest, self.keys), signatures)
        other = (await self.bitcoind.spenders([manifest.tip])).get(manifest.tip)
        if other is not None:
            return Submitted(other, Outcome.IN_MEMPOOL)
        return await self.bitcoind.submit(tx)


def _sweepable(facts: TreasuryFacts) -> list[Sweepable]:
    found = []
    for d in facts.deposits:
        if d.outpoint in facts.sweepable and d.height is not None and d.spent_by is None:
            outpoint, params = OutPoint.decode(d.outpoint), DepositParams.decode(d.params)
            found.append(
                Sweepable(outpoint, Sats(d.value), params, d.height, d.epoch, facts.is_owed(outpoint))
            )
    return found


def _locks(manifest: PayoutManifest, facts: TreasuryFacts) -> dict[bytes, LockFact]:
    found = {}
    for payout in manifest.payouts:
        w = facts.rollup.withdrawals.get(payout.withdrawal)
        if w is not None:
            final, settled = w.height <= facts.final, w.settled is not None
            lock = w.lock
            found[payout.withdrawal] = LockFact(
                lock.script, lock.amount, lock.max_fee, lock.expiry, final, settled
            )
    return found
