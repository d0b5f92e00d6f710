"""Two reorgs: a network that splits and heals, and a depositor who double-spends with a miner's help."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from regtest.operators import Node, wait_tip
from regtest.story import anchors, coins
from regtest.story.scene import Person, Scene
from regtest.telling import short
from regtest.wallets import Rivals


@dataclass(frozen=True, slots=True)
class Sides:
    """Numbers of the bitcoinds on each side of a split."""

    winners: tuple[int, ...]
    losers: tuple[int, ...]


# A split


def split(s: Scene) -> Sides:
    """Cut the network; the winners' bitcoinds restart and have forgotten every unconfirmed transaction.

    As many operators as sign win; the last bitcoind, which serves rollup and miner, is on the other side.
    """
    world, network = s.world, s.world.network
    parts = Sides(tuple(range(world.threshold)), tuple(range(world.threshold, world.size + 1)))
    network.split(parts.winners, parts.losers)
    forget_mempools(s, parts.winners)
    s.tell.say(
        f"the network splits at height {network.height()}: {len(parts.winners)} to {len(parts.losers)}"
    )
    return parts


def forget_mempools(s: Scene, which: tuple[int, ...]) -> None:
    """Restart bitcoinds, one after the other; they keep no mempool, and peers do not announce theirs again."""
    for i in which:
        s.world.network.nodes[i].restart()
        s.world.network.connect()


def mine_losing(s: Scene, parts: Sides, *txids: str) -> str:
    """Mine one block with exactly these transactions on the losing side; its nodes and the rollup have seen it."""
    world = s.world
    block = world.network.mine_these(world.miner, txids)
    world.network.wait_same_tip(parts.losers)
    wait_tip([world.operators[i] for i in parts.losers if i < world.size], block)
    s.until(lambda: s.status()["bitcoin"]["tip_hash"] == block, "the rollup to see the losing side")
    return block


def mine_winning(s: Scene, parts: Sides, count: int) -> str:
    """Mine empty blocks on the winning side; its nodes have seen them. Returns the last."""
    world = s.world
    block = world.network.mine_empty(parts.winners[0], count)[-1]
    world.network.wait_same_tip(parts.winners)
    wait_tip([world.operators[i] for i in parts.winners], block)
    return block


def brought_back(s: Scene, parts: Sides, *txids: str) -> None:
    """Cut off and with empty mempools, the winners' bitcoinds get the transactions: from their nodes alone."""
    for txid in txids:
        s.world.network.wait_in_mempools(txid, parts.winners)
    s.tell.check(
        True,
        f"cut off and restarted, {len(parts.winners)} bitcoinds have all {len(txids)} from their own nodes",
    )


def heal(s: Scene, won: str) -> None:
    """Join the network; the longer side wins."""
    s.world.network.heal()
    s.tell.equal(s.world.wait_seen(), won, f"the network heals: {short(won)} is everybody's tip")


def reported(s: Scene, nodes: list[Node], lost: str, depth: int) -> None:
    """Feed, health and the rollup's view tell of the reorg with its depth; value is not paused."""
    for node in nodes:
        row = _row(s, lambda node=node: node.get("/v1/reorgs")["reorgs"], lost, f"{node.name}'s feed")  # type: ignore[misc]  # mypy infers no defaults
        s.tell.equal(row["depth"], depth, f"{node.name}'s feed reports the fork, depth {depth}")
        row = _row(s, lambda node=node: _alarms(node), lost, f"{node.name}'s alarm")  # type: ignore[misc]  # mypy infers no defaults
        s.tell.equal(row["depth"], depth, f"{node.name}'s alarm, {row['level']}: {row['text']}")
    row = _row(s, lambda: s.world.rollup.get("/v1/reorgs"), lost, "the rollup's view")
    s.tell.equal(row["depth"], depth, "the rollup's view switched, too")
    s.tell.equal(s.status()["paused"], None, f"{depth} is less than k: value is not paused")


def _alarms(node: Node) -> list[Any]:
    alarms = node.get("/v1/health")["alarms"]
    return [{**each, **each["data"]} for each in alarms if each["kind"] == "reorg"]


