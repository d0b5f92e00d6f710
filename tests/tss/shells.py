"""A committee of real TLS peers in one event loop, for the shells' tests."""

import asyncio
import hashlib
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import coincurve

from tss import identity
from tss.dkg.committee import Committee, Member, SignedCommittee
from tss.frost.hashing import tagged_hash
from tss.frost.path import INTERNAL, KEY_ONLY
from tss.identity import HostIdentity
from tss.key_proof import message_for_test, payload_for_test
from tss.node import TssNode
from tss.peers import Peers
from tss.signing.approval import Approved, Refused


def free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago."""
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in held]
    for s in held:
        s.close()
    return ports


@dataclass(frozen=True)
class FakeMember:
    name: str
    host_key: bytes
    tls_fingerprint: bytes
    peer_url: str


@dataclass(frozen=True)
class FakeCommittee:
    """Peers need only this much of a committee."""

    members: tuple[FakeMember, ...]
    salt: str = ""

    @property
    def hash(self) -> bytes:
        return hashlib.sha256(repr(self).encode()).digest()

    @property
    def words(self) -> str:
        return self.hash.hex()[:8]

    def salted(self, salt: str) -> "FakeCommittee":
        return replace(self, salt=salt)


# Seconds for a share: so long that a machine that halts for a moment makes nobody look silent.
PATIENT = 4.0
NAMES = ("alice", "bob", "carol", "dave", "erin", "frank", "grace")


def make_identities(folder: Path, count: int) -> list[HostIdentity]:
    """Folders and identities of members that will listen on free ports."""
    return [
        identity.create(folder / name, name, f"https://127.0.0.1:{port}")
        for name, port in zip(NAMES, free_ports(count), strict=False)
    ]


def fake_committee(identities: list[HostIdentity]) -> FakeCommittee:
    return FakeCommittee(
        tuple(FakeMember(i.name, i.host_key, i.tls.fingerprint, i.peer_url) for i in identities)
    )


def port_of(member: HostIdentity) -> int:
    return int(member.peer_url.rsplit(":", 1)[1])


async def start_peers(committee: FakeCommittee, member: HostIdentity, **settings: float) -> Peers:
    seated = member.seated(committee)
    peers = Peers(committee, seated.index, seated.tls, seated, ping_every=0.2, **settings)
    await peers.start("127.0.0.1", port_of(member))
    return peers


def read_json(path: Path) -> dict[str, object]:
    return json.loads(path.read_text())


class AllowAll:
    """An approval port that signs the payload's tagged hash, unless told to refuse."""

    def __init__(self) -> None:
        self.refusal: Refused | None = None
        self.asked: list[tuple[str, bytes]] = []
        self.epochs: list[int] = []

    async def approve(self, purpose: str, payload: bytes, epoch: int) -> Approved | Refused:
        self.asked.append((purpose, payload))
        self.epochs.append(epoch)
        if self.refusal is not None:
            return self.refusal
        message = tagged_hash("tests/message", payload)
        return Approved(((message, INTERNAL), (message, KEY_ONLY)))


@dataclass
class Seat:
    """One member of a running committee: its folder outlives its node."""

    folder: Path
    identity: HostIdentity
    committee: SignedCommittee
    peers: Peers | None = None
    node: TssNode | None = None
    port: AllowAll | None = None
    share_timeout: float = PATIENT

    async def up(self) -> TssNode:
        seated = self.identity.seated(self.committee.committee)
        self.peers = Peers(self.committee.committee, seated.index, seated.tls, seated, ping_every=0.2)
        self.node = await TssNode.open(
            self.folder, self.committee, seated, self.peers, share_timeout=self.share_timeout
        )
        self.port = AllowAll()
        self.node.use_approval(self.port)
        await self.peers.start("127.0.0.1", port_of(self.identity))
        await self.node.start()
        return self.node

    async def down(self) -> None:
        if self.node is not None:
            await self.peers.close()
            await self.node.close()
            self.node = self.peers = None


def signed_committee(identities: list[HostIdentity], threshold: int) -> SignedCommittee:
    members = tuple(Member(i.name, i.host_key, i.tls.fingerprint, i.peer_url) for i in identities)
    signed = SignedCommittee.unsigned(Committee("tests", "regtest", 1, threshold, members))
    for index, one in enumerate(identities, 1):
        signed = signed.with_signature(index, one.sign(signed.committee.hash))
    return signed


@asynccontextmanager
async def committee_of(
    folder: Path, count: int, threshold: int, share_timeout: float = PATIENT
) -> AsyncIterator[list[Seat]]:
    """A committee whose members all run and have heard each other; `share_timeout` in seconds."""
    identities = make_identities(folder, count)
    committee = signed_committee(identities, threshold)
    seats = [Seat(folder / one.name, one, committee, share_timeout=share_timeout) for one in identities]
    try:
        for seat in seats:
            await seat.up()
        for seat in seats:
            await seat.peers.until_heard(range(1, count + 1), 40)
        yield seats
    finally:
        for seat in seats:
            await seat.down()


def valid(x_only, message, signature):
    return coincurve.PublicKeyXOnly(x_only).verify(signature, message)


async def until(condition, timeout=40):
    async with asyncio.timeout(timeout):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def noticed(one, other):
    """Wait until `one` has heard this start of `other`, not only an earlier one."""
    seen = one.peers.seen[other.peers.index]
    await until(lambda: seen.boot_id == other.node.boot_id and seen.down is None)


async def sign_test(node, text, purpose="anchor", **more):
    payload = payload_for_test(purpose, text)
    [signature] = await node.sign("test", payload, **more)
    public = node.public(purpose, more.get("epoch"))
    assert valid(public.x_only, message_for_test(payload), signature)
    return signature
