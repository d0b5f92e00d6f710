"""Epoch after epoch in real processes, with SIGKILL at each durable write that a change of the committee adds.

Each round the victim's operator accepts the next file and dies at one of its writes, the node starts on whatever
folder that leaves, and the old key signs; then all go on to the next epoch, both keys sign, and the victim dies at
one of the writes by which the old key is retired, and again by which it is finished.
"""

import asyncio
import json
import signal
import sys
from asyncio.subprocess import DEVNULL
from pathlib import Path
from typing import Any

from tests.soak.committee import ROOT, Node
from tests.soak.crashes import Sweep
from tests.soak.faults import SoakFault
from tss import identity
from tss.dkg.committee import SignedCommittee
from tss.rotation.succession import successor

_KEY = "moved"
_ACCEPT = """
import sys
from tests.soak.kill_points import Trigger
from tss.cli import tss
Trigger(int(sys.argv[3]), after=sys.argv[4] == "after").install()
tss(["rotate", "accept", "--dir", sys.argv[1], sys.argv[2]])
"""


async def sweep_epochs(sweep: Sweep) -> None:
    """Round after round, each with a later write, until none is left to die at."""
    nodes, victim, epoch = sweep.nodes, sweep.victim, 1
    await nodes[0].persist("/v1/tss/dkg", purpose=_KEY)
    async for at, after in sweep._every("a change of the committee"):
        file = _next_file(nodes, epoch)
        died = await _accept(victim, file, at, after=after)
        await victim.kill()
        await sweep._restart()
        if _served(victim) == epoch:  # else it waits for the others, who have not accepted yet
            await _sign(sweep, nodes[:1], epoch)
        for node in nodes:
            await _accept(node, file, 0, after=False)
        await asyncio.gather(*(node.kill() for node in nodes))
        if False in await asyncio.gather(*(node.start() for node in nodes)):
            raise SoakFault("a node died though nobody killed it")
        await _heard(sweep)
        await nodes[0].persist("/v1/tss/dkg", purpose=_KEY)
        await _sign(sweep, nodes, epoch, epoch + 1)
        for state in ("retiring", "retired"):
            died += await _moved(sweep, epoch, state, at, after=after)
        await _sign(sweep, nodes, epoch + 1)
        if (victim.folder / "keys" / f"{_KEY}-{epoch}.share").exists():
            raise SoakFault(f"write {at}: the share of epoch {epoch} is still there")
        sweep._count("a change of the committee", died=bool(died))
        epoch += 1


def _served(node: Node) -> int:
    return SignedCommittee.from_json((node.folder / "committee.json").read_text()).committee.epoch


def _next_file(nodes: list[Node], epoch: int) -> Path:
    """The same members' file for the epoch after this one, signed by all."""
    old = SignedCommittee.from_json((nodes[0].folder / "committee.json").read_text()).committee
    signed = SignedCommittee.unsigned(successor(old, {}, (), (), None))
    for index, node in enumerate(nodes, 1):
        me = identity.load(node.folder)
        signed = signed.with_signature(index, me.sign(signed.committee.hash))
        me.forget()
    file = nodes[0].folder.parent / f"epoch-{epoch + 1}.json"
    file.write_text(signed.to_json())
    return file


async def _accept(node: Node, file: Path, at: int, *, after: bool) -> bool:
    """Run the command, to its death at a write where one is given; whether it died."""
    when = "after" if after else "before"
    words = (sys.executable, "-c", _ACCEPT, str(node.folder), str(file), str(at), when)
    process = await asyncio.create_subprocess_exec(*words, cwd=ROOT, stdout=DEVNULL)
    ended = await process.wait()
    if ended not in (0, -signal.SIGKILL):
        raise SoakFault(f"{node.name} does not accept {file.name} after a kill: exit {ended}")
    return ended != 0


async def _moved(sweep: Sweep, epoch: int, state: str, at: int, *, after: bool) -> bool:
    """Move the victim's old key, to its death at a write; then at all."""
    victim, body = sweep.victim, {"purpose": _KEY, "epoch": epoch, "state": state}
    assert victim.process is not None
    await victim.ask("POST", "/soak/arm", at=at, after=after)
    await victim.ask("POST", "/v1/tss/key-state", **body)
    await victim.ask("POST", "/soak/arm", at=0, after=False)
    died = victim.process.returncode is not None or not await victim.up()
    if died:
        await victim.process.wait()
        await sweep._restart()
        await _heard(sweep)
    for node in sweep.nodes:
        await _until_moved(node, body)
    return died


async def _until_moved(node: Node, body: dict[str, Any]) -> None:
    """Ask until the key is there; a second time it says that it is."""
    _, told = await node.ask("POST", "/v1/tss/key-state", **body)
    _, keys = await node.ask("GET", "/v1/tss/keys")
    states = {(key["purpose"], key["epoch"]): key["state"] for key in keys["keys"]}
    if states[_KEY, body["epoch"]] != body["state"]:
        raise SoakFault(f"{node.name}: {json.dumps(told)}")


async def _sign(sweep: Sweep, leaders: list[Node], *epochs: int) -> None:
    """Each of these leads a signature of each of these epochs' keys."""
    await _heard(sweep)
    for node in leaders:
        for epoch in epochs:
            sweep.texts += 1
            text = f"epoch {epoch}, {sweep.texts}"
            await node.persist("/v1/tss/sign-test", key=_KEY, text=text, epoch=epoch)
            sweep.counts.signatures += 1


async def _heard(sweep: Sweep) -> None:
    for node in sweep.nodes:
        await sweep._heard(node)
