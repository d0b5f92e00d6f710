"""The key epochs as this node sees them on both chains, and its desk for the next one.

An epoch is announced by its record, is rotating until the lane's rotation anchor is final, then moving until the
treasury's move is; then it is active, and the one before drains until its addresses are retired.
"""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING

from anchor.btc.address import address_of
from anchor.btc.ids import BlockHash, Txid, display
from anchor.header_alarms import HeaderAlarm
from anchor.inscription.builder import LEAST_TO_ROTATE
from anchor.inscription.lane import tip_script
from anchor.rollup.succession import KeyEpoch
from anchor.rollup_client import RollupError
from bridge.api_wire import EpochStep, EpochsView, EpochView
from bridge.deposit.address import treasury_script
from bridge.succession import Bridge, SuccessionDesk
from tss.committee_files import not_taken_up
from tss.node import TssNode
from tss.peers import Peers

if TYPE_CHECKING:
    from bridge.active import Active
    from bridge.node import Node

ANNOUNCED, ROTATING, MOVING, ACTIVE = "announced", "rotating", "moving", "active"
DRAINING, RETIRED = "draining", "retired"


async def successions_of(node: "Node", tss: TssNode, peers: Peers) -> SuccessionDesk:
    """The desk of an operator's node, answering the other members."""
    bridge = Bridge(
        node.genesis,
        lambda: node.follower.state.epochs(node.genesis),
        partial(hinders, node),
        partial(_post, node),
    )
    desk = SuccessionDesk(bridge, tss, peers, node.store, asks=node.network.name != "regtest", log=node.log)
    await desk.load()
    desk.serve()
    return desk


def hinders(node: "Node") -> str | None:
    """Why no committee may hand on now, as this node sees it."""
    active = node.active
    facts = None if active is None else active.treasury_facts()
    if active is None or facts is None:
        return "this node does not follow the bridge yet: ask again in a moment"
    if (why := facts.unsynced or facts.paused) is not None:
        return why
    latest = active.epochs.latest
    if (state := state_of(active, latest)) != ACTIVE:
        return (
            f"epoch {latest.number} is still {state}: its keys have to hold lanes and treasury before the next "
            "committee can follow (`holdfast bridge epoch show`)"
        )
    return _stays(active)


def _stays(active: "Active") -> str | None:
    """Why lane or treasury could never go over to another key: then nobody should take their keys' place."""
    view = active.view
    lane = None if view is None else view.lane(0)
    if view is None or lane is None:
        return None
    if view.treasury.halted is not None:
        return f"the treasury could not move to the next key: {view.treasury.halted}"
    if lane.halted is not None:
        return f"lane {lane.lane} could not name the next key, it is halted: {lane.halted}"
    if lane.pending is None and lane.tip_value < LEAST_TO_ROTATE:
        return (
            f"lane {lane.lane} holds {lane.tip_value} sat and could not name the next key on Bitcoin: that takes "
            f"{LEAST_TO_ROTATE} sat"
        )
    return None


async def _post(node: "Node", tx: bytes) -> object:
    if node.rollup is None:
        raise RollupError("this node follows no rollup: set [rollup] url in config.toml")
    return await node.rollup.submit(tx)


def present_of(active: "Active") -> KeyEpoch:
    """The key epoch of new addresses: to it the last final move brought the treasury."""
    return active.epochs.get(active.address_epoch) or active.epochs.latest


def state_of(active: "Active", epoch: KeyEpoch) -> str:
    """Where an epoch is between its record and the end of its addresses."""
    present = active.address_epoch
    if epoch.number == present:
        return ACTIVE
    if epoch.number < present:
        until, view = active.retires(epoch.number), active.view
        return RETIRED if until is not None and view is not None and view.height > until else DRAINING
    if epoch.since is not None and epoch.since > active.ground.follower.final:
        return ANNOUNCED
    return MOVING if _rotated(active, epoch.number) else ROTATING


def _rotated(active: "Active", number: int) -> bool:
    """Whether the first lane's rotation anchor to this epoch is final: it is what the treasury waits for."""
    found = () if active.view is None else active.view.rotations
    return any(
        r.found.lane == 0 and r.found.successor.epoch == number and active.is_final(r.block) for r in found
    )


