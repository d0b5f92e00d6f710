"""One bridge node, one rollup and one Bitcoin as small models around the real folders: no SQL, no sockets.

`Node` is the least shell that keeps the rules of the design: rows are stored encoded, effects are stored with them
and performed at least once, events of the chain are fed in order. `Rollup` applies what the embedded one applies.
"""

from dataclasses import dataclass, field

from anchor.btc.amounts import FeeRate, Sats
from anchor.btc.block import Block
from anchor.btc.ids import OutPoint, Txid
from anchor.btc.tx import Tx
from anchor.inscription.successor import Successor
from anchor.rollup.statements import MintStatement, SettleStatement
from bridge.deposit import events as dep
from bridge.deposit import states as dst
from bridge.deposit import transitions as dtr
from bridge.ledger import events as led
from bridge.ledger.replay import Books, append
from bridge.ledger.totals import totals, treasury_facts
from bridge.treasury import certificates
from bridge.treasury.checks import (
    BatchFact,
    DepositFact,
    LockFact,
    MintFacts,
    NodeFacts,
    PayoutFacts,
    Refusal,
    SettleFacts,
    SweepFacts,
    check_mint,
    check_move,
    check_payout,
    check_settle,
    check_sweep,
)
from bridge.treasury.keys import TreasuryKeys
from bridge.treasury.machine import Effect, PostCertificate, RequestSignature, Step
from bridge.treasury.manifest import Manifest, MoveManifest, PayoutManifest, SweepManifest
from bridge.treasury.planner import Situation, Sweepable, plan
from bridge.treasury.reader import BatchAt, TreasuryReader, TreasuryState
from bridge.withdrawal import events as wit
from bridge.withdrawal import states as wst
from bridge.withdrawal import transitions as wtr
from tests.bridge.keys import ACTIVATION, PARAMS, K
from tests.bridge.toy_chain import START, ToyChain
from tests.bridge.toy_lane import LaneSeen, keys_up_to
from tests.bridge.toy_rollup import Rollup
from tests.bridge.toy_scan import (
    Address,
    DepositEvent,
    Known,
    Scanned,
    connected,
    disconnected,
    late,
    mistaken,
    recognised,
)

READER = TreasuryReader.of(ACTIVATION)


