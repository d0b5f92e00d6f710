"""What only a node's operator should read of it: is the process hardened, could the node come back."""

import datetime as dt
import shutil

from bridge.api_wire import KeyStand, MemberStand
from bridge.health import Check
from bridge.node import Node
from tss import backup, hardening

MIN_DISK_MB = 1024


async def care_of(node: Node) -> list[Check]:
    """Lines for `node status`; never on the public port, where they would tell a thief where to begin."""
    if node.tss is None:
        return []
    stop = node.tss.pause.now
    signs = "signs what it approves" if stop is None else f"paused since {_day(stop.since)}: {stop.reason}"
    lost = await node.tss.audit.store.alarms()
    logs = sorted({node.committee.committee.name_of(alarm.member) for alarm in lost})
    rows = f"rows were lost in the log of {', '.join(logs)}: see `holdfast tss audit heads`"
    free = shutil.disk_usage(node.folder).free >> 20
    kernel = hardening.look()
    chains = await node.tss.rehearsals.chains()
    stand = backup.standing(node.folder, backup.heads_of(chains), node.clock(), clock=_day)
    certificate = node.tss.certificates.trouble()
    ends = f"the lines' TLS certificate is good until {_day(node.tss.certificates.ends)}"
    sealed = node.identity is not None and node.identity.sealed
    seal = "the host key is under its passphrase" if sealed else "the host key lies open: for play money only"
    return [
        Check("pause", stop is None, signs if stop is None else f"{signs}; `holdfast tss resume` ends it"),
        Check("audit", not lost, rows if lost else "no log is known to have lost a row"),
        Check("disk", free >= MIN_DISK_MB, f"{free} MB free, {MIN_DISK_MB} wanted"),
        Check("vault", sealed or node.network.name == "regtest", seal),
        Check("process", kernel.ok, kernel.text),
        Check("certificate", certificate is None, certificate or ends),
        Check("backup", stand.backup_ok, stand.backup),
        Check("rehearsal", stand.rehearsal_ok, stand.rehearsal),
    ]


def _day(seconds: float) -> str:
    return dt.datetime.fromtimestamp(seconds, dt.UTC).date().isoformat()


def members_of(node: Node) -> list[MemberStand]:
    """The other members, in the committee's order."""
    seen = {} if node.peers is None else node.peers.seen
    return [
        MemberStand(p.name, p.down is None, p.down, p.last_seen, p.rtt, p.skew, p.version)
        for _, p in sorted(seen.items())
    ]


def keys_of(node: Node) -> list[KeyStand]:
    """The keys of this node, of all epochs."""
    infos = [] if node.tss is None else node.tss.every_key()
    return [KeyStand(info.purpose, info.epoch, info.state) for info in infos]