def _row(s: Scene, rows: Callable[[], list[Any]], lost: str, whose: str) -> Any:
    """The row about the reorg that took this tip away, once it is there."""
    s.until(lambda: _with_tip(rows(), lost) is not None, f"{whose} to tell of the reorg that took {lost}")
    return _with_tip(rows(), lost)


def _with_tip(rows: list[Any], lost: str) -> Any:
    return next((row for row in rows if row["old_tip"] == lost), None)


def not_rewound(s: Scene, blocks: list[Any]) -> None:
    """The rollup's blocks from before are all still there."""
    again = [each.hash for each in s.blocks()][: len(blocks)]
    s.tell.equal(
        again, [each.hash for each in blocks], f"the rollup is not rewound: all {len(blocks)} blocks stand"
    )


# A double-spend


@dataclass(frozen=True, slots=True)
class Lost:
    """What a double-spend's reorg takes away."""

    kept: coins.Deposit
    sweep: str
    first: tuple[str, str]
    second: tuple[str, str]
    tip: str
    won: str


def double_spend(s: Scene, owner: Person, sats: int, node: Node) -> Lost:
    """Two deposits, one of them to be taken back; two anchors, one upon the other; then a reorg of both blocks.

    The rival chain holds the double-spend and the honest deposit, and neither anchors nor sweep.
    """
    world, network = s.world, s.world.network
    first = anchors.pending(s)
    kept = coins.deposit(s, owner, sats, node)
    rivals = world.depositor.rivals(kept.address, sats)
    world.network.wait_in_mempools(rivals.payment.txid)
    bottom = s.mined(*first, rivals.payment.txid, kept.paid.txid)
    sweep = coins.sweep_of(s, kept)
    s.tell.check(
        str(rivals.payment) in world.inputs(sweep), f"and {rivals.payment} with it, which will be taken back"
    )
    second = anchors.pending(s)
    tip = s.mined(sweep, *second)
    s.rollup_sees_tip()
    won = _rival_chain(s, bottom, rivals, kept)
    network.heal()
    s.tell.equal(
        world.wait_seen(), won, f"a miner replaces both blocks, one payment double-spent: {short(won)}"
    )
    forget_mempools(s, tuple(range(world.size)))
    return Lost(kept, sweep, first, second, tip, won)


def _rival_chain(s: Scene, bottom: str, rivals: Rivals, kept: coins.Deposit) -> str:
    """Have the first bitcoind, alone, make a longer chain in place of the last two blocks; return its tip."""
    network = s.world.network
    raw = s.world.depositor.raw(kept.paid.txid)
    network.split([0], range(1, s.world.size + 1))
    rpc = network.nodes[0].rpc
    rpc().invalidateblock(bottom)
    try:
        network.mine_these(0, (rivals.double_spend, raw))
        won = network.mine_empty(0, 2)[-1]
    finally:
        rpc().reconsiderblock(bottom)
    return won


def recovered(s: Scene, lost: Lost) -> str:
    """First the older anchor alone, then its child, same bytes; the sweep anew without the coin that is gone.

    The last bitcoind, which no node feeds, keeps what the reorg gave back to it; it mines what it is told to.
    """
    world, operators = s.world, range(s.world.size)
    for txid in lost.first:
        world.network.wait_in_mempools(txid, operators)
    s.tell.check(True, "with empty mempools again, the nodes bring back the older anchor, same bytes")
    sweep = coins.sweep_of(s, lost.kept, other_than=lost.sweep)
    s.tell.equal(len(world.inputs(sweep)), 2, "it is signed anew, without the coin that is gone")
    early = [i for i in operators if lost.second[0] in world.network.nodes[i].rpc().getrawmempool()]
    s.tell.equal(early, [], "the younger anchor waits: one unconfirmed generation at a time")
    world.network.mine_these(world.miner, (*lost.first, sweep))
    world.wait_seen()
    s.tell.say(f"block {world.network.height()} confirms both")
    for txid in lost.second:
        world.network.wait_in_mempools(txid)
    s.tell.check(True, "now the younger anchor is back, same bytes: its parent stands")
    s.mined(*lost.second)
    return sweep
