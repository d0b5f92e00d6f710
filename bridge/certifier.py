"""Mint and settle certificates: who asks for them, what a signer checks, how they reach the rollup.

A certificate's slot is the deposit's outpoint or the withdrawal's id. Equal content makes equal messages, so two
nodes that ask at once do no harm: the rollup applies the first and knows the second.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from structlog.typing import FilteringBoundLogger

from anchor.btc.amounts import Sats
from anchor.headers.chain import HeaderChain
from anchor.headers.finality import Policy, final
from anchor.rollup.genesis import Genesis
from anchor.rollup.statements import MintStatement
from anchor.rollup.tx import Mint, Settle
from anchor.rollup_client import RollupError
from bridge.leading import leads
from bridge.treasurer import TreasuryFacts
from bridge.treasury import certificates
from bridge.treasury.certificates import CertificateFault, Statement
from bridge.treasury.certify import BatchFact, MintFacts, SettleFacts, check_mint, check_settle
from bridge.treasury.refusal import Code, Refusal, never
from bridge.watch import ChainView
from tss.node import SigningFailed, TssNode

PURPOSE = "mint"


@dataclass(frozen=True, slots=True)
class CertifyFacts:
    """What this node knows now: its own chain, its view of lanes and treasury, the treasury's facts."""

    chain: HeaderChain
    view: ChainView
    treasury: TreasuryFacts


class Certifier:
    """Asks for certificates when it leads their slot, and judges those that others ask for."""

    def __init__(
        self,
        genesis: Genesis,
        epoch: Callable[[], int],
        facts: Callable[[], CertifyFacts | None],
        submit: Callable[[bytes], Awaitable[object]],
        signed: Callable[[bytes, bytes], Awaitable[None]],
        tss: TssNode,
        *,
        index: int,
        clock: Callable[[], float],
        timeout: float,
        supply_cap: int,
        depths: Policy,
        log: FilteringBoundLogger,
    ) -> None:
        self.genesis, self.epoch, self.facts, self.submit = genesis, epoch, facts, submit
        self.signed, self.tss = signed, tss
        self.index, self.clock, self.timeout = index, clock, timeout
        self.supply_cap, self.depths = supply_cap, depths
        self.log = log.bind(purpose=PURPOSE)
        self._since: dict[bytes, float] = {}
        self._running: dict[bytes, asyncio.Task[None]] = {}

    def approve(self, payload: bytes) -> Statement:
        """Return the statement this node agrees to. Raises Refusal."""
        try:
            statement = certificates.decode(payload)
        except CertificateFault as fault:
            raise never(Code.WRONG_CONTENT, str(fault)) from fault
        facts = self.facts()
        if facts is None:
            raise Refusal(Code.UNSYNCED, "this node does not follow the treasury yet", retryable=True)
        rollup, base = facts.treasury.rollup, self._common(statement, facts)
        if isinstance(statement, MintStatement):
            room = Sats(max(0, self.supply_cap - rollup.supply - rollup.escrow))
            owed = facts.treasury.is_owed(statement.outpoint)  # credited; this says where it is swept now
            minted = statement.outpoint in rollup.minted and not owed
            check_mint(statement, MintFacts(*base, minted=minted, room=statement.amount if owed else room))
        else:
            lock = rollup.withdrawals.get(statement.withdrawal)
            locked = lock is not None and lock.height <= facts.treasury.final
            settled = lock is not None and lock.settled is not None
            check_settle(statement, SettleFacts(*base, locked=locked, settled=settled))
        return statement

    def _common(
        self, statement: Statement, facts: CertifyFacts
    ) -> tuple[str | None, str | None, int, bytes, int, BatchFact | None]:
        t = facts.treasury
        batch = next((b for b in t.treasury.batches if b.txid == statement.txid), None)
        fact = None
        if batch is not None:
            block = facts.view.block_of(batch)
            use, value = _use(statement)
            deep = self.depths.settled(facts.chain, block, use, value)
            known = t.manifests.get(batch.manifest_hash)
            fact = BatchFact(batch.txid, batch.height, block, deep, known)
        return t.unsynced, t.paused, self.genesis.rollup_id, self.genesis.hash, self.epoch(), fact

    async def tick(self, wanted: Sequence[tuple[bytes, bytes]]) -> None:
        """Have each wanted (payload, signature or b"") signed and posted, when this node leads its slot.

        Nothing is asked for before the rollup's own view would take it, so a refusal is news.
        """
        self._running = {slot: task for slot, task in self._running.items() if not task.done()}
        facts, now = self.facts(), self.clock()
        if facts is None or facts.treasury.rollup.paused is not None:
            return
        view, k = facts.treasury.rollup.view, self.genesis.k
        due = {slot_of(p): (p, s) for p, s in wanted if final(view, certificates.decode(p).block_hash, k)}
        self._since = {slot: self._since.get(slot, now) for slot in due}
        for slot, (payload, signature) in due.items():
            attempt = max(0, int((now - self._since[slot]) / self.timeout))
            asks = signature or self._leads(slot, payload, attempt)
            if slot not in self._running and asks:
                self._running[slot] = asyncio.create_task(self._certify(slot, payload, signature))

    def _leads(self, slot: bytes, payload: bytes, attempt: int) -> bool:
        epoch = certificates.decode(payload).epoch
        return leads(self.tss, PURPOSE, (epoch,), slot, attempt) == self.index

    async def close(self) -> None:
        """Let go of running sessions."""
        for task in self._running.values():
            task.cancel()
        await asyncio.gather(*self._running.values(), return_exceptions=True)

    async def _certify(self, slot: bytes, payload: bytes, signature: bytes) -> None:
        statement, facts = certificates.decode(payload), self.facts()
        log = self.log.bind(statement=type(statement).__name__, slot=slot.hex()[:24])
        if facts is None:
            return
        try:
            if not signature:
                (signature,) = await self.tss.sign(PURPOSE, payload, epoch=statement.epoch)
                await self.signed(payload, signature)  # save, then speak
            await self.submit(self._transaction(statement, signature, facts))
        except (SigningFailed, RollupError) as failure:
            log.warning("no certificate yet", reason=str(failure))
            return
        log.info("certificate posted")

    @staticmethod
    def _transaction(statement: Statement, signature: bytes, facts: CertifyFacts) -> bytes:
        known = statement.manifest_hash in facts.treasury.rollup.manifests
        manifest = b"" if known else facts.treasury.manifests[statement.manifest_hash].encode()
        if isinstance(statement, MintStatement):
            return Mint(statement, signature, manifest).encode()
        return Settle(statement, signature, manifest).encode()


def _use(statement: Statement) -> tuple[str, int]:
    """What a certificate is for and about how many satoshis, as `Book` asks for it."""
    if isinstance(statement, MintStatement):
        return "deposit", statement.amount + statement.fee
    return "payout", statement.paid + statement.fee


def slot_of(payload: bytes) -> bytes:
    """What only one certificate can be about: a deposit's outpoint, a withdrawal's id."""
    statement = certificates.decode(payload)
    subject = statement.outpoint.encode() if isinstance(statement, MintStatement) else statement.withdrawal
    return PURPOSE.encode() + b"\0" + subject
