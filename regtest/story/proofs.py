"""Proofs over a rotation: the activation record alone authorises the first key, rotation proofs those after it."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

from anchor.rollup.succession import KeyEpoch
from regtest.command import Result, attempt, holdfast, holdfast_json
from regtest.operators import Node
from regtest.story import anchors
from regtest.story.anchors import Files
from regtest.story.scene import Scene
from regtest.telling import short


def both_epochs(s: Scene, node: Node, epoch: KeyEpoch) -> None:
    """An anchor of the epoch before and one of this epoch, each proven; the later one only with the rotations."""
    old = _last(s, node, epoch.number - 1)
    new = _last(s, node, epoch.number)
    rotations = s.world.folder / "rotations.bin"
    holdfast("anchor", "rotations", "--node", node.url, "-o", rotations)
    for row, key in ((old, s.epochs().get(epoch.number - 1)), (new, epoch)):
        files = anchors.export(s, node, row["last"])
        result = _verify(files, rotations)
        s.tell.equal(result.status, 0, f"anchor {row['sequence']}, of epoch {row['epoch']}, is proven")
        said = json.loads(result.out)
        assert key is not None
        s.tell.equal(
            (said["epoch"], said["key"]), (key.number, key.anchor_x.hex()), f"under {short(said['key'])}"
        )
    alone = anchors.verify(files.proof, files)
    held = alone.status == 1 and "--rotations" in alone.err
    s.tell.check(held, f"without the rotations it is not: {alone.err.strip()}", alone)


def scanned(s: Scene, node: Node) -> None:
    """`anchor scan` finds from bitcoind's blocks and the activation record what a node lists."""
    record, bitcoind = s.world.folder / "a.json", s.world.network.nodes[s.world.miner]
    given = ("--activation", record, "--bitcoind-url", bitcoind.rpc_url, "--cookie", bitcoind.cookie)
    columns = (
        "kind",
        "lane",
        "sequence",
        "epoch",
        "root",
        "count",
        "txid",
        "commit_txid",
        "fee",
        "successor",
    )
    found = [
        {name: row[name] for name in columns} for row in holdfast_json("anchor", "scan", *given)["events"]
    ]
    listed = [{name: row[name] for name in columns} for row in anchors.all_anchors(node)]
    kinds = Counter(row["kind"] for row in found)
    said = ", ".join(f"{count} {kind}s" for kind, count in sorted(kinds.items()))
    s.tell.equal(
        found, listed, f"`anchor scan` with the activation record alone finds what {node.name} lists: {said}"
    )


def _verify(files: Files, rotations: Path) -> Result:
    given = ("--headers", files.headers, "--activation", files.activation, "--network", "regtest")
    return attempt("anchor", "verify", files.proof, *given, "--rotations", rotations, "--json")


def _last(s: Scene, node: Node, epoch: int) -> Any:
    """The newest final anchor of an epoch with records in it."""

    def found() -> list[Any]:
        known = anchors.all_anchors(node)
        return [a for a in known if a["epoch"] == epoch and a["last"] is not None and a["status"]["final"]]

    s.until(lambda: bool(found()), f"{node.name} to list a final anchor of epoch {epoch}")
    return found()[-1]
