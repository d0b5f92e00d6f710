"""The end of an epoch's addresses: credited while the old key is kept, then only reclaimable, then it is wiped."""

import json
from functools import partial
from pathlib import Path

from regtest import ceremony
from regtest.command import CommandFault, attempt, holdfast_json
from regtest.http import HttpFault
from regtest.operators import Node
from regtest.story.coins import Deposit
from regtest.story.scene import Scene


def key_in(recovery: Path) -> str:
    """The treasury key (33 bytes, hex) that a recovery file's address is under."""
    return str(json.loads(recovery.read_text())["treasury_key"])


def not_finished(s: Scene, node: Node, epoch: int, retires: int) -> None:
    """`tss rotate finish` refuses while an old address may still be paid, and says until when."""
    words = (
        "tss",
        "rotate",
        "finish",
        "--dir",
        node.folder,
        "--purpose",
        "treasury",
        "--epoch",
        epoch,
        "--yes",
    )
    result = attempt(*words)
    held = result.status != 0 and str(retires) in result.err
    s.tell.check(held, f"`rotate finish` refuses: {result.err.strip()}", result)
    key = ceremony.keys_of(node, epoch)["treasury"]
    s.tell.equal(
        key["state"], "retiring", f"{node.name}'s treasury key of epoch {epoch} is retiring, not wiped"
    )


def wait_out(s: Scene, retires: int) -> None:
    """Mine past the last height at which an old address is swept."""
    s.world.mine(max(1, retires + 1 - s.world.network.height()))
    s.rollup_sees_tip()
    s.tell.say(f"block {s.world.network.height()}: past {retires}")


def rejected(s: Scene, late: Deposit, retires: int) -> None:
    """A payment to an address of a retired epoch is named as such, with what its owner can do."""
    node = s.world.operators[-1]

    def state() -> str:
        try:
            return str(node.get(f"/v1/deposits/{late.paid}")["state"])
        except HttpFault:
            return ""

    s.until(lambda: state() == "REJECTED", "the payment to be rejected")
    found = node.get(f"/v1/deposits/{late.paid}")
    s.tell.check(str(retires) in str(found), f"{node.name} says of it: {found['reason']}", found)


def finished(s: Scene, epoch: int) -> None:
    """Every holder wipes his old shares, once nothing is left to do; nothing is signed with them again."""
    for node in s.world.operators:
        held = ceremony.keys_of(node, epoch).items()
        for purpose in [purpose for purpose, key in held if key["state"] not in ("retired", "removed")]:
            s.until(partial(_finish, node, purpose, epoch), f"{node.name} to wipe its {purpose} share")
    states = {key["state"] for node in s.world.operators for key in ceremony.keys_of(node, epoch).values()}
    s.tell.equal(states, {"retired"}, f"the shares of epoch {epoch} are wiped on all nodes")


def _finish(node: Node, purpose: str, epoch: int) -> bool:
    words = ("tss", "rotate", "finish", "--dir", node.folder, "--purpose", purpose, "--epoch", epoch)
    result = attempt(*words, "--yes")
    if result.status != 0 and "is not swept finally" not in result.err:
        raise CommandFault(result)
    return result.status == 0


def reclaimed(s: Scene, late: Deposit, recovery: Path) -> None:
    """Its owner takes the payment back after the delay, by recovery file and key alone."""
    delay, wallet = s.activation.params.reclaim_delay, s.world.depositor
    s.world.mine(delay)
    bitcoind, home = s.world.network.nodes[s.world.miner], wallet.address()
    done = holdfast_json(
        *("bridge", "reclaim", late.paid, "--recovery", recovery, "--key", late.owner.file, "--to", home),
        *("--bitcoind-url", bitcoind.rpc_url, "--cookie", bitcoind.cookie),
    )
    s.mined(done["txid"])
    back = f"{late.owner.name} has {done['pays']} of {late.sats} sats back"
    s.tell.equal(wallet.received(home), done["pays"], back)