def standing_of(node: "Node", active: "Active") -> tuple[bool, str]:
    """For the node's health: whether all is well with the key epochs, and who holds the bridge."""
    desk, latest, ours = node.successions, active.epochs.latest, node.committee.committee.epoch
    if (waits := not_taken_up(node.folder, node.committee.committee)) is not None:
        return False, waits
    if desk is not None and (left := active.moving.outdated()) is not None:
        return False, left
    if desk is not None and desk.complete is not None:
        why = "it has not taken it yet" if desk.refusal is None else desk.refusal
        number = desk.complete.succession.epoch
        told = desk.refusal is None
        return told, f"all signed the succession to epoch {number}, and it waits for the rollup: {why}"
    said = [f"epoch {latest.number} is {state_of(active, latest)}"]
    draining = [epoch.number for epoch in active.epochs if state_of(active, epoch) == DRAINING]
    said += [f"epoch {number} drains until height {active.retires(number)}" for number in draining]
    if desk is not None and ours > latest.number:
        said.append(
            f"the committee of epoch {ours} is here and has no succession: `holdfast bridge epoch propose`"
        )
    elif ours < latest.number:
        said.append(f"committee.json here is of epoch {ours}")
    return True, "; ".join(said)


class EpochNews:
    """Tells each step of a committee that hands on, once: an epoch's new state, and what it means for payers."""

    def __init__(self, tell: Callable[[HeaderAlarm], Awaitable[None]]) -> None:
        self._tell = tell
        self._told: dict[int, str] | None = None

    async def look(self, active: "Active") -> None:
        """Tell what changed since the last look; nothing at the first, nor before the chain is read."""
        if active.view is None:
            return
        states = {epoch.number: state_of(active, epoch) for epoch in active.epochs}
        for number, state in states.items():
            if self._told is not None and self._told.get(number) != state:
                until = active.retires(number)
                more = f" until height {until}" if state == DRAINING else ""
                text = f"key epoch {number} is {state}{more}"
                data = {"epoch": number, "state": state, "until": until}
                await self._tell(HeaderAlarm("info", "epoch", text, data))
        self._told = states


def told_of(node: "Node", active: "Active") -> EpochsView:
    """All key epochs for interfaces, oldest first."""
    epochs = active.epochs
    treasury = epochs.first.number if active.view is None else active.view.treasury.epoch
    rows = [_told(node, active, epoch) for epoch in epochs]
    return EpochsView(epochs.latest.number, treasury, active.address_epoch, rows)


def _told(node: "Node", active: "Active", epoch: KeyEpoch) -> EpochView:
    return EpochView(
        epoch=epoch.number,
        state=state_of(active, epoch),
        until=active.retires(epoch.number),
        record=epoch.record.hex(),
        rollup_height=epoch.since,
        committee_hash=epoch.committee_hash.hex(),
        host_keys=[key.hex() for key in epoch.host_keys],
        threshold=epoch.threshold,
        treasury_key=epoch.treasury_key.hex(),
        anchor_key=epoch.anchor_key.hex(),
        mint_key=epoch.mint_key.hex(),
        treasury_address=address_of(treasury_script(epoch.treasury_key), node.network),
        lane_address=address_of(tip_script(epoch.anchor_key), node.network),
        rotations=_rotations(active, epoch.number),
        move=_move(active, epoch.number),
    )


def _rotations(active: "Active", number: int) -> list[EpochStep]:
    """The rotation anchors that brought the lanes to an epoch's key."""
    found = () if active.view is None else active.view.rotations
    return [
        _step(active, r.found.txid, r.found.height, r.block, r.found.lane)
        for r in found
        if r.found.successor.epoch == number
    ]


def _move(active: "Active", number: int) -> EpochStep | None:
    """The batch that brought the treasury to an epoch's key."""
    view = active.view
    if view is None:
        return None
    return next(
        (
            _step(active, b.txid, b.height, b.block)
            for b in view.treasury.batches
            if b.move is not None and b.move.successor_epoch == number
        ),
        None,
    )


def _step(active: "Active", txid: Txid, height: int, block: BlockHash, lane: int | None = None) -> EpochStep:
    return EpochStep(display(txid), height, active.is_final(block), lane)
