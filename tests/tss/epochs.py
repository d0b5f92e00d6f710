"""A committee over several epochs: who stays, who comes, and which file each serves."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.tss.shells import PATIENT, Seat, make_identities, signed_committee, until
from tss import committee_files as files
from tss.dkg.committee import Member, SignedCommittee
from tss.identity import HostIdentity
from tss.node import KeyInfo
from tss.rotation.succession import successor


def member_of(one: HostIdentity) -> Member:
    """What a committee file says of this identity."""
    return Member(one.name, one.host_key, one.tls.fingerprint, one.peer_url)


def signed_by(unsigned: SignedCommittee, people: list[HostIdentity]) -> SignedCommittee:
    """The file with the signatures of all whom it names."""
    by_key = {one.host_key: one for one in people}
    for index, member in enumerate(unsigned.committee.members, 1):
        one = by_key[member.host_key]
        unsigned = unsigned.with_signature(index, one.sign(unsigned.committee.hash))
    return unsigned


@dataclass
class Epochs:
    """People, the committee files so far (oldest first), and the seats that run under the newest."""

    folder: Path
    people: list[HostIdentity]
    files: list[SignedCommittee]
    seats: dict[str, Seat] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Seat:
        return self.seats[name]

    def propose(
        self,
        replaced: dict[str, str] | None = None,
        added: tuple[str, ...] = (),
        dropped: tuple[str, ...] = (),
        threshold: int | None = None,
    ) -> SignedCommittee:
        """The next file, signed by all whom it names."""
        who = {one.name: member_of(one) for one in self.people}
        places = {name: who[new] for name, new in (replaced or {}).items()}
        made = successor(self.files[-1].committee, places, [who[n] for n in added], dropped, threshold)
        return signed_by(SignedCommittee.unsigned(made), self.people)

    async def serve(self, signed: SignedCommittee, *names: str) -> None:
        """Stop all and start the members of this file (or only those named) under it; they hear each other."""
        for seat in self.seats.values():
            await seat.down()
        if signed not in self.files:
            self.files.append(signed)
        wanted = names or tuple(member.name for member in signed.committee.members)
        who = {one.name: one for one in self.people}
        self.seats = {name: Seat(self.folder / name, who[name], signed) for name in wanted}
        for seat in self.seats.values():
            seat.share_timeout = PATIENT
            for before in self.files[:-1]:
                files.path_of(seat.folder, before.committee.epoch).write_text(before.to_json())
            await seat.up()
        places = [seat.peers.index for seat in self.seats.values()]
        for seat in self.seats.values():
            await seat.peers.until_heard(places, 40)

    async def key(self, purpose: str = "treasury") -> KeyInfo:
        """Make the newest epoch's key and wait until all have it verified."""
        first = next(iter(self.seats.values()))
        made = await first.node.dkg(purpose)
        await until(lambda: all(s.node.public(purpose, made.epoch) for s in self.seats.values()))
        return made


@asynccontextmanager
async def epochs_of(folder: Path, people: int, members: int, threshold: int) -> AsyncIterator[Epochs]:
    """A first committee of so many of these people, running."""
    everyone = make_identities(folder, people)
    it = Epochs(folder, everyone, [])
    try:
        await it.serve(signed_committee(everyone[:members], threshold))
        yield it
    finally:
        for seat in it.seats.values():
            await seat.down()
