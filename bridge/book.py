"""The books of deposits and withdrawals: each machine brought to where both chains are, saved, then acted upon.

What a machine wants (a certificate, an alarm) follows from its saved state, so nothing asked for is lost by a
crash between the two. DESIGN section 2, *save, then speak*.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from anchor.btc.ids import BlockHash, OutPoint, Txid
from anchor.headers.chain import HeaderChain
from anchor.headers.finality import Policy
from anchor.rollup.activation import Activation
from anchor.rollup.genesis import Genesis
from anchor.rollup.state import RollupState, Withdrawal
from anchor.store import StoredPackage
from bridge.deposit import events as dev
from bridge.deposit import states as dst
from bridge.deposit import transitions as deposit
from bridge.deposit.address import DepositParams
from bridge.reconcile import DepositFacts, WithdrawalFacts, advance_deposit, advance_withdrawal
from bridge.store import BridgeStore, DepositRow
from bridge.treasury import manifest as manifests
from bridge.treasury.builder import build
from bridge.treasury.keys import TreasuryKeys
from bridge.treasury.machine import Alarm, Effect, InBatch, Step
from bridge.treasury.manifest import Manifest, PayoutManifest, SweepManifest
from bridge.treasury.reader import BatchAt
from bridge.watch import ChainView
from bridge.withdrawal import states as wst
from bridge.withdrawal import transitions as withdrawal

RESTS = 288  # blocks after which a spent deposit is looked at no more, unless the chain turns


@dataclass(frozen=True, slots=True)
class Page:
    """What both chains say at one moment; `manifests` by hash, `waiting` the signed batches on the tip.

    `epoch` is the key epoch that certifies now, `keys` are the treasury's, and `retires` says per epoch that the
    treasury left up to which Bitcoin height deposits to its addresses are swept.
    """

    chain: HeaderChain
    view: ChainView
    rollup: RollupState
    final: int
    manifests: Mapping[bytes, Manifest]
    waiting: tuple[StoredPackage, ...]
    epoch: int
    keys: TreasuryKeys
    retires: Mapping[int, int]


class Book:
    """All deposits and withdrawals of one bridge."""

    def __init__(
        self,
        genesis: Genesis,
        activation: Activation,
        store: BridgeStore,
        alarm: Callable[[str, str], Awaitable[None]],
        clock: Callable[[], float],
        depths: Policy,
    ) -> None:
        self.genesis, self.activation, self.store = genesis, activation, store
        self.depths = depths
        self.alarm, self.clock = alarm, clock
        self.deposits: list[DepositRow] = []
        self.withdrawals: dict[bytes, wst.State] = {}
        self._page: Page | None = None
        self._tip: BlockHash | None = None  # up to which all was looked at

    def _rests(self, row: DepositRow, page: Page, sent: Mapping[bytes, tuple[int, bytes]]) -> bool:
        """Whether nothing can have changed for a deposit on a chain that only grew: strangers may send many."""
        if row.height is None or row.outpoint in sent:
            return False
        if row.spent_by is not None and row.spent_height is not None:
            deep = page.view.height - row.spent_height > RESTS
            return bool(deep and row.state["state"] in ("credited", "reclaimed"))
        delay = self.activation.params.reclaim_delay
        open_yet = page.view.height < row.height + delay - 1
        return bool(row.state["state"] == ("rejected" if open_yet else "reclaimable"))

    async def advance(self, page: Page) -> None:
        """Bring every machine to where the chains are."""
        self._page = page
        batches = {batch.txid: batch for batch in page.view.treasury.batches}
        sent = _sent(page.waiting, page.keys)
        grew = self._tip is not None and page.chain.is_main(
            self._tip
        )  # else however deep, all may have changed
        for row in await self.store.deposits():
            if grew and self._rests(row, page, sent):
                continue
            batch = None if row.spent_by is None else batches.get(Txid(row.spent_by))
            await self._deposit(row, page, batch, sent)
        self.deposits, self._tip = await self.store.deposits(), page.view.hash
        payouts = _payouts(page)
        known = {i: wst.decode(row) for i, row in (await self.store.withdrawals()).items()}
        for identity, lock in page.rollup.withdrawals.items():
            if lock.height <= page.final:
                if identity not in known:
                    known[identity] = wst.Locked()
                    await self.store.save_withdrawal(identity, wst.encode(wst.Locked()), int(self.clock()))
                known[identity] = await self._withdrawal(
                    identity, lock, known[identity], page, payouts.get(identity), sent.get(identity)
                )
        self.withdrawals = known

    async def _deposit(
        self, row: DepositRow, page: Page, batch: BatchAt | None, sent: Mapping[bytes, tuple[int, bytes]]
    ) -> None:
        if batch is not None and batch.manifest_hash not in page.manifests:
            return  # its fee share is not known yet
        before = dst.decode(row.state)
        facts = self._deposit_facts(row, page, batch, sent)
        state, effects = advance_deposit(self._deposit_context(row), before, facts)
        await self._alarms(effects)  # first, so that a crash repeats it rather than loses it
        if state != before:
            await self.store.save_deposit(row.outpoint, dst.encode(state))

    def _deposit_context(self, row: DepositRow) -> deposit.Context:
        return deposit.Context(
            self.genesis.rollup_id,
            self.genesis.hash,
            self.activation.epoch if self._page is None else self._page.epoch,
            OutPoint.decode(row.outpoint),
            DepositParams.decode(row.params),
            self.activation.params,
            row.epoch,
            None if self._page is None else self._page.retires.get(row.epoch),
        )

    def _deposit_facts(
        self, row: DepositRow, page: Page, batch: BatchAt | None, sent: Mapping[bytes, tuple[int, bytes]]
    ) -> DepositFacts:
        coin = None
        if row.height is not None and row.block is not None:
            coin = dst.Coin(row.value, row.height, row.block, row.coinbase)
        sweep = None if batch is None else _in_batch(batch, row.outpoint, page)
        minted = page.rollup.minted.get(OutPoint.decode(row.outpoint))
        credited = None
        if minted is not None and minted.height <= page.final:
            said = minted.statement
            credited = (said.message, int(said.amount), said.epoch)
        reclaim = None
        if row.spent_by is not None and row.spent_height is not None and batch is None:
            reclaim = (row.spent_by, row.spent_height)
        deep = sweep is not None and self._deep(page.chain, sweep, "deposit", row.value)
        return DepositFacts(page.view.height, coin, sent.get(row.outpoint), sweep, deep, reclaim, credited)

    async def _withdrawal(
        self,
        identity: bytes,
        lock: Withdrawal,
        before: wst.State,
        page: Page,
        payout: InBatch | None,
        sent: tuple[int, bytes] | None,
    ) -> wst.State:
        g = self.genesis
        context = withdrawal.Context(
            g.rollup_id, g.hash, page.epoch, identity, lock.lock.script, lock.lock.amount
        )
        deep = payout is not None and self._deep(page.chain, payout, "payout", lock.lock.amount)
        settled = None if lock.settled is None else lock.settled.message
        facts = WithdrawalFacts(sent, payout, deep, settled)
        state, effects = advance_withdrawal(context, before, facts)
        await self._alarms(effects)
        if state != before:
            await self.store.save_withdrawal(identity, wst.encode(state), int(self.clock()))
        return state

    def _deep(self, chain: HeaderChain, at: InBatch, use: str, value: int) -> bool:
        return self.depths.settled(chain, BlockHash(at.block_hash), use, value)

    async def _alarms(self, effects: tuple[Effect, ...]) -> None:
        for effect in effects:
            if isinstance(effect, Alarm):
                await self.alarm("page" if effect.page else "info", effect.text)

    def wanted(self) -> list[tuple[bytes, bytes]]:
        """Certificates that are due by our own chain: payload and signature, b"" while there is none."""
        states = [dst.decode(row.state) for row in self.deposits]
        found = [
            (s.payload, s.signature) for s in states if isinstance(s, dst.Minting | dst.Deficit) and s.payload
        ]
        return found + [
            (s.payload, s.signature) for s in self.withdrawals.values() if isinstance(s, wst.Settling)
        ]

    def sweepable(self) -> frozenset[bytes]:
        """Outpoints good to be swept: confirmed, or in a sweep that may have to be signed anew.

        Also those credited whose sweep a deep reorg took: what backs them shall not go back to the depositor.
        """
        return frozenset(
            row.outpoint
            for row in self.deposits
            if isinstance(dst.decode(row.state), dst.Confirmed | dst.Sweeping | dst.Deficit)
        )

    async def signed(self, payload: bytes, signature: bytes) -> None:
        """Keep a certificate's signature in the machine that asked for it."""
        for row in await self.store.deposits():
            state = dst.decode(row.state)
            if isinstance(state, dst.Minting | dst.Deficit) and state.payload == payload:
                answer = deposit.step(self._deposit_context(row), state, dev.Signed(payload, signature))
                if isinstance(answer, Step):
                    await self.store.save_deposit(row.outpoint, dst.encode(answer.state))
        for identity, settling in self.withdrawals.items():
            if isinstance(settling, wst.Settling) and settling.payload == payload:
                signed = wst.Settling(settling.payout, payload, signature)
                await self.store.save_withdrawal(identity, wst.encode(signed), int(self.clock()))


