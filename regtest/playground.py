"""The world that `holdfast regtest up` holds: starts it, says what to try, does what other shells ask for."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from bitcoinrpc.authproxy import JSONRPCException

from anchor.rollup.activation import SignedActivation
from regtest import ceremony, control, decisions, rotation
from regtest.bitcoind import BitcoindError
from regtest.command import CommandFault
from regtest.core import CoreError
from regtest.http import HttpFault
from regtest.operators import Node
from regtest.ports import NoFreePort
from regtest.process import ProcessFault
from regtest.rollup_processes import K
from regtest.waiting import wait_until
from regtest.world import World

Say = Callable[[str], None]


class Trouble(Exception):
    """The world did not come up; the sentence says why."""


def hold(operators: int, threshold: int, say: Say) -> None:
    """Start a world and keep it until another shell asks for `down` or this process is interrupted."""
    try:
        with (
            control.Seat() as seat,
            World(seat.folder, operators=operators, threshold=threshold) as world,
        ):
            _start(world, say)
            playground = Playground(world, say)
            say(playground.guide())
            control.serve(playground.do, playground.look)
            say("Ending the world …")
    except (
        *(control.WorldIsUp, BitcoindError, CommandFault, CoreError, HttpFault, NoFreePort, ProcessFault),
        TimeoutError,
    ) as error:
        raise Trouble(str(error)) from error


def _start(world: World, say: Say) -> None:
    for text, verb in (
        (f"{world.size + 1} bitcoinds on regtest …", world.start_bitcoin),
        (f"{world.size} operators sign their committee file …", world.form_committee),
        ("the rollup's genesis …", world.make_genesis),
        (f"{world.size} nodes …", world.start_nodes),
        ("sequencer and validators …", world.start_rollup),
        ("keys for treasury, anchor and mint; genesis coins; activation …", lambda: ceremony.complete(world)),
    ):
        say(text)
        verb()


class Playground:
    """A running world and the verbs for it."""

    def __init__(self, world: World, say: Say) -> None:
        self.world, self.say = world, say
        self._ended: set[str] = set()
        self._decisions = 0

    def do(self, verb: str, arguments: dict[str, Any]) -> Any:
        """Do one verb; returns what goes to the other shell."""
        match verb:
            case "ping":
                return None
            case "status":
                return self._status()
            case "mine":
                blocks = self.world.mine(int(arguments["count"]))
                return {"blocks": blocks, "height": self.world.network.height()}
            case "reorg":
                depth = int(arguments["depth"])
                self._check_depth(depth)
                self._wait_for_rollup()  # or it never knew of what is to be lost
                done = self.world.network.reorg(depth)
                self.world.wait_seen()
                self._wait_for_rollup()
                return {**asdict(done), "pauses": depth >= K}
            case "resume":
                self._decisions += 1
                folder = self.world.folder / f"decision-{self._decisions}"
                return decisions.resume(self.world, folder, "resumed by hand in a world to play with")
            case "rotate":
                return self._rotate(arguments)
            case "fund":
                return {"outpoint": str(self._fund(str(arguments["address"]), int(arguments["sats"])))}
            case _:
                raise control.Refused(
                    f"{verb!r} is nothing that a world can do: see `holdfast regtest --help`."
                )

    def _check_depth(self, depth: int) -> None:
        """Refuse what would take the genesis coins, or the rollup's first Bitcoin header: nothing survives that."""
        born = SignedActivation.from_json(self.world.activation_file.read_bytes()).activation.height
        missing = born + depth - self.world.network.height()
        if missing > 0:
            raise control.Refused(
                f"block {born} with the genesis coins would be gone: `holdfast regtest mine {missing}` first."
            )

    def _wait_for_rollup(self) -> None:
        height = self.world.network.height()
        wait_until(
            lambda: self.world.rollup.status()["bitcoin"]["tip_height"] >= height, "the rollup to see the tip"
        )

    def look(self) -> None:
        """Say once of each process that it ended."""
        for process in self.world.processes:
            if not process.running and process.name not in self._ended:
                self._ended.add(process.name)
                self.say(f"{process.name} ended. {process.last_words()}")

    def guide(self) -> str:
        """What is where, and what to try next."""
        world = self.world
        node, rollup = world.operators[0].url, world.rollup.url
        rows = [f"  {each.name:<10} {each.url}" for each in world.operators]
        rows.append(f"  {'rollup':<10} {rollup}")
        rows.append(f"  {'bitcoind':<10} {world.network.nodes[world.miner].rpc_url}")
        return "\n".join(
            (
                *("", "The world is up. Ctrl-C here or `holdfast regtest down` ends it.", "", *rows),
                *("", "Try in another shell, in this folder:"),
                "  . .venv/bin/activate",
                f"  curl -s {node}/v1/info",
                "  holdfast rollup key new -o me.json",
                f"  holdfast bridge address --node {node} --recipient KEY --reclaim-key KEY -o recovery.json",
                "  holdfast regtest fund ADDRESS 1000000",
                "  holdfast regtest mine 1; holdfast regtest mine 3",
                f"  holdfast bridge deposit ADDRESS --node {node}",
                f"  holdfast rollup balance KEY --rollup {rollup}",
                f"  holdfast anchor list --node {node}",
                f"  holdfast anchor proof --last-block 1 --node {node} > p.json",
                f"  holdfast anchor activation --node {node} > a.json",
                f"  holdfast anchor headers export --node {node} -o h.bin",
                "  holdfast anchor verify p.json --headers h.bin --activation a.json --network regtest",
                f"  holdfast bridge reserves --node {node}",
                "  holdfast regtest rotate --add 1   # new keys; the next blocks mined move all coins to them",
                f"  holdfast bridge epoch show --node {node}",
                "  holdfast regtest status",
                "",
            )
        )

    def _rotate(self, wanted: dict[str, Any]) -> dict[str, Any]:
        present = rotation.epochs_of(self.world.operators[0])[self.world.epoch]
        if present["state"] != "active":
            raise control.Refused(
                f"epoch {self.world.epoch} is still {present['state']}: `holdfast regtest mine 1` first, some times"
            )
        change = rotation.Change(wanted["replace"], wanted["add"], wanted["drop"], wanted["threshold"])
        done = rotation.hand_over(self.world, change)
        return {
            "epoch": done.committee.epoch,
            "record": done.record,
            "threshold": done.committee.threshold,
            "operators": [{"name": node.name, "url": node.url} for node in done.committee.operators],
            "left": [node.name for node in done.committee.leavers],
        }

    def _fund(self, address: str, sats: int) -> object:
        try:
            return self.world.pay(address, sats)
        except JSONRPCException as error:
            raise control.Refused(f"bitcoind does not pay {address}: {error.message}") from error

    def _status(self) -> dict[str, Any]:
        world = self.world
        return {
            "folder": str(world.folder),
            "activation": str(world.activation_file),
            "bitcoind": world.network.nodes[world.miner].rpc_url,
            "height": world.network.height(),
            "nodes": [{"name": n.name, "url": n.url, "text": _node_text(n)} for n in world.nodes],
            "rollup": {"url": world.rollup.url, "text": self._rollup_text()},
        }

    def _rollup_text(self) -> str:
        try:
            s = self.world.rollup.status()
        except HttpFault as fault:
            return str(fault)
        bitcoin = s["bitcoin"]
        return (
            f"block {s['certified_height']}, final {s['final_height']}, Bitcoin {bitcoin['tip_height']}, "
            f"supply {s['supply']}, escrow {s['escrow']}{', paused: ' + s['paused'] if s['paused'] else ''}"
        )


def _node_text(node: Node) -> str:
    if not node.awake:
        return "not running"
    try:
        health = node.get("/v1/health")
    except HttpFault as fault:
        return str(fault)
    bad = [check["text"] for check in health["checks"] if not check["ok"]]
    return f"{health['status']}, Bitcoin {health['bitcoin']['height']}" + "".join(f"; {text}" for text in bad)
