"""What a reorg takes out of the chain, and what became of it: pure facts and their verdict.

Kinds: *anchor*, *rotation*, *commit* and *void* by lane and sequence; *batch* of the treasury (a move too) by
sequence; *deposit*, *sweep* and *reclaim* by the deposit's outpoint; *payout* by the withdrawal's id.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from anchor.btc.ids import BlockHash, OutPoint, Txid

WAITING, CONFIRMED, REPLACED, GONE = "waiting", "confirmed", "replaced", "gone"


@dataclass(frozen=True, slots=True)
class Item:
    """Something of ours in a block; `key` as people read it, `value` in satoshis where it has one of its own."""

    kind: str
    key: str
    txid: Txid
    value: int | None = None
    more: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Touched:
    """An item of a block that left the main chain: the block's hash and height."""

    item: Item
    height: int
    block: BlockHash


@dataclass(frozen=True, slots=True)
class Place:
    """A transaction in a block of the main chain."""

    txid: Txid
    height: int
    block: BlockHash


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a touched item: `word` is waiting, confirmed, replaced or gone, `place` where it is now."""

    word: str
    place: Place | None = None


def outcome(was: Item, now: Place | None, *, lost: bool = False) -> Outcome:
    """Judge: `now` is what does the same on the main chain, `lost` that the old transaction cannot come back."""
    if now is None:
        return Outcome(GONE if lost else WAITING)
    if lost:  # something else took its coin
        return Outcome(GONE, now)
    return Outcome(CONFIRMED if now.txid == was.txid else REPLACED, now)


def expand(item: Item, payouts: Mapping[bytes, int]) -> Iterator[Item]:
    """Yield a treasury batch with what is in it: sweeps by its inputs, `payouts` (id to satoshis) if known."""
    yield item
    if item.kind != "batch":
        return
    for outpoint in item.more.get("inputs", ()):
        yield Item("sweep", outpoint, item.txid)
    for identity, value in payouts.items():
        yield Item("payout", identity.hex(), item.txid, value)


def sentence(word: str, kind: str, now_txid: str | None, now_height: int | None, *, settled: bool) -> str:
    """Say what became of an item, for people; txids in display order."""
    end = ", finally" if settled else ""
    if word == CONFIRMED:
        return f"in block {now_height} again{end}"
    if word == REPLACED:
        return f"done instead in block {now_height}{end}, by {now_txid}"
    if word == GONE and now_txid is not None:
        return f"its coin was taken by {now_txid} in block {now_height}{end}"
    if word == GONE:
        return f"gone: a rival spent its coins{end}"
    if kind == "deposit":
        return "waits for a block; if nobody mines it, its sender has to send it again"
    return "waits for a block; the committee sends it again"


def outpoint_key(outpoint: bytes) -> str:
    """Return an outpoint as the key of an item."""
    return str(OutPoint.decode(outpoint))
