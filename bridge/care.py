"""What only a node's operator should read of it: is the process hardened, could the node come back."""

import datetime as dt

from bridge.health import Check
from bridge.node import Node
from tss import backup, hardening


async def care_of(node: Node) -> list[Check]:
    """Lines for `node status`; never on the public port, where they would tell a thief where to begin."""
    if node.tss is None:
        return []
    kernel = hardening.look()
    chains = await node.tss.rehearsals.chains()
    stand = backup.standing(node.folder, backup.heads_of(chains), node.clock(), clock=_day)
    sealed = node.identity is not None and node.identity.sealed
    seal = "the host key is under its passphrase" if sealed else "the host key lies open: for play money only"
    return [
        Check("vault", sealed or node.network.name == "regtest", seal),
        Check("process", kernel.ok, kernel.text),
        Check("backup", stand.backup_ok, stand.backup),
        Check("rehearsal", stand.rehearsal_ok, stand.rehearsal),
    ]


def _day(seconds: float) -> str:
    return dt.datetime.fromtimestamp(seconds, dt.UTC).date().isoformat()
