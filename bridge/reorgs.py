"""What reorgs did to anchors, deposits and payouts, and what became of each: the bridge's half of the reorg ledger.

What a block holds of ours is kept when the block is followed (`bridge/block_items.py`). A reorg's row in the header
ledger is examined once; from then on each thing that it took out is looked at until its fate is final.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import structlog

from anchor.api_wire import TouchedView
from anchor.btc.ids import BlockHash, OutPoint, Txid, display
from anchor.feed import HeaderFeed
from anchor.headers.chain import HeaderChain, branch
from anchor.jsonrpc import NodeError
from anchor.stream import Stream
from bridge.deposit import states as dst
from bridge.ledger.touched import GONE, Item, Outcome, Place, Touched, expand, outcome, outpoint_key, sentence
from bridge.reorg_store import ReorgStore, TouchedRow
from bridge.store import DepositRow
from bridge.treasury.manifest import Manifest, PayoutManifest
from bridge.watch import ChainView
from bridge.withdrawal import states as wst

MOST_LOST = 50  # deposits that bitcoind is asked about per block: whether their coins are spent
log = structlog.get_logger("bridge.reorgs")
Key = tuple[str, str]  # kind and key of an item


class Coins(Protocol):
    """A bitcoind that is asked whether a deposit can still come back."""

    async def in_mempool(self, txid: Txid) -> bool:
        """Whether it holds the transaction unconfirmed."""
        ...

    async def txout(self, outpoint: OutPoint, include_mempool: bool = True) -> Any:
        """A coin, None when it is spent or never was."""
        ...


@dataclass(frozen=True, slots=True)
class Now:
    """What this node knows at one moment: its view, its rows and machines, manifests by hash."""

    view: ChainView
    deposits: Sequence[DepositRow]
    withdrawals: Mapping[bytes, wst.State]
    manifests: Mapping[bytes, Manifest]


@dataclass(frozen=True, slots=True)
class Fate:
    """What is true now of something that a reorg took out; `settled` when it is final."""

    became: Outcome
    state: str | None
    settled: bool


class ReorgBook:
    """Examines reorgs and follows what they touched; the stream tells every change of fate."""

    def __init__(
        self,
        feed: HeaderFeed,
        store: ReorgStore,
        coins: Coins,
        is_final: Callable[[BlockHash], bool],
        k: int,
        stream: Stream | None,
        clock: Callable[[], float],
    ) -> None:
        self._feed, self._store, self._coins, self._is_final = feed, store, coins, is_final
        self._k, self._stream, self._clock = k, stream, clock
        self._open: list[TouchedRow] | None = None  # None: to be read
        self.counts: dict[str, int] = {}  # what reorgs took out, by outcome
        self._at: BlockHash | None = None  # the tip at which reorgs and lost coins were looked for
        self._lost: set[str] = set()
        self._now: Now | None = None  # of the last tick
        self._turn = 0

    async def tick(self, now: Now) -> None:
        """Examine reorgs that are new, then bring every open row to where the chain is."""
        self._now = now
        moved = self._at != now.view.hash
        if moved:
            await self._examine(now)
        if self._open is None:
            self._open, self.counts = await self._store.open_rows(), await self._store.counts()
        if not self._open:
            self._at = now.view.hash
            return
        places = dict(_places(now, self._feed.chain))
        if moved:
            try:
                await self._look_for_lost(self._open, places)
                self._at = now.view.hash
            except NodeError as error:  # value does not wait for it: asked again in the next round
                log.info("lost_coins_unknown", error=str(error))
        states = dict(_states(now))
        for row in self._open:
            fate = self._fate(row, places, states.get(_key(row.touched.item)), now.view.height)
            if (fate.became, fate.state, fate.settled) != (_became(row), row.state, row.settled):
                await self._store.decide(
                    row,
                    fate.became,
                    fate.state,
                    int(self._clock()),
                    now.view.height,
                    settled=fate.settled,
                )
                if (fate.became, fate.settled) != (_became(row), row.settled):
                    self._tell(row, fate)
                self._open = None  # read again at the next tick; the loop goes on over the old list

    def _tell(self, row: TouchedRow, fate: Fate) -> None:
        item = row.touched.item
        log.info("reorg_outcome", reorg=row.reorg, kind=item.kind, key=item.key, outcome=fate.became.word)
        if self._stream is not None:
            self._stream.tell("outcome", {"reorg": row.reorg, "touched": _view(row, fate)})

    async def touched(self, reorgs: Sequence[int]) -> dict[int, list[TouchedView]]:
        """What reorgs touched and what became of it, by the reorg's id."""
        found = await self._store.of_reorgs(reorgs)
        states = {} if self._now is None or not found else dict(_states(self._now))
        return {
            reorg: [
                _view(row, Fate(_became(row), states.get(_key(row.touched.item), row.state), row.settled))
                for row in rows
            ]
            for reorg, rows in found.items()
        }

    async def _examine(self, now: Now) -> None:
        """Write down what reorgs took out that were not examined yet."""
        done = await self._store.examined()
        while fresh := [row for row in await self._feed.reorgs(1000) if row.id > done]:
            for row in reversed(fresh):
                old, fork = self._feed.chain.get(row.old_tip), self._feed.chain.get(row.fork_hash)
                left = [] if old is None or fork is None else [at.hash for at in branch(old, fork)]
                inside = [
                    Touched(item, touched.height, touched.block)
                    for touched in await self._store.of_blocks(left)
                    for item in expand(touched.item, _payouts(touched.item, now))
                ]
                await self._store.touch(row.id, inside, int(self._clock()), now.view.height)
                done, self._open = row.id, None

    def _fate(self, row: TouchedRow, places: Mapping[Key, Place], state: str | None, height: int) -> Fate:
        item = row.touched.item
        place, lost = places.get(_key(item)), False
        if place is None and item.kind in ("deposit", "sweep"):  # no deposit, no sweep
            lost = item.key in self._lost and ("deposit", item.key) not in places
        rival = {"sweep": "reclaim", "reclaim": "sweep"}.get(item.kind)
        if place is None and rival is not None and (rival, item.key) in places:
            place, lost = places[rival, item.key], True
        became = outcome(item, place, lost=lost)
        if became.place is not None:
            return Fate(became, state, self._is_final(became.place.block))
        since = row.changed_height if row.outcome == GONE else height
        return Fate(became, state, became.word == GONE and height - since >= self._k)

    async def _look_for_lost(self, rows: Sequence[TouchedRow], places: Mapping[Key, Place]) -> None:
        """Find deposits in no block whose coins another transaction spent."""
        items = [r.touched.item for r in rows if r.touched.item.kind == "deposit"]
        out = {item.key: item for item in items if _key(item) not in places}
        self._lost = await self._store.gone_deposits() | (self._lost & out.keys())
        self._turn += 1
        start = self._turn * MOST_LOST % max(len(out), 1)  # of very many, others each time
        turned = [*out.values()][start:] + [*out.values()][:start]
        for item in turned[:MOST_LOST]:
            self._lost.discard(item.key)
            if await self._cannot_come_back(item):
                self._lost.add(item.key)

    async def _cannot_come_back(self, item: Item) -> bool:
        if await self._coins.in_mempool(item.txid):
            return False
        for text in item.more.get("inputs", ()):
            coin = OutPoint.parse(text)
            if await self._coins.txout(coin, include_mempool=False) is None and not (
                await self._coins.in_mempool(coin.txid)
            ):
                return True  # spent in a block, or its own parent is gone, too
        return False


