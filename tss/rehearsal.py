"""Proving that a backup works, beside the running node: the restored share signs a test with the others.

The running node announces the rehearsal's boot id to every member; only those that heard are called. They let
that boot ask for test signatures and for the heads of their recovery chains, and for nothing else, and they write
it down. The rehearsal has an engine and a signer.db of its own in a folder that is thrown away.
"""

import asyncio
import shutil
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tss.committee_files import known
from tss.dkg.committee import Committee, SignedCommittee
from tss.dkg.faults import DkgFault
from tss.dkg.signed import is_slug
from tss.frost.codec import DecodeError, Reader, Writer
from tss.frost.engine import Engine, verify
from tss.frost.errors import FrostError
from tss.identity import HostIdentity
from tss.key_proof import TEST, message_for_test, payload_for_test
from tss.keyring import SIGNING
from tss.peers import PeerError, Peers, Refuse
from tss.recovery import RecoveryChain
from tss.rotation.chain import Chain
from tss.rotation.succession import staying
from tss.signing.messages import SharesRequest
from tss.signing_member import REQUEST, SHARES, Ask
from tss.store import Store

if TYPE_CHECKING:
    from tss.node import TssNode

ANNOUNCE: Final = "tss.rehearsal"
HEADS: Final = "tss.recovery.heads"
LINK: Final = "tss.recovery.link"

_BOOT_ID: Final = 16
_LINK_REQUEST: Final = 34  # sid, u16 number
_MAX_HEADS: Final = 1024
_SECONDS: Final = 20.0


class RehearsalFailed(Exception):
    """The backup did not prove itself; the sentence says what to do."""


@dataclass(frozen=True, slots=True)
class Head:
    """What a member says of one key's chain: how many links it has, the DKG's among them."""

    sid: bytes
    purpose: str
    epoch: int
    links: int


class RehearsalTopics:
    """A running node's side: it lets announced rehearsals of the others in, and announces its own."""

    def __init__(
        self,
        store: Store,
        chains: Callable[[], Awaitable[Sequence[RecoveryChain]]],
        clock: Callable[[], float],
    ) -> None:
        self._store, self.chains, self._clock = store, chains, clock
        self._peers: Peers | None = None

    def register(self, peers: Peers) -> None:
        """Answer ANNOUNCE and HEADS, and say what guests may ask."""
        self._peers = peers
        peers.handle(ANNOUNCE, self._announced)
        peers.handle(HEADS, self._heads)
        peers.handle(LINK, self._link)
        peers.guests.allow(HEADS, lambda body: not body)
        peers.guests.allow(LINK, lambda body: len(body) == _LINK_REQUEST)
        peers.guests.allow(REQUEST, lambda body: Ask.decode(body).purpose == TEST)
        peers.guests.allow(SHARES, lambda body: SharesRequest.decode(body).purpose == TEST)

    async def announce(self, boot_id: bytes) -> dict[int, bytes | PeerError]:
        """Tell all others that this boot id is a rehearsal of ours; who answered b"" lets it in."""
        assert self._peers is not None, "registered first"
        await self._note("rehearsal", f"ours begins, boot {boot_id.hex()}")
        return await self._peers.gather(ANNOUNCE, boot_id, timeout=5)

    async def ended(self, boot_id: bytes, said: str) -> None:
        """Write down how our rehearsal went."""
        await self._note("rehearsal", f"ours ended, boot {boot_id.hex()}: {said}")

    async def _note(self, kind: str, detail: str) -> None:
        async with self._store.transaction() as db:
            await self._store.audit(db, kind, detail)

    async def _announced(self, member: int, body: bytes) -> bytes:
        assert self._peers is not None, "registered first"
        if len(body) != _BOOT_ID:
            raise Refuse("malformed", "an announcement is a boot id of 16 bytes")
        self._peers.guests.announce(member, body, int(self._clock() * 1000))
        await self._note("rehearsal", f"{self._peers.name(member)} announced boot {body.hex()}")
        return b""

    async def _heads(self, _member: int, body: bytes) -> bytes:
        if body:
            raise Refuse("malformed", "this question has no body")
        chains = await self.chains()
        return encode_heads([Head(c.sid, c.purpose, c.epoch, len(c.links)) for c in chains])

    async def _link(self, _member: int, body: bytes) -> bytes:
        sid, number = body[:32], int.from_bytes(body[32:], "big")
        if len(body) == _LINK_REQUEST:
            for chain in await self.chains():
                if chain.sid == sid and number < len(chain.links):
                    return chain.links[number]
        raise Refuse("unknown-link", "we hold no such link of that key")


def encode_heads(heads: Sequence[Head]) -> bytes:
    """u16 count, then per key: sid 32, purpose, u32 epoch, u16 links."""
    writer = Writer().u16(len(heads))
    for head in heads:
        writer.raw(head.sid, 32).text(head.purpose, 32).u32(head.epoch).u16(head.links)
    return writer.done()


def decode_heads(data: bytes) -> list[Head]:
    """DecodeError for anything but what `encode_heads` writes."""
    reader = Reader(data, 2 + _MAX_HEADS * 128)
    count = reader.between(reader.u16(), 0, _MAX_HEADS, "the number of keys")
    heads = [Head(reader.raw(32), reader.text(32), reader.u32(), reader.u16()) for _ in range(count)]
    reader.finish()
    if not all(is_slug(head.purpose) for head in heads):
        raise DecodeError("a purpose is 1 to 32 of a-z, 0-9 and -")
    return heads


