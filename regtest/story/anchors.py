"""What an auditor does with anchors: lists them, asks for a proof, checks it alone, tries to cheat."""

import random
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from anchor.btc.ids import display
from regtest.command import Result, attempt, holdfast
from regtest.operators import Node
from regtest.story.scene import Scene


def all_anchors(node: Node) -> list[Any]:
    """Every anchor that a node lists, oldest first."""
    found: list[Any] = []
    after: int | None = 0
    while after is not None:
        page = node.get(f"/v1/anchors?after={after}&limit=100")
        found += page["anchors"]
        after = page["next"]
    return found


def pending(scene: Scene) -> tuple[str, ...]:
    """Wait for an anchor whose commit and reveal are in all mempools; return their txids, commit first."""
    bitcoind = scene.world.network.nodes[scene.world.miner]
    found: list[str] = []

    def there() -> bool:
        found[:] = []
        tip = lane_tip(scene)
        pool = bitcoind.rpc().getrawmempool(True)
        for commit in pool:
            tx = bitcoind.rpc().getrawtransaction(commit, True)
            if any((i.get("txid"), i.get("vout")) == tip for i in tx["vin"]):
                found[:] = [commit, *pool[commit]["spentby"]]
        return len(found) == 2

    scene.until(there, "the committee to sign the next anchor")
    for txid in found:
        scene.world.network.wait_in_mempools(txid)
    return tuple(found)


def lane_tip(scene: Scene) -> tuple[str, int]:
    """The lane's newest confirmed coin: (txid in display order, output)."""
    known = all_anchors(scene.world.awake[0])
    if known:
        return known[-1]["txid"], 0
    first = scene.activation.lanes[0].outpoint
    return display(first.txid), first.vout


def no_gap_no_double(scene: Scene, anchors: Sequence[Any]) -> None:
    """Sequences count from 1 and ranges follow each other: nothing is anchored twice, nothing is left out."""
    numbers = [a["sequence"] for a in anchors]
    scene.tell.equal(
        numbers, list(range(1, len(anchors) + 1)), f"anchors 1 to {len(anchors)}, no gap, no double"
    )
    edges = [(a["last"], b["first"]) for a, b in pairwise(anchors)]
    scene.tell.check(all(last + 1 == first for last, first in edges), "their ranges follow each other", edges)


# Proofs


def export(scene: Scene, node: Node, block: int) -> tuple[Path, Path, Path]:
    """Have a node's commands write proof, headers and activation record; return the three files."""
    folder = scene.world.folder
    proof, headers, record = folder / "p.json", folder / "h.bin", folder / "a.json"
    proof.write_text(holdfast("anchor", "proof", "--last-block", block, "--node", node.url))
    holdfast("anchor", "headers", "export", "--node", node.url, "-o", headers)
    record.write_text(scene.signed_activation.to_json())
    return proof, headers, record


def verify(proof: Path, headers: Path, record: Path) -> Result:
    """`holdfast anchor verify`: no server is asked."""
    files = ("--headers", headers, "--activation", record, "--network", "regtest")
    return attempt("anchor", "verify", proof, *files)


def changed_copies(data: bytes, count: int, seed: int = 3) -> list[tuple[int, bytes]]:
    """Copies with one bit changed somewhere: (position, bytes)."""
    dice = random.Random(seed)
    copies = []
    for position in sorted(dice.sample(range(len(data)), count)):
        copy = bytearray(data)
        copy[position] ^= 1 << dice.randrange(8)
        copies.append((position, bytes(copy)))
    return copies
