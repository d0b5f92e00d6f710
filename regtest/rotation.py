"""A committee hands a running bridge on: the file, who accepts it, restarts, keys, the word that begins the move.

Everything is done by the commands that operators use; see `tss/ROTATION.md`.
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from regtest import ceremony
from regtest.command import CommandFault, holdfast, holdfast_json, together
from regtest.operators import Node, sign_committee
from regtest.waiting import wait_until
from regtest.world import World

_FILES = "committee-of-"


@dataclass(frozen=True, slots=True)
class Change:
    """Who leaves, who comes, and how many sign then.

    `replace` are names whose places newcomers take, `add` how many more come, `drop` how many leave from the end of
    the list; `threshold` None means as before.
    """

    replace: Sequence[str] = ()
    add: int = 0
    drop: int = 0
    threshold: int | None = None


@dataclass(frozen=True, slots=True)
class NextCommittee:
    """The committee of the next epoch: its file, its operators in its order, who came and who left.

    `threshold_before` is how many signed in the epoch before.
    """

    epoch: int
    file: Path
    threshold: int
    threshold_before: int
    operators: tuple[Node, ...]
    newcomers: tuple[Node, ...]
    leavers: tuple[Node, ...]


@dataclass(slots=True)
class Handover:
    """What one rotation made so far, for whoever tells of it."""

    committee: NextCommittee
    keys: Mapping[str, Any] = field(default_factory=dict)
    record: str = ""


def form(world: World, change: Change) -> NextCommittee:
    """Make the newcomers' folders and the next committee file, signed by all its members; nobody has it yet.

    CommandFault where a command refuses, and then all is as before: another change can be asked for.
    """
    newcomers: list[Node] = []
    epoch = int(holdfast_json("tss", "committee", "show", world.committee_file)["epoch"]) + 1
    try:
        return _formed(world, change, epoch, newcomers)
    except CommandFault:
        _forget(world, epoch, newcomers)
        raise


def _forget(world: World, epoch: int, newcomers: Sequence[Node]) -> None:
    """Take away what a change that came to nothing has left."""
    for node in newcomers:
        node.close()
        shutil.rmtree(node.folder, ignore_errors=True)
    for left in world.folder.glob(f"{_FILES}{epoch}.*json"):
        left.unlink()


def _formed(world: World, change: Change, epoch: int, newcomers: list[Node]) -> NextCommittee:
    seats = list(world.operators)
    ever = len(world.operators) + len(world.left)
    replaced: dict[str, Node] = {}
    for name in change.replace:
        replaced[name] = world.new_operator(ever + len(newcomers))
        newcomers.append(replaced[name])
    added = [world.new_operator(ever + len(newcomers) + i) for i in range(change.add)]
    newcomers += added
    together([node.init_command() for node in newcomers])
    stay = len(seats) - change.drop
    operators = [replaced.get(node.name, node) for node in seats[:stay]] + added
    leavers = [node for node in seats if node not in operators]
    threshold = change.threshold or world.threshold
    file = world.folder / f"{_FILES}{epoch}.json"
    proposal = file.with_suffix(".proposal.json")
    holdfast(
        *("tss", "rotate", "propose", world.committee_file, "--threshold", threshold, "-o", proposal),
        *(word for name, node in replaced.items() for word in ("--replace", name, node.member_file)),
        *(word for node in added for word in ("--add", node.member_file)),
        *(word for node in seats[stay:] for word in ("--drop", node.name)),
    )
    sign_committee(operators, proposal, file)
    proposal.unlink()
    return NextCommittee(
        epoch, file, threshold, world.threshold, tuple(operators), tuple(newcomers), tuple(leavers)
    )


def accept(world: World, committee: NextCommittee) -> None:
    """Every member accepts the file; who stays restarts, who comes starts. Who leaves runs on with the old file.

    CommandFault when one refuses it, as while too few of it hold a key that drains; if all do, all is as before.
    """
    stay = [node for node in committee.operators if node not in committee.newcomers]
    try:
        for node in _longest_in(world, stay):
            holdfast("tss", "rotate", "accept", "--dir", node.folder, committee.file)
    except CommandFault:
        if not any((node.folder / f"committee-{committee.epoch - 1}.json").exists() for node in stay):
            _forget(world, committee.epoch, committee.newcomers)
        raise
    world.succeed(committee.operators, committee.leavers, committee.threshold, committee.file)
    world.give_papers(committee.newcomers)
    for node in stay:
        node.process.ask_to_stop()
    for node in committee.operators:
        node.restart()
    for node in committee.operators:
        node.wait_ready(seconds=60)
    world.wait_seen()
    hear_each_other(committee.operators)


def _longest_in(world: World, nodes: Sequence[Node]) -> list[Node]:
    """Those first who hold the oldest keys: they are who refuses a file that leaves too few of their holders."""
    members = [json.loads(file.read_text(encoding="utf-8"))["members"] for file in world.committee_files]
    names = [member["name"] for each in members for member in each]
    return sorted(nodes, key=lambda node: names.index(node.name))


def hear_each_other(nodes: Sequence[Node]) -> None:
    """Wait until each of these nodes has heard of every other one that it is there."""
    names = {node.name for node in nodes}
    for node in nodes:
        wait_until(
            lambda node=node: names - {node.name} <= _up(node),  # type: ignore[misc]  # mypy infers no defaults
            f"{node.name} to hear the others",
        )


def _up(node: Node) -> set[str]:
    return {str(peer["name"]) for peer in node.admin.get("/v1/tss/peers")["peers"] if peer["up"]}


def propose(node: Node) -> str:
    """One operator of the new committee proposes the succession; return its record once the rollup has it."""
    made = holdfast_json("bridge", "epoch", "propose", "--dir", node.folder)
    epoch, record = int(made["epoch"]), str(made["record"])
    wait_until(lambda: epoch in epochs_of(node), f"the rollup to take the succession to epoch {epoch}")
    return record


def hand_over(world: World, change: Change) -> Handover:
    """All of the above: at its end the rollup has the succession, and Bitcoin hears of it by the next blocks."""
    handover = Handover(form(world, change))
    accept(world, handover.committee)
    handover.keys = ceremony.make_keys(world)
    handover.record = propose(world.operators[-1])
    return handover


def epochs_of(node: Node) -> dict[int, Any]:
    """What a node tells of the key epochs, by number."""
    return {int(row["epoch"]): row for row in node.get("/v1/epochs")["epochs"]}
