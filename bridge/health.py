"""What works in a node and what does not, in sentences: `/v1/health` and `holdfast node status`."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bridge.ceremony import PURPOSES
from bridge.epochs import standing_of

if TYPE_CHECKING:
    from bridge.node import Node
    from tss.node import TssNode
    from tss.peers import Peers


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the node's health."""

    name: str
    ok: bool
    text: str


def checks_of(node: "Node") -> list[Check]:
    """Look at every part of a node."""
    checks = [
        _part(node, "bitcoind", f"height {node.feed.chain.tip.height}"),
        _part(node, "rollup", f"block {node.follower.state.height}, final {node.follower.final}"),
    ]
    standing = [alarm.text for alarm in node.header_alarms.standing.values()]
    checks.append(Check("headers", not standing, "; ".join(standing) or "no alarm stands"))
    if node.peers is not None:
        checks.append(_peers(node.peers, node.committee.committee.threshold))
    if node.tss is not None and (copies := node.tss.copies()):
        checks.append(Check("copies", ok=False, text="; ".join(copies)))
    if node.tss is not None and node.tss.pause.now is not None:
        checks.append(Check("signing", ok=False, text="this node's operator lets it sign nothing"))
    if node.active is None:
        checks.append(Check("bridge", ok=False, text="not active: there is no activation record yet"))
        return checks
    if node.tss is not None:
        checks.append(_keys(node.tss, node.active.epochs.latest.number))
    ok, text = standing_of(node, node.active)
    checks.append(Check("epoch", ok, text))
    paused = node.active.paused()
    checks.append(Check("paused", paused is None, paused or "value moves"))
    checks.append(_part(node, "bridge", "follows treasury and lanes"))
    for purpose, keeper in node.active.keepers.items():
        failure = keeper.last_failure
        checks.append(Check(f"signing {purpose}", failure is None, failure or "nothing is stuck"))
    return checks


def _part(node: "Node", name: str, good: str) -> Check:
    return Check(name, name not in node.trouble, node.trouble.get(name, good))


def _peers(peers: "Peers", needed: int) -> Check:
    down = [f"{p.name} {p.down}" for p in peers.seen.values() if p.down is not None]
    up = len(peers.seen) + 1 - len(down)
    text = f"{up} of {len(peers.seen) + 1} members up, {needed} needed"
    return Check("committee", up >= needed, "; ".join([text, *down]))


def _keys(tss: "TssNode", latest: int) -> Check:
    """Once an epoch has begun, each of its members has a share of its keys: where none serves, the share is lost.

    Before, its keys may still have to be made, and a newcomer has none of the epoch that serves.
    """
    ours = tss.committee.epoch
    held = {info.purpose: info.state for info in tss.every_key() if info.epoch == ours}
    lost = [purpose for purpose in PURPOSES if tss.public(purpose, ours) is None]
    known = [purpose for purpose in lost if held.get(purpose) == "lost"]
    if ours > latest and lost and not known:
        text = f"the keys of epoch {ours} are to be made: {', '.join(lost)} (`holdfast tss dkg`)"
        return Check("keys", ok=True, text=text)
    if lost and all(held.get(purpose) == "acked" for purpose in lost):
        text = (
            f"the shares of {', '.join(lost)} are here and wait for their proof, as after a restore: it is made "
            "without you once all members are up"
        )
        return Check("keys", ok=False, text=text)
    if lost:
        first = (
            f"run `holdfast tss repair --purpose {known[0]}` while t others are up; else " if known else ""
        )
        text = (
            f"the shares are lost of {', '.join(lost)}: make no new keys; {first}stop the node, then put signer.db "
            "back or build a folder anew with `holdfast node restore`"
        )
        return Check("keys", ok=False, text=text)
    if tss.mender.damaged:
        text = (
            f"signer.db is damaged: the recovery data of {', '.join(tss.mender.damaged)}; they are fetched from "
            "the others as soon as one of them is up"
        )
        return Check("keys", ok=False, text=text)
    return Check("keys", ok=True, text="a share of each")
