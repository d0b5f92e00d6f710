"""A committee of real TLS peers in one event loop, for the shells' tests."""

import hashlib
import json
import socket
from dataclasses import dataclass, replace
from pathlib import Path

from tss import identity
from tss.identity import HostIdentity
from tss.peers import Peers


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


NAMES = ("alice", "bob", "carol", "dave", "erin")


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