def _view(row: TouchedRow, fate: Fate) -> TouchedView:
    item, place = row.touched.item, fate.became.place
    now_txid = None if place is None else display(place.txid)
    now_height = None if place is None else place.height
    text = sentence(fate.became.word, item.kind, now_txid, now_height, settled=fate.settled)
    return TouchedView(
        item.kind,
        item.key,
        display(item.txid),
        item.value,
        row.touched.height,
        fate.became.word,
        text,
        now_txid,
        now_height,
        None
        if (fate.became.word, fate.state) == (GONE, "SEEN")
        else fate.state,  # its machine waits for ever
        fate.settled,
    )


def _key(item: Item) -> Key:
    return item.kind, item.key


def _became(row: TouchedRow) -> Outcome:
    if row.now_txid is None or row.now_height is None or row.now_block is None:
        return Outcome(row.outcome)
    return Outcome(row.outcome, Place(Txid(row.now_txid), row.now_height, BlockHash(row.now_block)))


def _payouts(item: Item, now: Now) -> dict[bytes, int]:
    """What a payout batch paid, by withdrawal; nothing while its manifest is not known here."""
    manifest = now.manifests.get(bytes.fromhex(item.more["manifest"])) if item.kind == "batch" else None
    if not isinstance(manifest, PayoutManifest):
        return {}
    return {p.withdrawal: p.amount for p in manifest.payouts}