@dataclass(frozen=True, slots=True)
class Newer:
    """A chain that a member holds and we do not, every signature of it checked."""

    holder: str
    chain: RecoveryChain
    known: int

    @property
    def reason(self) -> str:
        """Why ours must not be restored."""
        what = f"the {self.chain.purpose} key of epoch {self.chain.epoch}"
        if not self.known:
            return f"{self.holder} holds {what}, which this recovery file does not know: it was made later"
        return (
            f"{self.holder} holds {len(self.chain.links)} certificates of {what}, this recovery file {self.known}: "
            "the share was refreshed since, and the old one is good for nothing together with the new ones"
        )


class NobodyAnswers(Exception):
    """No member said what it holds."""


async def newer_chains(
    peers: Peers, members: Sequence[int], committees: Sequence[Committee], own: Sequence[RecoveryChain]
) -> list[Newer]:
    """What members hold beyond our chains; what is claimed without signatures counts for nothing.

    `committees` are those of all epochs that are known, the present one the last. Keys of a committee that we did
    not sit in are none of ours. NobodyAnswers when none of the members said what it holds.
    """
    known, found, heard = {chain.sid: chain for chain in own}, dict[bytes, Newer](), False
    answers = await peers.gather(HEADS, b"", timeout=5, members=members)
    for member, answer in answers.items():
        try:
            heads = decode_heads(answer) if isinstance(answer, bytes) else None
        except DecodeError:
            continue
        heard = heard or heads is not None
        for head in heads or ():
            ours = known.get(head.sid)
            most = max(
                len(ours.links) if ours else 0, len(found[head.sid].chain.links) if head.sid in found else 0
            )
            chain = await fetched_chain(peers, member, head, committees) if head.links > most else None
            if chain is not None and staying(chain.read().committee, committees[-1], [peers.index]):
                found[head.sid] = Newer(peers.name(member), chain, len(ours.links) if ours else 0)
    if not heard:
        raise NobodyAnswers
    return list(found.values())


async def fetched_chain(
    peers: Peers, member: int, head: Head, committees: Sequence[Committee]
) -> RecoveryChain | None:
    """The chain that a member claims, None when it does not hold up."""
    links: list[bytes] = []
    try:
        while len(links) < head.links:
            question = head.sid + len(links).to_bytes(2, "big")
            links.append(await peers.call(member, LINK, question, timeout=20))
        chain = Chain.decode(links)
        public = await asyncio.to_thread(chain.check, Engine())
    except (PeerError, DecodeError, DkgFault, FrostError):
        return None
    roster = chain.base.transcript.roster
    if roster.sid != head.sid or chain.committee.hash not in {one.hash for one in committees}:
        return None
    return RecoveryChain(
        roster.sid, roster.purpose, roster.epoch, "acked", public.encode(), tuple(links), b"", time.time()
    )


async def until_some_heard(peers: Peers, members: Sequence[int], needed: int, seconds: float) -> list[int]:
    """Wait until `needed` of these members answered, or the time is over; who did."""
    deadline = time.monotonic() + seconds
    while True:
        up = [member for member in members if peers.seen[member].down is None]
        if len(up) >= needed or time.monotonic() > deadline:
            return up
        await asyncio.sleep(0.05)


Announce = Callable[[bytes], Awaitable[Sequence[int]]]


async def rehearse(
    folder: Path,
    committee: SignedCommittee,
    identity: HostIdentity,
    chains: Sequence[RecoveryChain],
    announce: Announce,
) -> dict[str, bytes]:
    """Sign one test per key that signs from a restored `folder`; signatures by key. The folder is removed.

    A key is named by its purpose, of an earlier epoch than the newest by purpose and epoch.

    `announce` has the running node tell the others, and gives who heard. RehearsalFailed says what went wrong.
    """
    from tss.node import TssNode

    peers = Peers(committee.committee, identity.index, identity.tls, identity, ping_every=0.5)
    try:
        heard = list(await announce(peers.boot_id))
        needed = committee.committee.threshold - 1
        peers.dial(heard)
        up = await until_some_heard(peers, heard, needed, _SECONDS)
        if len(up) < needed:
            raise RehearsalFailed(
                f"{len(up)} of the {needed} others needed answer the rehearsal: try again when they are up, "
                "with a backup made after the last `holdfast tss certificate rotate`"
            )
        newer = await newer_chains(peers, up, known(folder, committee.committee), chains)
        if newer:
            raise RehearsalFailed(f"{newer[0].reason}; make a new backup with `holdfast node backup`")
        node = await TssNode.open(folder, committee, identity, peers)
        try:
            return {name: await _prove(node, *key) for name, key in _signing(chains).items()}
        finally:
            await node.close()
    finally:
        await peers.close()
        shutil.rmtree(folder, ignore_errors=True)


def _signing(chains: Sequence[RecoveryChain]) -> dict[str, tuple[str, int]]:
    keys = sorted({(chain.purpose, chain.epoch) for chain in chains if chain.state in SIGNING})
    if not keys:
        raise RehearsalFailed(
            "the recovery file holds no serving key: make keys, then a backup, then rehearse"
        )
    newest = dict(keys)
    named = {(p, e): p if e == newest[p] else f"{p} {e}" for p, e in keys}
    return {name: key for key, name in named.items()}


async def _prove(node: "TssNode", purpose: str, epoch: int) -> bytes:
    """One test signature that holds our restored share."""
    from tss.signing_runner import SigningFailed

    public = node.public(purpose, epoch)
    assert public is not None, "a serving key was restored"
    payload = payload_for_test(purpose, b"rehearsal " + node.boot_id.hex().encode())
    try:
        (signature,) = await node.sign(TEST, payload, epoch=epoch, own=True)
    except SigningFailed as failed:
        raise RehearsalFailed(
            f"the others did not sign with the restored {purpose} share: {failed}"
        ) from failed
    if not verify(public.x_only, message_for_test(payload), signature):
        raise RehearsalFailed(f"the test signature under the {purpose} key is not valid: report this")
    return signature
