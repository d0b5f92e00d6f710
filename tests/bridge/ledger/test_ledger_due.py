"""What becomes final is written down once, in order, and survives a restart."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from anchor.btc.amounts import Height, Sats
from anchor.btc.ids import BlockHash, OutPoint, Txid
from anchor.rollup.state import Minted, Withdrawal
from anchor.rollup.statements import MintStatement, SettleStatement
from anchor.rollup.tx import Lock
from bridge.deposit.address import DepositParams
from bridge.journal import Journal
from bridge.ledger import events as ev
from bridge.ledger.due import FinalBatch, Present, due
from bridge.ledger.events import LedgerFault
from bridge.ledger.replay import Books, append
from bridge.library import Library
from bridge.params import REGTEST
from bridge.store import BridgeStore
from bridge.treasury.manifest import MoveManifest, SweepManifest, SweptDeposit
from bridge.treasury.reader import BatchAt
from migrations.database import open_database
from migrations.upgrade import upgrade

KEY = bytes.fromhex("79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798")
COIN = OutPoint(Txid(b"d" * 32), 0)
SCRIPT = b"\x51\x20" + KEY
TIP = OutPoint(Txid(b"t" * 32), 0)
MANIFEST = SweepManifest(
    1,
    1,
    TIP,
    Sats(1_000_000),
    b"p" * 32,
    Sats(225),
    (SweptDeposit(COIN, Sats(50_000), DepositParams(KEY, KEY, REGTEST.reclaim_delay), Sats(1_000), 1),),
)
BATCH = BatchAt(1, Txid(b"s" * 32), MANIFEST.hash, 101, Sats(1_049_775), (COIN,), BlockHash(b"b" * 32))
MINT = MintStatement(
    1,
    b"g" * 32,
    1,
    COIN,
    KEY,
    Sats(49_000),
    Sats(1_000),
    BATCH.txid,
    BlockHash(b"b" * 32),
    Height(101),
    MANIFEST.hash,
)
LOCK = Lock(KEY, 0, Sats(20_000), SCRIPT, Sats(1_000), Height(300))
PAID = SettleStatement(
    1,
    b"g" * 32,
    1,
    b"w" * 32,
    SCRIPT,
    Sats(19_000),
    Sats(1_000),
    Txid(b"q" * 32),
    BlockHash(b"c" * 32),
    Height(105),
    b"n" * 32,
)


def rollup(*, locked: bool = False, settled: bool = False) -> Any:
    """The rollup's word: one mint in block 5, perhaps a lock in block 6."""
    lock = Withdrawal(LOCK, 6, PAID if settled else None)
    return SimpleNamespace(
        minted={COIN: Minted(MINT, 5)},
        withdrawals={b"w" * 32: lock} if locked else {},
        height=10,
        view=SimpleNamespace(tip=SimpleNamespace(height=110)),
    )


def written(books: Books, now: Present) -> Books:
    """The books after all that is due."""
    for event in due(books, now):
        added = append(books, event)
        assert added is not None, "nothing is due twice"
        books = added[0]
    return books


def present(
    state: Any, *, final: int = 9, batches: tuple[BatchAt, ...] = (BATCH,), deficit: int = 0
) -> Present:
    return Present(state, final, batches, [FinalBatch(b, MANIFEST) for b in batches], deficit)


def test_a_move_is_written_with_the_epoch_that_begins():
    move = MoveManifest(1, 1, TIP, Sats(1_000_000), b"p" * 32, Sats(200), 2, b"\x02" + KEY, b"r" * 32)
    at = BatchAt(1, Txid(b"m" * 32), move.hash, 101, Sats(999_800), (), BlockHash(b"b" * 32), move)
    (line, *_) = due(Books(), replace(present(rollup()), batches=(at,), final_batches=[FinalBatch(at, move)]))
    assert line == ev.MoveConfirmed(1, at.txid, move.hash, 101, 999_800, 2)


def test_a_sweep_a_mint_and_a_lock_are_written_in_that_order_and_once():
    now = present(rollup(locked=True))
    kinds = [type(event) for event in due(Books(), now)]
    assert kinds == [ev.SweepConfirmed, ev.DepositMinted, ev.WithdrawalLocked]
    books = written(Books(), now)
    assert (books.supply, books.escrow) == (29_000, 20_000)
    assert list(due(books, now)) == []


def test_what_is_not_in_a_final_rollup_block_waits():
    assert [type(e) for e in due(Books(), present(rollup(locked=True), final=5))] == [
        ev.SweepConfirmed,
        ev.DepositMinted,
    ]


def test_a_settlement_ends_the_escrow():
    books = written(Books(), present(rollup(locked=True)))
    books = written(books, present(rollup(locked=True, settled=True)))
    assert books.escrow == 0


def test_a_settlement_that_the_rollup_took_back_is_written_once_and_may_come_again():
    now, undone = present(rollup(locked=True, settled=True)), present(rollup(locked=True))
    books = written(written(Books(), undone), now)
    assert [type(e) for e in due(books, undone)] == [ev.SettlementUndone]
    books = written(books, undone)
    assert books.escrow == 20_000
    assert list(due(books, undone)) == []
    assert written(books, now).escrow == 0


def test_a_batch_that_a_deep_reorg_took_is_written_down_as_undone_and_the_deficit_with_it():
    books = written(Books(), present(rollup()))
    events = list(due(books, present(rollup(), batches=(), deficit=49_000)))
    assert [type(e) for e in events] == [ev.BatchUndone, ev.DeficitRecorded]
    books = written(books, present(rollup(), batches=(), deficit=49_000))
    assert books.deficit == 49_000
    healed = written(books, present(rollup()))
    assert (healed.deficit, healed.batches) == (0, {1: (BATCH.txid, BATCH.value)})


async def test_the_journal_survives_a_restart_and_refuses_a_changed_line(tmp_path):
    upgrade("node", tmp_path / "node.db")
    engine = open_database(tmp_path / "node.db")
    try:
        store = BridgeStore(engine)
        library = Library(store)
        await library.add(MANIFEST.encode())
        view: Any = SimpleNamespace(
            treasury=SimpleNamespace(batches=(BATCH,)), block_of=lambda _: BlockHash(b"b" * 32)
        )
        journal = Journal(store, library, lambda _: True)
        assert await journal.write(view, rollup(locked=True), 9, 0) == 3
        assert await journal.write(view, rollup(locked=True), 9, 0) == 0
        again = Journal(store, library, lambda _: True)
        await again.load()
        assert again.books == journal.books
        async with engine.begin() as db:
            await db.exec_driver_sql("UPDATE ledger SET entry = (SELECT entry FROM ledger WHERE number = 1)")
        with pytest.raises(LedgerFault, match="does not follow"):
            await again.load()
    finally:
        await engine.dispose()
