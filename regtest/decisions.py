"""The operators of a world decide that value moves again, by the commands that real operators use."""

from pathlib import Path
from typing import Any

from regtest.command import holdfast, holdfast_json
from regtest.waiting import wait_until
from regtest.world import World


def resume(world: World, folder: Path, reason: str) -> dict[str, Any]:
    """Make, sign with t operators, combine, submit; return the pause that this ended. ValueError without one."""
    if world.rollup.status()["paused"] is None:
        raise ValueError("value moves: there is nothing to resume")
    signers = world.operators[: world.threshold]
    first = signers[0].folder
    folder.mkdir()

    def standing(node_folder: Path) -> dict[str, Any]:
        found: dict[str, Any] = holdfast_json("bridge", "decision", "show", "--dir", node_folder)
        return found

    def agreed() -> bool:
        """Whether all of them have the same pause, and their audit's numbers."""
        shown = [standing(node.folder) for node in signers]
        names = {each["pause"] and each["pause"]["id"] for each in shown}
        return None not in names and len(names) == 1 and all(each["deficit"] is not None for each in shown)

    wait_until(agreed, "the operators to see the same pause", seconds=30)
    shown = standing(first)
    holdfast("bridge", "decision", "make", "--dir", first, "--reason", reason, "-o", folder / "decision.json")
    signed = []
    for node in signers:
        signed.append(folder / f"by-{node.name}.json")
        lacking = ("--despite-deficit", standing(node.folder)["deficit"])
        holdfast(
            *("bridge", "decision", "sign", "--dir", node.folder, folder / "decision.json"),
            *("-o", signed[-1], *lacking),
        )
    holdfast("bridge", "decision", "combine", "--dir", first, *signed, "-o", folder / "all.json")
    holdfast("bridge", "decision", "submit", "--dir", first, folder / "all.json")
    wait_until(lambda: world.rollup.status()["paused"] is None, "the rollup to take the decision", seconds=30)
    return {"pause": shown["pause"], "signed_by": [node.name for node in signers]}
