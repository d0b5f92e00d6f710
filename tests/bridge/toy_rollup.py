"""A rollup that applies mints, locks and settlements as the embedded one does, without accounts or blocks."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from anchor.btc.amounts import Sats
from anchor.btc.ids import OutPoint
from anchor.rollup.statements import MintStatement, SettleStatement
from bridge.ledger import events as led
from bridge.ledger.replay import Books
from bridge.ledger.totals import RollupFacts
from bridge.treasury.planner import Payable
from tests.bridge.keys import K
from tests.bridge.toy_chain import ToyChain


@dataclass
class Rollup:
    """Balances are one pot: who owns what is the rollup's own matter."""

    chain: ToyChain
    minted: dict[OutPoint, MintStatement] = field(default_factory=dict)
    locks: dict[bytes, Payable] = field(default_factory=dict)
    settled: dict[bytes, SettleStatement] = field(default_factory=dict)
    manifests: dict[bytes, bytes] = field(default_factory=dict)
    paused: str | None = None
    height: int = 0
    epoch: int = 1

    @property
    def supply(self) -> int:
        return sum(m.amount for m in self.minted.values()) - sum(w.amount for w in self.locks.values())

    @property
    def open_locks(self) -> dict[bytes, Payable]:
        return {i: w for i, w in self.locks.items() if i not in self.settled}

    @property
    def escrow(self) -> int:
        return sum(w.amount for w in self.open_locks.values())

    def lock(self, withdrawal: Payable) -> bool:
        if self.paused or withdrawal.amount > self.supply or withdrawal.withdrawal in self.locks:
            return False
        self.locks[withdrawal.withdrawal] = withdrawal
        self.height += 1
        return True

    def succeed(self) -> None:
        """The mint key of the epoch signs who comes next."""
        assert not self.paused
        self.epoch += 1
        self.height += 1

    def take(self, statement: MintStatement | SettleStatement, manifest: bytes) -> bool:
        """Apply a certificate; False while it cannot be applied."""
        if self.paused or statement.epoch != self.epoch or self.chain.depth(statement.block_hash) < K:
            return False
        if isinstance(statement, MintStatement):
            known = self.minted.get(statement.outpoint)
            if known is None or not self.chain.depth(known.block_hash):
                assert known is None or (known.recipient, known.amount) == (
                    statement.recipient,
                    statement.amount,
                )
                self.minted[statement.outpoint] = statement
        elif statement.withdrawal not in self.settled:
            lock = self.locks[statement.withdrawal]
            assert (lock.script, lock.amount) == (statement.script, statement.paid + statement.fee)
            self.settled[statement.withdrawal] = statement
        self.manifests[statement.manifest_hash] = manifest
        self.height += 1
        return True

    def reorged(self) -> None:
        """The view turned: a settlement whose block is gone is open again."""
        lost = [i for i, s in self.settled.items() if not self.chain.depth(s.block_hash)]
        for identity in lost:
            del self.settled[identity]

    def facts(self) -> RollupFacts:
        amounts = {i: w.amount for i, w in self.locks.items()}
        return RollupFacts(
            height=self.height,
            final_height=self.chain.height - K + 1,
            supply=Sats(self.supply),
            escrow=Sats(self.escrow),
            minted={o: m.amount for o, m in self.minted.items()},
            locked={i: a for i, a in amounts.items() if i not in self.settled},
            settled={i: a for i, a in amounts.items() if i in self.settled},
        )

    def events(self, books: Books) -> Iterator[led.Event]:
        """What the ledger is told: all of it, every time."""
        for outpoint, m in self.minted.items():
            yield led.DepositMinted(outpoint, m.recipient, m.amount, m.fee, m.txid)
        for identity, w in self.locks.items():
            yield led.WithdrawalLocked(identity, w.amount, w.script)
        for identity in set(books.settled) - set(self.settled):
            yield led.SettlementUndone(identity)
        for identity, s in self.settled.items():
            yield led.WithdrawalSettled(identity, s.paid, s.fee, s.txid)
