"""The ledger: hash-chained, replayable, deaf to repetitions, loud about contradictions."""

from dataclasses import replace

import pytest

from anchor.btc.hashing import sha256
from bridge.ledger import events as ev
from bridge.ledger.replay import Books, append, replay
from tests.bridge.keys import coin, key_of, payee

A, B = sha256(b"a"), sha256(b"b")
MINTED = ev.DepositMinted(coin("alice"), key_of("alice"), 49_000, 1_000, A)
LOCKED = ev.WithdrawalLocked(B, 30_000, payee("bob"))
SETTLED = ev.WithdrawalSettled(B, 29_200, 800, A)
SWEPT = ev.SweepConfirmed(1, A, B, 201, 1_049_000)
PAID = ev.PayoutConfirmed(2, B, A, 204, 1_019_000)
MOVED = ev.MoveConfirmed(3, B, A, 209, 1_018_000, 2)
UNDONE = ev.BatchUndone(2, B, 204)
DEFICIT = ev.DeficitRecorded(17, 5_000, "a reorg of 4 blocks")
REOPENED = ev.SettlementUndone(B)
STORY = [MINTED, SWEPT, LOCKED, PAID, SETTLED, MOVED, DEFICIT, UNDONE, replace(DEFICIT, amount=0), REOPENED]


def written(*events):
    books, lines = Books(), []
    for event in events:
        books, line = append(books, event)
        lines.append(line)
    return books, lines


def test_the_books_follow_from_the_lines():
    books, lines = written(*STORY)
    assert (books.supply, books.escrow, books.deficit) == (19_000, 30_000, 0)
    assert written(*STORY, SETTLED)[0].escrow == 0
    assert books.batches == {1: (A, 1_049_000)}
    assert books.number == len(STORY)
    assert replay(lines) == books
    assert written(MINTED, LOCKED)[0].escrow == 30_000


@pytest.mark.parametrize("event", STORY, ids=lambda e: type(e).__name__)
def test_an_entry_survives_its_bytes_and_none_can_be_cut_or_added(event):
    entry = ev.Entry(3, A, event)
    data = entry.encode()
    assert ev.Entry.decode(data) == entry
    for bad in (data[:-1], data + b"\0", data[:10], b""):
        with pytest.raises(ev.LedgerFault):
            ev.Entry.decode(bad)


def test_an_unknown_event_is_refused_with_the_next_move():
    with pytest.raises(ev.LedgerFault, match="version"):
        ev.decode_event(b"\x63")


@pytest.mark.parametrize("again", [MINTED, LOCKED, SETTLED, SWEPT, MOVED], ids=lambda e: type(e).__name__)
def test_a_repeated_event_writes_no_line(again):
    books, _ = written(MINTED, SWEPT, LOCKED, PAID, SETTLED, MOVED, DEFICIT)
    assert append(books, again) is None
    assert append(books, DEFICIT) is None
    assert append(books, replace(UNDONE, txid=A)) is None
    assert append(books, replace(REOPENED, withdrawal=A)) is None


@pytest.mark.parametrize(
    "lie",
    [
        replace(MINTED, amount=49_001),
        replace(LOCKED, amount=30_001),
        replace(LOCKED, withdrawal=A, amount=19_001),
        replace(SETTLED, paid=29_201),
        replace(SETTLED, withdrawal=A),
        replace(SWEPT, txid=B),
        replace(PAID, value=1),
        replace(MOVED, sequence=2),
    ],
    ids=str,
)
def test_a_contradiction_is_refused(lie):
    books, _ = written(MINTED, SWEPT, LOCKED, PAID)
    with pytest.raises(ev.LedgerFault):
        append(books, lie)


def test_a_ledger_that_was_changed_cut_or_reordered_does_not_replay():
    _, lines = written(*STORY)
    changed = [replace(lines[0], event=replace(MINTED, fee=999)), *lines[1:]]
    for bad, line in ((changed, 2), (lines[1:], 1), ([lines[1], lines[0]], 1), ([*lines[:3], *lines[4:]], 4)):
        with pytest.raises(ev.LedgerFault, match=f"line {line} does not follow"):
            replay(bad)


def test_a_line_that_repeats_an_earlier_one_does_not_replay():
    books, lines = written(MINTED)
    with pytest.raises(ev.LedgerFault, match="repeats"):
        replay([*lines, ev.Entry(2, books.head, MINTED)])
