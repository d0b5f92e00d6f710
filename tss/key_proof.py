"""The last step of a DKG: an n-of-n test signature shows that every member's share works.

The proof is the signing package, whose commitments name all n members, with the signature. A member adopts it
only when its own nonce row shows that it signed that very package; then the key is verified there.

A relay that keeps a certificate to itself can make two certified keys for one purpose and epoch. One at most must
be verified anywhere, and one in the end. So rivals have an order, that of their session ids: a member gives its
share for the proof of a key unless a rival serves, or it gave its share for one that comes first; and by the same
rule it adopts a proof. Whoever adopted a key had given no share for an earlier one, and gives none any more: so no
earlier one has a proof of all n. `Keyring.proving` keeps check and write together.
"""

from dataclasses import dataclass
from typing import Self

from tss.dkg.messages import MAX_RECOVERY
from tss.dkg.signed import read_purpose
from tss.frost.codec import DecodeError, Reader, Writer
from tss.frost.engine import verify
from tss.frost.hashing import tagged_hash
from tss.frost.package import SigningPackage
from tss.frost.path import INTERNAL
from tss.keyring import SERVING, Key, KeyFault, Keyring, LostKey
from tss.peers import Peers, Refuse
from tss.signing.slots import request_id
from tss.store import Store, StoreFault

HELD = "tss.key.held"
PROOF = "tss.key.proof"

_LIMIT = 32 * 1024
TEST = "test"
OUTRANKED = (
    "this node has begun to verify another key of this purpose and epoch, which comes first: run `holdfast tss "
    "dkg` once more, which finishes that one"
)

_UNPROVEN = frozenset({"certified", "acked"})


def payload_for_test(purpose: str, text: bytes) -> bytes:
    """The payload of a test signature under the key of `purpose`."""
    return purpose.encode() + b"\0" + text


def message_for_test(payload: bytes) -> bytes:
    """The only 32 bytes that tss itself lets be signed for a payload."""
    return tagged_hash("holdfast/test/v1", payload)


def verify_payload(purpose: str, sid: bytes) -> bytes:
    """The payload of the n-of-n test signature of the key that session `sid` made."""
    return payload_for_test(purpose, b"verify " + sid.hex().encode())


@dataclass(frozen=True, slots=True)
class KeyProof:
    """An n-of-n test signature with its package."""

    package: SigningPackage
    signature: bytes

    def encode(self) -> bytes:
        """Package with u32 length, then 64 bytes."""
        return Writer().var(self.package.encode(), _LIMIT).raw(self.signature, 64).done()

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """DecodeError or EncodingFault for anything but what `encode` writes."""
        reader = Reader(data, _LIMIT)
        proof = cls(SigningPackage.decode(reader.var(_LIMIT)), reader.raw(64))
        reader.finish()
        return proof

    def holds_for(self, key: Key | LostKey) -> bool:
        """Whether all n members signed this key's own verification message, and the signature is good."""
        message = message_for_test(verify_payload(key.info.purpose, key.sid))
        everyone = tuple(key.info.public.verifying_shares)
        return (
            self.package.message == message
            and self.package.path == INTERNAL
            and tuple(self.package.commitments) == everyone
            and verify(key.info.public.x_only, message, self.signature)
        )


@dataclass(frozen=True, slots=True)
class HeldKey:
    """A member's certified key as it hands it on: encoded recovery data, and the proof when it has one."""

    recovery: bytes
    proof: bytes

    def encode(self) -> bytes:
        """Both with their u32 lengths."""
        return Writer().var(self.recovery, MAX_RECOVERY).var(self.proof, _LIMIT).done()

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """DecodeError for anything but what `encode` writes; the contents are still to be checked."""
        reader = Reader(data, MAX_RECOVERY + _LIMIT)
        held = cls(reader.var(MAX_RECOVERY), reader.var(_LIMIT))
        reader.finish()
        return held


class ProofNotOurs(KeyFault):
    """A good proof, but nothing here shows that our share was in it: another one is to be made."""


class KeyTopics:
    """Serves certified keys to those who missed the end of a DKG, and adopts proofs."""

    def __init__(self, index: int, keyring: Keyring, store: Store) -> None:
        self._index, self._keyring, self._store = index, keyring, store

    def register(self, peers: Peers) -> None:
        """Answer HELD and PROOF."""
        peers.handle(HELD, self._held)
        peers.handle(PROOF, self._proof)

    async def adopt(self, key: Key, proof: KeyProof) -> Key:
        """Move the key to verified; KeyFault when the proof does not show that our own share was in it."""
        if key.info.state in SERVING:
            return key
        if not proof.holds_for(key):
            raise KeyFault("the proof is no signature of all members under this key")
        async with self._keyring.proving:
            return await self._adopt(key, proof)

    async def _adopt(self, key: Key, proof: KeyProof) -> Key:
        if await outranked(self._keyring, self._store, key):
            raise KeyFault(OUTRANKED)
        own = proof.package.commitments[self._index]
        row = (await self._store.nonces([own])).get(own)
        if row is None or row.package_hash != proof.package.hash:
            raise ProofNotOurs("we did not sign this proof's package: run the key's test signature again")
        try:
            return await self._keyring.set_state(key.sid, "verified", proof.encode())
        except StoreFault as fault:
            raise KeyFault(str(fault)) from fault

    async def _held(self, _member: int, body: bytes) -> bytes:
        """Our key of a purpose and epoch, nothing when we hold none."""
        purpose, epoch = read_held_request(body)
        key = best(self._keyring.of(purpose, epoch))
        return b"" if key is None else HeldKey(key.recovery.encode(), key.proof).encode()

    async def _proof(self, _member: int, body: bytes) -> bytes:
        key = self._keyring.get(body[:32])
        if key is None:
            raise Refuse("unknown-key", "we hold no such key: send its recovery data first")
        try:
            await self.adopt(key, KeyProof.decode(body[32:]))
        except ValueError as error:
            raise Refuse("malformed", str(error)) from error
        except KeyFault as fault:
            raise Refuse("proof", str(fault)) from fault
        return b""


async def outranked(keyring: Keyring, store: Store, key: Key) -> bool:
    """Whether a rival of this key serves here, or we gave our share for the proof of one that comes first."""
    if keyring.settled(key.info.purpose, key.info.epoch):
        return True  # one that served has ended here, or its share is lost
    for rival in keyring.of(key.info.purpose, key.info.epoch):
        if rival.sid != key.sid and rival.info.state not in _UNPROVEN:
            return True
        if rival.sid < key.sid:
            payload = verify_payload(rival.info.purpose, rival.sid)
            verdicts = await store.verdicts(request_id(TEST, payload, rival.info.epoch))
            if any(verdict.approved and verdict.phase == "release" for verdict in verdicts):
                return True
    return False


def best(keys: list[Key]) -> Key | None:
    """The key to go on with when there are several: a serving one, else the one all members would choose."""
    return min(keys, key=lambda k: (k.info.state not in SERVING, k.sid), default=None)


def held_request(purpose: str, epoch: int) -> bytes:
    """What asks a member for its key."""
    return Writer().text(purpose, 32).u32(epoch).done()


def read_held_request(body: bytes) -> tuple[str, int]:
    """Purpose and epoch; Refuse for anything else."""
    try:
        reader = Reader(body, 64)
        purpose, epoch = read_purpose(reader), reader.u32()
        reader.finish()
    except DecodeError as error:
        raise Refuse("malformed", str(error)) from error
    return purpose, epoch