def _in_batch(batch: BatchAt, outpoint: bytes, page: Page) -> InBatch | None:
    manifest = page.manifests[batch.manifest_hash]
    if not isinstance(manifest, SweepManifest):
        return None
    share = next((d.fee_share for d in manifest.deposits if d.outpoint.encode() == outpoint), None)
    if share is None:
        return None
    return InBatch(
        batch.sequence, batch.txid, batch.manifest_hash, batch.height, page.view.block_of(batch), share
    )


def _payouts(page: Page) -> dict[bytes, InBatch]:
    """How batches on the chain pay withdrawals, by id."""
    found = {}
    for batch in page.view.treasury.batches:
        manifest = page.manifests.get(batch.manifest_hash)
        if not isinstance(manifest, PayoutManifest):
            continue
        block = page.view.block_of(batch)
        for p in manifest.payouts:
            found[p.withdrawal] = InBatch(
                batch.sequence, batch.txid, batch.manifest_hash, batch.height, block, p.fee_share
            )
    return found


def _sent(waiting: tuple[StoredPackage, ...], keys: TreasuryKeys) -> dict[bytes, tuple[int, bytes]]:
    """Sequence and txid of the signed batch that waits for a block, by outpoint and by withdrawal id."""
    found: dict[bytes, tuple[int, bytes]] = {}
    for package in waiting:
        manifest = manifests.decode(package.payload)
        txid = build(manifest, keys).tx.txid
        subjects = list[bytes]()
        if isinstance(manifest, SweepManifest):
            subjects = [d.outpoint.encode() for d in manifest.deposits]
        elif isinstance(manifest, PayoutManifest):
            subjects = [p.withdrawal for p in manifest.payouts]
        found |= dict.fromkeys(subjects, (manifest.sequence, txid))
    return found
