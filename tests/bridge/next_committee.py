"""The office's next committee: who leaves, who comes, a new file, new keys; everything up to the succession."""

import asyncio
from collections.abc import Sequence

from bridge.ceremony import PURPOSES
from tests.bridge.office import Office, OfficeNode
from tests.tss.shells import Seat, free_ports
from tss import identity
from tss.committee_files import path_of
from tss.dkg.committee import Committee, Member, SignedCommittee
from tss.identity import HostIdentity


def next_file(it: Office, people: Sequence[HostIdentity], threshold: int) -> SignedCommittee:
    """The file after the office's present one, signed by all of these."""
    old = it.committee.committee
    members = tuple(Member(i.name, i.host_key, i.tls.fingerprint, i.peer_url) for i in people)
    signed = SignedCommittee.unsigned(
        Committee(old.name, old.chain, old.epoch + 1, threshold, members, old.hash)
    )
    for index, one in enumerate(people, 1):
        signed = signed.with_signature(index, one.sign(signed.committee.hash))
    return signed


def newcomer(it: Office, name: str) -> HostIdentity:
    """An identity in a folder beside the others'."""
    folder = it.nodes[0].seat.folder.parent / name
    [port] = free_ports(1)
    return identity.create(folder, name, f"https://127.0.0.1:{port}")


async def bring_in(
    it: Office, replaced: dict[str, str], added: Sequence[str] = (), threshold: int | None = None
) -> list[OfficeNode]:
    """Newcomers take places or come at the end; all start with the new file and make its keys. Who left, is down.

    Returns the nodes that left. The bridge goes on under its present keys.
    """
    names = [node.seat.identity.name for node in it.nodes]
    by_name = {node.seat.identity.name: node for node in it.nodes}
    people = [
        newcomer(it, replaced[name]) if name in replaced else by_name[name].seat.identity for name in names
    ]
    people += [newcomer(it, name) for name in added]
    signed = next_file(it, people, threshold or it.committee.committee.threshold)
    left, folder = [by_name[name] for name in replaced], it.nodes[0].seat.folder.parent
    for node in it.nodes:
        await node.down()
    nodes = []
    for one in people:
        node = by_name.get(one.name) or OfficeNode(Seat(folder / one.name, one, signed), it)
        node.seat.committee = signed
        nodes.append(node)
        for earlier in (*files_of(list(by_name.values())), it.committee):
            path_of(node.seat.folder, earlier.committee.epoch).write_text(earlier.to_json())
    it.committee, it.nodes = signed, nodes
    for node in nodes:
        await node.seat.up()
    for node in nodes:
        await node.seat.peers.until_heard(range(1, len(nodes) + 1), 20)
    for node in nodes:
        await node.open()
        await node.follow(it.signed)
    await make_keys(it)
    return left


def files_of(nodes: Sequence[OfficeNode]) -> list[SignedCommittee]:
    """The files of earlier epochs that lie in these nodes' folders."""
    paths = [path for node in nodes for path in node.seat.folder.glob("committee-*.json")]
    return [SignedCommittee.from_json(path.read_text()) for path in paths]


async def make_keys(it: Office) -> None:
    """All keys of the present committee's epoch, verified everywhere."""
    epoch = it.committee.committee.epoch
    for purpose in PURPOSES:
        await it.nodes[0].seat.node.dkg(purpose)
    async with asyncio.timeout(60):
        while not all(n.seat.node.public(p, epoch) for n in it.nodes for p in PURPOSES):  # noqa: ASYNC110 keys have no event
            await asyncio.sleep(0.02)
    await it.round()
