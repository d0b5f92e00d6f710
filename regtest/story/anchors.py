"""What an auditor does with anchors: lists them, asks for a proof, checks it alone, tries to cheat."""

import json
import random
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from anchor.btc.ids import display
from anchor.proofs.proof_file import AnchorProof
from regtest.command import Result, attempt, holdfast
from regtest.operators import Node
from regtest.story.look_alike import look_alike
from regtest.story.scene import Scene
from regtest.telling import short


@dataclass(frozen=True, slots=True)
class Files:
    """All that a verifier needs."""

    proof: Path
    headers: Path
    activation: Path


def all_anchors(node: Node) -> list[Any]:
    """Every anchor that a node lists, oldest first."""
    found: list[Any] = []
    after: int | None = 0
    while after is not None:
        page = node.get(f"/v1/anchors?after={after}&limit=100")
        found += page["anchors"]
        after = page["next"]
    return found


def pending(s: Scene) -> tuple[str, str]:
    """Wait for an anchor whose commit and reveal are in all mempools; return their txids."""
    found: list[str] = []

    def there() -> bool:
        found[:] = in_mempool(s, _lane_tip(s))
        return len(found) == 2

    s.until(there, "the committee to sign the next anchor")
    for txid in found:
        s.world.network.wait_in_mempools(txid)
    commit, reveal = found
    return commit, reveal


def in_mempool(s: Scene, tip: str) -> list[str]:
    """The transactions of the last bitcoind's mempool that spend this coin, and what spends those."""
    pool = s.world.network.nodes[s.world.miner].rpc().getrawmempool(True)
    spending = [txid for txid in pool if tip in s.world.inputs(txid)]
    return [*spending, *(child for txid in spending for child in pool[txid]["spentby"])]


def _lane_tip(s: Scene) -> str:
    """The lane's newest confirmed coin, `txid:output`."""
    known = all_anchors(s.world.awake[0])
    if known:
        return f"{known[-1]['txid']}:0"
    first = s.activation.lanes[0].outpoint
    return f"{display(first.txid)}:{first.vout}"


def confirmed(s: Scene) -> Any:
    """Mine the next anchor k deep; return what a node says of it."""
    commit, reveal = pending(s)
    s.mined(commit, reveal)
    s.world.mine(s.activation.params.k - 1)
    node = s.world.operators[3]

    def final() -> list[Any]:
        return [each for each in all_anchors(node) if each["txid"] == reveal and each["status"]["final"]]

    s.until(lambda: bool(final()), f"{node.name} to list the anchor as final")
    (found,) = final()
    s.tell.check(True, f"anchor {found['sequence']} of blocks {found['first']} to {found['last']} is final")
    s.tell.say(f"commit {commit}, reveal {reveal}, {found['fee']} sats of fees")
    return found


def no_gap_no_double(s: Scene) -> None:
    """Sequences count from 1 and ranges follow each other: nothing is anchored twice, nothing is left out."""
    known = all_anchors(s.world.awake[0])
    numbers = [a["sequence"] for a in known]
    s.tell.equal(numbers, list(range(1, len(known) + 1)), f"anchors 1 to {len(known)}, no gap, no double")
    edges = [(a["last"] + 1, b["first"]) for a, b in pairwise(known)]
    s.tell.check(all(end == start for end, start in edges), "each begins where the one before ended", edges)


# Proofs


def export(s: Scene, node: Node, block: int) -> Files:
    """Have a node's commands write proof and headers; the activation record is the rollup's."""
    files = Files(*(s.world.folder / name for name in ("p.json", "h.bin", "a.json")))
    files.proof.write_text(holdfast("anchor", "proof", "--last-block", block, "--node", node.url))
    export_headers(files, node)
    files.activation.write_text(s.signed_activation.to_json())
    return files


def export_headers(files: Files, node: Node) -> None:
    """Fetch the newest headers by command."""
    holdfast("anchor", "headers", "export", "--node", node.url, "-o", files.headers)


def verify(proof: Path, files: Files) -> Result:
    """`holdfast anchor verify`: no server is asked."""
    given = ("--headers", files.headers, "--activation", files.activation, "--network", "regtest")
    return attempt("anchor", "verify", proof, *given, "--json")


def proof_tells(s: Scene, files: Files, anchor: Any) -> None:
    """The command says what was anchored, under whose key, when and how deep; our own execution agrees."""
    result = verify(files.proof, files)
    s.tell.equal(result.status, 0, f"`{result.command}`")
    said = json.loads(result.out)
    s.tell.say(
        f"says: blocks {said['first']} to {said['last']}, key {short(said['key'])}, "
        f"Bitcoin block {said['height']} of {said['block_time']}, depth {said['depth']}"
    )
    status = anchor["status"]
    expected = (
        anchor["last"],
        s.activation.anchor_x.hex(),
        status["block_height"],
        status["block_time"],
        anchor["txid"],
    )
    seen = tuple(said[name] for name in ("last", "key", "height", "block_time", "txid"))
    s.tell.equal(seen, expected, "as the node and the activation record say")
    depth = s.world.network.height() - said["height"] + 1
    s.tell.check(said["final"] and said["depth"] == depth, f"{depth} deep, as bitcoind says", said["depth"])
    root = s.block(said["last"]).block.header.state_after.hex()
    s.tell.equal(said["state_after"], root, "and the state root is the rollup's after that block")


def no_changed_byte_passes(s: Scene, files: Files, count: int) -> None:
    """Copies with one bit changed somewhere are all refused, each with a reason."""
    honest, dice = files.proof.read_bytes(), random.Random(3)
    places = sorted(dice.sample(range(len(honest)), count))
    bits = {place: 1 << dice.randrange(8) for place in places}

    def refused(place: int) -> bool:
        copy = bytearray(honest)
        copy[place] ^= bits[place]
        file = files.proof.with_suffix(f".{place}.json")
        file.write_bytes(copy)
        return _refused(verify(file, files))

    with ThreadPoolExecutor(2) as pool:
        passed = [place for place, good in zip(places, pool.map(refused, places), strict=True) if not good]
    s.tell.equal(passed, [], f"one bit changed in any of {count} of its {len(honest)} bytes makes it fail")


def look_alike_is_refused(s: Scene, files: Files, node: Node) -> None:
    """A stranger's well-made proof shows that his bytes existed, and no more; the honest one still holds."""
    forged = files.proof.with_suffix(".forged.json")
    forged.write_bytes(look_alike(s, AnchorProof.decode(files.proof.read_bytes())).encode())
    export_headers(files, node)
    result = verify(forged, files)
    held = _refused(result) and "existed, not authorised" in result.err
    s.tell.check(held, f"the look-alike is refused: {result.err.strip()}", result)
    s.tell.equal(verify(files.proof, files).status, 0, "the honest proof still holds")


def _refused(result: Result) -> bool:
    return result.status == 1 and "not proven" in result.err


def same_on(s: Scene, one: Node, other: Node) -> None:
    """Two nodes list the same anchors, every column equal."""
    s.until(lambda: all_anchors(one) == all_anchors(other), f"{one.name} to list {other.name}'s anchors")
    listed: Sequence[Any] = all_anchors(one)
    s.tell.check(bool(listed), f"{one.name} lists {other.name}'s {len(listed)} anchors, every column equal")
