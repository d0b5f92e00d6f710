"""Where a signed batch stands on this node's own chain: mined, displaced, or waiting on its tip."""

from collections.abc import Callable

from anchor.btc.ids import BlockHash, OutPoint, Txid
from anchor.headers.chain import HeaderChain
from anchor.inscription.reader import LaneState
from anchor.outbox.events import Spender
from anchor.outbox.states import Mined
from bridge.outgoing import Whereabouts
from bridge.watch import ChainView

Stages = tuple[tuple[Txid, ...], ...]
IsFinal = Callable[[BlockHash], bool]


def of_lane_batch(
    view: ChainView, chain: HeaderChain, is_final: IsFinal, sequence: int, tip: OutPoint, stages: Stages
) -> Whereabouts:
    """Where a lane's package is: stage 0 the commit, stage 1 the rungs of its reveal."""
    links = _lane_links(view, chain)
    lane = view.lane(0)
    link = links.get(sequence)
    if link is None:
        return _unspent(lane, links, sequence, tip)
    commit, end, void = link
    if commit.txid not in stages[0]:
        return Whereabouts(displaced=(commit, Spender.OTHER_PACKAGE, "another batch took the lane's tip"))
    if end is None:
        return Whereabouts((commit,))
    if void:
        return Whereabouts((commit,), displaced=(end, Spender.VOID, "the commit was voided"))
    return Whereabouts((commit, end), buried=is_final(BlockHash(end.block_hash)))


def _lane_links(view: ChainView, chain: HeaderChain) -> dict[int, tuple[Mined, Mined | None, bool]]:
    """Commit, reveal or void, and which, by sequence number, of lane 0."""
    links: dict[int, tuple[Mined, Mined | None, bool]] = {}
    for a in view.anchors:
        if a.found.payload.lane == 0:
            end = Mined(a.found.txid, a.block, a.found.height)
            commit = _mined(chain, a.found.commit, a.found.commit_height)
            links[a.found.payload.sequence] = (commit, end, False)
    for r in view.rotations:
        if r.found.lane == 0:
            end = Mined(r.found.txid, r.block, r.found.height)
            links[r.found.sequence] = (_mined(chain, r.found.commit, r.found.commit_height), end, False)
    for v in view.voids:
        if v.lane == 0:
            end = _mined(chain, v.txid, v.height)
            links[v.sequence] = (Mined(v.commit, end.block_hash, end.height), end, True)
    lane = view.lane(0)
    if lane is not None and lane.pending is not None:
        commit = _mined(chain, lane.pending.outpoint.txid, lane.pending.height)
        links[lane.sequence + 1] = (commit, None, False)
    return links


def _unspent(
    lane: LaneState | None,
    links: dict[int, tuple[Mined, Mined | None, bool]],
    sequence: int,
    tip: OutPoint,
) -> Whereabouts:
    if lane is None or lane.tip == tip or sequence != lane.sequence + 1 or lane.sequence not in links:
        return Whereabouts()
    return Whereabouts(survivor=links[lane.sequence][1])


def of_treasury_batch(
    view: ChainView, is_final: IsFinal, sequence: int, tip: OutPoint, stages: Stages
) -> Whereabouts:
    """Where a treasury batch is: one stage, one version."""
    batches = {b.sequence: b for b in view.treasury.batches}
    batch = batches.get(sequence)
    if batch is not None:
        block = view.block_of(batch)
        mined = Mined(batch.txid, block, batch.height)
        if batch.txid in stages[0]:
            return Whereabouts((mined,), buried=is_final(block))
        return Whereabouts(displaced=(mined, Spender.OTHER_PACKAGE, "another batch took the treasury's tip"))
    last = batches.get(sequence - 1)
    if last is None or view.treasury.tip == tip:
        return Whereabouts()
    return Whereabouts(survivor=Mined(last.txid, view.block_of(last), last.height))


def _mined(chain: HeaderChain, txid: bytes, height: int) -> Mined:
    at = chain.at_height(height)
    assert at is not None, "the view stands on this chain"
    return Mined(txid, at.hash, height)