def _places(now: Now, chain: HeaderChain) -> Iterator[tuple[Key, Place]]:
    """Where everything of ours is on the main chain, by kind and key."""
    yield from _lane_places(now.view, chain)
    batches: dict[bytes, Place] = {}
    for batch in now.view.treasury.batches:
        place = batches[bytes(batch.txid)] = Place(batch.txid, batch.height, now.view.block_of(batch))
        yield ("batch", str(batch.sequence)), place
        manifest = now.manifests.get(batch.manifest_hash)
        if isinstance(manifest, PayoutManifest):
            yield from ((("payout", p.withdrawal.hex()), place) for p in manifest.payouts)
    for row in now.deposits:
        key = outpoint_key(row.outpoint)
        if row.height is not None and row.block is not None:
            yield ("deposit", key), Place(Txid(row.outpoint[:32]), row.height, BlockHash(row.block))
        if row.spent_by is not None and row.spent_height is not None:
            sweep = batches.get(row.spent_by)
            if sweep is not None:
                yield ("sweep", key), sweep
            elif (at := chain.at_height(row.spent_height)) is not None:
                yield ("reclaim", key), Place(Txid(row.spent_by), row.spent_height, at.hash)


def _lane_places(view: ChainView, chain: HeaderChain) -> Iterator[tuple[Key, Place]]:
    found: list[tuple[str, int, int, Txid, int]] = []
    for a in view.anchors:
        lane, sequence = a.found.payload.lane, a.found.payload.sequence
        found.append(("anchor", lane, sequence, a.found.txid, a.found.height))
        found.append(("commit", lane, sequence, a.found.commit, a.found.commit_height))
    for r in view.rotations:
        found.append(("rotation", r.found.lane, r.found.sequence, r.found.txid, r.found.height))
        found.append(("commit", r.found.lane, r.found.sequence, r.found.commit, r.found.commit_height))
    found += [("void", void.lane, void.sequence, void.txid, void.height) for void in view.voids]
    for state in view.lanes:
        if state.pending is not None:
            pending = state.pending
            found.append(("commit", state.lane, state.sequence + 1, pending.outpoint.txid, pending.height))
    for kind, lane, sequence, txid, height in found:
        if (at := chain.at_height(height)) is not None:
            yield (kind, f"{lane}:{sequence}"), Place(txid, height, at.hash)


def _states(now: Now) -> Iterator[tuple[Key, str]]:
    """The names of the machines' states, as users see them."""
    for row in now.deposits:
        name, key = dst.name(dst.decode(row.state)), outpoint_key(row.outpoint)
        yield from (((kind, key), name) for kind in ("deposit", "sweep", "reclaim"))
    for identity, state in now.withdrawals.items():
        yield ("payout", identity.hex()), wst.name(state)