@dataclass
class Node:
    """What a node stores is in the fields with `row` in their name and in `manifests`, `signed`, `effects`."""

    chain: ToyChain
    rollup: Rollup
    addresses: dict[bytes, Address] = field(default_factory=dict)
    deposit_rows: dict[OutPoint, dict] = field(default_factory=dict)
    deposits: dict[OutPoint, Address] = field(default_factory=dict)
    withdrawal_rows: dict[bytes, dict] = field(default_factory=dict)
    manifests: dict[bytes, Manifest] = field(default_factory=dict)
    signed: dict[Txid, tuple[Tx, Manifest]] = field(default_factory=dict)
    effects: list[Effect] = field(default_factory=list)
    states: dict[int, TreasuryState] = field(default_factory=lambda: {START: READER.start()})
    lanes: dict[int, LaneSeen] = field(default_factory=lambda: {START: LaneSeen()})
    books: Books = field(default_factory=Books)
    lines: list[led.Entry] = field(default_factory=list)
    alarms: list[str] = field(default_factory=list)
    fed: list[tuple[OutPoint | bytes, object]] = field(default_factory=list)

    @property
    def treasury(self) -> TreasuryState:
        return self.states[self.chain.height]

    @property
    def lane(self) -> LaneSeen:
        return self.lanes[self.chain.height]

    @property
    def keys(self) -> TreasuryKeys:
        return keys_up_to(self.rollup.epoch)

    def successor(self) -> Successor | None:
        """What the lane's final rotation anchor names for the treasury's next epoch."""
        final = [n.successor for n in self.lane.named if n.height <= self.chain.height - K + 1]
        return next((s for s in final if s.epoch == self.treasury.epoch + 1), None)

    # Events

    def feed(self, key: OutPoint | bytes, event: dep.Event | wit.Event) -> None:
        self.fed.append((key, event))
        if isinstance(key, OutPoint):
            row = self.deposit_rows.get(key, dst.encode(dst.Issued()))
            answer = dtr.step(self._deposit(key), dst.decode(row), event)
        else:
            answer = wtr.step(self._withdrawal(key), wst.decode(self.withdrawal_rows[key]), event)
        if isinstance(answer, Step):
            rows, encode = (
                (self.deposit_rows, dst.encode)
                if isinstance(key, OutPoint)
                else (self.withdrawal_rows, wst.encode)
            )
            rows[key] = encode(answer.state)
            self.effects += answer.effects

    def _scanned(self, scanned: list[Scanned]) -> None:
        for item in scanned:
            if isinstance(item, DepositEvent):
                if item.address is not None:
                    self.deposits.setdefault(item.outpoint, item.address)
                if item.outpoint in self.deposits:
                    self.feed(item.outpoint, item.event)
            else:
                self.feed(item.withdrawal, item.event)

    def connect(self, block: Block) -> None:
        height = self.chain.height
        before, lane = self.states[height - 1], self.lanes[height - 1].after(block, height)
        state, _ = READER.apply_block(before, block, height, lane.successors)
        self.states[height], self.lanes[height] = state, lane
        for batch in late(before, state, height):
            self._scanned(recognised(self.content(batch), batch))
        self._scanned(connected(block, height, self._known(state)))
        self.tell_height()

    def disconnect(self, block: Block) -> None:
        """`block` has just left the chain."""
        height = self.chain.height + 1
        gone = self.states.pop(height)
        del self.lanes[height]
        self._scanned(disconnected(block, self._known(gone)))
        for batch in reversed(late(self.treasury, gone, height)):
            self._scanned(mistaken(self.content(batch), batch))

    def tell_height(self) -> None:
        for outpoint, row in self.deposit_rows.items():
            if row["state"] in ("confirmed", "rejected", "reclaimable"):
                self.feed(outpoint, dep.TipMoved(self.chain.height))
        for outpoint, row in self.deposit_rows.items():
            if row["state"] in ("swept", "minting", "deficit"):
                state = dst.decode(row)
                assert isinstance(state, dst.Swept | dst.Minting | dst.Deficit)
                if state.sweep and self.chain.depth(state.sweep.block_hash) >= K:
                    self.feed(outpoint, dep.SweepFinal(state.sweep.block_hash))
        for identity, row in self.withdrawal_rows.items():
            if row["state"] in ("confirmed", "settling"):
                paid = wst.decode(row)
                assert isinstance(paid, wst.Confirmed | wst.Settling)
                if self.chain.depth(paid.payout.block_hash) >= K:
                    self.feed(identity, wit.PayoutFinal(paid.payout.block_hash))

    def reconcile(self) -> None:
        """Look at the rollup and the mempool again, as at each poll and after each start."""
        for identity in self.rollup.locks:
            if identity not in self.withdrawal_rows:
                self.withdrawal_rows[identity] = wst.encode(wst.Locked())
        for outpoint, minted in self.rollup.minted.items():
            self.feed(outpoint, dep.MintApplied(minted.message, minted.amount, minted.epoch))
        for identity, row in self.withdrawal_rows.items():
            if row["state"] == "settled" and identity not in self.rollup.settled:
                self.feed(identity, wit.SettleUndone())
        for identity in self.rollup.settled:
            self.feed(identity, wit.SettleApplied(identity))
        for tx in self.chain.mempool.values():
            for vout, out in enumerate(tx.outputs):
                if out.script in self.addresses:
                    self.deposits[tx.outpoint(vout)] = self.addresses[out.script]
                    self.feed(tx.outpoint(vout), dep.PaymentSeen(out.value))
        waiting = {t.outpoint(n) for t in self.chain.mempool.values() for n in range(len(t.outputs))}
        for outpoint, row in self.deposit_rows.items():
            if isinstance(dst.decode(row), dst.Seen) and outpoint not in waiting:
                self.feed(outpoint, dep.PaymentReplaced())
        self._drop_dead_batches()
        self.tell_height()  # certificates of an epoch that is over are asked for anew

    def _drop_dead_batches(self) -> None:
        """Tell the items of a batch whose tip is spent, finally, by another one."""
        final, batches = self.chain.height - K + 1, self.treasury.batches
        for txid, (_, manifest) in self.signed.items():
            for batch in batches:
                if batch.height <= final and batch.sequence == manifest.sequence and batch.txid != txid:
                    dropped = dep.BatchDropped if isinstance(manifest, SweepManifest) else wit.BatchDropped
                    for key in _items(manifest):
                        rows = self.deposit_rows if isinstance(key, OutPoint) else self.withdrawal_rows
                        state = rows.get(key, {})
                        if state.get("state") in ("sweeping", "batched", "broadcast"):
                            decoded = (dst if isinstance(key, OutPoint) else wst).decode(state)
                            if decoded.txid == txid:
                                self.feed(key, dropped(manifest.sequence))

    def resend(self) -> None:
        for tx, _ in self.signed.values():
            self.chain.send(tx)

    def perform(self, limit: int | None = None) -> None:
        """Perform stored effects; a posted certificate that the rollup cannot take yet stays."""
        todo, kept = self.effects[:limit], []
        self.effects = self.effects[len(todo) :]
        for effect in todo:
            if isinstance(effect, RequestSignature):
                if self.rollup.paused:  # the node asks again, while its machine waits for the certificate
                    kept.append(effect)
                else:
                    self._certify(effect.payload)
            elif isinstance(effect, PostCertificate):
                manifest, statement = (
                    self.manifests[effect.manifest_hash],
                    certificates.decode(effect.payload),
                )
                if (
                    not self.rollup.take(statement, manifest.encode())
                    and statement.epoch == self.rollup.epoch
                ):
                    kept.append(effect)
            else:
                self.alarms.append(effect.text)
        self.effects += kept

    def _certify(self, payload: bytes) -> None:
        statement = certificates.decode(payload)
        key = statement.outpoint if isinstance(statement, MintStatement) else statement.withdrawal
        signed = (dep if isinstance(statement, MintStatement) else wit).Signed(payload, bytes(64))
        if self.certifiable(statement):
            self.feed(key, signed)

    # Signing

    def certifiable(self, statement: MintStatement | SettleStatement) -> bool:
        found = next((b for b in self.treasury.batches if b.txid == statement.txid), None)
        fact = None
        if found is not None:
            block = self.chain.at(found.height).header.hash
            final = self.chain.depth(block) >= K
            fact = BatchFact(found.txid, found.height, block, final, self.content(found))
        common = (
            None,
            self.rollup.paused,
            ACTIVATION.rollup_id,
            ACTIVATION.genesis_hash,
            self.rollup.epoch,
            fact,
        )
        try:
            if isinstance(statement, MintStatement):
                room = Sats(PARAMS.supply_cap - self.rollup.supply - self.rollup.escrow)
                known = self.rollup.minted.get(statement.outpoint)
                minted = known is not None and self.chain.depth(known.block_hash) > 0
                check_mint(statement, MintFacts(*common, minted, room))
            else:
                locked = statement.withdrawal in self.rollup.locks
                settled = statement.withdrawal in self.rollup.settled
                check_settle(statement, SettleFacts(*common, locked, settled))
        except Refusal:
            return False
        return True

    def plan(self, rate: int, *, moves: bool = True) -> Manifest | None:
        deposits = [
            Sweepable(o, Sats(s.coin.value), self.deposits[o].params, s.coin.height, self.deposits[o].epoch)
            for o, s in ((o, dst.decode(r)) for o, r in self.deposit_rows.items())
            if isinstance(s, dst.Confirmed)
        ]
        deposits += self.to_be_swept_again()
        waiting = [
            self.rollup.locks[i]
            for i, r in self.withdrawal_rows.items()
            if isinstance(wst.decode(r), wst.Locked) and i not in self.paid_below()
        ]
        situation = Situation(
            self.chain.height,
            self.chain.height,
            self.reserve(),
            Sats(PARAMS.supply_cap),
            self.successor() if moves else None,
            frozenset(range(1, self.rollup.epoch + 1)),
        )
        return plan(self.treasury, deposits, waiting, PARAMS, FeeRate(rate), situation)

    def to_be_swept_again(self) -> list[Sweepable]:
        """Deposits that are credited, and whose sweep a deep reorg took."""
        found = []
        for outpoint, row in self.deposit_rows.items():
            if row["state"] == "deficit" and self.chain.spender_of(outpoint) is None:
                fact = self.deposit_fact(outpoint)
                at = self.deposits[outpoint]
                if fact is not None and fact.height is not None and outpoint in self.chain.coins:
                    found.append(Sweepable(outpoint, fact.value, at.params, fact.height, at.epoch, fact.owed))
        return found

    def sign(self, manifest: Manifest) -> Tx:
        """Check as every signer does, then keep the batch and tell its items. Raises Refusal."""
        node = self.facts()
        if isinstance(manifest, SweepManifest):
            known = {d.outpoint: self.deposit_fact(d.outpoint) for d in manifest.deposits}
            facts = SweepFacts(node, {o: f for o, f in known.items() if f}, Sats(PARAMS.supply_cap))
            batch = check_sweep(manifest, facts)
        elif isinstance(manifest, MoveManifest):
            batch = check_move(manifest, node)
        else:
            locks = {
                i: LockFact(w.script, w.amount, w.max_fee, w.expiry, True, i in self.rollup.settled)
                for i, w in self.rollup.locks.items()
            }
            batch = check_payout(manifest, PayoutFacts(node, locks, self.paid_below()))
        self.manifests[manifest.hash] = manifest
        self.signed[batch.tx.txid] = (batch.tx, manifest)
        for key in _items(manifest):
            planned = dep.Batched if isinstance(key, OutPoint) else wit.Planned
            self.feed(key, planned(manifest.sequence, batch.tx.txid))
        return batch.tx

    def sent(self, tx: Tx) -> None:
        manifest = self.signed[tx.txid][1]
        if isinstance(manifest, PayoutManifest):
            for payout in manifest.payouts:
                self.feed(payout.withdrawal, wit.Sent(manifest.sequence, tx.txid))

    def facts(self) -> NodeFacts:
        known = all(b.content(self.manifests) for b in self.treasury.batches)
        return NodeFacts(
            None, self.rollup.paused, self.chain.height, self.chain.height, self.keys, PARAMS,
            self.treasury, self.reserve(), known, 1, 100, self.successor(),
        )  # fmt: skip

    def deposit_fact(self, outpoint: OutPoint) -> DepositFact | None:
        for at, block in enumerate(self.chain.blocks):
            for tx in block.txs:
                if tx.txid == outpoint.txid:
                    out, spender = tx.outputs[outpoint.vout], self.chain.spender_of(outpoint)
                    ours = spender is not None and spender.inputs[0].outpoint == self.treasury.tip
                    spent, mint = spender is not None and not ours, self.rollup.minted.get(outpoint)
                    owed = mint is not None and not self.chain.depth(mint.block_hash)
                    minted = mint is not None and not owed
                    return DepositFact(out.value, out.script, START + 1 + at, False, spent, minted, owed)
        return None

    def content(self, batch: BatchAt) -> Manifest:
        found = batch.content(self.manifests)
        assert found is not None
        return found

    def paid_below(self) -> frozenset[bytes]:
        below = [self.content(b) for b in self.treasury.batches]
        return frozenset(p.withdrawal for m in below if isinstance(m, PayoutManifest) for p in m.payouts)

    def reserve(self) -> Sats:
        stored = {h: m.encode() for h, m in self.manifests.items()}
        facts = treasury_facts(self.treasury, self.treasury.tip_height or 0, stored, self.keys, 0)
        return Sats(totals(self.rollup.facts(), facts).fee_reserve)

    # Ledger

    def write(self, event: led.Event) -> None:
        added = append(self.books, event)
        if added is not None:
            self.books, entry = added
            self.lines.append(led.Entry.decode(entry.encode()))

    def write_ledger(self) -> None:
        for event in self.rollup.events(self.books):
            self.write(event)

    def _deposit(self, outpoint: OutPoint) -> dtr.Context:
        a, (params, epoch) = ACTIVATION, self.deposits[outpoint]
        retires = self.treasury.retires(epoch, PARAMS.reclaim_delay)
        return dtr.Context(
            a.rollup_id, a.genesis_hash, self.rollup.epoch, outpoint, params, PARAMS, epoch, retires
        )

    def _withdrawal(self, identity: bytes) -> wtr.Context:
        a, lock = ACTIVATION, self.rollup.locks[identity]
        return wtr.Context(a.rollup_id, a.genesis_hash, self.rollup.epoch, identity, lock.script, lock.amount)

    def _known(self, state: TreasuryState) -> Known:
        batches = {b.txid: b.content(self.manifests) for b in state.batches}
        return Known(self.addresses, self.deposit_rows.keys(), batches)


def _items(manifest: Manifest) -> list[OutPoint] | list[bytes]:
    if isinstance(manifest, SweepManifest):
        return [d.outpoint for d in manifest.deposits]
    return [p.withdrawal for p in manifest.payouts] if isinstance(manifest, PayoutManifest) else []
