"""A node's metrics in Prometheus form: what anybody may know on the public port, all of it on the admin port."""

import shutil
from typing import TYPE_CHECKING

from aiohttp import web

from tss import backup
from tss.metrics import CONTENT_TYPE, Family, collect, render

if TYPE_CHECKING:
    from bridge.node import Node


def public_text(node: "Node") -> str:
    """Heights, members up, alarms: nothing that tells which node is weak."""
    return render(_common(node))


async def admin_text(node: "Node") -> str:
    """The public ones, the machine's, the signer's."""
    families = [*_common(node), *_machine(node)]
    if node.tss is not None:
        chains = await node.tss.rehearsals.chains()
        stand = backup.standing(node.folder, backup.heads_of(chains), node.clock())
        told = Family("holdfast_backup_ok", "gauge", "1 while every key is in the backup.").add(
            stand.backup_ok
        )
        last = Family("holdfast_rehearsal_seconds", "gauge", "When a backup was last rehearsed; none: never.")
        families += [told, last.add(stand.rehearsed_at), *await collect(node.tss)]
    return render(families)


def answer(text: str) -> web.Response:
    """The text as Prometheus wants it."""
    return web.Response(body=text.encode(), headers={"Content-Type": CONTENT_TYPE})


def disk_free(node: "Node") -> int:
    """Bytes that the node's folder can still take."""
    return shutil.disk_usage(node.folder).free


def _common(node: "Node") -> list[Family]:
    checks = Family("holdfast_check_ok", "gauge", "1 while a part of the node works.")
    for check in node.health():
        checks.add(check.ok, check=check.name)
    families = [
        checks,
        Family("holdfast_active", "gauge", "1 once the bridge is active.").add(node.active is not None),
        _epochs(node),
        Family("holdfast_bitcoin_height", "gauge", "Bitcoin blocks followed.").add(
            node.feed.chain.tip.height
        ),
        Family("holdfast_rollup_height", "gauge", "Rollup blocks followed.").add(node.follower.state.height),
        Family("holdfast_rollup_final", "gauge", "The last final rollup block.").add(node.follower.final),
        Family("holdfast_started_seconds", "gauge", "When this process started.").add(node.started),
    ]
    families += _headers(node)
    if node.peers is not None:
        up = 1 + sum(peer.down is None for peer in node.peers.seen.values())
        families.append(Family("holdfast_members_up", "gauge", "Members that answer, this one too.").add(up))
    return families


def _epochs(node: "Node") -> Family:
    """Key epochs, equal but while a committee hands on."""
    told = Family(
        "holdfast_key_epoch", "gauge", "Key epoch of committee.json, rollup, treasury, new addresses."
    )
    told.add(node.committee.committee.epoch, of="file")
    if node.active is not None:
        told.add(node.active.epochs.latest.number, of="rollup")
        told.add(node.active.address_epoch, of="addresses")
        if node.active.view is not None:
            told.add(node.active.view.treasury.epoch, of="treasury")
    return told


def _headers(node: "Node") -> list[Family]:
    """What the header ledger counted when it was last looked at, and which alarms stand."""
    reorgs = Family("holdfast_reorgs_total", "counter", "Reorgs seen, by level.")
    deepest = Family("holdfast_reorg_depth_max", "gauge", "Blocks lost in the deepest reorg, by level.")
    for level, (count, depth) in sorted(node.header_alarms.counts.items()):
        reorgs.add(count, level=level)
        deepest.add(depth, level=level)
    standing = Family("holdfast_header_alarm", "gauge", "Alarms about headers that stand, by kind.")
    kinds = [alarm.kind for alarm in node.header_alarms.standing.values()]
    for kind in ("wrong_node", "node_behind", "rival", "stale_tip", "from_the_future", "sources_differ"):
        standing.add(kinds.count(kind), kind=kind)
    tip = Family("holdfast_tip_seconds", "gauge", "When the tip last moved, as this node saw it.")
    listeners = Family("holdfast_stream_listeners", "gauge", "Who listens to /v1/stream.")
    families = [
        reorgs,
        deepest,
        standing,
        tip.add(node.header_alarms.moved_at),
        listeners.add(node.stream.listeners),
    ]
    if node.active is not None:
        touched = Family("holdfast_reorg_touched", "gauge", "What reorgs took out, by what became of it.")
        for word, count in sorted(node.active.reorgs.counts.items()):
            touched.add(count, outcome=word)
        families.append(touched)
    return families


def _machine(node: "Node") -> list[Family]:
    return [
        Family("holdfast_disk_free_bytes", "gauge", "Room left for the node's folder.").add(disk_free(node))
    ]
