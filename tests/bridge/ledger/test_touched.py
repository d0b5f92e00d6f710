"""What became of something that a reorg took out, judged from facts alone."""

import pytest

from anchor.btc.ids import BlockHash, Txid
from bridge.ledger.touched import Item, Outcome, Place, expand, outcome, sentence

TXID, OTHER = Txid(b"\x01" * 32), Txid(b"\x02" * 32)
SWEEP = Item("sweep", "aa:0", TXID)


def place(txid: Txid) -> Place:
    return Place(txid, 120, BlockHash(b"\x03" * 32))


@pytest.mark.parametrize(
    ("now", "lost", "word"),
    [
        (None, False, "waiting"),
        (None, True, "gone"),
        (place(TXID), False, "confirmed"),
        (place(OTHER), False, "replaced"),
        (place(OTHER), True, "gone"),
    ],
)
def test_an_item_waits_is_confirmed_replaced_or_gone(now: Place | None, lost: bool, word: str) -> None:
    assert outcome(SWEEP, now, lost=lost) == Outcome(word, now)


def test_a_batch_is_told_with_the_sweeps_and_payouts_in_it_and_nothing_else_is() -> None:
    batch = Item("batch", "4", TXID, more={"inputs": ["aa:0", "bb:1"]})
    inside = list(expand(batch, {b"\x09" * 32: 5_000}))
    assert [(i.kind, i.key, i.value) for i in inside] == [
        ("batch", "4", None),
        ("sweep", "aa:0", None),
        ("sweep", "bb:1", None),
        ("payout", "09" * 32, 5_000),
    ]
    assert list(expand(SWEEP, {})) == [SWEEP]


def test_people_are_told_where_it_is_and_who_has_to_do_what() -> None:
    assert sentence("confirmed", "sweep", "ab", 120, settled=True) == "in block 120 again, finally"
    assert sentence("replaced", "payout", "ab", 120, settled=False).endswith("in block 120, by ab")
    assert "its sender has to send it again" in sentence("waiting", "deposit", None, None, settled=False)
    assert "the committee sends it again" in sentence("waiting", "anchor", None, None, settled=False)
    assert "a rival spent its coins" in sentence("gone", "deposit", None, None, settled=False)
    assert "taken by ab in block 120" in sentence("gone", "sweep", "ab", 120, settled=False)
